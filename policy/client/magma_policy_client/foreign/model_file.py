"""The model file of a policy behind somebody else's server: its keys, and what its numbers mean.

    policy = "my-policy"                  # its name in results
    camera = "third_person"               # which camera of the robot it looks through
    image_size = [224, 224]               # height and width that are sent, px
    fps = 5                               # of the actions in an answer
    chunk = 8                             # actions in an answer

    [observation]
    image = ["observation/image"]         # the path of keys to it: ["images", "primary"] is one map in another
    instruction = "prompt"
    black_images = []                     # paths of pictures that it asks for and that this robot has not

    [state]                               # left out where it is not told the arm's state
    space = "end_effector"
    position = "observation/state[0:3]"
    rotation = "observation/state[3:6]"
    rotation_form = "axis_angle"
    gripper = "observation/state[6]"
    gripper_closed = 0.0                  # the number when it is closed, and when it is open
    gripper_open = 1.0

    [action]
    space = "end_effector"
    kind = "delta"                        # or absolute
    position = "actions[0:3]"
    ...                                   # as in state

The words are those of the mapping files of datasets (`magma_contracts.geometry.pose_conventions`). Everything is asked
for and nothing guessed: a wrong sign of the gripper or order of a quaternion costs all success, and nobody sees why.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

from magma_contracts.action_spec import ActionSpec
from magma_contracts.errors import ConfigError
from magma_contracts.files.small_files import read_text
from magma_contracts.files.typed_tables import from_dict, naming
from magma_contracts.geometry.pose_conventions import Action, Columns, Pose, check_answered
from magma_contracts.geometry.rotation_forms import FORMS
from magma_contracts.text import brief, printable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LARGEST = 1 << 16
SHIPPED = Path(__file__).parent / "models"
"""Model files of published policies, by name."""
DTYPES = ("float32", "float64")
FEWEST, MOST = 1, 256
"""Actions in an answer."""


@dataclass(frozen=True)
class ObservationKeys:
    """Where the server looks for what it is told. A path is the keys of maps in maps."""

    image: tuple[str, ...]
    instruction: str
    black_images: tuple[tuple[str, ...], ...] = ()

    def check(self) -> None:
        """ConfigError where a path is none, or two are one."""
        paths = (self.image, (self.instruction,), *self.black_images)
        for path in paths:
            if not path or not all(path):
                raise ConfigError(f"observation has the path {list(path)}; a path is one key or more, none empty")
        for index, path in enumerate(paths):
            for other in paths[index + 1 :]:
                if path[: len(other)] == other[: len(path)]:
                    raise ConfigError(f"observation has {list(path)} and {list(other)} in one place")


@dataclass(frozen=True)
class StateKeys(Pose):
    """The arm's state, as the server is told it."""

    gripper_mirrored: str = ""
    """a second finger: the gripper's number with the other sign"""
    zeros: tuple[str, ...] = ()
    """numbers that are always 0"""
    dtype: str = "float32"

    @property
    def places(self) -> dict[str, Columns]:
        """Which numbers each entry is."""
        named = _pose_places("state", self)
        if self.gripper_mirrored:
            named["gripper_mirrored"] = _columns("state.gripper_mirrored", self.gripper_mirrored, 1)
        named |= {f"zeros[{n}]": _columns(f"state.zeros[{n}]", text, None) for n, text in enumerate(self.zeros)}
        return named

    def check(self, where: str = "state") -> None:
        super().check(where)
        _check_space(where, self)
        if self.dtype not in DTYPES:
            raise ConfigError(f"{where}.dtype is {brief(self.dtype)}, must be one of {', '.join(DTYPES)}")
        sizes(where, self.places)


