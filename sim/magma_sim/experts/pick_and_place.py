"""A memoryless scripted expert: from object poses and end-effector state to one action.

It keeps no counters and no phases: the same state always gives the same action, so it can label any state that a
noisy or a learned policy runs into. It needs poses only, so a ROS node can run it from /tf. What differs between
tasks, robots and simulators is in `magma_sim.tasks.skill.Skill`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from magma_contracts.arm_state import ArmState
from magma_contracts.geometry.rotations import (
    axis_angle_from_quaternion,
    conjugate,
    multiply_left_to_right,
    quaternion_from_yaw,
    rotate,
    yaw_from_quaternion,
)
from magma_sim.registry import skill_of
from magma_sim.tasks.skill import ExpertConfig, Poses, Skill, gradual, straight_to

_GRIP_SLACK_M = 0.006
"""fingers whose gap is so much wider than the source, or less, hold it"""
_FINGER_ROOM_M = 0.006
"""on both sides of the source, before the open fingers go down around it"""
_RELEASED_M = 0.012
"""fingers whose gap is so much wider than the source have let go"""


class ScriptedExpert:
    """The expert of one task.

    Args:
        task: name of a task of the suites `tabletop` or `simpler-bridge`.
        config: distances; the task's own solve it.

    Raises:
        ValueError: there is no expert for the task.
    """

    def __init__(self, task: str, config: ExpertConfig | None = None) -> None:
        self._skill: Skill = skill_of(task)
        self._config = config or self._skill.config

    @property
    def skill(self) -> Skill:
        """What it knows of the task."""
        return self._skill

    def act(self, end_effector: ArmState, object_poses: Poses) -> NDArray[np.float64]:
        """The next EndEffectorDelta (7,).

        Args:
            end_effector: state of the end effector in the base frame.
            object_poses: name -> pose in the base frame; source and target of the task must be among them.

        Raises:
            KeyError: the pose of the source or the target is missing.
        """
        skill = self._skill
        for name in (skill.source, skill.target):
            if name not in object_poses:
                raise KeyError(f"the expert needs the pose of {name!r}; it got {sorted(object_poses)}")
        in_fingers = self.in_fingers(end_effector, object_poses)
        if in_fingers and self.gripping(end_effector):
            return self._carry(end_effector, object_poses)
        if skill.placed(object_poses):
            return self._retreat(end_effector, near=in_fingers)
        return self._approach(end_effector, object_poses, in_fingers=in_fingers)

    def _handle(self, object_poses: Poses) -> NDArray[np.float64]:
        """The point (3,) of the source at which it is grasped."""
        position, rotation = object_poses[self._skill.source]
        return position + rotate(rotation, np.array([self._skill.grasp_offset, 0.0, 0.0]))

    def in_fingers(self, state: ArmState, object_poses: Poses) -> bool:
        """Whether the source is between the fingers."""
        offset = state.position - self._handle(object_poses)
        across = float(np.hypot(*offset[:2]))
        height = abs(float(offset[2]) - self._skill.grasp_above_origin)
        return across < self._config.hold_distance and height < self._config.hold_height

    def gripping(self, state: ArmState) -> bool:
        """Whether the fingers are about as far apart as the source is wide, and to be closed."""
        return state.gripper_target < 0.5 and self._skill.gap(state.gripper) < self._skill.source_width + _GRIP_SLACK_M

    def _down(self, heading: float) -> NDArray[np.float64]:
        """Orientation of the tool that points down and grasps a source of this heading."""
        return multiply_left_to_right(quaternion_from_yaw(heading), np.array(self._skill.tool_down_xyzw))

    def _turn(self, state: ArmState, source_rotation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rotation (axis-angle, full) from the target orientation to the grasp orientation."""
        period, start = self._skill.heading_period, self._skill.heading_start
        heading = (yaw_from_quaternion(source_rotation) - start) % period + start
        return axis_angle_from_quaternion(
            multiply_left_to_right(self._down(heading), conjugate(state.target_quaternion_xyzw))
        )

    def _upright(self, state: ArmState) -> NDArray[np.float64]:
        """Rotation (axis-angle) that points the tool straight down again and keeps its heading."""
        turned = multiply_left_to_right(state.target_quaternion_xyzw, conjugate(np.array(self._skill.tool_down_xyzw)))
        heading = 2.0 * float(np.arctan2(turned[2], turned[3]))
        return axis_angle_from_quaternion(
            multiply_left_to_right(self._down(heading), conjugate(state.target_quaternion_xyzw))
        )

    def _action(
        self, state: ArmState, goal: NDArray[np.float64], turn: NDArray[np.float64], gripper: float
    ) -> NDArray[np.float64]:
        """A step of the controller's target towards `goal` (3,), limited in length and angle."""
        move = straight_to(goal - state.target_position, self._config.max_step)
        return np.array([*move, *straight_to(turn, self._config.max_turn), gripper])

    def _approach(self, state: ArmState, object_poses: Poses, *, in_fingers: bool) -> NDArray[np.float64]:
        config, skill = self._config, self._skill
        handle = self._handle(object_poses)
        height = max(float(handle[2]) + skill.grasp_above_origin, skill.lowest_tool)
        grasp = np.array([handle[0], handle[1], height])
        turn = self._turn(state, object_poses[skill.source][1])
        angle = float(np.linalg.norm(turn))
        offset = state.position - grasp
        gap = skill.gap(state.gripper)
        if gap > skill.source_width - _GRIP_SLACK_M and self._closes(state, offset, angle, in_fingers=in_fingers):
            return self._action(state, grasp, turn, 0.0)
        if gap < skill.source_width + 2 * _FINGER_ROOM_M:
            hovering = 1.0
        else:
            hovering = max(
                gradual(float(np.hypot(*offset[:2])), config.align_inner, config.align_outer),
                gradual(angle, config.align_angle_inner, config.align_angle_outer),
            )
        return self._travel(state, grasp[:2], grasp[2] + hovering * config.hover, turn, 1.0)

    def _closes(self, state: ArmState, offset: NDArray[np.float64], angle: float, *, in_fingers: bool) -> bool:
        """Whether the fingers should close at `offset` (3,) from the grasp, turned by `angle` from it."""
        config = self._config
        if in_fingers and state.gripper_target < 0.5:
            # They are closing already: to open them again would only let go of what they are about to hold.
            return True
        way = rotate(state.quaternion_xyzw, np.array([0.0, 1.0, 0.0]))[:2]
        way = way / max(float(np.hypot(*way)), 1e-9)
        across = abs(float(offset[:2] @ way))
        along = abs(float(offset[0] * way[1] - offset[1] * way[0]))
        return (
            across < config.close_across
            and along < config.close_along
            and abs(float(offset[2])) < config.close_above
            and angle < config.close_angle
        )

    def _travel(
        self,
        state: ArmState,
        goal_xy: NDArray[np.float64],
        height: float,
        turn: NDArray[np.float64],
        gripper: float,
    ) -> NDArray[np.float64]:
        """Moves towards a place at `height`; while far below that it rises before it moves sideways."""
        goal = np.array([goal_xy[0], goal_xy[1], height])
        sideways = float(np.hypot(*(goal - state.position)[:2]))
        rise = height - float(state.position[2])
        if sideways > 0.03 and rise > 0.02:
            # The lower the tool, the less it may go sideways: objects stand in the way.
            share = 1.0 - gradual(rise, 0.02, 0.05)
            goal[:2] = state.target_position[:2] + share * (goal[:2] - state.target_position[:2])
        return self._action(state, goal, turn, gripper)

    def _carry(self, state: ArmState, object_poses: Poses) -> NDArray[np.float64]:
        config, skill = self._config, self._skill
        source, target = object_poses[skill.source][0], object_poses[skill.target][0]
        # Where the tool has to be so that the source, as it lies in the fingers, is over the target.
        held = state.position - source
        goal_xy = target[:2] + held[:2]
        sideways = float(np.hypot(*(goal_xy - state.position[:2])))
        release = skill.rest_height(object_poses) + float(held[2]) + config.place_clearance
        if sideways < config.place_inner and state.position[2] - release < config.place_above:
            return self._action(state, state.target_position, np.zeros(3), 1.0)
        clear = max(skill.clear_height(object_poses), release)
        height = release + gradual(sideways, config.place_inner, config.place_outer) * (clear - release)
        return self._travel(state, goal_xy, height, self._upright(state), 0.0)

    def _retreat(self, state: ArmState, *, near: bool) -> NDArray[np.float64]:
        """Opens, rises from the placed source, and then holds still."""
        config, skill = self._config, self._skill
        still = np.zeros(3)
        if near and skill.gap(state.gripper) < skill.source_width + _RELEASED_M:
            return self._action(state, state.target_position, still, 1.0)
        if state.target_position[2] > config.retreat_height - 0.005:
            return self._action(state, state.target_position, still, 1.0)
        up = np.array([*state.target_position[:2], config.retreat_height])
        return self._action(state, up, self._upright(state), 1.0)


def make_expert(task: str) -> ScriptedExpert:
    """The expert of a task; ValueError when there is none."""
    return ScriptedExpert(task)
