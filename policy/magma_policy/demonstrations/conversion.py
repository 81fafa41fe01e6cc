"""Episodes of other people's LeRobot datasets as demonstrations, by the mapping file of their robot."""

from __future__ import annotations

from collections.abc import Mapping as Table
from pathlib import Path
from typing import Any

import numpy as np

from magma_contracts.arm_state import (
    GRIPPER,
    GRIPPER_TARGET,
    POSITION,
    QUATERNION,
    STATE_SIZE,
    TARGET_POSITION,
    TARGET_QUATERNION,
)
from magma_contracts.demonstrations import MARKS
from magma_contracts.errors import ConfigError
from magma_contracts.geometry.pose_conventions import ANGLES, UNITS, Action, Columns, Pose
from magma_contracts.geometry.rotation_arrays import FloatArray, axis_angle_from_quaternion, conjugate, multiply, rotate
from magma_contracts.geometry.rotation_forms import quaternions
from magma_contracts.text import brief
from magma_data.reader import Dataset, Episode
from magma_policy.demonstrations.joint_chain import JointChain
from magma_policy.demonstrations.mapping import Mapping

Poses = tuple[FloatArray, FloatArray, FloatArray]
"""Positions (T, 3) m, quaternions xyzw (T, 4) and openings (T,), 0 closed .. 1 open."""


