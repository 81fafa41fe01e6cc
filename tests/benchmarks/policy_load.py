"""Load a directory of Magma-8B's own size and layout: `python tests/benchmarks/policy_load.py [--keep DIR]`.

The four shards are sparse files of zeros, so they take no room on the disk; names, shapes, types, index and JSON files
are those of the published checkpoint. Prints time and memory of loading it on the CPU in the stored type. Linux only.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import resource
import tempfile
import time
from pathlib import Path

import torch

from magma_policy.families.magma import checkpoint, published_files
from magma_policy.families.magma.config import magma_8b_config
from magma_policy.families.magma.model import Magma
from magma_policy.families.magma.tokenizer import build_small_tokenizer
from magma_policy.files import weight_files

# Bytes of the published shards, to a hundredth of a gigabyte.
SHARD_BYTES = 5_000_000_000
ROWS = 128320


def write_sparse(directory: Path) -> None:
    """All files of a published repository, the tensors empty."""
    config = magma_8b_config()
    sized = dataclasses.replace(config, text=dataclasses.replace(config.text, vocab_size=ROWS))
    with torch.device("meta"):
        model = Magma(sized)
    # The JSON files and one small shard; then the real shards in its place.
    published_files.write(directory, _tables_only(), config, build_small_tokenizer(config.tokens))
    for leftover in directory.glob("*.safetensors"):
        leftover.unlink()
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    shapes |= {
        "vision_tower.clip_vision_model.trunk.head.norm.weight": (3072,),
        "vision_tower.clip_vision_model.trunk.head.norm.bias": (3072,),
        "vision_tower.clip_vision_model.head.proj.weight": (1024, 3072),
    }
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    filled = 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        if filled + size > SHARD_BYTES:
            shards.append({})
            filled = 0
        shards[-1][name] = shape
        filled += size
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _sparse_shard(directory / file, shard)
        weight_map |= dict.fromkeys(shard, file)
    (directory / weight_files.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def _tables_only() -> dict[str, torch.Tensor]:
    return {checkpoint.EMBEDDING: torch.zeros(ROWS, 1)}


def _sparse_shard(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file whose data is a hole: eight bytes of header length, the JSON header, nothing."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def resident_mb(kind: str) -> float:
    """RssAnon or RssFile of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {kind} in /proc/self/status")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="write the sparse checkpoint here and leave it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = arguments.keep or Path(scratch) / "Magma-8B"
        write_sparse(directory)
        size = sum(f.stat().st_size for f in directory.glob("*.safetensors"))
        before = resident_mb("RssAnon")
        start = time.perf_counter()
        loaded = checkpoint.load(directory, torch.device("cpu"), None, robot="widowx")
        seconds = time.perf_counter() - start
        tensors = loaded.model.state_dict()
        count = sum(p.numel() for p in loaded.model.parameters())
        print(f"{len(tensors)} tensors, {count / 1e9:.3f} G parameters, {size / 1e9:.2f} GB in files: {seconds:.2f} s")
        print(f"vocabulary {loaded.model.config.text.vocab_size}, dtype {next(loaded.model.parameters()).dtype}")
        print(
            f"memory of its own: {resident_mb('RssAnon') - before:.0f} MB more than before; "
            f"pages of the files: {resident_mb('RssFile'):.0f} MB; "
            f"highest so far {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
        )


if __name__ == "__main__":
    main()
