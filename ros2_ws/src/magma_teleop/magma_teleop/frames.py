"""From the frame in which an operator thinks to the base frame in which the arm is commanded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from magma_contracts.geometry.rotations import matrix_from_quaternion

FloatArray = NDArray[np.float64]

VIEW_TO_OPTICAL = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""Who looks at the picture says forward, left, up; the optical frame says right, down, forward (REP 103)."""


def to_base(motion: FloatArray, frame: str, tool_xyzw: FloatArray, camera_xyzw: FloatArray | None) -> FloatArray:
    """Turns a motion into the base frame.

    Args:
        motion: (6,) translation and axis-angle vector, in `frame`.
        frame: base; tool; or camera: x into the picture, y to its left, z to its top.
        tool_xyzw: orientation (4,) of the end effector in the base frame.
        camera_xyzw: orientation (4,) of camera_optical in the base frame; None when it is not known.

    Returns:
        (6,), of the same lengths.

    Raises:
        ValueError: frame camera and no camera, or an unknown frame.
    """
    if frame == "base":
        return motion
    if frame == "tool":
        matrix = matrix_from_quaternion(tool_xyzw)
    elif frame == "camera":
        if camera_xyzw is None:
            raise ValueError("the camera's pose in the base frame is not known")
        matrix = matrix_from_quaternion(camera_xyzw) @ VIEW_TO_OPTICAL
    else:
        raise ValueError(f"unknown frame {frame!r}")
    return np.concatenate([matrix @ motion[:3], matrix @ motion[3:]])
