"""Noise on the actions that are executed while a demonstration is recorded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from magma_sim.demonstrations.config import NoiseConfig
from magma_sim.tasks.skill import Workspace


class ActionNoise:
    """Noise of one episode; its state (bursts, flips) belongs to that episode."""

    def __init__(self, config: NoiseConfig, workspace: Workspace, rng: np.random.Generator) -> None:
        self._config = config
        self._low, self._high = np.array(workspace.low), np.array(workspace.high)
        self._rng = rng
        self._scale = 0.0 if rng.random() < config.clean_episodes else config.scale * float(rng.uniform(0.5, 1.5))
        self._burst = np.zeros(6)
        self._burst_left = 0
        self._flip_left = 0

    def executed(
        self, meant: NDArray[np.float64], target_position: NDArray[np.float64], *, done: bool
    ) -> NDArray[np.float64]:
        """The action to execute instead of the one that is meant; after success neither bursts nor flips begin.

        Args:
            meant: EndEffectorDelta (7,), the expert's or the actor's.
            target_position: (3,) m, the controller's target before the action; the noise keeps it in the workspace.
            done: whether the goal holds.
        """
        config, rng, scale = self._config, self._rng, self._scale
        if scale == 0.0:
            return meant
        noise = np.zeros(6)
        noise[:3] = rng.normal(0.0, scale * config.translation_m, 3)
        noise[3:] = rng.normal(0.0, scale * config.rotation_rad, 3) * (1 / 3, 1 / 3, 1.0)
        if not done and self._burst_left == 0 and rng.random() < scale * config.burst_probability:
            self._burst_left = int(rng.integers(2, 6))
            direction = rng.normal(size=3)
            self._burst[:3] = direction / np.linalg.norm(direction) * rng.uniform(0.3, 1.0) * scale * config.burst_m
            self._burst[5] = rng.uniform(-1.0, 1.0) * scale * config.burst_rad
        if self._burst_left > 0:
            self._burst_left -= 1
            noise += self._burst
        if not done and self._flip_left == 0 and rng.random() < scale * config.flip_probability:
            self._flip_left = int(rng.integers(1, 4))
        gripper = meant[6]
        if self._flip_left > 0:
            self._flip_left -= 1
            gripper = 1.0 - gripper
        move = np.clip(target_position + meant[:3] + noise[:3], self._low, self._high) - target_position
        return np.array([*move, *(meant[3:6] + noise[3:]), gripper])