class Conversion:
    """What a mapping makes of the episodes of one dataset. Raises ConfigError for columns that the set does not have,
    and a clock that it cannot give."""

    def __init__(self, mapping: Mapping, dataset: Dataset) -> None:
        self.mapping, self.dataset = mapping, dataset
        kinematics = mapping.kinematics
        self._chain = (
            JointChain(Path(kinematics.urdf), kinematics.base, kinematics.tip, kinematics.joints)
            if kinematics
            else None
        )
        if mapping.camera not in dataset.info.cameras:
            raise ConfigError(
                f"camera is {brief(mapping.camera)}, the set has {', '.join(dataset.info.cameras) or 'none'}"
            )
        if mapping.fps > dataset.info.fps * (1.0 + 1e-6):
            raise ConfigError(
                f"fps is {mapping.fps:g}, the set has {dataset.info.fps:g} and not more; pictures are not made up"
            )
        for pose in (mapping.state, mapping.action):
            for text in _texts(pose):
                self._place(text)

    def kept(self, length: int) -> np.ndarray:
        """int64: which frames of an episode are learned from, those that are newest at each beat of the clock."""
        ratio = self.dataset.info.fps / self.mapping.fps
        beats = np.arange(int((length - 1) / ratio + 1e-6) + 1)
        return np.floor(beats * ratio + 1e-6).astype(np.int64)

    def arrays(self, episode: Episode) -> dict[str, Any]:
        """`proprioception`, `actions` and `marks` of the steps that are kept; marks are not known.

        Raises:
            ValueError: a number that is none, or a rotation that is none; DatasetError as the reader.
        """
        state, action = self.mapping.state, self.mapping.action
        wanted = {self._place(text)[0] for pose in (state, action) for text in _texts(pose)}
        values = self.dataset.read(episode, sorted(wanted))
        position, turn, opening = self._poses(values, state)
        if state.target_position:
            target = self._poses(values, state, "target_")
        elif action.kind == "absolute":
            place, way, told = self._poses(values, action)
            target = _behind(position, place), _behind(turn, way), _behind(opening, told)
        else:
            told = self._opening(values, action.gripper, action)
            target = position, turn, _behind(opening, told)
        vector = np.zeros((episode.length, STATE_SIZE))
        vector[:, POSITION], vector[:, QUATERNION], vector[:, GRIPPER] = position, turn, opening[:, None]
        vector[:, TARGET_POSITION], vector[:, TARGET_QUATERNION] = target[0], target[1]
        vector[:, GRIPPER_TARGET] = target[2][:, None]
        kept = self.kept(episode.length)
        actions = self._actions(values, action, target, kept)
        return {
            "proprioception": vector[kept].astype(np.float32),
            "actions": actions.astype(np.float32),
            "marks": np.full((len(kept), len(MARKS), 2), np.nan, dtype=np.float32),
        }

    def _actions(self, values: Table[str, Any], action: Action, target: Poses, kept: np.ndarray) -> FloatArray:
        """Deltas (n, 7) from one kept frame to the next: what was told in between, one after the other."""
        ends = np.append(kept[1:], len(target[0])) - 1
        if action.kind == "absolute":
            position, turn, opening = self._poses(values, action)
            shift = position[ends] - target[0][kept]
            turned = multiply(turn[ends], conjugate(target[1][kept]))
        else:
            steps = self._columns(values, action.position) * UNITS[action.position_unit]
            turns = quaternions(self._columns(values, action.rotation), action.rotation_form)
            opening = self._opening(values, action.gripper, action)
            if action.frame == "tool":
                steps = rotate(target[1], steps)
                turns = multiply(multiply(target[1], turns), conjugate(target[1]))
            shift = np.add.reduceat(steps, kept, axis=0)
            turned = turns[kept]
            for row, (begin, end) in enumerate(zip(kept, ends, strict=True)):
                for step in range(begin + 1, end + 1):
                    turned[row : row + 1] = multiply(turns[step : step + 1], turned[row : row + 1])
        return np.concatenate([shift, axis_angle_from_quaternion(turned), opening[ends, None]], axis=1)

    def _poses(self, values: Table[str, Any], pose: Pose, prefix: str = "") -> Poses:
        opening = self._opening(values, getattr(pose, prefix + "gripper"), pose)
        if pose.space == "joints":
            assert self._chain is not None
            joints = self._columns(values, pose.joints)
            assert self.mapping.kinematics is not None
            names = self.mapping.kinematics.joints
            if joints.shape[1] != len(names):
                raise ConfigError(f"{pose.joints} has {joints.shape[1]} numbers, kinematics.joints names {len(names)}")
            return *self._chain.poses(joints * ANGLES[pose.joint_unit]), opening
        position = self._columns(values, getattr(pose, prefix + "position")) * UNITS[pose.position_unit]
        if position.shape[1] != 3:
            raise ConfigError(
                f"{getattr(pose, prefix + 'position')} has {position.shape[1]} numbers, a position has three"
            )
        return (
            position,
            quaternions(self._columns(values, getattr(pose, prefix + "rotation")), pose.rotation_form),
            opening,
        )

    def _opening(self, values: Table[str, Any], text: str, pose: Pose) -> FloatArray:
        number = self._columns(values, text)
        if number.shape[1] != 1:
            raise ConfigError(f"{text} has {number.shape[1]} numbers, a gripper has one: name it, as in {text}[6]")
        return (number[:, 0] - pose.gripper_closed) / (pose.gripper_open - pose.gripper_closed)

    def _columns(self, values: Table[str, Any], text: str) -> FloatArray:
        """float64 (T, n)."""
        name, begin, end = self._place(text)
        flat = values[name].reshape(len(values[name]), -1)[:, begin:end].astype(np.float64)
        if not np.isfinite(flat).all():
            step = int(np.argmax(~np.isfinite(flat).all(axis=1)))
            raise ValueError(f"{text} is not finite: {flat[step].tolist()} at frame {step}")
        return flat

    def _place(self, text: str) -> tuple[str, int, int]:
        columns = Columns.parse(text)
        feature = self.dataset.info.features.get(columns.feature) if columns else None
        if columns is None or feature is None or feature.pictured or feature.dtype == "string":
            known = [name for name, f in self.dataset.info.features.items() if not f.pictured and f.dtype != "string"]
            raise ConfigError(
                f"{brief(text)} names no numbers of the set; write FEATURE, FEATURE[i] or FEATURE[i:j] of "
                f"{', '.join(known)}"
            )
        size = int(np.prod(feature.shape))
        end = size if columns.end is None else columns.end
        if not columns.begin < end <= size:
            raise ConfigError(f"{brief(text)}: the feature has {size} numbers, from 0 on")
        return columns.feature, columns.begin, end


def _behind(now: FloatArray, told: FloatArray) -> FloatArray:
    """What was told at the step before; at the first one how things are."""
    return np.concatenate([now[:1], told[:-1]])


def _texts(pose: Pose) -> list[str]:
    names = ("position", "rotation", "joints", "gripper", "target_position", "target_rotation", "target_gripper")
    return [text for name in names if (text := getattr(pose, name, ""))]
