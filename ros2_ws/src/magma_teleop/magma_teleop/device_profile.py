"""Typed profiles of operator devices, read from YAML: what each axis and button does, how far, and in which frame.

A profile that names something unknown, or an impossible value, is refused with the name of the entry: a misspelt
dead-man button must not leave the arm without one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magma_common.settings.yaml_files import read_yaml
from magma_contracts.errors import ConfigError
from magma_contracts.files.digests import content_hash
from magma_contracts.text import brief, listed

MOTIONS = ("x", "y", "z", "roll", "pitch", "yaw")
"""What axes may drive: translations and rotations about x, y, z of the profile's frame."""
FRAMES = ("base", "camera", "tool")
ACTIVATIONS = ("dead_man", "touch")


@dataclass(frozen=True)
class AxisSource:
    """One axis or button of a sensor_msgs/Joy that drives a motion."""

    axis: int | None = None
    """index into Joy.axes; either this or `button`"""
    button: int | None = None
    """index into Joy.buttons: 1 while it is held"""
    scale: float = 1.0
    """-1 ... 1: sign, and the share of the device's full speed"""
    rest: float = 0.0
    """value of the axis when nobody touches it"""

    def check(self, name: str) -> None:
        if (self.axis is None) == (self.button is None):
            raise ConfigError(f"{name}: give either axis or button")
        for kind, index in (("axis", self.axis), ("button", self.button)):
            if index is not None and index < 0:
                raise ConfigError(f"{name}.{kind} must not be negative, got {index}")
        _in_range(f"{name}.scale", self.scale, -1.0, 1.0)
        _in_range(f"{name}.rest", self.rest, -1.0, 1.0)


@dataclass(frozen=True)
class Buttons:
    """Indices into Joy.buttons; None = the device has no such button."""

    dead_man: int | None = None
    """held = the operator has the arm"""
    slow: int | None = None
    """held = slower, by `slow_factor`"""
    gripper: int | None = None
    """pressed = open or close"""
    hand_back: int | None = None
    estop: int | None = None
    rearm: int | None = None
    """acts only together with `dead_man`, where there is one: it must not be pressed by chance"""


@dataclass(frozen=True)
class DeviceProfile:
    """A device behind sensor_msgs/Joy."""

    name: str
    """who is named in commands, recordings and messages"""
    activation: str
    """dead_man: the arm is the operator's while the button is held; touch: moving the device takes it over"""
    axes: Mapping[str, tuple[AxisSource, ...]]
    """by motion; several sources of one motion are added"""
    buttons: Buttons
    frame: str = "base"
    """base; tool: the end effector's own; camera: as seen in the picture (x into it, y to its left, z to its top)"""
    max_speed_m_s: float = 0.1
    max_angular_speed_rad_s: float = 0.6
    deadzone: float = 0.1
    """share of an axis' way that counts as untouched"""
    curve: float = 1.5
    """above 1: fine near the middle, the same full speed"""
    slow_factor: float = 0.3
    device_timeout_s: float = 0.5
    """a device silent for longer is lost: the arm holds, and the operator has to take over anew"""
    touch_release_s: float = 0.5
    """touch: untouched for this long, the device sends nothing any more"""

    def __post_init__(self) -> None:
        _check_name(self.name)
        _one_of("activation", self.activation, ACTIVATIONS)
        _one_of("frame", self.frame, FRAMES)
        unknown = sorted(set(self.axes) - set(MOTIONS))
        if unknown:
            raise ConfigError(f"axes: unknown motion {listed(unknown)}; known are {', '.join(MOTIONS)}")
        if not any(self.axes.values()):
            raise ConfigError("axes: no motion is driven by anything")
        for motion, sources in self.axes.items():
            for number, source in enumerate(sources):
                source.check(f"axes.{motion}[{number}]")
        for item in dataclasses.fields(Buttons):
            index = getattr(self.buttons, item.name)
            if index is not None and index < 0:
                raise ConfigError(f"buttons.{item.name} must not be negative, got {index}")
        if self.activation == "dead_man" and self.buttons.dead_man is None:
            raise ConfigError("activation dead_man needs buttons.dead_man")
        _in_range("max_speed_m_s", self.max_speed_m_s, 0.001, 1.0)
        _in_range("max_angular_speed_rad_s", self.max_angular_speed_rad_s, 0.001, 5.0)
        _in_range("deadzone", self.deadzone, 0.0, 0.9)
        _in_range("curve", self.curve, 1.0, 5.0)
        _in_range("slow_factor", self.slow_factor, 0.01, 1.0)
        _in_range("device_timeout_s", self.device_timeout_s, 0.05, 5.0)
        _in_range("touch_release_s", self.touch_release_s, 0.05, 5.0)

    @property
    def identity(self) -> str:
        """Names the profile by its content."""
        return content_hash(repr(self))


