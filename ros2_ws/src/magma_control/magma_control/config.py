"""Everything about the controller that can be set, with its ranges."""

from __future__ import annotations

from dataclasses import dataclass

from magma_common.config import ConfigError, NodeConfig, parameter


@dataclass(frozen=True)
class ControllerConfig(NodeConfig):
    """What the arm accepts, how far it may go, and how long the controller waits for whom.

    The default limits suit a Panda-sized arm at a table whose top is z = 0 of the base frame.
    """

    frame: str = parameter("base", "Frame in which the arm takes deltas.", read_only=True)
    rotation: str = parameter("axis_angle", "Coding of rotations that the arm takes.", read_only=True)
    gripper: str = parameter("absolute_open_1", "Coding of the gripper that the arm takes.", read_only=True)
    step_period_s: float = parameter(
        0.2, "The arm's step period in seconds; a policy must use the same.", minimum=0.01, maximum=5.0, read_only=True
    )
    step_period_tolerance: float = parameter(
        0.01, "Relative difference of a policy's step period that is accepted.", minimum=0.0, maximum=0.2
    )
    max_horizon: int = parameter(16, "Longest chunk that is accepted, in steps.", minimum=1, maximum=1000)

    workspace_min_m: tuple[float, float, float] = parameter(
        (0.2, -0.5, 0.0), "Lower corner x, y, z of the box that the target may be in, base frame, metres."
    )
    workspace_max_m: tuple[float, float, float] = parameter(
        (0.85, 0.5, 0.7), "Upper corner x, y, z of the box that the target may be in, base frame, metres."
    )
    max_step_translation_m: float = parameter(
        0.08, "Longest translation of one step in metres; longer ones are shortened.", minimum=0.001, maximum=0.5
    )
    max_step_rotation_rad: float = parameter(
        0.5, "Largest rotation of one step in radians; larger ones are reduced.", minimum=0.001, maximum=3.0
    )
    max_speed_m_s: float = parameter(
        0.4, "Highest mean speed over one step period in metres per second.", minimum=0.001, maximum=5.0
    )
    max_angular_speed_rad_s: float = parameter(
        2.5, "Highest mean angular speed over one step period in radians per second.", minimum=0.001, maximum=20.0
    )
    reject_translation_m: float = parameter(
        0.25, "A step that asks for more metres is absurd: its chunk is refused whole.", minimum=0.001, maximum=1.0
    )
    reject_rotation_rad: float = parameter(
        1.5, "A step that asks for more radians is absurd: its chunk is refused whole.", minimum=0.001, maximum=6.3
    )
    gripper_tolerance: float = parameter(
        0.001, "How far outside 0 ... 1 a gripper opening may lie before it is refused.", minimum=0.0, maximum=0.1
    )

    watchdog_s: float = parameter(
        0.5, "Hold when the policy has given nothing valid for this long, seconds.", minimum=0.05, maximum=60.0
    )
    max_frame_age_s: float = parameter(
        0.5, "Oldest capture time of a frame whose chunk may start, seconds.", minimum=0.01, maximum=60.0
    )
    future_tolerance_s: float = parameter(
        0.05, "How far ahead of this machine's clock a stamp may be, seconds.", minimum=0.0, maximum=1.0
    )
    state_timeout_s: float = parameter(
        1.0, "Hold when the arm has not reported for this long, seconds.", minimum=0.05, maximum=60.0
    )
    teleop_timeout_s: float = parameter(
        0.3,
        "An operator's command is valid this long; then the operator counts as silent, seconds.",
        minimum=0.05,
        maximum=5.0,
    )
    min_command_interval_s: float = parameter(
        -1.0,
        "Shortest time between two commands in seconds. Negative: 0.9 of the step period. 0 only where each command is "
        "answered by the world before the next (lock-step simulation).",
        minimum=-1.0,
        maximum=5.0,
    )

    tick_rate_hz: float = parameter(50.0, "Control ticks per second.", minimum=5.0, maximum=1000.0, read_only=True)
    state_rate_hz: float = parameter(
        10.0,
        "ControllerState messages per second, beside those at each change.",
        minimum=1.0,
        maximum=50.0,
        read_only=True,
    )

    def check(self) -> None:
        for axis, low, high in zip("xyz", self.workspace_min_m, self.workspace_max_m, strict=True):
            if low >= high:
                raise ConfigError(f"workspace {axis} is empty: from {low} to {high} m")
        if self.reject_translation_m < self.max_step_translation_m:
            raise ConfigError(
                f"reject_translation_m {self.reject_translation_m} lies below max_step_translation_m "
                f"{self.max_step_translation_m}: steps that are allowed would be refused"
            )
        if self.reject_rotation_rad < self.max_step_rotation_rad:
            raise ConfigError(
                f"reject_rotation_rad {self.reject_rotation_rad} lies below max_step_rotation_rad "
                f"{self.max_step_rotation_rad}: steps that are allowed would be refused"
            )

    @property
    def command_interval_s(self) -> float:
        """The shortest time between two commands, with the default worked out."""
        return self.min_command_interval_s if self.min_command_interval_s >= 0.0 else 0.9 * self.step_period_s
