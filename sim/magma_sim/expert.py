"""A memoryless scripted expert for the tabletop tasks: from object poses and end-effector state to one action.

It keeps no counters and no phases: the same state always gives the same action, so it can label any state that a
noisy or a learned policy runs into. It needs poses only, so a ROS node can run it from /tf.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_sim.backends.tabletop.objects import BASKET_RIM_HEIGHT, OBJECTS, goal_of
from magma_sim.backends.tabletop.success import placed
from magma_sim.rotations import (
    axis_angle_from_quaternion,
    conjugate,
    multiply,
    quaternion_from_yaw,
    yaw_from_quaternion,
)
from magma_sim.task import EndEffectorState, Pose

GRIPPER_SPAN_M = 0.08


@dataclass(frozen=True)
class ExpertConfig:
    """Distances in metres, angles in radians, heights of the tool centre point above the table."""

    max_step: float = 0.05
    max_turn: float = 0.30
    hover_height: float = 0.085
    """height above the grasp at which the gripper lines up before it descends"""
    carry_height: float = 0.135
    retreat_height: float = 0.20
    align_radius: float = 0.012
    """horizontal distance within which the descent begins"""
    align_angle: float = 0.15
    grasp_radius: float = 0.010
    grasp_height_tolerance: float = 0.008
    place_radius: float = 0.012
    place_clearance: float = 0.004
    """gap below the source when the gripper lets go"""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a positive number, got {value}")


class ScriptedExpert:
    """The expert of one task.

    Args:
        task: task name.
        config: distances; the defaults solve the suite.

    Raises:
        ValueError: unknown task.
    """

    def __init__(self, task: str, config: ExpertConfig | None = None) -> None:
        self._goal = goal_of(task)
        self._config = config or ExpertConfig()
        self._source = OBJECTS[self._goal.source]
        self._target = OBJECTS[self._goal.target]

    def act(self, end_effector: EndEffectorState, object_poses: Mapping[str, Pose]) -> NDArray[np.float64]:
        """The next EndEffectorDelta (7,).

        Args:
            end_effector: state of the end effector in the base frame.
            object_poses: name -> pose in the base frame; source and target of the task must be among them.

        Raises:
            KeyError: the pose of the source or the target is missing.
        """
        for name in (self._goal.source, self._goal.target):
            if name not in object_poses:
                raise KeyError(f"the expert needs the pose of {name!r}; it got {sorted(object_poses)}")
        source_position, source_rotation = object_poses[self._goal.source]
        tool = end_effector.position
        turn = self._turn(end_effector, source_rotation)
        in_fingers = self._in_fingers(end_effector, source_position)
        if in_fingers and self._gripping(end_effector):
            return self._carry(end_effector, object_poses)
        if placed(self._goal, object_poses):
            return self._retreat(end_effector, near=in_fingers)
        return self._approach(end_effector, source_position, turn, tool)

    def _grasp_offset(self) -> float:
        """Height of the tool above the source's origin in a good grasp."""
        return self._source.grasp_height - self._source.rest_height

    def _in_fingers(self, state: EndEffectorState, source: NDArray[np.float64]) -> bool:
        offset = state.position - source
        return bool(np.hypot(*offset[:2]) < 0.022 and abs(offset[2] - self._grasp_offset()) < 0.018)

    def _gripping(self, state: EndEffectorState) -> bool:
        width = state.gripper * GRIPPER_SPAN_M
        return state.gripper_target < 0.5 and width < self._source.grasp_width + 0.006

    def _turn(self, state: EndEffectorState, source_rotation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rotation (axis-angle, full) from the target orientation to the nearest good grasp orientation."""
        yaw = yaw_from_quaternion(source_rotation)
        # A block looks the same after a quarter turn, every other source after a half turn of the gripper.
        period = np.pi / 2 if self._source.tip is None else np.pi
        yaw = (yaw + period / 2) % period - period / 2
        wanted = multiply(quaternion_from_yaw(yaw), np.array([1.0, 0.0, 0.0, 0.0]))
        return axis_angle_from_quaternion(multiply(wanted, conjugate(state.target_quaternion_xyzw)))

    def _upright(self, state: EndEffectorState) -> NDArray[np.float64]:
        """Rotation (axis-angle) that points the tool straight down again and keeps its heading."""
        yaw = yaw_from_quaternion(state.target_quaternion_xyzw)
        wanted = multiply(quaternion_from_yaw(yaw), np.array([1.0, 0.0, 0.0, 0.0]))
        return axis_angle_from_quaternion(multiply(wanted, conjugate(state.target_quaternion_xyzw)))

    def _action(
        self, state: EndEffectorState, goal: NDArray[np.float64], turn: NDArray[np.float64], gripper: float
    ) -> NDArray[np.float64]:
        """A step of the controller's target towards `goal` (3,), limited in length and angle."""
        move = goal - state.target_position
        distance, angle = float(np.linalg.norm(move)), float(np.linalg.norm(turn))
        move = move * min(1.0, self._config.max_step / max(distance, 1e-9))
        turn = turn * min(1.0, self._config.max_turn / max(angle, 1e-9))
        return np.array([*move, *turn, gripper])

    def _approach(
        self,
        state: EndEffectorState,
        source: NDArray[np.float64],
        turn: NDArray[np.float64],
        tool: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        config = self._config
        grasp = np.array([source[0], source[1], max(source[2] + self._grasp_offset(), 0.010)])
        sideways = float(np.hypot(*(tool - grasp)[:2]))
        angle = float(np.linalg.norm(turn))
        above = float(tool[2] - grasp[2])
        fingers_clear = state.gripper * GRIPPER_SPAN_M > self._source.grasp_width + 0.018
        if sideways < config.grasp_radius and abs(above) < config.grasp_height_tolerance and angle < 0.25:
            return self._action(state, grasp, turn, 0.0)
        aligned = sideways < config.align_radius and angle < config.align_angle
        if (aligned or (sideways < config.grasp_radius + 0.004 and above < 0.04 and angle < 0.3)) and fingers_clear:
            return self._action(state, grasp, turn, 1.0)
        return self._travel(state, grasp[:2], grasp[2] + config.hover_height, turn, 1.0)

    def _travel(
        self,
        state: EndEffectorState,
        goal_xy: NDArray[np.float64],
        height: float,
        turn: NDArray[np.float64],
        gripper: float,
    ) -> NDArray[np.float64]:
        """Moves over the table at `height`; while still low it rises before it moves sideways."""
        goal = np.array([goal_xy[0], goal_xy[1], height])
        sideways = float(np.hypot(*(goal - state.position)[:2]))
        rise = height - float(state.position[2])
        if sideways > 0.03 and rise > 0.02:
            # The lower the tool, the less it may go sideways: objects stand in the way.
            share = float(np.clip(1.0 - (rise - 0.02) / 0.03, 0.0, 1.0))
            goal[:2] = state.target_position[:2] + share * (goal[:2] - state.target_position[:2])
        return self._action(state, goal, turn, gripper)

    def _carry(self, state: EndEffectorState, object_poses: Mapping[str, Pose]) -> NDArray[np.float64]:
        config = self._config
        source, target = object_poses[self._goal.source][0], object_poses[self._goal.target][0]
        # Where the tool has to be so that the source, as it lies in the fingers, is over the target.
        held = state.position - source
        goal_xy = target[:2] + held[:2]
        sideways = float(np.hypot(*(goal_xy - state.position[:2])))
        top = target[2] - self._target.rest_height + self._target.support_height
        if self._goal.target == "basket":
            release = top + BASKET_RIM_HEIGHT * 0.35 + self._source.rest_height + held[2]
        else:
            release = top + self._source.rest_height + held[2] + config.place_clearance
        turn = self._upright(state)
        if sideways < config.place_radius:
            if state.position[2] - release < 0.006:
                return self._action(state, state.target_position, np.zeros(3), 1.0)
            return self._action(state, np.array([*goal_xy, release]), turn, 0.0)
        return self._travel(state, goal_xy, max(config.carry_height, top + 0.095), turn, 0.0)

    def _retreat(self, state: EndEffectorState, *, near: bool) -> NDArray[np.float64]:
        """Opens, rises from the placed source, and then holds still."""
        config = self._config
        still = np.zeros(3)
        if near and state.gripper * GRIPPER_SPAN_M < self._source.grasp_width + 0.012:
            return self._action(state, state.target_position, still, 1.0)
        height = max(float(state.target_position[2]), config.retreat_height)
        if state.target_position[2] > config.retreat_height - 0.005:
            return self._action(state, state.target_position, still, 1.0)
        return self._action(state, np.array([*state.target_position[:2], height]), self._upright(state), 1.0)
