"""Policies of arms that need no model: the lower bounds every result is compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from magma_eval.actions import Deltas, hold_action
from magma_eval.episodes import Episode
from magma_eval.policies.interface import PolicySpec

SCRIPTED = ("expert", "hold", "random")
"""Policies that need no model; which expert, the benchmark of the task says."""


class ScriptedPolicy:
    """What policies without a model have in common: they look at no image, and remember nothing."""

    def __init__(self, name: str) -> None:
        self.spec = PolicySpec(name, needs_image=False)
        self.stage_ms: Mapping[str, float] = {}

    def reset(self, instruction: str) -> None:
        del instruction

    def close(self) -> None:
        pass


class HoldPolicy(ScriptedPolicy):
    """Leaves the arm's target and the gripper where they are: the rate that chance alone gives."""

    def __init__(self) -> None:
        super().__init__("hold")

    def act(self, observation: Any) -> Deltas:
        return hold_action(observation)


class RandomPolicy(ScriptedPolicy):
    """Random steps: each translation axis uniform in ± 2 cm, each rotation axis in ± 0.1 rad, the gripper drawn anew,
    open or closed, every ten steps on average. The seed of the run and the episode's name decide."""

    def __init__(self, episode: Episode, seed: int) -> None:
        super().__init__("random")
        name = f"{episode.suite}/{episode.task}/{episode.variant}/{episode.episode_id}/{seed}"
        words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype=np.uint32)
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(words.tolist())))
        self._gripper = 1.0

    def act(self, observation: Any) -> Deltas:
        del observation
        translation = self._random.uniform(-0.02, 0.02, 3)
        rotation = self._random.uniform(-0.1, 0.1, 3)
        if self._random.random() < 0.1:
            self._gripper = float(self._random.integers(0, 2))
        return np.array([*translation, *rotation, self._gripper])
