"""Everything about keyboard operation that can be set."""

from __future__ import annotations

from dataclasses import dataclass

from magma_common.settings.config import HIGHER, LOWER, NodeConfig, parameter
from magma_common.transforms.frames import FRAME_PREFIX_HELP, FRAME_PREFIX_OF_NAMESPACE
from magma_contracts.errors import ConfigError


@dataclass(frozen=True)
class KeyboardConfig(NodeConfig):
    """How far one key press goes, and how often commands are sent."""

    step_translation_m: float = parameter(
        0.02,
        "Translation of one command in metres.",
        minimum=0.001,
        maximum=0.1,
        tighter=LOWER,
    )
    step_rotation_rad: float = parameter(
        0.15,
        "Rotation of one command in radians.",
        minimum=0.01,
        maximum=0.5,
        tighter=LOWER,
    )
    step_period_s: float = parameter(
        0.2,
        "Shortest time between two commands in seconds: the arm's step period.",
        minimum=0.01,
        maximum=2.0,
        tighter=HIGHER,
    )
    key_hold_s: float = parameter(
        0.3,
        "A key press that could not be sent within this time is forgotten, seconds.",
        minimum=0.05,
        maximum=1.0,
        tighter=LOWER,
    )
    state_timeout_s: float = parameter(
        2.0,
        "The controller counts as gone when it has not reported for this long, seconds.",
        minimum=0.2,
        maximum=30.0,
        tighter=LOWER,
    )
    frame: str = parameter("base", "Frame in which the arm takes deltas.", read_only=True)


@dataclass(frozen=True)
class DeviceConfig(NodeConfig):
    """What the nodes of gamepads, 3D mice and leader arms have in common."""

    profile: str = parameter(
        "gamepad",
        "Profile of the device: the name of one that comes with this package, or the path of a YAML file.",
        read_only=True,
    )
    activation: str = parameter(
        "profile",
        "How the arm is taken over; `profile` leaves it to the profile.",
        choices=("profile", "dead_man", "touch"),
        read_only=True,
    )
    step_period_s: float = parameter(
        0.2, "Time between two commands in seconds: the arm's step period.", minimum=0.01, maximum=2.0, read_only=True
    )
    state_timeout_s: float = parameter(
        2.0,
        "The arm counts as silent when it has not reported for this long, seconds.",
        minimum=0.2,
        maximum=30.0,
        tighter=LOWER,
    )
    camera_quaternion_xyzw: tuple[float, ...] = parameter(
        (),
        "Orientation of the camera's optical frame in the base frame, for profiles in the camera's frame; empty = by "
        "the whole tree of /tf and /tf_static.",
        minimum=-1.0,
        maximum=1.0,
        read_only=True,
    )
    base_frame: str = parameter("base", "Frame in which the arm takes deltas.", read_only=True)
    camera_frame: str = parameter("camera_optical", "Name of the camera's optical frame.", read_only=True)
    frame_prefix: str = parameter(FRAME_PREFIX_OF_NAMESPACE, FRAME_PREFIX_HELP, read_only=True)

    def check(self) -> None:
        quaternion = self.camera_quaternion_xyzw
        if quaternion and (len(quaternion) != 4 or abs(sum(value * value for value in quaternion) - 1.0) > 1e-3):
            raise ConfigError(f"camera_quaternion_xyzw takes four values of norm 1, got {list(quaternion)}")
