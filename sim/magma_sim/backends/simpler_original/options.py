"""How one environment of the original SimplerEnv is set up: robot, scene, overlay, and the grid of its starts.

SimplerEnv's evaluation scripts (github.com/simpler-env/SimplerEnv, folder `scripts`) give these as command line flags;
here they are one typed value with a JSON form, which is what `make_task("simpler/…", **options)` takes. Layout numbers
enumerate the starts in the order of SimplerEnv's own loops: robot x, robot y, then object x, object y (or the
environment's own episodes).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Range = tuple[float, float, int]
"""first, last and number of values, evenly spaced, both ends included (numpy.linspace)"""

GOOGLE_ROBOT = "google_robot_static"
WIDOWX = "widowx"
WIDOWX_SINK = "widowx_sink_camera_setup"
ROBOTS = (GOOGLE_ROBOT, WIDOWX, WIDOWX_SINK)


@dataclass(frozen=True)
class SimplerReset:
    """What one layout passes to the environment's reset."""

    robot_xy: tuple[float, float]
    """m, `robot_init_options.init_xy`"""
    robot_quaternion_wxyz: tuple[float, float, float, float]
    """`robot_init_options.init_rot_quat`"""
    object_xy: tuple[float, float] | None
    """m, `obj_init_options.init_xy`; None when `object_episode` is given"""
    object_episode: int | None
    """`obj_init_options.episode_id`; None when `object_xy` is given"""


@dataclass(frozen=True)
class SimplerOptions:
    """One environment and its layouts.

    Raises:
        ValueError: a value that SimplerEnv would not accept; the message names it.
    """

    env_id: str
    """Gymnasium id, such as GraspSingleOpenedCokeCanInScene-v0"""
    scene_name: str
    robot: str = GOOGLE_ROBOT
    control_freq: int = 3
    """Hz"""
    sim_freq: int = 513
    """Hz"""
    max_episode_steps: int = 80
    rgb_overlay: str | None = None
    """file name in ManiSkill2_real2sim/data/real_inpainting laid under the robot; None renders the scene alone"""
    ray_tracing: bool = False
    """SimplerEnv's protocol asks for `shader_dir="rt"` here; a result made without it is not comparable"""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """further arguments of the environment: lr_switch, urdf_version (None is the plain robot), station_name …"""
    robot_init_x: Range = (0.35, 0.35, 1)
    robot_init_y: Range = (0.20, 0.20, 1)
    robot_init_yaw: float = 0.0
    """rad, before the half turn about z that every script applies (its quaternion centre, wxyz 0 0 0 1)"""
    object_init_x: Range | None = None
    object_init_y: Range | None = None
    object_episodes: int | None = None
    """the environment's own episodes 0 … n - 1 instead of a grid"""

    def __post_init__(self) -> None:
        if self.robot not in ROBOTS:
            raise ValueError(f"unknown robot {self.robot!r}; it is one of {', '.join(ROBOTS)}")
        for name in ("env_id", "scene_name"):
            if not getattr(self, name):
                raise ValueError(f"{name} must be given")
        for name in ("control_freq", "sim_freq", "max_episode_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("robot_init_x", "robot_init_y", "object_init_x", "object_init_y"):
            value = getattr(self, name)
            if value is None:
                continue
            if len(value) != 3 or int(value[2]) != value[2] or value[2] < 1 or not all(map(math.isfinite, value)):
                raise ValueError(f"{name} is (first, last, number of values), got {value!r}")
            object.__setattr__(self, name, (float(value[0]), float(value[1]), int(value[2])))
        if (self.object_init_x is None) != (self.object_init_y is None):
            raise ValueError("object_init_x and object_init_y go together")
        if (self.object_init_x is None) == (self.object_episodes is None):
            raise ValueError("give either object_init_x and object_init_y, or object_episodes")
        if self.object_episodes is not None and self.object_episodes < 1:
            raise ValueError(f"object_episodes must be at least 1, got {self.object_episodes}")
        object.__setattr__(self, "env_kwargs", dict(self.env_kwargs))

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> SimplerOptions:
        """From the JSON form; ValueError for unknown keys."""
        known = {item.name for item in dataclasses.fields(cls)}
        if unknown := sorted(set(options) - known):
            raise ValueError(f"unknown options {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in options.items()
        }
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(str(error)) from error

    def as_mapping(self) -> dict[str, Any]:
        """The JSON form: every field that differs from its default."""
        result: dict[str, Any] = {}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            default = item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
            if value != default:
                result[item.name] = list(value) if isinstance(value, tuple) else value
        return result

    @property
    def layouts(self) -> int:
        """Number of layouts."""
        robots = self.robot_init_x[2] * self.robot_init_y[2]
        if self.object_init_x is None or self.object_init_y is None:
            return robots * (self.object_episodes or 0)
        return robots * self.object_init_x[2] * self.object_init_y[2]

    def reset(self, layout: int) -> SimplerReset:
        """What layout number `layout` passes to reset; ValueError when there is no such layout."""
        if not 0 <= layout < self.layouts:
            raise ValueError(f"layout {layout} does not exist; {self.env_id} has {self.layouts}, numbered from 0")
        if self.object_init_x is None or self.object_init_y is None:
            rest, episode = divmod(layout, self.object_episodes or 1)
            object_xy = None
        else:
            rest, column = divmod(layout, self.object_init_y[2])
            rest, row = divmod(rest, self.object_init_x[2])
            object_xy, episode = (_value(self.object_init_x, row), _value(self.object_init_y, column)), None
        row, column = divmod(rest, self.robot_init_y[2])
        half = self.robot_init_yaw / 2
        # Rotation by yaw about z, times the half turn about z: (cos h, 0, 0, sin h) * (0, 0, 0, 1).
        quaternion = (-math.sin(half), 0.0, 0.0, math.cos(half))
        robot = (_value(self.robot_init_x, row), _value(self.robot_init_y, column))
        return SimplerReset(robot, quaternion, object_xy, episode)


def _value(values: Range, index: int) -> float:
    first, last, count = values
    return first if count == 1 else first + (last - first) * index / (count - 1)
