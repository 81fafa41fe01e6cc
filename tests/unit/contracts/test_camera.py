"""The camera model: what no camera is, and where points are in the picture."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from magma_contracts.camera import CameraModel, project
from magma_contracts.errors import ConfigError

K = ((100.0, 0.0, 64.0), (0.0, 110.0, 48.0), (0.0, 0.0, 1.0))


def pose(turn=(0.3, -0.2, 0.5), shift=(0.1, 0.2, 1.5)) -> tuple[tuple[float, ...], ...]:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    matrix[:3, 3] = shift
    return tuple(map(tuple, matrix.tolist()))


def test_the_centre_is_what_the_extrinsics_map_to_the_origin():
    camera = CameraModel(K, pose(), 96, 128)
    assert np.allclose(np.array(camera.extrinsics) @ [*camera.centre, 1.0], [0, 0, 0, 1])


def test_points_in_front_are_projected_and_others_are_not_known():
    camera = CameraModel(K, pose((0, 0, 0), (0, 0, 0)), 96, 128)
    points = np.array([[[0.1, -0.2, 2.0], [0.1, -0.2, -2.0]], [[np.nan, 0.0, 1.0], [0.0, 0.0, 1.0]]])
    pixels = project(points, np.array(camera.intrinsics), np.array(camera.extrinsics))
    assert np.allclose(pixels[0, 0], [64 + 5.0, 48 - 11.0]) and np.allclose(pixels[1, 1], [64.0, 48.0])
    assert np.isnan(pixels[0, 1]).all() and np.isnan(pixels[1, 0]).any()


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"intrinsics": K[:2]}, "3x3"),
        ({"intrinsics": ((0.0, 0.0, 64.0), *K[1:])}, "fx and fy"),
        ({"intrinsics": ((float("inf"), 0.0, 64.0), *K[1:])}, "finite"),
        ({"extrinsics": (*pose()[:3], (0.0, 0.0, 0.0, 2.0))}, "end with the row"),
        ({"extrinsics": ((2.0, 0.0, 0.0, 0.0), *pose()[1:])}, "rotation"),
        ({"image_width": 0}, "image size"),
        ({"image_height": 9000}, "image size"),
    ],
)
def test_what_is_no_camera_is_refused(changes, said):
    values = {"intrinsics": K, "extrinsics": pose(), "image_height": 96, "image_width": 128}
    with pytest.raises(ConfigError, match=said):
        CameraModel(**{**values, **changes})
