"""An operator made of the scripted expert: when to take the arm from a policy, what to do, when to give it back.

Like a person with a leader arm who watches: small errors are let pass, a policy that goes wrong for some steps, or that
gets nowhere, is corrected, and then left to itself again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from magma_contracts.arm_state import EndEffectorState
from magma_sim_ros.scripted_policies import Pose, ScriptedPolicy

FloatArray = np.ndarray
REMEMBERED = 8
"""Instants of which it is remembered what the expert would have done."""


@dataclass(frozen=True)
class OperatorRules:
    """When the operator steps in, and for how long.

    Attributes:
        tolerated_m: a step of the policy is a mistake when it ends so far from where the expert's would have ended; or
            when it closes a gripper that should open, or opens one that should close.
        patience_steps: so many mistakes in a row are watched, then the operator takes over.
        late_after_steps: the operator also takes over when the task is not done after so many steps, and finishes it.
        correction_steps: length of a correction.
    """

    tolerated_m: float = 0.012
    patience_steps: int = 3
    late_after_steps: int = 35
    correction_steps: int = 8


class ScriptedOperator:
    """Watches a policy's commands and corrects them. No clock, no ROS. Not thread-safe."""

    def __init__(self, expert: ScriptedPolicy, rules: OperatorRules) -> None:
        self._expert = expert
        self._rules = rules
        self._wanted: dict[int, FloatArray] = {}
        self.begin("")

    def begin(self, instruction: str) -> None:
        """A new task begins, with the policy; an empty instruction is none, and nothing is corrected."""
        self._instruction = instruction
        self._expert.reset(instruction)
        self._wanted.clear()
        self.engaged = False
        """whether the operator has, or wants, the arm"""
        self._late = False
        self._mistakes = 0
        self._left = 0

    def on_progress(self, step: int, success: bool) -> None:
        """How the episode goes."""
        if not self._instruction:
            return
        self._late = step >= self._rules.late_after_steps and not success
        if self._late and not self.engaged:
            self._take_over()

    def on_policy_command(self, stamp_ns: int, delta: FloatArray) -> None:
        """The arm was told a step of the policy's, (7,), for the frame of that stamp."""
        wanted = self._wanted.get(stamp_ns)
        if wanted is None or self.engaged:
            return
        astray = np.linalg.norm(delta[:3] - wanted[:3]) > self._rules.tolerated_m
        wrong_gripper = (delta[6] > 0.5) != (wanted[6] > 0.5)
        self._mistakes = self._mistakes + 1 if astray or wrong_gripper else 0
        if self._mistakes >= self._rules.patience_steps:
            self._take_over()

    def act(self, state: EndEffectorState, objects: Mapping[str, Pose]) -> FloatArray | None:
        """The operator's step (7,) for this instant; None while the policy has the arm. The first None after a step
        gives the arm back. Raises CannotActError as the expert does."""
        if not self._instruction:
            return None
        wanted = self._expert.act(state, objects)
        self._wanted[state.stamp_ns] = wanted
        while len(self._wanted) > REMEMBERED:
            self._wanted.pop(next(iter(self._wanted)))
        if self.engaged and self._left == 0 and not self._late:
            self.engaged = False
            self._mistakes = 0
        if not self.engaged:
            return None
        self._left = max(0, self._left - 1)
        return wanted

    def _take_over(self) -> None:
        self.engaged = True
        self._left = self._rules.correction_steps
