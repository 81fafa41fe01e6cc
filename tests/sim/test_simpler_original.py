"""The original SimplerEnv behind the Task interface, compared with SimplerEnv's own way of playing an episode."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from magma_eval.suites import suite_episodes
from magma_sim import make_task
from magma_sim.backends.simpler_original.installation import NotInstalledError, find

try:
    INSTALLATION = find()
except NotInstalledError as absent:
    pytest.skip(f"{absent}", allow_module_level=True)

pytestmark = pytest.mark.render

# SimplerEnv's own evaluator makes a new environment per episode and steps it with such a vector.
OWN_LOOP = """
import json, sys
import numpy as np, simpler_env
from simpler_env.utils.env.observation_utils import get_image_from_maniskill2_obs_dict
task, episode, actions, pictures = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4]
env = simpler_env.make(task)
observation, _ = env.reset(options={"obj_init_options": {"episode_id": episode}})
images = [get_image_from_maniskill2_obs_dict(env.unwrapped, observation)]
for action in actions:
    observation, _, done, _, _ = env.step(np.array(action))
    images.append(get_image_from_maniskill2_obs_dict(env.unwrapped, observation))
np.savez(pictures, images=np.stack(images), qpos=env.unwrapped.agent.robot.get_qpos())
"""


@pytest.mark.parametrize("task", ["widowx_carrot_on_plate", "google_robot_move_near"])
def test_an_environment_used_again_equals_a_new_one_of_simpler_env(task: str, tmp_path: Path) -> None:
    """Equal pictures and joints after another episode was played in the same environment."""
    deltas = [np.array([0.02, 0.01, -0.02, 0.0, 0.0, 0.1, 1.0])] * 3 + [
        np.array([0.0, 0.0, -0.02, 0.0, 0.0, 0.0, 1.0])
    ] * 3
    gripper = 1.0 if task.startswith("widowx") else 0.0
    own = json.dumps([[*delta[:6].tolist(), gripper] for delta in deltas])
    stored = tmp_path / "own.npz"
    command = [INSTALLATION.python, "-c", OWN_LOOP, task, "5", own, str(stored)]
    subprocess.run(command, env={**os.environ, **INSTALLATION.environment()}, check=True, capture_output=True)
    with np.load(stored) as expected:
        ours = make_task(f"simpler/{task}")
        ours.reset("eval", 2)
        for delta in deltas:
            ours.step(delta)
        now = ours.reset("eval", 5)
        images = [now.image]
        for delta in deltas:
            now = ours.step(delta)
            images.append(now.image)
        np.testing.assert_allclose(list(ours.joint_positions.values()), expected["qpos"], atol=1e-6)
        np.testing.assert_array_equal(np.stack(images), expected["images"])
        ours.close()


def test_an_episode_of_the_suite_starts_where_its_options_say() -> None:
    episode = next(item for item in suite_episodes("simpler-google-vm") if "coke" in item.task)
    task = make_task(episode.make, **episode.options)
    observation = task.reset("eval", episode.layout)
    assert task.spec.step_period_s == pytest.approx(1 / 3)
    assert observation.image is not None and observation.image.shape == (512, 640, 3)
    # The base stands at x 0.35, y 0.20, turned by half a turn; the first can at x -0.35, y -0.02 of the world.
    np.testing.assert_allclose(observation.object_poses["opened_coke_can"][0][:2], [0.70, 0.22], atol=0.01)
    task.close()
