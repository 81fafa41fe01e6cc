"""Node markers: what the robot means to do and may do, as visualization_msgs, for RViz and Foxglove."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import Point
from magma_interfaces.msg import ActionChunk, EndEffectorState
from rcl_interfaces.msg import ParameterValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from magma_common import qos
from magma_common.conversions import chunk_from_msg, ns_to_stamp, state_from_msg
from magma_common.foreign_subscription import ForeignSubscription
from magma_common.process.clocks import steady_s
from magma_common.process.node_main import run_node
from magma_common.settings.config import NodeConfig, parameter
from magma_common.settings.node_config import NodeParameters
from magma_common.transforms.frames import FRAME_PREFIX_HELP, FRAME_PREFIX_OF_NAMESPACE, frame_prefix
from magma_console.robot.controller_parameters import WORKSPACE, ControllerParameters, workspace_of
from magma_console.robot.overlay import BOX_EDGES, box_corners, predicted_path

MOST_BYTES = 64 * 1024
COLOURS = {
    "trace": (1.0, 0.69, 0.13, 1.0),
    "target": (1.0, 0.3, 0.43, 0.9),
    "measured": (0.25, 0.73, 0.31, 0.9),
    "workspace": (0.56, 0.82, 1.0, 0.6),
}
LINE_M, BALL_M = 0.004, 0.02


@dataclass(frozen=True)
class MarkerConfig(NodeConfig):
    """How often, and in which frame."""

    rate_hz: float = parameter(5.0, "Times per second that they are published.", minimum=0.2, maximum=30.0)
    trace_valid_s: float = parameter(1.0, "A predicted trace is shown for so long, seconds.", minimum=0.1, maximum=30.0)
    base_frame: str = parameter("base", "Frame in which the arm takes deltas.", read_only=True)
    frame_prefix: str = parameter(FRAME_PREFIX_OF_NAMESPACE, FRAME_PREFIX_HELP, read_only=True)


def marker(name: str, number: int, kind: int, points: np.ndarray) -> Marker:
    """A marker at points (n, 3) in metres; none removes it."""
    made = Marker(ns=name, id=number, type=kind, action=Marker.ADD if len(points) else Marker.DELETE)
    made.pose.orientation.w = 1.0
    red, green, blue, opaque = COLOURS[name]
    made.color = ColorRGBA(r=red, g=green, b=blue, a=opaque)
    if kind == Marker.SPHERE:
        made.scale.x = made.scale.y = made.scale.z = BALL_M
        if len(points):
            made.pose.position.x, made.pose.position.y, made.pose.position.z = map(float, points[0])
    else:
        made.scale.x = LINE_M
        made.points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in points]
    return made


def markers(
    target: np.ndarray | None,
    measured: np.ndarray | None,
    steps: np.ndarray | None,
    workspace: tuple[np.ndarray, np.ndarray] | None,
) -> list[Marker]:
    """All markers, of what is known.

    Args:
        target, measured: (3,) where the end effector was told to be, and where it is; base frame, metres.
        steps: (n, 7) what the policy means to do from there on.
        workspace: lower and upper corner (3,) of the box in which the target may be.
    """
    nothing = np.empty((0, 3))
    path = predicted_path(target, steps) if target is not None and steps is not None else nothing
    corners = box_corners(*workspace) if workspace is not None else nothing
    edges = corners[np.array(BOX_EDGES).ravel()] if workspace is not None else nothing
    return [
        marker("trace", 0, Marker.LINE_STRIP, path),
        marker("target", 0, Marker.SPHERE, nothing if target is None else target[None]),
        marker("measured", 0, Marker.SPHERE, nothing if measured is None else measured[None]),
        marker("workspace", 0, Marker.LINE_LIST, edges),
    ]


class Markers(Node):
    """Hears the policy and the arm, asks the controller for its box, and publishes magma/markers."""

    def __init__(self) -> None:
        super().__init__("markers", automatically_declare_parameters_from_overrides=True)
        self._node_parameters = NodeParameters(self, MarkerConfig)
        config = self._node_parameters.config
        self._frame = frame_prefix(config.frame_prefix, self.get_namespace()) + config.base_frame
        self._state: tuple[Any, float] | None = None
        self._steps: tuple[np.ndarray, float] | None = None
        self._workspace: tuple[np.ndarray, np.ndarray] | None = None
        self._markers = self.create_publisher(MarkerArray, "magma/markers", qos.ROBOT_STATE)
        for kind, topic, heard, profile in (
            (ActionChunk, "magma/action_chunk", self._on_chunk, qos.COMMAND),
            (EndEffectorState, "magma/end_effector_state", self._on_state, qos.ROBOT_STATE),
        ):
            ForeignSubscription(self, kind, topic, heard, profile, most_bytes=MOST_BYTES)
        self._limits = ControllerParameters(self, WORKSPACE, self._on_limits)
        self.create_timer(1.0 / config.rate_hz, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_chunk(self, message: ActionChunk) -> None:
        steps = chunk_from_msg(message).deltas
        if len(steps) and np.isfinite(steps).all():
            self._steps = steps, steady_s()

    def _on_state(self, message: EndEffectorState) -> None:
        self._state = state_from_msg(message), steady_s()

    def _on_limits(self, values: dict[str, ParameterValue]) -> None:
        self._workspace = workspace_of(values) or self._workspace

    def _publish(self) -> None:
        self._limits.ask_first()
        now_s, config = steady_s(), self._node_parameters.config
        state = self._state[0] if self._state is not None and now_s - self._state[1] < config.trace_valid_s else None
        steps = self._steps[0] if self._steps is not None and now_s - self._steps[1] < config.trace_valid_s else None
        told = MarkerArray(
            markers=markers(
                None if state is None else state.target_position,
                None if state is None else state.position,
                steps,
                self._workspace,
            )
        )
        for one in told.markers:
            one.header.stamp, one.header.frame_id = ns_to_stamp(self.get_clock().now().nanoseconds), self._frame
        self._markers.publish(told)


def main() -> int:
    """Entry point of `ros2 run magma_console markers`."""
    return run_node(Markers)


if __name__ == "__main__":
    sys.exit(main())
