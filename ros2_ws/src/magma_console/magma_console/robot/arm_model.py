"""The arm as lines between its joints, from its URDF: for a picture of where it is and where it was told to be.

No clock, no I/O. Meshes are left out: lines say where every joint is, need no file of anybody's and cost a page
nothing.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_contracts.errors import ConfigError
from magma_contracts.geometry.rotation_forms import quaternions
from magma_contracts.geometry.rotations import matrix_from_axis_angle, matrix_from_quaternion
from magma_control.robots.urdf_check import check_urdf
from magma_control.robots.urdf_joints import Mimic, read_joints

FloatArray = NDArray[np.float64]
MOVING = ("revolute", "continuous", "prismatic")
MOST_JOINTS = 200


@dataclass(frozen=True)
class _Joint:
    name: str
    kind: str
    parent: str
    child: str
    origin: FloatArray
    """(4, 4) frame of the child at position 0, in the parent's"""
    axis: FloatArray
    """(3,)"""
    follows: Mimic | None


class ArmModel:
    """Where the joints of a robot are."""

    def __init__(self, urdf: str, base: str = "") -> None:
        """
        Args:
            urdf: the description.
            base: link in whose frame the lines are told; empty = the root.

        Raises:
            ConfigError: it cannot be read, or has no such link.
        """
        check_urdf(urdf)
        try:
            mimics = read_joints(urdf).mimics
            joints = [_joint(element, mimics) for element in ElementTree.fromstring(urdf).findall("joint")]
        except (ElementTree.ParseError, ValueError) as error:
            raise ConfigError(f"the robot's description cannot be read: {error}") from None
        if len(joints) > MOST_JOINTS:
            raise ConfigError(f"the robot's description has {len(joints)} joints: at most {MOST_JOINTS} are drawn")
        children = {joint.child for joint in joints}
        roots = {joint.parent for joint in joints} - children
        self._base = base or next(iter(sorted(roots)), "")
        if joints and self._base not in children | roots:
            raise ConfigError(f"the robot's description has no link {self._base!r}")
        self._ordered = _from_the_roots(joints, roots)
        self.names = frozenset(joint.name for joint in joints if joint.kind in MOVING)
        """joints whose positions matter"""

    def lines(self, positions: Mapping[str, float]) -> list[list[float]]:
        """Lines [x1, y1, z1, x2, y2, z2] in metres between the joints along the tree; one that is not told is at 0."""
        frames: dict[str, FloatArray] = {}
        between = []
        for joint in self._ordered:
            parent = frames.setdefault(joint.parent, np.eye(4))
            at = parent @ joint.origin
            between.append((parent[:3, 3], at[:3, 3]))
            frames[joint.child] = at @ _motion(joint, positions)
        to_base = np.linalg.inv(frames.get(self._base, np.eye(4)))
        told = []
        for begin, end in between:
            if np.linalg.norm(end - begin) > 1e-6:
                ends = np.concatenate([to_base[:3, :3] @ point + to_base[:3, 3] for point in (begin, end)])
                told.append([round(float(value), 4) for value in ends])
        return told


def _motion(joint: _Joint, positions: Mapping[str, float]) -> FloatArray:
    moved = np.eye(4)
    if joint.kind not in MOVING:
        return moved
    if joint.follows is not None:
        position = joint.follows.multiplier * positions.get(joint.follows.joint, 0.0) + joint.follows.offset
    else:
        position = positions.get(joint.name, 0.0)
    if not np.isfinite(position):
        return moved
    if joint.kind == "prismatic":
        moved[:3, 3] = joint.axis * position
    else:
        moved[:3, :3] = matrix_from_axis_angle(joint.axis * position)
    return moved


def _from_the_roots(joints: list[_Joint], roots: set[str]) -> list[_Joint]:
    """Parents before children. What hangs on no root, or on itself, is left out."""
    ordered: list[_Joint] = []
    known = set(roots)
    waiting = joints
    while waiting:
        ready = [joint for joint in waiting if joint.parent in known]
        if not ready:
            break
        ordered += ready
        known |= {joint.child for joint in ready}
        waiting = [joint for joint in waiting if joint.parent not in known or joint not in ready]
    return ordered


def _joint(element: ElementTree.Element, mimics: Mapping[str, Mimic]) -> _Joint:
    parent, child, axis = (element.find(tag) for tag in ("parent", "child", "axis"))
    if parent is None or child is None:
        raise ValueError(f"joint {element.get('name', '')!r} joins nothing")
    direction = _numbers(axis.get("xyz", "1 0 0")) if axis is not None else np.array([1.0, 0.0, 0.0])
    length = float(np.linalg.norm(direction))
    return _Joint(
        element.get("name", ""),
        element.get("type", ""),
        parent.get("link", ""),
        child.get("link", ""),
        _origin(element.find("origin")),
        direction / length if length > 0.0 else direction,
        mimics.get(element.get("name", "")),
    )


def _origin(element: ElementTree.Element | None) -> FloatArray:
    frame = np.eye(4)
    if element is None:
        return frame
    frame[:3, 3] = _numbers(element.get("xyz", "0 0 0"))
    (turn,) = quaternions(_numbers(element.get("rpy", "0 0 0"))[None], "euler_xyz")
    frame[:3, :3] = matrix_from_quaternion(turn)
    return frame


def _numbers(text: str) -> FloatArray:
    values = np.array([float(part) for part in text.split()])
    if values.shape != (3,):
        raise ValueError(f"{text[:40]!r} are no three numbers")
    return values
