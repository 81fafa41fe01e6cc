"""Chains of frames, worked out with scipy; and what is not taken."""

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from magma_common.conversions import ns_to_stamp
from magma_common.transforms.transform_tree import TransformTree, UnknownPoseError

SECOND = 10**9
NOW = 1_700_000_000 * SECOND


def transform(parent, child, xyz=(0.0, 0.0, 0.0), xyzw=(0.0, 0.0, 0.0, 1.0), stamp_ns=0):
    item = TransformStamped(child_frame_id=child)
    item.header.frame_id = parent
    item.header.stamp = ns_to_stamp(stamp_ns)
    t, r = item.transform.translation, item.transform.rotation
    t.x, t.y, t.z = (float(value) for value in xyz)
    r.x, r.y, r.z, r.w = (float(value) for value in xyzw)
    return item


poses = st.tuples(
    st.tuples(*[st.floats(-2, 2)] * 3),
    st.tuples(*[st.floats(-1, 1)] * 4)
    .filter(lambda q: np.linalg.norm(q) > 0.1)
    .map(lambda q: tuple(np.array(q) / np.linalg.norm(q))),
    st.booleans(),
    st.booleans(),
)


def matrix_of(xyz, xyzw):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Rotation.from_quat(xyzw).as_matrix(), xyz
    return matrix


@settings(max_examples=60, deadline=None)
@given(chain=st.lists(poses, min_size=1, max_size=6), data=st.data())
def test_a_chain_in_any_direction_told_in_any_order_is_its_product(chain, data):
    """Each link may be told from either end and be static or not: base -> ... -> last."""
    tree, expected, told = TransformTree(), np.eye(4), []
    for index, (xyz, xyzw, static, backwards) in enumerate(chain):
        near, far = f"frame_{index}", f"frame_{index + 1}"
        link = matrix_of(xyz, xyzw)
        # Told from the far end only where that keeps the tree a tree: no frame with two parents.
        if backwards and index == 0:
            told.append((transform(far, near, xyz, xyzw, NOW), static))
            link = np.linalg.inv(link)
        else:
            told.append((transform(near, far, xyz, xyzw, NOW), static))
        expected = expected @ link
    for item, static in data.draw(st.permutations(told)):
        assert tree.add(item, static) is None
    pose = tree.pose(f"frame_{len(chain)}", "frame_0", NOW, 0.5)
    np.testing.assert_allclose(pose.matrix, expected, atol=1e-9)
    assert np.linalg.norm(pose.quaternion_xyzw) == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(
        tree.pose("frame_0", f"frame_{len(chain)}", NOW, 0.5).matrix, np.linalg.inv(expected), atol=1e-9
    )


def test_what_moves_is_interpolated_and_grows_old():
    tree = TransformTree()
    tree.add(transform("base", "camera", (0, 0, 1)), static=True)
    for step in range(3):
        tree.add(transform("camera", "tag", (0.1 * step, 0, 0), stamp_ns=NOW + step * SECOND // 5), static=False)
    assert tree.pose("tag", "base", NOW + SECOND // 10, 0.5).matrix[:3, 3] == pytest.approx([0.05, 0, 1])
    assert tree.pose("tag", "base", NOW + 6 * SECOND // 10, 0.5).matrix[:3, 3] == pytest.approx([0.2, 0, 1])
    with pytest.raises(UnknownPoseError, match=r"'tag' is in 'base' was last told 0\.70 s ago"):
        tree.pose("tag", "base", NOW + 11 * SECOND // 10, 0.5)
    with pytest.raises(UnknownPoseError, match="past"):
        tree.pose("tag", "base", NOW - SECOND, 0.5)


def test_frames_that_are_not_connected_are_unknown():
    tree = TransformTree()
    tree.add(transform("base", "camera"), static=True)
    tree.add(transform("world", "table"), static=True)
    for frame, base in [("table", "base"), ("camera", "nowhere"), ("nothing", "base")]:
        with pytest.raises(UnknownPoseError, match="/tf says no way from"):
            tree.pose(frame, base, NOW, 0.5)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (transform("base", "camera", xyzw=(0.7, 0.7, -0.7, -0.7)), "norm of its quaternion is 1.400"),
        (transform("base", "camera", xyzw=(0, 0, 0, 0)), "norm of its quaternion is 0.000"),
        (transform("base", "camera", xyz=(0, float("nan"), 0)), "not finite"),
        (transform("base", "camera", xyzw=(0, 0, float("inf"), 1)), "not finite"),
        (transform("camera", "camera"), "names no two frames"),
        (transform("", "camera"), "names no two frames"),
    ],
)
def test_a_transform_that_makes_no_sense_is_refused_and_said(item, reason):
    tree = TransformTree()
    assert reason in tree.add(item, static=True)
    with pytest.raises(UnknownPoseError, match=reason):
        tree.pose("camera", "base", NOW, 0.5)
    assert tree.add(transform("base", "camera"), static=True) is None
    assert tree.pose("camera", "base", NOW, 0.5).matrix == pytest.approx(np.eye(4))


def test_rounded_quaternions_are_taken_and_normalised():
    tree = TransformTree()
    assert tree.add(transform("base", "camera", xyzw=(0.707, 0, 0, 0.707)), static=True) is None
    pose = tree.pose("camera", "base", NOW, 0.5)
    assert np.linalg.norm(pose.quaternion_xyzw) == pytest.approx(1.0, abs=1e-12)
    assert pose.matrix[:3, :3] @ pose.matrix[:3, :3].T == pytest.approx(np.eye(3), abs=1e-12)
