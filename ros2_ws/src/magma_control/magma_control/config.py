"""Everything about the controller that can be set, with its ranges."""

from __future__ import annotations

from dataclasses import dataclass

from magma_common.settings.config import HIGHER, LOWER, NodeConfig, parameter
from magma_contracts.chunk_schedule import OVERLAPS, OverlapRule
from magma_contracts.errors import ConfigError
from magma_control.gripper import GripperRule
from magma_control.robots.robot_config import ARM_DRIVERS

STEP_ARM = "sim_delta"
"""The arm that takes one end-effector delta per step and does its own inverse kinematics."""


@dataclass(frozen=True)
class ControllerConfig(NodeConfig):
    """What the arm accepts, how far it may go, and how long the controller waits for whom.

    The default limits suit a Panda-sized arm at a table whose top is z = 0 of the base frame.
    """

    autostart: bool = parameter(
        True,
        "Configure and activate at the start. false: wait unconfigured for a lifecycle manager, or for `ros2 lifecycle "
        "set /controller configure` and `activate`.",
        read_only=True,
    )
    arm: str = parameter(
        STEP_ARM,
        "Driver of the arm: sim_delta sends each step on magma/command; the others drive joints and need `robot`.",
        choices=(STEP_ARM, *ARM_DRIVERS),
        read_only=True,
    )
    robot: str = parameter("", "Joint-level arms: name or YAML file of the robot, e.g. panda.", read_only=True)
    control_rate_hz: float = parameter(
        100.0, "Joint-level arms: joint commands per second.", minimum=20.0, maximum=500.0, read_only=True
    )
    tick_source: str = parameter(
        "clock",
        "Joint-level arms: clock = a thread at control_rate_hz; joint_states = one command per report of the arm, for "
        "a simulation that waits for it.",
        choices=("clock", "joint_states"),
        read_only=True,
    )
    realtime_priority: int = parameter(
        0,
        "Joint-level arms: real-time priority (SCHED_FIFO) of the controller, which needs the right to it (rtprio in "
        "/etc/security/limits.conf); 0 = as other programs.",
        minimum=0,
        maximum=80,
        read_only=True,
    )
    bring_up_scale: float = parameter(
        1.0,
        "Slows everything down for the first contact with an arm: steps, speeds and accelerations times this.",
        minimum=0.1,
        maximum=1.0,
        tighter=LOWER,
    )

    frame: str = parameter("base", "Frame in which the arm takes deltas.", read_only=True)
    rotation: str = parameter("axis_angle", "Coding of rotations that the arm takes.", read_only=True)
    gripper: str = parameter("absolute_open_1", "Coding of the gripper that the arm takes.", read_only=True)
    step_period_s: float = parameter(
        0.2, "The arm's step period in seconds; a policy must use the same.", minimum=0.01, maximum=5.0, read_only=True
    )
    step_period_tolerance: float = parameter(
        0.01, "Relative difference of a policy's step period that is accepted.", minimum=0.0, maximum=0.2, tighter=LOWER
    )
    max_horizon: int = parameter(
        16, "Longest chunk that is accepted, in steps.", minimum=1, maximum=1000, tighter=LOWER
    )

    workspace_min_m: tuple[float, float, float] = parameter(
        (0.2, -0.5, 0.0),
        "Lower corner x, y, z of the box that the target may be in, base frame, metres.",
        tighter=HIGHER,
    )
    workspace_max_m: tuple[float, float, float] = parameter(
        (0.85, 0.5, 0.7),
        "Upper corner x, y, z of the box that the target may be in, base frame, metres.",
        tighter=LOWER,
    )
    table_height_m: float = parameter(
        0.0,
        "Height of the table top in the base frame, metres; the target stays above it.",
        minimum=-2.0,
        maximum=2.0,
        tighter=HIGHER,
    )
    table_clearance_m: float = parameter(
        0.0, "Distance that the target keeps from the table top, metres.", minimum=0.0, maximum=0.5, tighter=HIGHER
    )
    max_step_translation_m: float = parameter(
        0.08,
        "Longest translation of one step in metres; longer ones are shortened.",
        minimum=0.001,
        maximum=0.5,
        tighter=LOWER,
    )
    max_step_rotation_rad: float = parameter(
        0.5,
        "Largest rotation of one step in radians; larger ones are reduced.",
        minimum=0.001,
        maximum=3.0,
        tighter=LOWER,
    )
    max_speed_m_s: float = parameter(
        0.4,
        "Highest mean speed from one command to the next, metres per second.",
        minimum=0.001,
        maximum=5.0,
        tighter=LOWER,
    )
    max_angular_speed_rad_s: float = parameter(
        2.5,
        "Highest mean angular speed from one command to the next in radians per second.",
        minimum=0.001,
        maximum=20.0,
        tighter=LOWER,
    )
    reject_translation_m: float = parameter(
        0.25,
        "A step that asks for more metres is absurd: its chunk is refused whole.",
        minimum=0.001,
        maximum=1.0,
        tighter=LOWER,
    )
    reject_rotation_rad: float = parameter(
        1.5,
        "A step that asks for more radians is absurd: its chunk is refused whole.",
        minimum=0.001,
        maximum=6.3,
        tighter=LOWER,
    )
    gripper_tolerance: float = parameter(
        0.001,
        "How far outside 0 ... 1 a gripper opening may lie before it is refused.",
        minimum=0.0,
        maximum=0.1,
        tighter=LOWER,
    )

    overlap: str = parameter(
        "blend",
        "Chunks that overlap: replace = the newer one from its first step; blend = the newer one takes over gradually, "
        "without the steps that were executed since its frame; ensemble = weighted mean of all.",
        choices=OVERLAPS,
    )
    keep_references: bool = parameter(
        True,
        "A delta of the policy means a way from where the arm's target was at the capture of its frame: what was "
        "commanded since then is subtracted before the limits. false: it is added to the target as it is by then. "
        "Nothing is subtracted with overlap replace, nor where the world waits for each command.",
    )
    blend_steps: int = parameter(2, "Steps over which a newer chunk takes over.", minimum=0, maximum=100)
    ensemble_decay: float = parameter(0.1, "Of the weights of an ensemble, per chunk.", minimum=0.0, maximum=10.0)
    gripper_mode: str = parameter(
        "continuous",
        "Policy's gripper: continuous, or binary (open or closed, with hysteresis).",
        choices=("continuous", "binary"),
    )
    gripper_close_below: float = parameter(0.4, "Binary: closes below this opening.", minimum=0.0, maximum=1.0)
    gripper_open_above: float = parameter(0.6, "Binary: opens above this opening.", minimum=0.0, maximum=1.0)
    gripper_sticky_steps: int = parameter(0, "Binary: a change is kept for so many steps.", minimum=0, maximum=1000)
    max_takeover_speed_step_m_s: float = parameter(
        0.25,
        "After a change between operator and policy the speed changes by no more than this from step to step.",
        minimum=0.01,
        maximum=5.0,
        tighter=LOWER,
    )
    max_takeover_angular_step_rad_s: float = parameter(
        1.5, "The same for the angular speed.", minimum=0.01, maximum=20.0, tighter=LOWER
    )

    watchdog_s: float = parameter(
        0.5,
        "Hold when the policy has given nothing valid for this long, seconds.",
        minimum=0.05,
        maximum=60.0,
        tighter=LOWER,
    )
    max_frame_age_s: float = parameter(
        0.5, "Oldest capture time of a frame whose chunk may start, seconds.", minimum=0.01, maximum=60.0, tighter=LOWER
    )
    max_blind_s: float = parameter(
        1.5,
        "The steps of a chunk are carried out while its frame is no older than max_frame_age_s plus this, seconds; "
        "then the arm holds until the policy has looked again.",
        minimum=0.0,
        maximum=60.0,
        tighter=LOWER,
    )
    future_tolerance_s: float = parameter(
        0.05, "How far ahead of this machine's clock a stamp may be, seconds.", minimum=0.0, maximum=1.0, tighter=LOWER
    )
    state_timeout_s: float = parameter(
        1.0, "Hold when the arm has not reported for this long, seconds.", minimum=0.05, maximum=60.0, tighter=LOWER
    )
    teleop_timeout_s: float = parameter(
        0.3,
        "An operator's command is valid this long; then the operator counts as silent, seconds.",
        minimum=0.05,
        maximum=5.0,
        tighter=LOWER,
    )
    heartbeat_timeout_s: float = parameter(
        1.0,
        "A source whose heartbeat was heard once is lost when it stays away for this long, seconds.",
        minimum=0.05,
        maximum=60.0,
        tighter=LOWER,
    )
    require_policy_heartbeat: bool = parameter(
        False, "No chunk is taken from a policy without a heartbeat.", tighter=HIGHER
    )
    require_teleop_heartbeat: bool = parameter(
        False, "No command is taken from an operator without a heartbeat.", tighter=HIGHER
    )
    estop_button_timeout_s: float = parameter(
        0.0,
        "There is a button on magma/estop_button, and its silence for this long counts as pressed, seconds; "
        "0 = there is none (a pressed one counts all the same).",
        minimum=0.0,
        maximum=10.0,
        tighter=LOWER,
        off=0.0,
    )
    shared_estop_button_timeout_s: float = parameter(
        0.0,
        "For an arm in a namespace: the same for the button on /magma/estop_button, which stops all arms.",
        minimum=0.0,
        maximum=10.0,
        read_only=True,
    )
    executor_timeout_s: float = parameter(
        2.0,
        "The watchdog thread stops the arm when callbacks or control ticks stand still for this long, seconds.",
        minimum=0.2,
        maximum=60.0,
        tighter=LOWER,
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
        if (self.arm == STEP_ARM) != (self.robot == ""):
            raise ConfigError(
                f"arm {self.arm!r} with robot {self.robot!r}: a joint-level arm needs a robot, {STEP_ARM} takes none"
            )
        if self.gripper_close_below > self.gripper_open_above:
            raise ConfigError(
                f"gripper_close_below {self.gripper_close_below} lies above "
                f"gripper_open_above {self.gripper_open_above}"
            )
        if self.table_height_m + self.table_clearance_m >= self.workspace_max_m[2]:
            raise ConfigError(f"the table with its clearance leaves no room below {self.workspace_max_m[2]} m")
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
    def lowest_corner_m(self) -> tuple[float, float, float]:
        """Lower corner of where the target may be, the table taken into account."""
        x, y, z = self.workspace_min_m
        return x, y, max(z, self.table_height_m + self.table_clearance_m)

    @property
    def overlap_rule(self) -> OverlapRule:
        """What happens where chunks overlap."""
        return OverlapRule(self.overlap, self.blend_steps, self.ensemble_decay)

    @property
    def gripper_rule(self) -> GripperRule:
        """How the policy's openings are taken."""
        return GripperRule(
            self.gripper_mode == "binary", self.gripper_close_below, self.gripper_open_above, self.gripper_sticky_steps
        )

    @property
    def command_interval_s(self) -> float:
        """The shortest time between two commands, with the default worked out."""
        return self.min_command_interval_s if self.min_command_interval_s >= 0.0 else 0.9 * self.step_period_s
