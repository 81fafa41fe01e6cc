"""Where arm and objects of the simulated world are: out of magma/end_effector_state and /tf into a MatchedWorld."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from magma_interfaces.msg import EndEffectorState as EndEffectorStateMsg
from rclpy.node import Node
from tf2_msgs.msg import TFMessage

from magma_common.conversions import stamp_to_ns, state_from_msg
from magma_common.qos import ROBOT_STATE, TRANSFORMS
from magma_sim_ros.matched_world import MatchedWorld
from magma_sim_ros.scripted_policies import Pose

BASE_FRAME = "base"


class WorldSubscriptions:
    """Subscribes for the parts of a world but the frame, which its user may want to look at too."""

    def __init__(self, node: Node, world: MatchedWorld, on_part: Callable[[], None], prefix: str = "") -> None:
        """
        Args:
            world: gets the parts.
            on_part: called after each.
            prefix: what stands before the names of this world's frames in /tf.
        """
        self._prefix = prefix
        self._world = world
        self._on_part = on_part
        node.create_subscription(EndEffectorStateMsg, "magma/end_effector_state", self._on_state, ROBOT_STATE)
        node.create_subscription(TFMessage, "/tf", self._on_transforms, TRANSFORMS)

    def _on_state(self, message: EndEffectorStateMsg) -> None:
        self._world.add_state(state_from_msg(message))
        self._on_part()

    def _on_transforms(self, message: TFMessage) -> None:
        for stamp_ns, poses in poses_by_stamp(message, self._prefix).items():
            self._world.add_poses(stamp_ns, poses)
        self._on_part()


def poses_by_stamp(message: TFMessage, prefix: str = "") -> dict[int, dict[str, Pose]]:
    """Poses in the base frame by stamp in nanoseconds, then by the name of the frame without the prefix; other
    transforms are left out."""
    found: dict[int, dict[str, Pose]] = {}
    for item in message.transforms:
        if item.header.frame_id == prefix + BASE_FRAME and item.child_frame_id.startswith(prefix):
            translation, rotation = item.transform.translation, item.transform.rotation
            pose = (
                np.array([translation.x, translation.y, translation.z]),
                np.array([rotation.x, rotation.y, rotation.z, rotation.w]),
            )
            found.setdefault(stamp_to_ns(item.header.stamp), {})[item.child_frame_id.removeprefix(prefix)] = pose
    return found
