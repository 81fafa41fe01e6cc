"""How the parts of a robot hang together with all of its joints, and where they are in the model of the arm alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pinocchio as pin

from magma_control.robots.robot_config import FramesSection


@dataclass(frozen=True)
class Dependence:
    """Which of the joints beside the arm's matter, by their index in the full model."""

    chain: frozenset[int]
    """they lie between base and tool"""
    parts: frozenset[int]
    """they move parts that the arm could touch"""


class JointTree:
    """The tree of one description, and which of its joints are the arm's."""

    def __init__(self, full: pin.Model, geometry: pin.GeometryModel, names: tuple[str, ...]) -> None:
        self._full = full
        self._arm = {full.getJointId(name) for name in names}
        self._objects = [(item.parentJoint, pin.SE3(item.placement)) for item in geometry.geometryObjects]
        self._names = names

    def _ancestors(self, joint: int) -> set[int]:
        """The joint and all on which it hangs."""
        found = set()
        while joint:
            found.add(joint)
            joint = self._full.parents[joint]
        return found

    def _anchor(self, joint: int) -> int:
        """Fingers and the like count as part of the arm's joint on which they hang."""
        on_arm = self._ancestors(joint) & self._arm
        return max(on_arm) if on_arm else joint

    def may_touch(self, first: int, second: int) -> bool:
        """Whether two parts are no neighbours, and the arm moves at least one of them."""
        one, other = self._anchor(self._objects[first][0]), self._anchor(self._objects[second][0])
        parents = self._anchor(self._full.parents[one]), self._anchor(self._full.parents[other])
        neighbours = one == other or parents[0] == other or parents[1] == one
        return not neighbours and bool({one, other} & self._arm)

    def dependence(self, frames: FramesSection, parts: Iterable[int]) -> Dependence:
        """Which joints beside the arm's decide where the tool is against the base, and where those of the parts (by
        index) are that do not hang on the arm."""
        full = self._full
        base, tool = (
            self._ancestors(full.frames[full.getFrameId(link, pin.FrameType.BODY)].parentJoint)
            for link in (frames.base, frames.tool)
        )
        chain = (base ^ tool) - self._arm
        standing = {self._objects[part][0] for part in parts}
        aside: set[int] = set()
        for joint in standing:
            if self._anchor(joint) not in self._arm:
                aside |= base ^ self._ancestors(joint)
        return Dependence(frozenset(chain), frozenset(aside - self._arm - chain))

    def ways(self, joint: int) -> int:
        """In how many numbers a joint's position is told."""
        return int(self._full.joints[joint].nq)

    def place(self, arm: pin.Model, geometry: pin.GeometryModel, poses: list[pin.SE3]) -> None:
        """Moves joints, links and parts in the model of the arm to where they are when the joints of the full model
        have these poses, the arm's own at zero."""
        full = self._full

        def on_arm(joint: int) -> int:
            while joint and joint not in self._arm:
                joint = full.parents[joint]
            return joint

        def relative(joint: int) -> pin.SE3:
            return poses[on_arm(joint)].actInv(poses[joint])

        for name in self._names:
            joint = full.getJointId(name)
            parent = full.parents[joint]
            arm.jointPlacements[arm.getJointId(name)] = relative(parent) * full.jointPlacements[joint]
        for frame in arm.frames:
            original = full.getFrameId(frame.name, frame.type)
            if original < full.nframes and full.frames[original].parentJoint not in self._arm | {0}:
                frame.placement = relative(full.frames[original].parentJoint) * full.frames[original].placement
        for index, (joint, placement) in enumerate(self._objects):
            if joint not in self._arm | {0}:
                geometry.geometryObjects[index].placement = relative(joint) * placement
