"""The weight files of a checkpoint directory: which they are, what tensors they hold, whose they are if not ours."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from magma_contracts.errors import ConfigError
from magma_contracts.files.small_files import LFS_POINTER, LFS_REMEDY
from magma_policy.errors import CheckpointError, shown
from magma_policy.files.json_files import read_object

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

TORCH_TYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
STORED_TYPES = tuple(TORCH_TYPES)
"""Types that weights may be stored in, as safetensors calls them."""

LONGEST_NAME = 255
"""Bytes of a file's name that file systems allow."""

LISTED = 3
"""Tensors of each kind that an error names; how many more there are is counted."""

# Other tools' names for the same tensors, by what they begin with, and whose they are.
WRAPPERS = {
    "module.": "DistributedDataParallel",
    "_orig_mod.": "torch.compile",
    "base_model.model.": "peft",
    "model.language_model.": "transformers 4.52 or later",
    "model.vision_tower.": "transformers 4.52 or later",
    "_fsdp_wrapped_module.": "FullyShardedDataParallel",
}


def shards(directory: Path) -> list[Path]:
    """The weight files of a checkpoint directory. CheckpointError when its index cannot be read, or when there is a
    single file beside it."""
    index = directory / INDEX
    if not index.is_file():
        return [directory / WEIGHTS]
    try:
        weight_map = read_object(index).get("weight_map")
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(
            f"{index}: not a weight index: weight_map must say which shard has each tensor, got {shown(weight_map)}"
        )
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or not _is_plain(name):
            raise CheckpointError(
                f"{index}: shards must be names of files beside the index, but {shown(tensor)} is in {shown(name)}"
            )
    names = sorted(set(weight_map.values()))
    if names != [WEIGHTS] and (directory / WEIGHTS).is_file():
        raise CheckpointError(
            f"{directory}: holds {WEIGHTS} and, in {INDEX}, {len(names)} other files with weights; which of them are "
            "meant? Move the others away"
        )
    return [directory / name for name in names]


def _is_plain(name: str) -> bool:
    return (
        name.isprintable()
        and Path(name).name == name
        and name not in ("", ".", "..")
        and len(name.encode()) <= LONGEST_NAME
    )


