"""Things of the robot's world in the picture."""

from __future__ import annotations

import numpy as np
import pytest

from magma_console.robot.overlay import BOX_EDGES, View, box_corners, overlay, predicted_path

ABOVE = np.array([[1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, -1.0, 2.0], [0, 0, 0, 1.0]])
"""A camera two metres above the origin that looks down."""
INTRINSICS = np.array([[100.0, 0, 50.0], [0, 100.0, 25.0], [0, 0, 1.0]])
VIEW = View(INTRINSICS, ABOVE, 100, 50)


def test_points_are_shares_of_the_picture():
    np.testing.assert_allclose(VIEW.shares(np.array([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0]])), [[0.5, 0.5], [0.6, 0.5]])
    assert np.isnan(VIEW.shares(np.array([[0.0, 0.0, 3.0]]))).all(), "behind the camera is nowhere"


def test_a_box_has_twelve_edges_of_its_own_sizes():
    corners = box_corners(np.zeros(3), np.array([1.0, 2.0, 3.0]))
    lengths = sorted(np.linalg.norm(corners[one] - corners[other]) for one, other in BOX_EDGES)
    assert lengths == pytest.approx([1.0] * 4 + [2.0] * 4 + [3.0] * 4)


def test_lines_that_pass_the_camera_are_cut_before_it():
    through = (np.array([0.0, 0.0, 0.0]), np.array([0.0, 0.0, 5.0]))
    behind = (np.array([0.0, 0.0, 4.0]), np.array([0.0, 0.0, 5.0]))
    (cut,) = VIEW.segments([through, behind])
    assert np.isfinite(cut).all() and cut[:2] == [0.5, 0.5]


def test_the_path_begins_at_the_target_and_adds_up():
    steps = np.array([[0.1, 0, 0, 0, 0, 0, 1.0], [0, 0.1, 0, 0, 0, 0, 1.0]])
    np.testing.assert_allclose(predicted_path(np.ones(3), steps), [[1, 1, 1], [1.1, 1, 1], [1.1, 1.1, 1]])


def test_only_what_is_known_is_drawn():
    assert overlay(VIEW, None, None, None, None) == {}
    drawn = overlay(VIEW, (np.full(3, -0.1), np.full(3, 0.1)), np.zeros(3), np.array([0.0, 0.0, 9.0]), np.zeros((1, 3)))
    assert set(drawn) == {"workspace", "target"} and len(drawn["workspace"]) == 12
