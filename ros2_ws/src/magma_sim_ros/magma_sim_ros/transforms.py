"""Where the objects of the simulated world are, out of /tf."""

from __future__ import annotations

import numpy as np
from tf2_msgs.msg import TFMessage

from magma_common.conversions import stamp_to_ns
from magma_sim_ros.scripted_policies import Pose

BASE_FRAME = "base"


def poses_by_stamp(message: TFMessage) -> dict[int, dict[str, Pose]]:
    """Poses in the base frame by stamp in nanoseconds, then by the name of the frame; other transforms are left out."""
    found: dict[int, dict[str, Pose]] = {}
    for item in message.transforms:
        if item.header.frame_id == BASE_FRAME:
            translation, rotation = item.transform.translation, item.transform.rotation
            pose = (
                np.array([translation.x, translation.y, translation.z]),
                np.array([rotation.x, rotation.y, rotation.z, rotation.w]),
            )
            found.setdefault(stamp_to_ns(item.header.stamp), {})[item.child_frame_id] = pose
    return found
