"""Policies without a model: the scripted expert, and the two baselines every result is compared with."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from magma_contracts.arm_state import EndEffectorState
from magma_contracts.foresight import Ahead, foretell

if TYPE_CHECKING:
    from magma_sim.experts.pick_and_place import ScriptedExpert

Pose = tuple[np.ndarray, np.ndarray]
"""(position (3,) m, quaternion xyzw (4,)) in the base frame."""
Kind = Literal["expert", "hold", "random"]
KINDS: tuple[Kind, ...] = ("expert", "hold", "random")


class CannotActError(ValueError):
    """There is no action for this observation; the message says why."""


class ScriptedPolicy(Protocol):
    """From the measured world to one action."""

    def reset(self, instruction: str) -> None:
        """A new task begins."""

    def act(self, state: EndEffectorState, objects: Mapping[str, Pose]) -> np.ndarray:
        """EndEffectorDelta (7,); raises CannotActError when the instruction or the scene does not allow one."""

    def plan(self, state: EndEffectorState, objects: Mapping[str, Pose], ahead: Ahead) -> np.ndarray:
        """Steps (n, 7) from the moment on at which they take effect; raises as `act` does.

        Args:
            state: as reported with the frame.
            objects: as they were then.
            ahead: what will be commanded until then.
        """


class Expert:
    """Solves the simulated tasks from object poses. It finds the task by its sentence, and where two suites share a
    sentence by the objects that are there."""

    def __init__(self) -> None:
        from magma_sim.registry import entries

        self._tasks: dict[str, dict[str, frozenset[str]]] = {}
        for name, entry in entries().items():
            if entry.instruction and entry.skill is not None:
                needed = frozenset((entry.skill.source, entry.skill.target))
                self._tasks.setdefault(_plain(entry.instruction), {})[name] = needed
        self._instruction = ""
        self._candidates: dict[str, frozenset[str]] = {}
        self._experts: dict[str, ScriptedExpert] = {}

    def reset(self, instruction: str) -> None:
        self._instruction = instruction
        self._candidates = self._tasks.get(_plain(instruction), {})

    def act(self, state: EndEffectorState, objects: Mapping[str, Pose]) -> np.ndarray:
        return self._expert_for(objects).act(state, objects)

    def plan(self, state: EndEffectorState, objects: Mapping[str, Pose], ahead: Ahead) -> np.ndarray:
        from magma_sim.experts.planning import plan

        return plan(self._expert_for(objects), state, objects, ahead)

    def _expert_for(self, objects: Mapping[str, Pose]) -> ScriptedExpert:
        from magma_sim.experts.pick_and_place import make_expert

        if not self._instruction:
            raise CannotActError("the expert has no instruction")
        if not self._candidates:
            known = "; ".join(self._tasks)
            raise CannotActError(f"the expert does not know the instruction {self._instruction!r}; it knows: {known}")
        for task, needed in self._candidates.items():
            if needed <= set(objects):
                if task not in self._experts:
                    self._experts[task] = make_expert(task)
                return self._experts[task]
        needs = " or ".join(" and ".join(sorted(needed)) for needed in self._candidates.values())
        raise CannotActError(
            f"not possible in this scene: the expert needs the poses of {needs}; it got {sorted(objects)}"
        )


class _OneStep(ABC):
    """What plans no farther than one step."""

    @abstractmethod
    def act(self, state: EndEffectorState, objects: Mapping[str, Pose]) -> np.ndarray:
        """As `ScriptedPolicy.act`."""

    def plan(self, state: EndEffectorState, objects: Mapping[str, Pose], ahead: Ahead) -> np.ndarray:
        return self.act(foretell(state, ahead), objects)[None]


class Hold(_OneStep):
    """Never moves: what a task scores for nothing."""

    def reset(self, instruction: str) -> None:
        pass

    def act(self, state: EndEffectorState, objects: Mapping[str, Pose]) -> np.ndarray:
        return np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, state.gripper_target])


class RandomMotion(_OneStep):
    """Uniform small motions: what a task scores by chance."""

    STEP_M = 0.02
    TURN_RAD = 0.1

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)

    def reset(self, instruction: str) -> None:
        pass

    def act(self, state: EndEffectorState, objects: Mapping[str, Pose]) -> np.ndarray:
        limits = np.array([self.STEP_M] * 3 + [self.TURN_RAD] * 3)
        return np.append(self._random.uniform(-limits, limits), float(self._random.random() > 0.5))


def make_policy(kind: str, seed: int = 0) -> ScriptedPolicy:
    """The policy of a kind; ValueError for an unknown one."""
    if kind == "expert":
        return Expert()
    if kind == "hold":
        return Hold()
    if kind == "random":
        return RandomMotion(seed)
    raise ValueError(f"unknown scripted policy {kind!r}; there are {', '.join(KINDS)}")


def _plain(instruction: str) -> str:
    """Lower case, single spaces, no full stop at the end: people type sentences in many ways."""
    return re.sub(r"\s+", " ", instruction).strip().rstrip(".!").lower()
