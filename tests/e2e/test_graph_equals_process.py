"""In lock-step the robot graph does what the evaluator does in one process, to the bit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from magma_eval.policies.interface import PolicySpec
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.episode_result import EpisodeResult
from magma_eval.results.run_folder import load
from magma_eval.rollout.loop import rollout
from magma_eval.rollout.settings import RolloutSettings
from magma_eval.suites import select, suite_episodes
from magma_sim import make_task
from magma_sim.backends.simpler_bridge.assets import data_folder, missing_downloads
from magma_sim.benchmark import ExpertPolicy

pytestmark = pytest.mark.render
NEEDS_FILES = pytest.mark.skipif(
    bool(missing_downloads(data_folder())), reason=f"data files of the Bridge tasks are not in {data_folder()}"
)


class ShippedPolicy:
    """magma-tiny asked directly, as one episode's policy."""

    stage_ms: dict[str, float] = {}  # noqa: RUF012

    def __init__(self) -> None:
        import torch

        import magma_policy
        from magma_policy_client.checkpoint_paths import find_checkpoint

        torch.set_num_threads(1)
        self._policy = magma_policy.load(find_checkpoint("magma-tiny"), device="cpu")
        self.spec = PolicySpec("magma-tiny", needs_image=True)
        self._instruction = ""

    def reset(self, instruction):
        self._instruction = instruction
        self._policy.reset()

    def act(self, observation):
        from magma_policy.families.interface import Proprioception

        state = observation.end_effector
        proprioception = Proprioception(**{name: getattr(state, name) for name in Proprioception.__dataclass_fields__})
        return self._policy.act(observation.image, self._instruction, proprioception).deltas

    def close(self):
        pass


def played_through_graph(out: Path, suite: str, task: str, policy: str) -> tuple[EpisodeResult, EpisodeRecord]:
    command = [
        shutil.which("ros2") or str(Path(sys.executable).with_name("ros2")),
        "launch",
        "magma_bringup",
        "simpler_eval.launch.py",
    ]
    command += [f"suite:={suite}", f"tasks:={task}", "limit:=1", f"policy:={policy}", "device:=cpu", f"out:={out}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (out / "results.jsonl").exists(), done.stdout + done.stderr
    results = load(out).results
    assert len(results) == 1, done.stdout + done.stderr
    return results[0], EpisodeRecord.read(out / results[0].record)


@pytest.mark.parametrize(
    ("suite", "task", "policy"),
    [
        pytest.param("tabletop", "stack_blocks", "magma-tiny"),
        pytest.param("tabletop", "carrot_on_plate", "expert"),
        pytest.param("simpler-bridge", "widowx_carrot_on_plate", "expert", marks=NEEDS_FILES),
    ],
)
def test_graph_and_process_execute_the_same_actions(ros_domain, tmp_path, suite, task, policy):
    result, through_graph = played_through_graph(tmp_path / "out", suite, task, policy)
    assert result.status == "ok" and result.clock == "lockstep" and result.key.policy == policy
    assert not any("clipped" in note for note in result.notes), "no limit of the safety stage is in the way"
    (episode,) = select(suite_episodes(suite), tasks=(task,), limit=1)
    direct = ExpertPolicy(episode) if policy == "expert" else ShippedPolicy()
    in_process = rollout(make_task(episode.make), direct, episode, RolloutSettings())
    assert len(through_graph.actions) == in_process.steps == result.steps == result.max_steps
    np.testing.assert_array_equal(through_graph.actions, in_process.record.actions)
    np.testing.assert_array_equal(through_graph.success, in_process.record.success)
    assert through_graph.commanded.all()
    assert result.success == in_process.success
