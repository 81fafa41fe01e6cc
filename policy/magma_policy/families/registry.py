"""Which family a checkpoint belongs to, and where that family lives; none is imported before it is asked for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from magma_contracts.errors import ConfigError
from magma_contracts.grounding import Grounder
from magma_policy.errors import CheckpointError, shown
from magma_policy.families.interface import ActionPolicy, Family, GroundingFamily
from magma_policy.files.hub import HubError, resolve
from magma_policy.files.json_files import read_object
from magma_policy.grounding.local_pointer import LocalPointer
from magma_policy_client.checkpoint_paths import CheckpointNotFoundError, locate
from magma_policy_client.content import digest_of, file_digests

if TYPE_CHECKING:
    from magma_eval.grounding.models import Pointer


@dataclass(frozen=True)
class Entry:
    """A family's package, the `architectures` by which its config.json tells it where `model_type` does not, and
    whether what the package loads answers questions in text."""

    package: str
    architectures: tuple[str, ...]
    talks: bool = False


FAMILIES = {
    "magma": Entry("magma_policy.families.magma", ("MagmaForCausalLM",), talks=True),
    "kosmos-2": Entry("magma_policy.families.kosmos2", ("Kosmos2ForConditionalGeneration",), talks=True),
    "openvla": Entry("magma_policy.families.openvla", ("OpenVLAForActionPrediction",)),
}
"""By name, which is the `model_type` of their checkpoints' config.json."""
UNNAMED = "magma"
"""The family of a config.json that has no `model_type`: this project's own layout is older than the second family."""
CONFIG = "config.json"
CONTENT = (".json", ".safetensors")
"""What a model that points is known by: files of these kinds in its folder."""


def family_of(directory: Path) -> str:
    """Name of the family of a checkpoint folder, by its config.json. Raises ConfigError for one that is not known here.

    A folder without a config.json that can be read has no other family: whose it might be, its own reader tells best.
    """
    try:
        data = read_object(directory / CONFIG)
    except ConfigError:
        return UNNAMED
    said, built = data.get("model_type"), data.get("architectures")
    for name, entry in FAMILIES.items():
        if said == name or (isinstance(built, list) and any(one in built for one in entry.architectures)):
            return name
    if not isinstance(said, str):
        return UNNAMED
    raise ConfigError(
        f"{directory / CONFIG}: model_type {shown(said)} names no family of models that is known here; there "
        f"are {sorted(FAMILIES)}"
    )


def family(name: str) -> Family:
    """The family of that name, imported now. Raises ConfigError for a name that is not known."""
    if name not in FAMILIES:
        raise ConfigError(f"no family of models {shown(name)}; there are {sorted(FAMILIES)}")
    return cast(Family, importlib.import_module(FAMILIES[name].package))


def load(
    path: str | Path,
    device: str,
    dtype: object,
    quantization: str | None,
    robot: str | Path | None,
    statistics: str | Path | None,
    unnorm_key: str | None = None,
) -> ActionPolicy:
    """A checkpoint folder, or `owner/name` of the Hugging Face Hub, by the `load` of its family."""
    name = _family_before_weights(path)
    found = family(name)
    if not hasattr(found, "load"):
        raise ConfigError(
            f"{path}: a checkpoint of {name}, which points and does not act; magma-ground, magma-refer, "
            "magma-describe and magma-serve read it"
        )
    return found.load(resolve(path), device, dtype, quantization, robot, statistics, unnorm_key)


def _family_before_weights(path: str | Path) -> str:
    """As `family_of`; of a repository of the Hub its config.json alone is fetched. Raises ConfigError, HubError."""
    return family_of(resolve(path, files=(CONFIG,)))


def resolve_family(path: str | Path, wanted: str) -> Path:
    """As `files.hub.resolve`, of a checkpoint of that family. Raises HubError, ConfigError for a family that is not
    known, and CheckpointError for another one, before any weight is fetched."""
    name = _family_before_weights(path)
    if name != wanted:
        raise CheckpointError(f"{path}: a checkpoint of {name}, and one of {wanted} is wanted here")
    return resolve(path)


def require_talking(path: str | Path) -> None:
    """Raises ConfigError for a checkpoint of a family that does not answer in text; HubError. No weight is read."""
    name = _family_before_weights(path)
    if not FAMILIES[name].talks:
        raise ConfigError(f"{path}: a checkpoint of {name}, which acts and does not talk; give one of Magma")


def points(path: str | Path) -> bool:
    """Whether a checkpoint is of a family that points. Raises ConfigError for a family that is not known, HubError."""
    return hasattr(family(_family_before_weights(path)), "load_grounder")


def load_grounder(path: str | Path, device: str, dtype: object) -> Grounder:
    """A checkpoint folder, or `owner/name` of the Hugging Face Hub, of a family that points; see `Grounder`."""
    directory = resolve(path, files=(CONFIG,))
    if not (directory / CONFIG).is_file():
        raise ConfigError(f"{directory}: no checkpoint is here, for there is no {CONFIG}")
    name = family_of(directory)
    found = family(name)
    if not hasattr(found, "load_grounder"):
        raise ConfigError(
            f"{directory}: a checkpoint of {name}, which does not point; give one of KOSMOS-2, such as "
            "microsoft/kosmos-2-patch14-224"
        )
    return cast(GroundingFamily, found).load_grounder(resolve(path), device, dtype)


def load_pointer(path: str | Path, device: str, dtype: object) -> LocalPointer:
    """As `load_grounder`, with names for clicks and an identity: the content of its files and the number format."""
    grounder = load_grounder(path, device, dtype)
    directory = resolve(path)
    # Imported here because torch takes seconds, and a wrong folder is told before that.
    from magma_policy.inference.device import pick_device, pick_dtype

    files = {file.name: file for file in directory.iterdir() if file.suffix in CONTENT and file.is_file()}
    digests = file_digests(files.values())
    form = pick_dtype(cast(Any, dtype), pick_device(device), None)
    parts = {name: digests[file] for name, file in files.items()}
    return LocalPointer(grounder, digest_of({**parts, "setting dtype": str(form)}))


def load_benchmark_model(name: str, device: str, constrained: bool) -> Pointer | None:
    """A model that points as published benchmarks ask it, for `magma-eval-grounding`; None where the family has no such
    door. Raises ValueError with a sentence where there is no checkpoint, or it cannot be loaded."""
    try:
        place = locate(name.removeprefix("kosmos2:"))
        found = family(_family_before_weights(place))
        if not hasattr(found, "benchmark_model"):
            return None
        loaded = load_pointer(place, device, None)
    except (CheckpointError, CheckpointNotFoundError, HubError) as error:
        raise ValueError(str(error)) from error
    return cast("Pointer", found.benchmark_model(loaded.grounder, loaded.identity, constrained=constrained))