def read_shapes(files: list[Path]) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors by name. Raises CheckpointError for files that cannot be read or are another tool's."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"{file}: no such file{_instead(file.parent)}")
        with file.open("rb") as opened:
            if opened.read(len(LFS_POINTER)) == LFS_POINTER:
                raise CheckpointError(f"{file}: {LFS_REMEDY}")
        try:
            with safe_open(str(file), framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - safe_open is not a mapping
                    if name in shapes:
                        raise CheckpointError(f"{file}: tensor {name} occurs in two shards")
                    part = tensors.get_slice(name)
                    shapes[name] = tuple(part.get_shape())
                    if part.get_dtype() not in STORED_TYPES:
                        raise CheckpointError(
                            f"{file}: tensor {name} is stored as {part.get_dtype()}, not as one of {STORED_TYPES}; "
                            "quantised files are not read, give the original weights and a quantization"
                        )
        except SafetensorError as error:
            raise CheckpointError(
                f"{file}: cannot be read ({error}); it is cut, damaged or no safetensors file, fetch it again"
            ) from error
    _refuse_other_names(files[0].parent, shapes)
    return shapes


def _refuse_other_names(directory: Path, names: Iterable[str]) -> None:
    for name in names:
        if ".lora_" in name or ".base_layer." in name:
            raise CheckpointError(
                f"{directory}: holds adapters (LoRA), such as {name}; merge them into the weights they belong to "
                "(peft: merge_and_unload) and give the merged checkpoint"
            )
    for name in names:
        for prefix, tool in WRAPPERS.items():
            if name.startswith(prefix):
                raise CheckpointError(
                    f"{directory}: its tensors are named as {tool} does, such as {name}; save the weights of the model "
                    f"inside, whose names do not begin with {prefix!r}"
                )


def refuse_mismatch(
    directory: Path, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Raises CheckpointError with the list, unless the files of `directory` hold the expected tensors, all of them and
    no others, in the expected shapes."""
    both = expected.keys() & found.keys()
    kinds = {
        "missing": [f"{name} {expected[name]}" for name in sorted(expected.keys() - both)],
        "unexpected": [f"{name} {found[name]}" for name in sorted(found.keys() - both)],
        "wrong shape": [
            f"{name} is {found[name]}, the model needs {expected[name]}"
            for name in sorted(both)
            if found[name] != expected[name]
        ],
    }
    told = []
    for kind, names in kinds.items():
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        told += [f"{kind}: {', '.join(names[:LISTED])}{more}"] if names else []
    if told:
        raise CheckpointError(f"{directory}: checkpoint refused, nothing was loaded: {'; '.join(told)}")


def refuse_other_depths(directory: Path, config: str, counts: Mapping[str, tuple[int, int]]) -> None:
    """Raises CheckpointError where the file `config` and the weights differ in how many there are of something.

    `counts` has both by what is counted, the file's first. For the time before a model is built: a wrong number of
    layers is one mistake, not hundreds of missing tensors, and a number in a file costs nothing, its layers do.
    """
    for what, (said, there) in counts.items():
        if said != there:
            raise CheckpointError(f"{directory}: {config} describes {said} {what}, and the weights hold {there}")


def count_layers(names: Iterable[str], prefix: str) -> int:
    """How many different entries follow `prefix`, up to the next dot, in the names of tensors."""
    return len({name[len(prefix) :].split(".", 1)[0] for name in names if name.startswith(prefix)})


def stored_type(files: Iterable[Path], name: str) -> torch.dtype:
    """What a tensor is stored in; float32 when it is in none of the files."""
    for file in files:
        with safe_open(str(file), framework="pt") as opened:
            if name in opened.keys():  # noqa: SIM118 - safe_open is not a mapping
                return TORCH_TYPES[opened.get_slice(name).get_dtype()]
    return torch.float32


def map_tensors(files: list[Path], without: Collection[str] = ()) -> dict[str, Tensor]:
    """Every tensor, but those named in `without`, as a view of its memory-mapped file: nothing is read before it is
    used."""
    tensors: dict[str, Tensor] = {}
    for file in files:
        with safe_open(str(file), framework="pt", device="cpu") as opened:
            for name in opened.keys():  # noqa: SIM118 - safe_open is not a mapping
                if name not in without:
                    tensors[name] = opened.get_tensor(name)
    return tensors


def refuse_other_folders(directory: Path, config: str) -> None:
    """Raises CheckpointError for a folder without a file `config` that people take for a checkpoint."""
    if (directory / config).exists():
        return
    instead = _instead(directory)
    if instead:
        raise CheckpointError(f"{directory}: no {config}{instead}")


def _instead(directory: Path) -> str:
    """What a folder is instead of a checkpoint, and what to give; empty when it cannot be told."""
    if (directory / "adapter_config.json").is_file():
        return (
            "; this is the folder of an adapter (LoRA): merge it into its base model (peft: merge_and_unload) and give "
            "the merged checkpoint"
        )
    snapshots = directory / "snapshots"
    if snapshots.is_dir():
        found = sorted(path.name for path in snapshots.iterdir() if path.is_dir())
        given = snapshots / found[-1] if found else "none is there"
        return f"; this is the root of a Hugging Face cache: give the snapshot in it ({given})"
    inner = directory / "checkpoint"
    if (inner / "config.json").is_file():
        return f"; this is the folder of a training run: give {inner}"
    for pattern, kind in (("*.bin", "pickled"), ("*.pt", "pickled"), ("*.pth", "pickled"), ("*.gguf", "GGUF")):
        other = next(iter(sorted(directory.glob(pattern))), None)
        if other is not None:
            return f"; there is {other.name}, but {kind} weights are not read: save them as safetensors"
    return ""


def type_name(dtype: torch.dtype) -> str:
    """A type as people write it, such as "float16"."""
    return str(dtype).removeprefix("torch.")


def write_shards(directory: Path, state: Mapping[str, Tensor], shard_bytes: int) -> None:
    """Write tensors as files of at most `shard_bytes` each, unless one tensor is larger, and their index."""
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in state.items():
        size = tensor.numel() * tensor.element_size()
        if shards[-1] and filled + size > shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor.contiguous()
        filled += size
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, str(directory / file), metadata={"format": "pt"})
        # The library creates its files for the owner alone; a checkpoint is for all who may read the directory.
        (directory / file).chmod(0o644)
        weight_map |= dict.fromkeys(shard, file)
    total = sum(t.numel() * t.element_size() for t in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
