"""Node console: a page in the browser from which a demo is run. It looks; what operators ask for takes `RobotLink`."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from functools import partial
from typing import Any

import numpy as np
from magma_interfaces.msg import (
    ActionChunk,
    ControllerState,
    EndEffectorDelta,
    EndEffectorState,
    EpisodeStatus,
    EpisodeTag,
    Instruction,
    TeleopStatus,
)
from rcl_interfaces.msg import ParameterValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image

from magma_camera.image_decoding import decode_image
from magma_common import qos
from magma_common.conversions import chunk_from_msg, delta_from_msg, stamp_to_ns, state_from_msg
from magma_common.foreign_subscription import ForeignSubscription
from magma_common.instruction_topics import IN_FORCE_TOPIC
from magma_common.process.clocks import steady_s
from magma_common.process.node_main import run_node
from magma_common.settings.node_config import NodeParameters
from magma_common.transforms.frames import frame_prefix
from magma_common.transforms.heard_transforms import hear_transforms
from magma_common.transforms.transform_tree import TransformTree, UnknownPoseError
from magma_console.config import LOOPBACK_NAMES, ConsoleConfig
from magma_console.connections.access import Access
from magma_console.connections.door import Door, with_token
from magma_console.connections.operators import Operators
from magma_console.connections.picture_stream import PictureStreams
from magma_console.pages.page_server import PageServer
from magma_console.robot.arm_watch import ArmWatch
from magma_console.robot.controller_parameters import WORKSPACE, ControllerParameters, workspace_of
from magma_console.robot.overlay import View, overlay, predicted_path
from magma_console.robot.pictures import NewestPicture
from magma_console.robot.pointing import shares_of
from magma_console.robot.pointing_link import PointingLink
from magma_console.robot.robot_link import RobotLink
from magma_console.robot.robot_view import RobotView
from magma_console.robot.view_state import AGE_LIMITS, TELEOP, Controller, FloatArray
from magma_contracts.errors import ConfigError
from magma_contracts.files.server_tokens import read_token
from magma_teleop.operator_device import ArmPose

LOOK_PERIOD_S = 0.1
MOST_BYTES = 64 * 1024
"""Of messages other than pictures."""
LONGEST_NOTE = 500
TOKEN_VARIABLE = "MAGMA_CONSOLE_TOKEN"
PICTURES = {
    "camera": ("camera/image_raw", qos.SENSOR),
    "frame": ("magma/frame", qos.FRAME),
    "marks": ("magma/marked_frame", qos.STATE),
}
"""What can be looked at: the topic of each, and how it is heard."""


class Console(Node):
    """Hears what the pages show, and owns what serves them."""

    def __init__(self) -> None:
        super().__init__("console", automatically_declare_parameters_from_overrides=True)
        self._node_parameters = NodeParameters(self, ConsoleConfig)
        config = self._node_parameters.config
        token = _token(config, os.environ)
        access = Access(token, config.on_loopback, [*LOOPBACK_NAMES, config.host, *config.allowed_hosts])
        self._prefix = frame_prefix(config.frame_prefix, self.get_namespace())
        self._pictures = {name: NewestPicture() for name in PICTURES}
        self._view = RobotView(lambda: self._node_parameters.config.state_timeout_s, self._pictures)
        self._transforms = TransformTree()
        self._info: CameraInfo | None = None
        self._workspace: tuple[FloatArray, FloatArray] | None = None
        self._state: EndEffectorState | None = None
        self._steps: tuple[FloatArray, float] | None = None
        self._door: Door | None = None
        self._frame_size = (0, 0)
        self._watch = ArmWatch(self, config.robot, lambda: self._node_parameters.config.state_timeout_s)

        self._link = RobotLink(self, config.base_frame, self._on_controller, self._on_pose)
        pointing = PointingLink(self)
        self._operators = Operators(lambda: self._node_parameters.config, self._link, pointing, self._view)
        self._streams = PictureStreams(lambda: self._node_parameters.config, self._pictures)
        self._tags = self.create_publisher(EpisodeTag, "magma/episode_tag", qos.SAFETY_INPUT)
        self._page = PageServer(config, self.get_namespace().strip("/"), self._view, self._tag)
        try:
            self._door = Door(config, access, self._operators, self._streams, self._page.start())
        except ConfigError:
            self._page.close()
            raise
        self._hear_everything()
        self._door.start()
        if not config.on_loopback:
            self.get_logger().warning(
                f"{self._door.address} can be reached from other machines without encryption: whoever listens reads "
                "the token. Put a proxy with TLS before it (docs/console.md); browsers give gamepads to such pages only"
            )
        # Not by the logger: whoever is in the graph reads /rosout, and its files stay.
        print(f"console: open {with_token(self._door.address, token)}", flush=True)

    def close(self) -> None:
        """Ends the pages; what operators asked for ends with them."""
        if self._door is not None:
            self._door.close()
        self._page.close()
        self._streams.close()
        self._link.close()

    def _hear_everything(self) -> None:
        for name, (topic, profile) in PICTURES.items():
            self.create_subscription(Image, topic, partial(self._on_picture, name), profile)
        with contextlib.suppress(ImportError):  # a ROS 2 without vision_msgs; nobody publishes them there either
            vision: Any = importlib.import_module("vision_msgs.msg")
            self._hear(vision.Detection2DArray, "magma/detections", self._on_detections, qos.STATE)
        self._hear(CameraInfo, "camera/camera_info", self._on_info, qos.SENSOR)
        self._hear(ActionChunk, "magma/action_chunk", self._on_chunk, qos.COMMAND)
        self._hear(EndEffectorDelta, "magma/command", self._on_command, qos.COMMAND)
        self._hear(EndEffectorDelta, "teleop/command", self._on_operator, qos.COMMAND)
        self._hear(TeleopStatus, "teleop/status", self._on_device, qos.ROBOT_STATE)
        self._hear(Instruction, IN_FORCE_TOPIC, self._on_instruction, qos.STATE)
        self._hear(EpisodeStatus, "magma/episode_status", self._on_episode, qos.STATE)
        hear_transforms(self, self._transforms)
        # Ages and the workspace box are shown against the controller's limits.
        self._limits = ControllerParameters(self, [*AGE_LIMITS.values(), *WORKSPACE], self._on_limits)
        self.create_timer(LOOK_PERIOD_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _hear(self, kind: Any, topic: str, callback: Any, profile: QoSProfile) -> None:
        def refused(why: str) -> None:
            self.get_logger().warning(f"not shown: {why}", throttle_duration_sec=5.0)

        ForeignSubscription(self, kind, topic, callback, profile, most_bytes=MOST_BYTES, on_refused=refused)

    # The page's thread

    def _tag(self, outcome: int, note: str) -> None:
        message = EpisodeTag(outcome=outcome, note=note[:LONGEST_NOTE], by=self.get_name())
        message.header.stamp = self.get_clock().now().to_msg()
        self._tags.publish(message)

    # The link's thread

    def _on_controller(self, message: ControllerState) -> None:
        ages = ("frame_age_ms", "chunk_age_ms", "teleop_age_ms", "state_age_ms")
        report = Controller(
            phase=int(message.phase),
            reason=message.reason,
            instruction=message.instruction,
            ages_ms={name: float(getattr(message, age)) for name, age in zip(AGE_LIMITS, ages, strict=True)},
            chunks_received=int(message.chunks_received),
            commands_sent=int(message.commands_sent),
            chunks_rejected=int(message.chunks_rejected),
            commands_clipped=int(message.commands_clipped),
            counts=dict(zip(message.rejection_reasons, map(int, message.rejection_counts), strict=False)),
        )
        before, after = self._view.controller(report, steady_s())
        if before != after and self._door is not None:
            lost = before == TELEOP and after != TELEOP
            self._door.soon(partial(self._operators.changed, lost or after > TELEOP))

    def _on_pose(self, message: EndEffectorState) -> None:
        state = state_from_msg(message)
        opening = min(1.0, max(0.0, state.gripper_target))
        arm = ArmPose(state.quaternion_xyzw, opening)
        self._view.pose(arm, state.position, state.gripper, steady_s())
        self._state = message

    # The node's thread

    def _on_picture(self, name: str, message: Image) -> None:
        def decode() -> Any:
            return decode_image(
                message.encoding, message.height, message.width, message.step, message.data, bool(message.is_bigendian)
            )

        self._pictures[name].put(stamp_to_ns(message.header.stamp), decode, steady_s())

        if name == "frame":
            self._frame_size = int(message.width), int(message.height)

    def _on_detections(self, message: Any) -> None:
        """What the model that points was asked last, by whomever."""
        found = shares_of(message.detections, *self._frame_size)
        now_s = steady_s()
        self._view.update(lambda state: state.found(found, now_s))

    def _on_info(self, message: CameraInfo) -> None:
        self._info = message

    def _on_chunk(self, message: ActionChunk) -> None:
        chunk = chunk_from_msg(message)
        now_s = steady_s()
        if len(chunk.deltas):
            self._steps = chunk.deltas, now_s
        stages = [(name, float(value)) for name, value in chunk.stage_ms.items()]

        def tell(state: Any) -> None:
            state.stages(chunk.policy, stages)
            if len(chunk.deltas):
                state.asked(chunk.deltas[0].tolist(), now_s)

        self._view.update(tell)

    def _on_command(self, message: EndEffectorDelta) -> None:
        command = delta_from_msg(message)
        now_s = steady_s()
        self._view.update(lambda state: state.commanded(command.delta.tolist(), command.source, now_s))

    def _on_operator(self, message: EndEffectorDelta) -> None:
        delta, now_s = delta_from_msg(message).delta.tolist(), steady_s()
        self._view.update(lambda state: state.asked(delta, now_s))

    def _on_device(self, message: TeleopStatus) -> None:
        now_s = steady_s()
        if message.connected:
            self._view.update(lambda state: state.device(message.device, bool(message.engaged), now_s))

    def _on_instruction(self, message: Instruction) -> None:
        self._view.update(lambda state: state.instruction(message.instruction, message.asked_by, int(message.number)))

    def _on_episode(self, message: EpisodeStatus) -> None:
        values = {
            name: getattr(message, name)
            for name in ("task", "variant", "layout", "step", "max_steps", "success", "done")
        }
        self._view.update(lambda state: state.episode(values))

    def _on_limits(self, values: dict[str, ParameterValue]) -> None:
        limits = {name: float(values[name].double_value) for name in AGE_LIMITS.values()}
        self._view.update(lambda state: state.limits(limits))
        workspace = workspace_of(values)
        if workspace is not None:
            self._workspace = workspace
            self._view.workspace(*workspace)

    def _look(self) -> None:
        """Where the camera is, and what is drawn over its picture; where the arm is."""
        self._view.look_at_arm(self._watch.lines())
        self._limits.ask_first()
        config = self._node_parameters.config
        try:
            pose = self._transforms.pose(
                self._prefix + config.camera_frame,
                self._prefix + config.base_frame,
                self.get_clock().now().nanoseconds,
                config.state_timeout_s,
            )
        except UnknownPoseError:
            self._view.look(None, {})
            return
        self._view.look(pose.quaternion_xyzw, self._overlay(np.linalg.inv(pose.matrix).astype(np.float64)))

    def _overlay(self, extrinsics: FloatArray) -> dict[str, Any]:
        info, message = self._info, self._state
        if info is None or info.width < 1 or info.height < 1 or info.k[0] <= 0.0:
            return {}
        view = View(np.array(info.k, dtype=np.float64).reshape(3, 3), extrinsics, info.width, info.height)
        if message is None:
            return overlay(view, self._workspace, None, None, None)
        state = state_from_msg(message)
        path, limit_s = None, 2.0 * self._node_parameters.config.step_period_s
        if self._steps is not None and steady_s() - self._steps[1] <= limit_s:
            path = predicted_path(state.target_position, self._steps[0])
        return overlay(view, self._workspace, state.target_position, state.position, path)


def _token(config: ConsoleConfig, environment: Any) -> str | None:
    """What opens the page. Not a parameter: those can be read by everybody in the graph."""
    try:
        return read_token(config.token_file, environment, TOKEN_VARIABLE)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def main() -> int:
    """Entry point of `ros2 run magma_console console`."""
    return run_node(Console)


if __name__ == "__main__":
    sys.exit(main())
