"""Where the tool is when the joints stand so and so, by the URDF of the arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from defusedxml import ElementTree

from magma_contracts.errors import ConfigError
from magma_contracts.files.small_files import read_bytes
from magma_contracts.files.typed_tables import naming
from magma_contracts.geometry.rotation_arrays import FloatArray, multiply, quaternion_from_axis_angle, rotate
from magma_contracts.geometry.rotation_forms import FORMS
from magma_contracts.text import printable

LARGEST = 1 << 24


@dataclass(frozen=True)
class _Joint:
    """`place` and `turn` (quaternion xyzw) of its frame in the parent's; `column` of the joint's number, None if
    fixed."""

    place: FloatArray
    turn: FloatArray
    axis: FloatArray
    sliding: bool
    column: int | None


class JointChain:
    """The joints from one link of a URDF to another."""

    def __init__(self, urdf: Path, base: str, tip: str, joints: Sequence[str]) -> None:
        """`joints` are the names of the numbers, in their order. Raises ConfigError."""
        with naming(urdf):
            data = read_bytes(urdf, LARGEST)
        try:
            root = ElementTree.fromstring(data)
        # Not a list of types: the parser's own, those of defusedxml and of the encoding.
        except Exception as error:
            raise ConfigError(f"{urdf}: cannot be read as a URDF ({printable(error, 160)})") from error
        by_child = {
            child.get("link"): joint for joint in root.iter("joint") if (child := joint.find("child")) is not None
        }
        chain: list[_Joint] = []
        used: set[str] = set()
        link: str | None = tip
        while link != base:
            joint = by_child.pop(link, None)
            parent = joint.find("parent") if joint is not None else None
            if joint is None or parent is None:
                raise ConfigError(f"{urdf}: no joints lead from link {base!r} to {tip!r}; they end at {link!r}")
            chain.insert(0, self._joint(urdf, joint, joints))
            if chain[0].column is not None:
                used.add(joints[chain[0].column])
            link = parent.get("link")
        unused = [name for name in joints if name not in used]
        if unused:
            raise ConfigError(f"{urdf}: {unused[0]!r} moves nothing between {base!r} and {tip!r}; leave its column out")
        self._chain = chain

    @staticmethod
    def _joint(urdf: Path, joint: ElementTree.Element, joints: Sequence[str]) -> _Joint:
        name, kind = joint.get("name", ""), joint.get("type", "")
        origin, axis = joint.find("origin"), joint.find("axis")

        def three(element: ElementTree.Element | None, what: str, default: str) -> FloatArray:
            text = (element.get(what) if element is not None else None) or default
            try:
                values = np.array([float(word) for word in text.split()])
            except ValueError:
                values = np.zeros(0)
            if values.shape != (3,) or not np.isfinite(values).all():
                raise ConfigError(f"{urdf}: joint {name!r} has the {what} {text[:60]!r}, expected three numbers")
            return values

        along = three(axis, "xyz", "1 0 0")
        column = joints.index(name) if name in joints else None
        if column is None and kind != "fixed":
            raise ConfigError(f"{urdf}: joint {name!r} moves, but is not among the joints {', '.join(joints)}")
        if column is not None and kind not in ("revolute", "continuous", "prismatic"):
            raise ConfigError(f"{urdf}: joint {name!r} is {kind}; known are revolute, continuous and prismatic")
        if not np.linalg.norm(along) > 0:
            raise ConfigError(f"{urdf}: joint {name!r} has no axis")
        turn = FORMS["euler_xyz"][1](three(origin, "rpy", "0 0 0")[None])[0]
        return _Joint(three(origin, "xyz", "0 0 0"), turn, along / np.linalg.norm(along), kind == "prismatic", column)

    def poses(self, joints: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Positions (T, 3) m and unit quaternions xyzw (T, 4) of the tip in the base link, of joints (T, n), rad or
        m."""
        place, turn = np.zeros((len(joints), 3)), np.tile([0.0, 0.0, 0.0, 1.0], (len(joints), 1))
        for joint in self._chain:
            place = place + rotate(turn, np.tile(joint.place, (len(joints), 1)))
            turn = multiply(turn, np.tile(joint.turn, (len(joints), 1)))
            if joint.column is None:
                continue
            moved = joints[:, joint.column, None] * joint.axis
            if joint.sliding:
                place = place + rotate(turn, moved)
            else:
                turn = multiply(turn, quaternion_from_axis_angle(moved))
        return place, turn / np.linalg.norm(turn, axis=1, keepdims=True)
