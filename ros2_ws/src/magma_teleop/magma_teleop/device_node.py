"""What the nodes of operator devices share: topics, services, heartbeat, and where arm and camera are."""

from __future__ import annotations

import dataclasses
import math
import time
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from ament_index_python.packages import get_package_share_directory
from magma_interfaces.msg import ControllerState, EndEffectorDelta, EndEffectorState, TeleopStatus
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from magma_common import qos
from magma_common.conversions import delta_to_msg, pose_to_arrays
from magma_common.foreign_subscription import ForeignSubscription
from magma_common.message_sizes import SMALL, TEXT
from magma_common.settings.node_config import NodeParameters
from magma_common.transforms.frames import frame_prefix
from magma_common.transforms.heard_transforms import hear_transforms
from magma_common.transforms.transform_tree import TransformTree, UnknownPoseError
from magma_contracts.errors import ConfigError
from magma_teleop.config import DeviceConfig
from magma_teleop.device_profile import DeviceProfile, LeaderProfile, read_profile
from magma_teleop.identity import operator_identity
from magma_teleop.keys import Request
from magma_teleop.operator_device import ArmPose, DeviceStatus, FloatArray

POLL_PERIOD_S = 0.01
"""How often it is asked whether a command is due: short beside the shortest step period."""
STATUS_PERIOD_S = 0.1
ProfileT = TypeVar("ProfileT", DeviceProfile, LeaderProfile)


def find_profile(name: str) -> DeviceProfile | LeaderProfile:
    """A profile by the name of one that comes with this package, or by the path of a file.

    Raises:
        ConfigError: there is none; the text names those that there are.
    """
    if "/" in name or name.endswith((".yaml", ".yml")):
        return read_profile(Path(name).expanduser())
    folder = Path(get_package_share_directory("magma_teleop")) / "config" / "devices"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(item.stem for item in folder.glob("*.yaml")))
        raise ConfigError(f"no profile {name!r}; there are {known}; or give the path of a YAML file")
    return read_profile(path)