@dataclass(frozen=True)
class LeaderProfile:
    """A second arm (or a tracked handle) whose motion the robot follows. It never jumps to where the leader is: what
    counts is how the leader has moved since the operator took over."""

    name: str
    activation: str
    frame: str = "base"
    """frame that the leader's pose is turned into: base means that leader and robot face the same way"""
    scale: float = 1.0
    """metres of the robot per metre of the leader"""
    rotation_scale: float = 1.0
    max_speed_m_s: float = 0.2
    max_angular_speed_rad_s: float = 1.0
    max_lag_m: float = 0.05
    """a leader that is farther ahead than this is not caught up with: what lies beyond is given up"""
    max_lag_rad: float = 0.5
    touch_threshold_m: float = 0.01
    """touch: the leader takes the arm over when it was moved this far ..."""
    touch_window_s: float = 0.5
    """... within this time"""
    touch_release_s: float = 1.0
    gripper_pick_up: float = 0.15
    """the robot's gripper follows the leader's only after that was moved by this much: taking over drops nothing"""
    pedal_button: int = 0
    """dead_man: index into Joy.buttons of the pedal's topic"""
    device_timeout_s: float = 0.5

    def __post_init__(self) -> None:
        _check_name(self.name)
        _one_of("activation", self.activation, ACTIVATIONS)
        _one_of("frame", self.frame, ("base",))
        for name, low, high in (
            ("scale", 0.01, 10.0),
            ("rotation_scale", 0.0, 10.0),
            ("max_speed_m_s", 0.001, 1.0),
            ("max_angular_speed_rad_s", 0.001, 5.0),
            ("max_lag_m", 0.001, 0.5),
            ("max_lag_rad", 0.01, 3.0),
            ("touch_threshold_m", 0.001, 0.2),
            ("touch_window_s", 0.05, 5.0),
            ("touch_release_s", 0.05, 5.0),
            ("gripper_pick_up", 0.01, 1.0),
            ("pedal_button", 0, 1000),
            ("device_timeout_s", 0.05, 5.0),
        ):
            _in_range(name, getattr(self, name), low, high)

    @property
    def identity(self) -> str:
        """Names the profile by its content."""
        return content_hash(repr(self))


def read_profile(path: Path) -> DeviceProfile | LeaderProfile:
    """Reads a profile from YAML: `kind: joy` or `kind: leader`, then the fields of the class.

    Raises:
        ConfigError: no such file, not YAML, or an entry that is unknown or not allowed; the text names file and entry.
    """
    try:
        return profile_from(read_yaml(path))
    except ConfigError as error:
        raise ConfigError(f"profile {path}: {error}") from None


def profile_from(values: Any) -> DeviceProfile | LeaderProfile:
    """Makes a profile from the mapping that YAML holds; ConfigError as `read_profile`."""
    if not isinstance(values, Mapping):
        raise ConfigError("expected names and values")
    rest = {str(name): value for name, value in values.items()}
    kind = rest.pop("kind", None)
    if kind == "leader":
        return _made(LeaderProfile, rest, "")
    if kind != "joy":
        raise ConfigError(f"kind must be joy or leader, got {brief(kind)}")
    axes = rest.get("axes", {})
    if not isinstance(axes, Mapping):
        raise ConfigError(f"axes takes motions and their sources, got {brief(axes)}")
    rest["axes"] = {str(motion): _sources(str(motion), sources) for motion, sources in axes.items()}
    buttons = rest.get("buttons", {})
    if not isinstance(buttons, Mapping):
        raise ConfigError(f"buttons takes names and indices, got {brief(buttons)}")
    rest["buttons"] = _made(Buttons, {str(name): index for name, index in buttons.items()}, "buttons.")
    return _made(DeviceProfile, rest, "")


def _sources(motion: str, sources: Any) -> tuple[AxisSource, ...]:
    items = sources if isinstance(sources, list) else [sources]
    made = []
    for number, item in enumerate(items):
        name = f"axes.{motion}[{number}]"
        if not isinstance(item, Mapping):
            raise ConfigError(f"{name} takes axis or button, scale and rest, got {brief(item)}")
        made.append(_made(AxisSource, {str(key): value for key, value in item.items()}, name + "."))
    return tuple(made)


_TYPES: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (float, int),
    "str": (str,),
}


def _made(kind: type[Any], values: Mapping[str, Any], prefix: str) -> Any:
    """A dataclass from names and values: nothing unknown, nothing missing, every value of its field's type."""
    fields = {item.name: item for item in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ConfigError(f"unknown entry {prefix}{listed(unknown[:1])}; known are {', '.join(fields)}")
    needed = [name for name, item in fields.items() if item.default is dataclasses.MISSING and name not in values]
    if needed:
        raise ConfigError(f"entry {prefix}{needed[0]} is missing")
    for name, value in values.items():
        allowed = _TYPES.get(str(fields[name].type))
        if allowed is not None and (isinstance(value, bool) or not isinstance(value, allowed)):
            raise ConfigError(f"{prefix}{name} takes a {fields[name].type}, got {brief(value)}")
    return kind(**values)


def _check_name(name: str) -> None:
    if not name or not name.isprintable() or len(name) > 100:
        raise ConfigError(f"name must be a printable text of at most 100 characters, got {brief(name)}")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {brief(value)}")


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(f"{name} must be from {low:g} to {high:g}, got {brief(value)}")
