"""Brings together what a joint-level arm needs: its motion, its reports, its drivers. No topics of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from magma_contracts.arm_state import EndEffectorState
from magma_contracts.geometry.rotations import quaternion_from_matrix
from magma_control.channels.agreement import ONE_REPORT, Confirmation
from magma_control.commands import Command
from magma_control.config import ControllerConfig
from magma_control.controller import Controller
from magma_control.drivers.base import ArmDriver, GripperDriver
from magma_control.freshness import Instant
from magma_control.inputs import ArmBarred, ArmRefused, Fault
from magma_control.motion.arm_motion import MOVED_BY_OTHERS, ArmCommand, ArmMotion, FloatArray, MotionLimits
from magma_control.motion.joint_states import JointReading, JointStateReader
from magma_control.motion.kinematics import Kinematics
from magma_control.phases import MOVING, Phase
from magma_control.robots.robot_config import RobotConfig
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
        self._reader = JointStateReader(robot, kinematics.other_joints)
        self._gripper_joint = robot.gripper.joint
        self._driver = driver
        driver.guard = motion.guard()
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
        """A report of the arm. Returns the end effector's state for the core and the graph; None when it was refused,
        contradicts others, or is not about this arm."""
        longest_age_s = core.config.state_timeout_s
        reading = self._reader.read(names, positions, stamp_ns, now.steady_s, longest_age_s)
        if reading is None:
            return None
        if isinstance(reading, Refusal):
            core.handle(ArmRefused(reading), now)
            return None
        motion, stamp_ns = self.motion, reading.stamp_ns
        unknown = self._place_others(reading)
        if unknown is not None and not motion.synchronised:
            core.handle(ArmRefused(unknown), now)
            return None
        moved = motion.counts[MOVED_BY_OTHERS]
        refusal = motion.on_measured(reading.positions, now.steady_s, reading.opening, stamp_ns * 1e-9)
        if motion.counts[MOVED_BY_OTHERS] != moved:
            # Nor is the gripper where it was left.
            self._gripper.forget()
            self._begin(reading.positions)
        if refusal is not None:
            motion.take_refusals()
            core.handle(ArmRefused(refusal), now)
            return None
        if not core.active or (self._waits and self._due == 0 and core.phase not in MOVING):
            # Anybody may move it while the controller is inactive; and a world that waits may be exchanged for another.
            motion.unsync()
        if not motion.synchronised and motion.confirmed and core.phase not in LATCHED:
            refusal = motion.sync(reading.positions, reading.opening)
            if refusal is not None:
                motion.take_refusals()
                core.handle(ArmRefused(refusal), now)
                return None
            self._gripper.forget()
            self._begin(reading.positions)
        if reading.opening is not None and not motion.gripper_known:
            motion.learn_gripper(reading.opening)
        self._bar(unknown or motion.doubt, now, core)
        self._latest = _Latest(reading, stamp_ns)
        if motion.contradicted:
            return None
        return self.end_effector_state(reading, stamp_ns, core.config.frame)

    def _place_others(self, reading: JointReading) -> Refusal | None:
        """Takes the robot's other joints; returns why it cannot be told where tool and parts are, or None."""
        others = reading.others or {}
        unknown = self._kinematics.refuse_others(others)
        mover = self._kinematics.place_others(others)
        if mover is not None:
            self.motion.on_base_moved(mover)
        return unknown

    def _bar(self, trouble: Refusal | None, now: Instant, core: Controller) -> None:
        before = core.arm_trouble
        if (before.code if before is not None else "") != (trouble.code if trouble is not None else ""):
            core.handle(ArmBarred(trouble), now)

    def _begin(self, position: FloatArray) -> None:
        """The stream of commands begins anew, at rest."""
        self._driver.begin(position)
        self._sent = None
        # Nothing is sent before somebody moves the arm: it stands there already.
        self._sent_rest = not self._waits

    @property
    def gripper_is_known(self) -> bool:
        """Whether the gripper's opening is measured, or nobody measures it."""
        latest = self._latest
        return not self._gripper_joint or (latest is not None and latest.reading.opening is not None)

    def end_effector_state(self, reading: JointReading, stamp_ns: int, frame: str) -> EndEffectorState:
        """Measured and wanted pose of the tool. While `gripper_is_known` is false, its openings mean nothing."""
        position, rotation = self._kinematics.forward(reading.positions)
        quaternion = quaternion_from_matrix(rotation)
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
        self.motion.forget_reports()
        self._latest = None
        self._sent = None
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
        self._look_for_trouble(core)
        stamp_ns = self._latest.stamp_ns if self._latest is not None else 0
        if self._waits and self._due == 0 and self._sent is not None:
            # The simulated world stands still, and so does the motion; it only waits for an answer.
            self._driver.send(dataclasses.replace(self._sent, stamp_ns=stamp_ns))
            return
        self._due = max(0, self._due - 1)
        try:
            joint_command = motion.tick(stamp_ns)
        except Exception:
            # Silence would be no stop for every arm; the brake of the last command is.
            self._driver.halt()
            raise
        for refusal in motion.take_refusals():
            core.count_refusal(refusal)
        resting = motion.at_rest
        # An arm that may stand elsewhere is not sent to where it was left.
        wanted = core.phase in MOVING and motion.doubt is None
        if self._waits or wanted or not (resting and self._sent_rest):
            self._driver.send(joint_command)
            self._sent_rest = resting
            self._look_for_trouble(core)
        self._sent = joint_command
        if core.phase in MOVING and motion.gripper_known:
            self._gripper.send(motion.gripper)
        trouble, self._gripper.trouble = self._gripper.trouble, None
        if trouble is not None:
            core.count_refusal(Refusal("gripper not taken", trouble))

    def _look_for_trouble(self, core: Controller) -> None:
        """What the driver, or the arm's own controller, found wrong."""
        if core.phase in LATCHED:
            return
        driver = self._driver
        overruled, driver.overruled = driver.overruled, None
        if driver.violation is not None:
            trouble = driver.violation
        elif driver.trouble is not None:
            trouble = Refusal("arm driver in trouble", driver.trouble, True)
        elif overruled is not None and core.phase in MOVING:
            trouble = Refusal("arm overruled", overruled, True)
        else:
            return
        core.handle(ArmRefused(trouble), core.now)
        # Whatever the phase: it was this stream of commands that went wrong.
        core.handle(Fault(trouble.text), core.now)
        self.motion.emergency_stop()


def make_joint_motion(robot: RobotConfig, kinematics: Kinematics, config: ControllerConfig) -> ArmMotion:
    """The motion of a robot under a controller's configuration."""
    confirmation = ONE_REPORT if config.tick_source == "joint_states" else Confirmation()
    return ArmMotion(robot, kinematics, motion_limits(config), 1.0 / config.control_rate_hz, confirmation)


def motion_limits(config: ControllerConfig) -> MotionLimits:
    """The part of the configuration that the motion needs."""
    return MotionLimits(
        workspace_min_m=config.workspace_min_m,
        workspace_max_m=config.workspace_max_m,
        table_height_m=config.table_height_m,
        table_clearance_m=config.table_clearance_m,
        scale=config.bring_up_scale,
    )