@dataclass(frozen=True)
class ActionKeys(Action):
    """What the server answers."""

    position_scale: float = 1.0
    rotation_scale: float = 1.0
    """factors on the numbers, of models whose 1 is the largest step of a controller"""
    declared_rotation: str = ""
    """the form that the server declares, where its numbers are of another; "" where it is `rotation_form`"""
    unused: tuple[str, ...] = ()
    """numbers that mean nothing to this arm; all that are not used are named"""

    @property
    def places(self) -> dict[str, Columns]:
        """Which numbers each entry is."""
        named = _pose_places("action", self)
        return named | {f"unused[{n}]": _columns(f"action.unused[{n}]", t, None) for n, t in enumerate(self.unused)}

    @property
    def reads_state(self) -> bool:
        """Whether steps can be made of it only where the arm's state is known."""
        return self.kind == "absolute" or self.frame == "tool"

    def check(self, where: str = "action") -> None:
        super().check(where)
        _check_space(where, self)
        for name in ("position_scale", "rotation_scale"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{where}.{name} is {getattr(self, name):g}, must be above 0")
        if self.rotation_scale != 1.0 and self.rotation_form not in ("axis_angle", "euler_xyz"):
            raise ConfigError(f"{where}.rotation_scale goes with axis_angle and euler_xyz, not {self.rotation_form}")
        if self.declared_rotation and self.declared_rotation not in FORMS:
            raise ConfigError(
                f"{where}.declared_rotation is {brief(self.declared_rotation)}, must be one of {', '.join(FORMS)}"
            )
        sizes(where, self.places)


@dataclass(frozen=True)
class ModelFile:
    """A model file; the module's text has an example."""

    policy: str
    camera: str
    image_size: tuple[int, int]
    fps: float
    chunk: int
    observation: ObservationKeys
    action: ActionKeys
    state: StateKeys | None = None

    @classmethod
    def read(cls, path: Path) -> ModelFile:
        """ConfigError names the file, the entry and what it may be."""
        with naming(path):
            text = read_text(path, LARGEST)
            try:
                values = tomllib.loads(text)
            except (ValueError, RecursionError) as error:
                raise ConfigError(f"not valid TOML ({printable(error, 160)})") from error
            check_answered(values)
            made = from_dict(cls, values, "model file")
            made.check()
        return made

    def check(self) -> None:
        """ConfigError where something is not known or does not fit together."""
        for name in ("policy", "camera"):
            text = getattr(self, name)
            if not text.strip() or not text.isprintable() or len(text) > 200:
                raise ConfigError(f"{name} is {brief(text)}, must be a name")
        if not all(1 <= side <= 4096 for side in self.image_size):
            raise ConfigError(f"image_size must be [height, width] in pixels, got {list(self.image_size)}")
        if not 0.01 <= self.fps <= 1000:
            raise ConfigError(f"fps must be from 0.01 to 1000, got {self.fps:g}")
        if not FEWEST <= self.chunk <= MOST:
            raise ConfigError(f"chunk must be from {FEWEST} to {MOST} actions, got {self.chunk}")
        self.observation.check()
        self.action.check()
        if self.state is None:
            return
        self.state.check()
        keys = {path[0] for path in (self.observation.image, *self.observation.black_images)}
        both = sorted({place.feature for place in self.state.places.values()} & {*keys, self.observation.instruction})
        if both:
            raise ConfigError(f"{both[0]} is a key of the state and of the observation; one place holds one thing")

    @property
    def spec(self) -> ActionSpec:
        """What the policy is to whoever asks it here: its answers are converted at this edge."""
        height, width = self.image_size
        return ActionSpec(
            policy=self.policy,
            horizon=self.chunk,
            step_period_s=1.0 / self.fps,
            frame="base",
            rotation="axis_angle",
            gripper="absolute_open_1",
            statistics_key="the server's",
            camera=self.camera,
            image_height=height,
            image_width=width,
            proprioception=self.state is not None or self.action.reads_state,
        )


def find(name: str) -> Path:
    """The model file of a path, or of the name of a shipped one. ConfigError says what there is."""
    try:
        path = Path(name).expanduser()
        if path.suffix == ".toml" or path.is_file():
            return path
        shipped = SHIPPED / f"{name}.toml"
        if shipped.parent == SHIPPED and "/" not in name and shipped.is_file():
            return shipped
    except (OSError, RuntimeError, ValueError) as error:  # a name that no file can have, the home of nobody
        raise ConfigError(f"{brief(name)} names no model file ({getattr(error, 'strerror', None) or error})") from error
    known = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
    raise ConfigError(f"there is no model file {brief(name)}; give one that ends in .toml, or one of {known}")


def sizes(where: str, places: dict[str, Columns]) -> dict[str, int]:
    """How many numbers each feature has. ConfigError where one is used twice, or left out."""
    taken: dict[str, dict[int, str]] = {}
    for entry, place in places.items():
        assert place.end is not None
        for number in range(place.begin, place.end):
            other = taken.setdefault(place.feature, {}).setdefault(number, entry)
            if other != entry:
                raise ConfigError(f"{where}: {place.feature}[{number}] is {other} and {entry}; one number is one thing")
    for feature, numbers in taken.items():
        missing = sorted(set(range(max(numbers) + 1)) - set(numbers))
        if missing:
            rest = "zeros" if where == "state" else "unused"
            raise ConfigError(f"{where}: nothing says what {feature}[{missing[0]}] is; name it, or list it in {rest}")
    return {feature: len(numbers) for feature, numbers in taken.items()}


def _pose_places(where: str, pose: Pose) -> dict[str, Columns]:
    widths = {"position": 3, "rotation": FORMS[pose.rotation_form][0], "gripper": 1}
    return {name: _columns(f"{where}.{name}", getattr(pose, name), width) for name, width in widths.items()}


def _columns(where: str, text: str, width: int | None) -> Columns:
    place = Columns.parse(text)
    if place is None:
        raise ConfigError(f"{where} is {brief(text)}; write KEY[i], KEY[i:j], or KEY for all of its numbers")
    if place.end is None:
        if width is None:
            raise ConfigError(f"{where} is {brief(text)}; write which of its numbers, as in {printable(text, 60)}[0:2]")
        return Columns(place.feature, 0, width)
    if width is not None and place.end - place.begin != width:
        raise ConfigError(f"{where} is {brief(text)}, {place.end - place.begin} numbers; it has {width}")
    return place


def _check_space(where: str, pose: Pose) -> None:
    if pose.space != "end_effector":
        raise ConfigError(
            f"{where}.space is joints; a policy on a server tells here where the end effector goes: ask for one that "
            "does, or convert in a server of your own"
        )
