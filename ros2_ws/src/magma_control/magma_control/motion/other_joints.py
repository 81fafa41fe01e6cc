"""The robot's joints that are not the arm's: a lift below it, a second arm, a head, fingers. Where they stand decides
where the arm's tool is and what it can touch.

They are reported like the arm's joints. What was never reported is unknown; it is not taken for zero.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pinocchio as pin

from magma_contracts.errors import ConfigError
from magma_control.motion.joint_tree import Dependence
from magma_control.robots.robot_config import RobotConfig
from magma_control.robots.urdf_joints import UrdfJoints
from magma_control.safety import Refusal

SAME_PLACE = 1e-5
"""Smaller changes of a joint, rad or m, move nothing that is looked at."""
BASE_MOVED = 5e-4
"""The same for joints between base and tool: every pose changes with them, noise should not."""


class OtherJoints:
    """Their places, and the models that follow them. The models are those of the arm alone, in which the other joints
    are fixed where they were placed last."""

    def __init__(self, robot: RobotConfig, full: pin.Model, joints: UrdfJoints) -> None:
        """
        Raises:
            ConfigError: `joints.unreported` names a joint that is not there, or one of the arm's.
        """
        self._robot = robot
        self._full = full
        self._data = full.createData()
        self._mimics = joints.mimics
        arm = set(robot.joints.names)
        names = [name for name in list(full.names)[1:] if name not in arm]
        self._ids = {name: full.getJointId(name) for name in names}
        self._assumed = _assumed(robot, names)
        self._values: dict[str, float] = {}
        self._configuration = pin.neutral(full)
        for name in names:
            self._write(name, self._place_of(name, {}) or 0.0)

    @property
    def names(self) -> tuple[str, ...]:
        """Joints whose reports are of use."""
        return tuple(self._ids)

    @property
    def configuration(self) -> np.ndarray:
        """(nq,) of the full model, with the arm's joints at zero."""
        return self._configuration.copy()

    def missing(self, reported: Mapping[str, float], dependence: Dependence) -> Refusal | None:
        """Why it cannot be told where tool and parts are, or None."""
        for wanted, what in ((dependence.chain, "where the tool is"), (dependence.parts, "what the arm could touch")):
            for index in sorted(wanted):
                name = self._full.names[index]
                if self._place_of(name, reported) is None:
                    return Refusal(
                        "joint not reported",
                        f"joint {self._source(name)} is not reported, so {what} is unknown: publish it on "
                        f"{self._robot.driver.joint_states}, or name its fixed position in joints.unreported",
                    )
        return None

    def name_of(self, index: int) -> str:
        """A joint's name by its index in the full model."""
        return str(self._full.names[index])

    def place(self, reported: Mapping[str, float], chain: frozenset[int]) -> frozenset[int]:
        """Takes positions (rad or m) by name; `chain` as in `Dependence`. Returns the joints, by index, that stand
        elsewhere now."""
        moved = set()
        for name, index in self._ids.items():
            place = self._place_of(name, reported)
            same = BASE_MOVED if index in chain else SAME_PLACE
            if place is not None and abs(place - self._values.get(name, 0.0)) > same:
                self._write(name, place)
                moved.add(index)
        return frozenset(moved)

    def poses(self) -> list[pin.SE3]:
        """Pose of every joint of the full model, the arm's joints at zero."""
        pin.forwardKinematics(self._full, self._data, self._configuration)
        return [pin.SE3(pose) for pose in self._data.oMi]

    def _source(self, name: str) -> str:
        mimic = self._mimics.get(name)
        return name if mimic is None else f"{mimic.joint} (which {name} follows)"

    def _place_of(self, name: str, reported: Mapping[str, float]) -> float | None:
        if name in reported:
            return reported[name]
        mimic = self._mimics.get(name)
        if mimic is not None:
            followed = reported.get(mimic.joint, self._assumed.get(mimic.joint))
            if followed is not None:
                return mimic.multiplier * followed + mimic.offset
        return self._assumed.get(name)

    def _write(self, name: str, place: float) -> None:
        joint = self._full.joints[self._ids[name]]
        if joint.nq == 1:
            self._values[name] = place
            self._configuration[joint.idx_q] = place


def _assumed(robot: RobotConfig, names: list[str]) -> dict[str, float]:
    assumed = {}
    for item in robot.joints.unreported:
        name, _, value = item.rpartition(" ")
        if name not in names:
            raise ConfigError(
                f"robot {robot.name}: joints.unreported names {name!r}, which is no joint beside the arm's; there are "
                f"{', '.join(names) or 'none'}"
            )
        assumed[name] = float(value)
    return assumed
