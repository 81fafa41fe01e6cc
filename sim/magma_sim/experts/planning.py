"""The scripted expert's answer for a later moment: it acts on what it foresees, several steps ahead.

What it foresees is a sketch, not the simulator: the tool follows its target, fingers close on what is between them,
what they hold moves with the tool, and what they let go of over its target lies there.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from magma_contracts.actions import GRIPPER
from magma_contracts.arm_state import ArmState
from magma_contracts.foresight import Ahead, foretell
from magma_contracts.geometry.rotations import conjugate, multiply, rotate
from magma_sim.experts.pick_and_place import ScriptedExpert
from magma_sim.tasks.skill import Poses

PLANNED_STEPS = 8
"""Steps of an answer beyond what is under way: enough for answers that take 0.8 s, of which one is lost."""
STEP_PERIOD_S = 0.2
"""Of all tasks that there is an expert for."""
FINGERS_PER_S = 4.0
"""Openings per second at which the sketched fingers move; the simulated ones need 0.15 to 0.2 s for half of one."""


def plan(expert: ScriptedExpert, state: ArmState, poses: Poses, ahead: Ahead) -> NDArray[np.float64]:
    """The expert's steps (n, 7) from the moment on at which they take effect.

    Args:
        expert: of the task.
        state: of the end effector now, base frame.
        poses: of the objects now, as for `ScriptedExpert.act`.
        ahead: what will be commanded before.
    """
    sketch, now_s = _Sketch(expert, state, poses), 0.0
    for moment_s, command in zip(ahead.moments_s, ahead.commands, strict=True):
        sketch.wait(moment_s - now_s)
        sketch.command(command)
        now_s = moment_s
    sketch.wait(ahead.effect_s - now_s)
    steps = []
    for _ in range(PLANNED_STEPS):
        step = expert.act(sketch.state, sketch.poses)
        steps.append(step)
        sketch.command(step)
        sketch.wait(STEP_PERIOD_S)
    return np.array(steps)


class _Sketch:
    """The arm and the objects as they are imagined."""

    def __init__(self, expert: ScriptedExpert, state: ArmState, poses: Poses) -> None:
        self._expert, self._skill = expert, expert.skill
        self.state, self.poses = state, dict(poses)

    def command(self, delta: NDArray[np.float64]) -> None:
        """The arm is told something; nothing has moved yet."""
        measured = self.state
        told = foretell(measured, Ahead(delta[None], np.zeros(1), 1e-9))
        self.state = dataclasses.replace(
            measured,
            target_position=told.target_position,
            target_quaternion_xyzw=told.target_quaternion_xyzw,
            gripper_target=float(delta[GRIPPER]),
        )

    def wait(self, seconds: float) -> None:
        """Time passes."""
        before, expert = self.state, self._expert
        between = expert.in_fingers(before, self.poses)
        held = between and expert.gripping(before)
        after = foretell(before, Ahead(np.zeros((0, 7)), np.zeros(0), seconds))
        self.state = dataclasses.replace(after, gripper=self._opening(before, seconds, between=between))
        if held:
            self._take_along(before, after)
            if not expert.gripping(self.state):
                self._put_down()

    def _opening(self, before: ArmState, seconds: float, *, between: bool) -> float:
        way = FINGERS_PER_S * seconds
        if before.gripper_target >= 0.5:
            return max(before.gripper, min(before.gripper_target, before.gripper + way))
        skill = self._skill
        width = (skill.source_width - skill.gap_closed) / (skill.gap_open - skill.gap_closed) if between else 0.0
        return min(before.gripper, max(width, before.gripper - way))

    def _take_along(self, before: ArmState, after: ArmState) -> None:
        turn = multiply(after.quaternion_xyzw, conjugate(before.quaternion_xyzw))
        position, rotation = self.poses[self._skill.source]
        self.poses[self._skill.source] = (
            after.position + rotate(turn, position - before.position),
            multiply(turn, rotation),
        )

    def _put_down(self) -> None:
        position, rotation = self.poses[self._skill.source]
        lying = np.array([position[0], position[1], self._skill.rest_height(self.poses)])
        down = {**self.poses, self._skill.source: (lying, rotation)}
        if self._skill.placed(down):
            self.poses = down
