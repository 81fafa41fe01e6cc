"""What every driver offers, and how one is chosen."""

from __future__ import annotations

import abc
import importlib
import threading
import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from magma_contracts.errors import ConfigError
from magma_contracts.imports import import_problem
from magma_control.command_guard import JointGuard
from magma_control.motion.arm_motion import ArmCommand, FloatArray
from magma_control.robots.robot_config import RobotConfig
from magma_control.safety import Refusal

MINIMAL_OPENING_CHANGE = 0.01
"""Smaller changes of the gripper's opening are not sent."""


class Driver:
    """What the drivers of arms and grippers share: they give back what they made on the node."""

    def __init__(self) -> None:
        self._releases: list[Callable[[], object]] = []

    def _release_by(self, destroy: Callable[[], object]) -> None:
        """`destroy` takes an endpoint off the node; called by `close`."""
        self._releases.append(destroy)

    def close(self) -> None:
        """Gives back every endpoint; the driver cannot be used any more."""
        while self._releases:
            self._releases.pop()()


class ArmDriver(Driver, abc.ABC):
    """Sends joint commands to one kind of arm.

    `send` and `halt` are called by the control thread, `stop` and `resume` by any thread. After `stop` nothing is sent
    before `resume`, whatever the control thread does meanwhile.

    Whatever is sent has passed the guard, and so has its brake: `stop` and `halt` follow the brake of the last command.
    A command that does not pass is not sent; the arm is halted, and `violation` says why.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sending = threading.Lock()
        self._stopped = False
        self._last: ArmCommand | None = None
        self._braking: threading.Thread | None = None
        self.guard: JointGuard | None = None
        """looks at every command; set by whoever owns the driver and knows the arm's limits"""
        self.violation: Refusal | None = None
        """what the guard did not let pass; forgotten by `resume`"""
        self.trouble: str | None = None
        """why the arm's own controller does not do what it is told, if it says so; forgotten by `resume`"""
        self.overruled: str | None = None
        """how somebody else took the arm over, if its own controller tells that; forgotten by `resume`"""

    def begin(self, position: FloatArray) -> None:
        """A stream of commands begins at rest, at joint positions (n,) at which the arm is known to stand."""
        with self._sending:
            # The last command was one of another stream: its brake is not to be followed any more.
            self._last = None
            if self.guard is not None:
                self.guard.begin(position)

    def send(self, command: ArmCommand) -> None:
        """Sends the command for the coming period."""
        with self._sending:
            if self._stopped:
                return
            violation = self._refuse(command)
            if violation is not None:
                self.violation = violation
                self._halt()
                return
            self._last = command
            self._send(command)

    def _refuse(self, command: ArmCommand) -> Refusal | None:
        last = self._last
        # A world that stands still is answered with the same command once more.
        if self.guard is None or (last is not None and command.position is last.position):
            return None
        return self.guard.pass_on(command)

    def halt(self) -> None:
        """As `stop`, but returns at once: whoever waits for it would hold up others."""
        with self._sending:
            self._halt()

    def _halt(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        if self._last is not None:
            self._braking = threading.Thread(target=self._brake, args=(self._last,), name="brake", daemon=True)
            self._braking.start()

    def stop(self) -> None:
        """Brings the arm to rest along the brake of the last command, without help from the control thread.

        Returns when everything needed for that is sent. Calling it again does nothing.
        """
        with self._sending:
            self._halt()
            braking = self._braking
        if braking is not None and braking is not threading.current_thread():
            braking.join()

    def resume(self) -> None:
        """Lets commands through again. Nothing is sent by this."""
        braking = self._braking
        if braking is not None:
            braking.join()
        with self._sending:
            self._stopped = False
            self._last = self._braking = None
            self.trouble = self.overruled = self.violation = None
            if self.guard is not None:
                self.guard.end()
            self._start_anew()

    @property
    def stopped(self) -> bool:
        return self._stopped

    def close(self) -> None:
        """Brings the arm to rest before everything is given back."""
        self.stop()
        super().close()

    def _start_anew(self) -> None:
        """For drivers that keep something between two commands: it is about a motion that has ended."""

    @abc.abstractmethod
    def _send(self, command: ArmCommand) -> None:
        """Sends one command."""

    def _brake(self, last: ArmCommand) -> None:
        """For arms that go where the last message said and know nothing of a brake: sends it instant by instant."""
        for position, velocity in zip(last.brake_positions, last.brake_velocities, strict=True):
            self._send_rest(position, velocity, last)
            time.sleep(last.period_s)

    def _send_rest(self, position: Any, velocity: Any, last: ArmCommand) -> None:
        """One instant of the brake; only for drivers that use `_brake` as it is."""
        raise NotImplementedError(f"{type(self).__name__} brings its arm to rest in another way")


class GripperDriver(Driver, abc.ABC):
    """Sends the gripper's opening; only changes are sent."""

    def __init__(self) -> None:
        super().__init__()
        self._last: float | None = None
        self.trouble: str | None = None
        """why the last opening was not taken; for whoever reads it to tell it and set it back to None"""

    def send(self, opening: float) -> None:
        """Opening 0 closed ... 1 open, as commanded now; called once per period."""
        if self._last is not None and abs(opening - self._last) < MINIMAL_OPENING_CHANGE:
            return
        # First, for an answer may come before `_send` returns.
        self._last = opening
        if not self._send(opening):
            self._last = None

    def forget(self) -> None:
        """The next opening is sent even if it is the last one's."""
        self._last = None

    @abc.abstractmethod
    def _send(self, opening: float) -> bool:
        """Sends it; False when nobody is there to take it yet, to be tried again."""


class NoGripper(GripperDriver):
    """There is none."""

    def _send(self, opening: float) -> bool:
        return True


def messages(module: str, package: str) -> Any:
    """Imports a message module that is not part of every ROS 2 installation.

    Raises:
        ConfigError: it is not installed; the text names the package.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        remedy = (
            f"with ROS 2, sudo apt install ros-$ROS_DISTRO-{package.replace('_', '-')}; without, put its .msg and "
            f".action files into <prefix>/share/{package} and name <prefix> in AMENT_PREFIX_PATH"
        )
        said = import_problem(error, remedy, package, module)
        raise ConfigError(f"this driver needs the messages of {package}, and {said}") from error


def make_arm_driver(kind: str, node: Node, robot: RobotConfig, *, answering: bool = False) -> ArmDriver:
    """The driver of a kind (`robot_config.ARM_DRIVERS`).

    Args:
        answering: the arm is a simulation that waits for an answer to each report, which only joint_trajectory gives.

    Raises:
        ConfigError: unknown kind, one that cannot answer, or messages that are not installed.
    """
    if answering and kind != "joint_trajectory":
        raise ConfigError(f"tick_source joint_states needs arm joint_trajectory, not {kind}")
    if kind == "joint_trajectory":
        from magma_control.drivers.joint_trajectory import JointTrajectoryDriver

        return JointTrajectoryDriver(node, robot, answering=answering)
    if kind == "follow_joint_trajectory":
        from magma_control.drivers.follow_joint_trajectory import FollowJointTrajectoryDriver

        return FollowJointTrajectoryDriver(node, robot)
    if kind == "position":
        from magma_control.drivers.position import PositionDriver

        return PositionDriver(node, robot)
    if kind == "servo":
        from magma_control.drivers.servo import ServoDriver

        return ServoDriver(node, robot)
    if kind == "interbotix":
        from magma_control.drivers.interbotix import InterbotixDriver

        return InterbotixDriver(node, robot)
    raise ConfigError(f"there is no arm driver {kind!r}")


def make_gripper_driver(node: Node, robot: RobotConfig) -> GripperDriver:
    """The gripper's driver as the robot's file names it.

    Raises:
        ConfigError: messages that are not installed.
    """
    kind = robot.gripper.driver
    if kind == "none":
        return NoGripper()
    if kind == "gripper_command":
        from magma_control.drivers.gripper_command import GripperCommandDriver

        return GripperCommandDriver(node, robot)
    if kind == "parallel_gripper_command":
        from magma_control.drivers.parallel_gripper_command import ParallelGripperCommandDriver

        return ParallelGripperCommandDriver(node, robot)
    if kind == "position":
        from magma_control.drivers.position import PositionGripper

        return PositionGripper(node, robot)
    if kind == "interbotix":
        from magma_control.drivers.interbotix import InterbotixGripper

        return InterbotixGripper(node, robot)
    raise ConfigError(f"there is no gripper driver {kind!r}")


def gripper_position(robot: RobotConfig, opening: float) -> float:
    """Opening 0 ... 1 -> position to command for the gripper's joint, m or rad."""
    gripper = robot.gripper
    return gripper.closed_target + opening * (gripper.open - gripper.closed_target)
