"""A joint-level arm for tests: the Panda's real model, and drivers that only remember."""

from __future__ import annotations

import functools

import numpy as np

from magma_control.drivers.base import ArmDriver, GripperDriver
from magma_control.motion.arm_motion import ArmCommand, ArmMotion, MotionLimits
from magma_control.motion.kinematics import Kinematics
from magma_control.robots.robot_config import RobotConfig, load_robot
from magma_control.robots.robot_description import RobotDescription, read_description

BOX = MotionLimits((0.2, -0.5, 0.0), (0.85, 0.5, 0.7))
PERIOD_S = 0.01


@functools.cache
def panda() -> RobotConfig:
    return load_robot("panda")


@functools.cache
def panda_description() -> RobotDescription:
    return read_description(panda().description)


@functools.cache
def panda_kinematics() -> Kinematics:
    """Shared: it keeps nothing between calls but the ranges of the last arm, which `sync` sets."""
    return Kinematics(panda(), panda_description(), 0.0)


def motion(limits: MotionLimits = BOX, period_s: float = PERIOD_S) -> ArmMotion:
    """An arm at its home posture."""
    made = ArmMotion(panda(), panda_kinematics(), limits, period_s)
    assert made.sync(panda_kinematics().home, 1.0) is None
    return made


class RecordingDriver(ArmDriver):
    """Remembers what it was told to send."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[ArmCommand] = []

    def _send(self, command: ArmCommand) -> None:
        self.sent.append(command)

    def _send_rest(self, position, velocity, last) -> None:
        pass


class RecordingGripper(GripperDriver):
    def __init__(self) -> None:
        super().__init__()
        self.sent: list[float] = []

    def _send(self, opening: float) -> bool:
        self.sent.append(opening)
        return True


class LimitChecker:
    """Follows the joint commands since the last synchronisation and asserts every limit on each."""

    def __init__(self, limits: MotionLimits = BOX, period_s: float = PERIOD_S) -> None:
        self.robot, self.kinematics = panda(), panda_kinematics()
        self.limits, self.period_s = limits, period_s
        self.positions: list[np.ndarray] = []

    def begin(self, position: np.ndarray) -> None:
        """The arm was found at rest here."""
        self.positions = [np.array(position)] * 3
        self.tool = self.kinematics.forward(self.positions[-1])
        self.excused = self.kinematics.contacts(self.positions[-1])

    def check(self, command: ArmCommand) -> None:
        robot, kinematics, period_s = self.robot, self.kinematics, self.period_s
        position = command.position
        assert np.isfinite(position).all() and np.isfinite(command.velocity).all()
        before = self.positions[-1]
        assert (position >= np.minimum(kinematics.lower, before) - 1e-8).all(), "joint range"
        assert (position <= np.maximum(kinematics.upper, before) + 1e-8).all(), "joint range"
        path = np.array([*self.positions[-3:], position])
        for order, name, limit in (
            (1, "speed", kinematics.max_velocity),
            (2, "acceleration", np.array(robot.per_joint("max_acceleration"))),
            (3, "jerk", np.array(robot.per_joint("max_jerk"))),
        ):
            reached = np.abs(np.diff(path[-order - 1 :], n=order, axis=0)[0]) / period_s**order
            # Differences of order n lose n times the digits of the period.
            assert (reached <= limit * (1.0 + 1e-6) + 1e-9 / period_s**order).all(), f"joint {name} {reached}"
        tool = kinematics.forward(position)
        low, high = self.limits.box()
        assert (tool[0] >= np.minimum(low, self.tool[0]) - 1e-7).all(), "workspace"
        assert (tool[0] <= np.maximum(high, self.tool[0]) + 1e-7).all(), "workspace"
        speed = np.linalg.norm(tool[0] - self.tool[0]) / period_s
        assert speed <= robot.cartesian.max_speed_m_s + 1e-6, "tool speed"
        turn = np.arccos(np.clip((np.sum(tool[1] * self.tool[1]) - 1.0) / 2.0, -1.0, 1.0)) / period_s
        assert turn <= robot.cartesian.max_angular_speed_rad_s + 1e-3, "tool angular speed"
        touching = kinematics.contacts(position)
        assert touching <= self.excused, f"collision: {touching - self.excused}"
        self.excused = touching
        assert 0.0 <= command.gripper <= 1.0
        assert not command.brake_velocities[-1].any(), "a brake ends at rest"
        assert np.linalg.norm(command.tool_position - tool[0]) < 1e-9
        self.positions = [*self.positions[-2:], position]
        self.tool = tool
