"""Markers of what the robot means to do, as messages."""

from __future__ import annotations

import numpy as np
from visualization_msgs.msg import Marker

from magma_console.marker_node import markers


def test_what_is_known_is_drawn_and_what_is_not_is_taken_away():
    box = np.array([0.2, -0.5, 0.0]), np.array([0.8, 0.5, 0.7])
    steps = np.array([[0.01, 0, 0, 0, 0, 0, 1], [0, 0.02, 0, 0, 0, 0, 1]], dtype=float)
    target = np.array([0.5, 0.0, 0.3])
    made = {one.ns: one for one in markers(target, target + 0.01, steps, box)}
    assert all(one.action == Marker.ADD and one.pose.orientation.w == 1.0 for one in made.values())
    trace = [(one.x, one.y, one.z) for one in made["trace"].points]
    np.testing.assert_allclose(trace, [(0.5, 0, 0.3), (0.51, 0, 0.3), (0.51, 0.02, 0.3)])
    assert made["measured"].pose.position.x == 0.51 and made["measured"].scale.x > 0.0
    edges = np.array([(one.x, one.y, one.z) for one in made["workspace"].points]).reshape(12, 2, 3)
    assert (np.count_nonzero(edges[:, 0] != edges[:, 1], axis=1) == 1).all(), "each edge goes along one axis"
    gone = markers(None, None, steps, None)
    assert [one.action for one in gone] == [Marker.DELETE] * 4 and not any(one.points for one in gone)