class DeviceTeleop(Node, Generic[ProfileT]):
    """Sends what an operator's device asks for, and a heartbeat. Subclasses feed the device."""

    def __init__(self, name: str, kind: type[ProfileT]) -> None:
        super().__init__(name, automatically_declare_parameters_from_overrides=True)
        self._node_parameters = NodeParameters(self, DeviceConfig)
        config = self._node_parameters.config
        profile = find_profile(config.profile)
        if not isinstance(profile, kind):
            wanted = "joy" if kind is DeviceProfile else "leader"
            raise ConfigError(f"profile {config.profile!r} is not of kind {wanted}, which {name} needs")
        if config.activation != "profile":
            profile = dataclasses.replace(profile, activation=config.activation)
        self.profile: ProfileT = profile
        self._identity = operator_identity(profile.name)
        self._arm: tuple[ArmPose, float] | None = None
        self._transforms = TransformTree()
        self._prefix = frame_prefix(config.frame_prefix, self.get_namespace())
        self._camera_trouble = ""
        self._phase: int | None = None
        self._notice = ""
        self._shown: tuple[bool, bool, str] | None = None
        self._shown_s = 0.0

        self._commands = self.create_publisher(EndEffectorDelta, "teleop/command", qos.COMMAND)
        self._statuses = self.create_publisher(TeleopStatus, "teleop/status", qos.ROBOT_STATE)
        self._heartbeats = self.create_publisher(Header, "magma/teleop_heartbeat", qos.ROBOT_STATE)
        arm, controller, hear = "magma/end_effector_state", "magma/controller_state", partial(ForeignSubscription, self)
        hear(EndEffectorState, arm, self._on_end_effector_state, qos.ROBOT_STATE, most_bytes=SMALL)
        hear(ControllerState, controller, self._on_controller, qos.STATE, most_bytes=TEXT)
        if self._seeks_camera:
            hear_transforms(self, self._transforms)
            # So that the operator reads what is missing before taking over.
            self.create_timer(STATUS_PERIOD_S, self._camera_xyzw, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._requests: dict[Request, Client] = {
            Request.ESTOP: self.create_client(Trigger, "magma/estop"),
            Request.REARM: self.create_client(Trigger, "magma/rearm"),
            Request.HAND_BACK: self.create_client(Trigger, "magma/hand_back"),
        }
        self.create_timer(POLL_PERIOD_S, self._work, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info(
            f"{profile.name} (profile {profile.identity}) takes the arm over by {profile.activation.replace('_', '-')}"
        )

    @abstractmethod
    def motion(self, now_s: float, arm: ArmPose | None, camera: Callable[[], FloatArray | None]) -> FloatArray | None:
        """The delta (7,) to send now, base frame, or None.

        Args:
            camera: looks up the orientation (4,) of camera_optical in the base frame; None when it is not known.
        """

    @abstractmethod
    def device_status(self, now_s: float) -> DeviceStatus:
        """What the device is doing."""

    @abstractmethod
    def let_go(self) -> None:
        """The operator no longer has the arm."""

    def ask(self, request: Request) -> None:
        """Calls the service of a request."""
        client = self._requests[request]
        if not client.service_is_ready():
            self._notice = f"cannot {request.value}: no controller is there"
            self.get_logger().error(self._notice)
            return
        client.call_async(Trigger.Request()).add_done_callback(lambda future: self._on_answer(request, future))

    def _on_answer(self, request: Request, future: Future) -> None:
        answer = future.result()
        if answer is None:
            self._notice = f"{request.value}: no answer"
        else:
            self._notice = answer.message if answer.success else f"refused: {answer.message}"
        self.get_logger().info(self._notice)

    def _on_end_effector_state(self, message: EndEffectorState) -> None:
        if not math.isfinite(message.gripper_target):
            return  # an opening that nobody knows is not to be repeated
        _, quaternion = pose_to_arrays(message.pose)
        opening = min(1.0, max(0.0, message.gripper_target))
        self._arm = (ArmPose(quaternion, opening), time.monotonic())

    def _on_controller(self, message: ControllerState) -> None:
        lost = self._phase == ControllerState.TELEOP and message.phase != ControllerState.TELEOP
        if lost or message.phase in (ControllerState.ESTOP, ControllerState.FAULT):
            # What is held now must be let go before it counts again: a re-arm moves nothing.
            self.let_go()
        self._phase = int(message.phase)

    @property
    def _seeks_camera(self) -> bool:
        """Whether the operator thinks in the camera's frame and /tf has to say where it is."""
        return self.profile.frame == "camera" and not self._node_parameters.config.camera_quaternion_xyzw

    def _camera_xyzw(self) -> FloatArray | None:
        """Orientation of the camera in the base frame, or None while it is not known."""
        config = self._node_parameters.config
        if config.camera_quaternion_xyzw:
            return np.array(config.camera_quaternion_xyzw)
        if not self._seeks_camera:
            return None
        try:
            pose = self._transforms.pose(
                self._prefix + config.camera_frame,
                self._prefix + config.base_frame,
                self.get_clock().now().nanoseconds,
                config.state_timeout_s,
            )
        except UnknownPoseError as error:
            self._camera_trouble = str(error)
            return None
        self._camera_trouble = ""
        return pose.quaternion_xyzw

    def _work(self) -> None:
        now_s = time.monotonic()
        config = self._node_parameters.config
        arm = self._arm[0] if self._arm is not None and now_s - self._arm[1] <= config.state_timeout_s else None
        delta = self.motion(now_s, arm, self._camera_xyzw)
        if delta is not None:
            stamp_ns = self.get_clock().now().nanoseconds
            self._commands.publish(delta_to_msg(delta, stamp_ns, config.base_frame, self._identity))
        self._report(now_s)

    def _report(self, now_s: float) -> None:
        status = self.device_status(now_s)
        if self._camera_trouble:
            status = dataclasses.replace(status, text=f"{status.text}; {self._camera_trouble}")
        shown = (status.connected, status.engaged, self._notice or status.text)
        if shown == self._shown and now_s - self._shown_s < STATUS_PERIOD_S:
            return
        if self._shown is not None and shown[:2] != self._shown[:2]:
            self._notice = ""
            shown = (status.connected, status.engaged, status.text)
            self.get_logger().info(f"{self.profile.name}: {status.text}")
        self._shown, self._shown_s = shown, now_s
        message = TeleopStatus(device=self._identity, connected=status.connected, engaged=status.engaged, text=shown[2])
        message.header.stamp = self.get_clock().now().to_msg()
        self._statuses.publish(message)
        if status.connected:
            heartbeat = Header(frame_id=self._identity)
            heartbeat.stamp = message.header.stamp
            self._heartbeats.publish(heartbeat)
