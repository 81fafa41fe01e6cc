"""Noise of demonstrations: reproducible, bounded to the space over the table, and quiet when asked."""

from pathlib import Path

import numpy as np
import pytest

from magma_sim.demonstrations.config import DemonstrationConfig, NoiseConfig
from magma_sim.demonstrations.files import episode_name
from magma_sim.demonstrations.noise import ActionNoise
from magma_sim.registry import skill_of

CLEAN = np.array([0.02, -0.01, -0.03, 0.0, 0.0, 0.1, 1.0])
WORKSPACE = skill_of("carrot_on_plate").workspace
HERE = np.array([0.5, 0.0, 0.02])


def test_same_seed_same_noise() -> None:
    runs = []
    for _ in range(2):
        noise = ActionNoise(NoiseConfig(clean_episodes=0.0), WORKSPACE, np.random.default_rng(7))
        runs.append([noise.executed(CLEAN, HERE, done=False) for _ in range(40)])
    assert np.array_equal(*runs)
    assert not np.allclose(runs[0], CLEAN)


def test_never_pushes_the_target_off_the_table() -> None:
    noise = ActionNoise(NoiseConfig(scale=5.0, clean_episodes=0.0), WORKSPACE, np.random.default_rng(1))
    position = HERE
    for _ in range(300):
        action = noise.executed(CLEAN, position, done=False)
        position = position + action[:3]
        assert (position >= [0.30, -0.32, 0.004 - 1e-12]).all() and (position <= [0.74, 0.32, 0.38]).all()
        assert action[6] in (0.0, 1.0)


def test_clean_and_switched_off() -> None:
    for config in (NoiseConfig(scale=0.0), NoiseConfig(clean_episodes=1.0)):
        noise = ActionNoise(config, WORKSPACE, np.random.default_rng(0))
        assert all(np.array_equal(noise.executed(CLEAN, HERE, done=False), CLEAN) for _ in range(50))


def test_gripper_is_left_alone_after_success() -> None:
    noise = ActionNoise(NoiseConfig(scale=3.0, clean_episodes=0.0), WORKSPACE, np.random.default_rng(2))
    assert all(noise.executed(CLEAN, HERE, done=True)[6] == 1.0 for _ in range(200))


def test_configuration_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="burst_m"):
        NoiseConfig(burst_m=-1.0)
    with pytest.raises(ValueError, match="add up"):
        NoiseConfig(random_starts=0.7, hovering_starts=0.5)
    with pytest.raises(ValueError, match="no expert for"):
        DemonstrationConfig(out=tmp_path, tasks=("juggle",))
    with pytest.raises(ValueError, match="one suite"):
        DemonstrationConfig(out=tmp_path, tasks=("stack_blocks", "widowx_stack_cube"))
    with pytest.raises(ValueError, match="workers"):
        DemonstrationConfig(out=tmp_path, workers=0)
    assert episode_name("stack_blocks", 3) == "stack_blocks-3"
