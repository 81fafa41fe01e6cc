"""What a policy needs to know of one robot: the meaning of its actions, their bounds and the camera's calibration.

One folder per robot: action_spec.json, statistics.json and, for models that place marks on the table, camera.json. A
checkpoint's default robot lies at its top, others in robots/NAME within it; the robots that Magma-8B was evaluated on
ship with this package.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from magma_contracts.errors import ConfigError
from magma_policy.embodiments import action_normalization as action_statistics
from magma_policy.embodiments.action_normalization import ActionStatistics
from magma_policy.embodiments.action_spec import ActionSpec
from magma_policy.embodiments.camera import CameraCalibration
from magma_policy.files.json_dataclasses import load_json, save_json

ACTION_SPEC = "action_spec.json"
STATISTICS = "statistics.json"
CAMERA = "camera.json"
FOLDER = "robots"
"""Folder of a checkpoint's further robots."""

MAX_ROBOTS = 64
"""Further robots of a checkpoint."""

DEFAULT = ""
"""Name of a checkpoint's default robot."""

NAME = re.compile(r"\w[\w .+-]{0,63}(?<! )(?<!\.)")
"""What a robot may be called: its name is also that of its folder, on every system."""

PUBLISHED_DIRECTORY = Path(__file__).parent
PUBLISHED = tuple(sorted(spec.parent.name for spec in PUBLISHED_DIRECTORY.glob(f"*/{ACTION_SPEC}")))
"""Robots that ship: those of the folders here that have an action spec."""


class Inputs(Protocol):
    """What a model's configuration says it reads beside image and words."""

    @property
    def proprioception(self) -> bool: ...
    @property
    def geometry(self) -> str | None: ...


@dataclass(frozen=True)
class Robot:
    """One robot; `camera` is None for models without geometry."""

    spec: ActionSpec
    statistics: ActionStatistics
    camera: CameraCalibration | None = None

    def check_fits(self, needs: Inputs, where: str) -> None:
        """Raises ConfigError, which names `where`, unless the model has the inputs that the robot provides."""
        if self.spec.horizon != 1:
            raise ConfigError(
                f"{where}: action_spec says horizon={self.spec.horizon}, but there is one action per picture; set 1"
            )
        if self.spec.proprioception != needs.proprioception:
            raise ConfigError(
                f"{where}: action_spec says proprioception={self.spec.proprioception}, config says "
                f"{needs.proprioception}"
            )
        if (self.camera is None) == (needs.geometry is not None):
            raise ConfigError(
                f"{where}: config says geometry={needs.geometry}, and there is {'a' if self.camera else 'no'} {CAMERA}"
            )


def check_name(name: object) -> str:
    """The name of a robot, if it can be one. Raises ConfigError."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(
            f"a robot cannot be called {str(name)[:80]!r}: take at most 64 letters, digits, '_', '-', '+', '.' and "
            "spaces, with a letter, digit or '_' in front"
        )
    return name


def read(directory: Path, statistics: Path | None = None, key: str | None = None) -> Robot:
    """The robot of a folder; `statistics` is a file in place of its statistics.json, `key` the data set in it whose
    statistics are meant instead of the spec's own. Raises ConfigError."""
    spec = load_json(ActionSpec, directory / ACTION_SPEC)
    if key is not None:
        spec = dataclasses.replace(spec, statistics_key=key)
    bounds = action_statistics.load(directory / STATISTICS if statistics is None else statistics)
    camera = directory / CAMERA
    return Robot(
        spec,
        action_statistics.select(bounds, spec.statistics_key),
        load_json(CameraCalibration, camera) if camera.is_file() else None,
    )


def write(robot: Robot, directory: Path) -> None:
    """Writes the files of a robot."""
    directory.mkdir(parents=True, exist_ok=True)
    save_json(robot.spec, directory / ACTION_SPEC)
    action_statistics.save({robot.spec.statistics_key: robot.statistics}, directory / STATISTICS)
    if robot.camera is not None:
        save_json(robot.camera, directory / CAMERA)


def names_in(checkpoint: Path) -> list[str]:
    """Names of a checkpoint's further robots. Raises ConfigError for more than a server can offer, or a name that could
    not be printed or sent."""
    names = sorted(spec.parent.name for spec in (checkpoint / FOLDER).glob(f"*/{ACTION_SPEC}"))
    if len(names) > MAX_ROBOTS:
        raise ConfigError(f"{checkpoint / FOLDER}: holds {len(names)} robots; at most {MAX_ROBOTS} are read")
    odd = next((name for name in names if not name.isprintable()), None)
    if odd is not None:
        raise ConfigError(f"{checkpoint / FOLDER}: {odd!r} is no name of a robot; rename the folder")
    return names


def find(checkpoint: Path, name: str | Path) -> Path:
    """Folder of a robot: one of the checkpoint's, one that ships, or a folder by its path. Raises ConfigError."""
    for candidate in (checkpoint / FOLDER / str(name), PUBLISHED_DIRECTORY / str(name), Path(name)):
        if (candidate / ACTION_SPEC).is_file():
            return candidate
    known = sorted({*names_in(checkpoint), *PUBLISHED})
    raise ConfigError(f"no robot {str(name)!r}: neither one of {known} nor a folder with an {ACTION_SPEC}")


def homes(checkpoint: Path, robot: str | Path | None) -> dict[str, Path]:
    """Folders by name of a checkpoint's robots: of the default one, which is `robot` if that is given (`find`), and of
    the further ones. Raises ConfigError."""
    own = {DEFAULT: checkpoint if robot is None else find(checkpoint, robot)}
    return own | {name: checkpoint / FOLDER / name for name in names_in(checkpoint)}
