"""The third-person camera of the Bridge tasks at any image size, and the photo behind the rendered objects.

The camera is a Logitech C920 at 640 x 480. Another size stretches the same view: the intrinsics scale in x and in y by
themselves, so that every pixel keeps its place in the photo. A square image is therefore squashed exactly as the
robot's camera_subscriber squashes a real 640 x 480 image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import sapien
from numpy.typing import NDArray

from magma_sim.backends.simpler_bridge.goals import Setting

NATIVE_HEIGHT, NATIVE_WIDTH = 480, 640
NATIVE_INTRINSICS = ((623.588, 0.0, 319.501), (0.0, 623.588, 239.545), (0.0, 0.0, 1.0))
_SMALLEST, _LARGEST = 16, 2048

Size = tuple[int, int]
"""(height, width) in pixels"""


@dataclass(frozen=True)
class CameraSetup:
    """Where the camera is fixed on the robot's base (m, wxyz as published; x forward, y left, z up), and its photo."""

    position: tuple[float, float, float]
    quaternion_wxyz: tuple[float, float, float, float]
    photo: str


SETUPS: dict[Setting, CameraSetup] = {
    "flat_table": CameraSetup(
        (0.00, -0.16, 0.36), (0.8992917, -0.09263245, 0.35892478, 0.23209205), "bridge_real_eval_1.png"
    ),
    "sink": CameraSetup(
        (-0.00300001, -0.21, 0.39), (-0.907313, 0.0782, -0.36434, -0.194741), "bridge_sink.png"
    ),
}  # fmt: skip


def check_size(size: Size) -> Size:
    """Returns the size as ints, or raises ValueError."""
    height, width = (int(value) for value in size)
    if not (_SMALLEST <= height <= _LARGEST and _SMALLEST <= width <= _LARGEST):
        raise ValueError(f"a picture has {_SMALLEST} to {_LARGEST} pixels a side, got {width} x {height}")
    return height, width


def render_size(size: Size) -> Size:
    """Pixels to render for an image: twice as many a side, unless that exceeds the native size.

    Small images are averaged from larger ones, as a real camera's image is when it is made smaller.
    """
    height, width = size
    if 2 * height <= NATIVE_HEIGHT and 2 * width <= NATIVE_WIDTH:
        return 2 * height, 2 * width
    return height, width


def intrinsics(size: Size) -> NDArray[np.float64]:
    """K (3, 3) at an image size; pixel centres at half-integers."""
    height, width = size
    scale = np.diag([width / NATIVE_WIDTH, height / NATIVE_HEIGHT, 1.0])
    return scale @ np.array(NATIVE_INTRINSICS)


def extrinsics(setting: Setting) -> NDArray[np.float64]:
    """base -> camera_optical (4, 4): x right, y down, z forward."""
    setup = SETUPS[setting]
    camera_in_base = sapien.Pose(setup.position, setup.quaternion_wxyz).to_transformation_matrix().astype(np.float64)
    # Quaternions are published with few digits and SAPIEN computes in float32: make it a rotation again.
    left, _, right = np.linalg.svd(camera_in_base[:3, :3])
    # SAPIEN's camera looks along x with y left and z up.
    camera_in_base[:3, :3] = left @ right @ np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    return np.linalg.inv(camera_in_base)


def load_photo(folder: Path, setting: Setting) -> NDArray[np.uint8]:
    """The photo (480, 640, 3) RGB that stands behind the rendered objects.

    Raises:
        FileNotFoundError: it is not there or cannot be read.
    """
    path = folder / SETUPS[setting].photo
    image = cv2.imread(str(path))
    if image is None:
        raise FileNotFoundError(f"the background picture {path} is missing or cannot be read")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8)


def resize(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """The image at (height, width): areas averaged when it gets smaller, interpolated when larger."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    smaller = height <= image.shape[0] and width <= image.shape[1]
    return cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    ).astype(np.uint8)  # fmt: skip


def compose(
    rendered: NDArray[np.uint8], segmentation: NDArray[np.integer], keep: NDArray[np.integer], photo: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Photo everywhere but where one of the entities in `keep` was rendered.

    Args:
        rendered, photo: (H, W, 3); segmentation: (H, W) entity numbers; keep: numbers that stay.
    """
    return np.where(np.isin(segmentation, keep)[..., None], rendered, photo)
