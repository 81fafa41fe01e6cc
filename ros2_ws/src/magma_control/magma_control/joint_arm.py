"""Brings together what a joint-level arm needs: its motion, its reports, its drivers. No topics of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from magma_common.data import EndEffectorState
from magma_control.arm_motion import MOVED_BY_OTHERS, ArmCommand, ArmMotion, FloatArray, MotionLimits
from magma_control.config import ControllerConfig
from magma_control.controller import Command, Controller
from magma_control.drivers.base import ArmDriver, GripperDriver
from magma_control.freshness import Instant
from magma_control.joint_states import JointReading, JointStateReader
from magma_control.kinematics import Kinematics
from magma_control.phases import MOVING, Phase
from magma_control.reference import quaternion_xyzw
from magma_control.robot_config import RobotConfig
from magma_control.safety import Refusal

LATCHED = frozenset({Phase.ESTOP, Phase.FAULT})


@dataclass(frozen=True)
class _Latest:
    reading: JointReading
    stamp_ns: int


class JointArm:
    """A joint-level arm behind the controller's core. Not thread-safe: the node holds one lock for core and arm."""

    def __init__(
        self,
        robot: RobotConfig,
        kinematics: Kinematics,
        motion: ArmMotion,
        driver: ArmDriver,
        gripper: GripperDriver,
        *,
        waits: bool = False,
    ) -> None:
        """
        Args:
            waits: the arm is a simulation that waits: it runs one step period per command of the core, and each of its
                reports is answered by one joint command.
        """
        self._kinematics = kinematics
        self._reader = JointStateReader(robot)
        self._driver = driver
        self._gripper = gripper
        self._waits = waits
        self._due = 0
        self._sent: ArmCommand | None = None
        self._phase = Phase.HOLD
        self._latest: _Latest | None = None
        self._sent_rest = False
        self.motion = motion

    @property
    def driver(self) -> ArmDriver:
        return self._driver

    def reconfigure(self, config: ControllerConfig) -> None:
        """Takes other limits."""
        self._kinematics.move_table(config.table_height_m)
        self.motion.reconfigure(motion_limits(config))

    def on_joint_state(
        self, names: Sequence[str], positions: Sequence[float], stamp_ns: int, now: Instant, core: Controller
    ) -> EndEffectorState | None:
        """A report of the arm. Returns the end effector's state for the core and the graph; None when it was refused or
        is not about this arm."""
        reading = self._reader.read(names, positions)
        if reading is None:
            return None
        if isinstance(reading, Refusal):
            core.refuse_arm(reading)
            return None
        motion = self.motion
        opening = reading.opening if reading.opening is not None else motion.gripper
        moved = motion.counts[MOVED_BY_OTHERS]
        refusal = motion.on_measured(reading.positions, now.steady_s, opening, stamp_ns * 1e-9)
        if motion.counts[MOVED_BY_OTHERS] != moved:
            # Nor is the gripper where it was left.
            self._gripper.forget()
            self._sent = None
        if refusal is not None:
            motion.take_refusals()
            if core.phase is Phase.HOLD:
                # Nobody wants it to move, so it is taken as it is.
                core.count_refusal(refusal)
                motion.unsync()
            else:
                core.refuse_arm(refusal)
        if not core.active or (self._waits and self._due == 0 and core.phase not in MOVING):
            # Anybody may move it while the controller is inactive; and a world that waits may be exchanged for another.
            motion.unsync()
        if not motion.synchronised and core.phase not in LATCHED:
            refusal = motion.sync(reading.positions, opening)
            if refusal is not None:
                motion.take_refusals()
                core.refuse_arm(refusal)
                return None
            self._gripper.forget()
        self._latest = _Latest(reading, stamp_ns)
        return self.end_effector_state(reading, stamp_ns, core.config.frame)

    def end_effector_state(self, reading: JointReading, stamp_ns: int, frame: str) -> EndEffectorState:
        """Measured and wanted pose of the tool."""
        position, rotation = self._kinematics.forward(reading.positions)
        quaternion = quaternion_xyzw(rotation)
        motion = self.motion
        target: tuple[FloatArray, FloatArray] = (position, quaternion)
        if motion.synchronised:
            target = motion.goal
        opening = reading.opening if reading.opening is not None else motion.gripper
        return EndEffectorState(stamp_ns, position, quaternion, *target, opening, motion.gripper, frame)

    def refuse_rearm(self) -> str | None:
        """Why the arm may not be re-armed now, or None."""
        motion = self.motion
        if motion.synchronised and not motion.at_rest:
            return "the arm still moves: wait until it rests"
        return None

    def start_anew(self) -> None:
        """A latch was left, or the controller was activated: the next report of the arm is where everything begins."""
        self.motion.unsync()
        self._latest = None
        self._sent = None
        self._sent_rest = False
        self._driver.resume()
        self._gripper.forget()

    def apply(self, command: Command | None, core: Controller) -> None:
        """Follows the core: its phase, and its command if there is one."""
        motion = self.motion
        if not motion.synchronised:
            return
        phase = core.phase
        if phase is not self._phase:
            # Whoever moved the arm before has no say any more.
            motion.hold()
            self._phase = phase
        if phase in LATCHED:
            motion.emergency_stop()
        elif command is not None:
            clips = motion.move(command.delta, core.config.step_period_s, command.following)
            if clips:
                core.count_clips(clips)
            if self._waits:
                self._due = round(core.config.step_period_s * core.config.control_rate_hz)

    def advance(self, core: Controller) -> None:
        """One period: sends the joints' next command."""
        motion = self.motion
        if not (motion.synchronised and core.active):
            return
        trouble = self._driver.trouble
        if trouble is not None and core.phase not in LATCHED:
            core.refuse_arm(Refusal("arm driver in trouble", trouble, True))
            motion.emergency_stop()
        overruled, self._driver.overruled = self._driver.overruled, None
        if overruled is not None and core.phase in MOVING:
            core.refuse_arm(Refusal("arm overruled", overruled, True))
            motion.emergency_stop()
        stamp_ns = self._latest.stamp_ns if self._latest is not None else 0
        if self._waits and self._due == 0 and self._sent is not None:
            # The simulated world stands still, and so does the motion; it only waits for an answer.
            self._driver.send(dataclasses.replace(self._sent, stamp_ns=stamp_ns))
            return
        self._due = max(0, self._due - 1)
        joint_command = motion.tick(stamp_ns)
        for refusal in motion.take_refusals():
            core.count_refusal(refusal)
        resting = motion.at_rest
        if self._waits or core.phase in MOVING or not (resting and self._sent_rest):
            self._driver.send(joint_command)
            self._sent_rest = resting
        self._sent = joint_command
        if core.phase in MOVING:
            self._gripper.send(motion.gripper)


def make_joint_motion(robot: RobotConfig, kinematics: Kinematics, config: ControllerConfig) -> ArmMotion:
    """The motion of a robot under a controller's configuration."""
    return ArmMotion(robot, kinematics, motion_limits(config), 1.0 / config.control_rate_hz)


def motion_limits(config: ControllerConfig) -> MotionLimits:
    """The part of the configuration that the motion needs."""
    return MotionLimits(
        workspace_min_m=config.workspace_min_m,
        workspace_max_m=config.workspace_max_m,
        table_height_m=config.table_height_m,
        table_clearance_m=config.table_clearance_m,
        scale=config.bring_up_scale,
    )
