"""The evaluator on the built-in suite: the expert without rendering, and the shipped model through a policy server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from magma_eval.policies.choice import PolicyChoice
from magma_eval.results.run_folder import load
from magma_eval.rollout.loop import advance, rollout
from magma_eval.rollout.settings import RolloutSettings
from magma_eval.run.plan import RunConfig
from magma_eval.run.runner import Runner
from magma_eval.suites import suite_episodes
from magma_sim.backends.tabletop.task import TabletopTask
from magma_sim.benchmark import ExpertPolicy

CHECKPOINT = Path(__file__).parents[2] / "policy" / "checkpoints" / "magma-tiny"


def test_the_expert_solves_a_layout_and_its_replay_is_the_same(tmp_path: Path) -> None:
    tasks = ("carrot_on_plate",)
    run = RunConfig(PolicyChoice("expert"), "tabletop", tmp_path / "expert", tasks=tasks, limit=1)
    assert Runner(run).run().played == 1
    (first,) = load(run.out).results
    assert first.success is not None and first.success.last and first.steps == 60
    again = RunConfig(PolicyChoice(f"replay:{run.out}"), "tabletop", tmp_path / "replay", tasks=tasks, limit=1)
    Runner(again).run()
    (second,) = load(again.out).results
    assert second.success == first.success and second.success_steps == first.success_steps


def test_a_late_command_moves_the_arm_late_and_to_the_same_place() -> None:
    task = TabletopTask("stack_blocks", images=False)
    forward = np.array([0.03, 0, 0, 0, 0, 0, 1.0])

    def advances(late_s: float) -> list[float]:
        begin = task.reset("random", 5).end_effector.position[0]
        seen = [task.step(forward, late_s=late_s), *(task.step(None) for _ in range(4))]
        return [observation.end_effector.position[0] - begin for observation in seen]

    on_time, late, nearly_too_late = advances(0.0), advances(0.1), advances(0.199)
    assert on_time[0] > late[0] + 0.003 > nearly_too_late[0] + 0.006
    assert late[-1] == pytest.approx(on_time[-1], abs=5e-4) == pytest.approx(0.03, abs=2e-3)
    for bad in (-0.01, 0.2, float("nan")):
        with pytest.raises(ValueError, match="after its step's beginning"):
            task.step(forward, late_s=bad)


def test_commands_in_the_middle_of_steps_can_be_filmed_as_they_were(tmp_path: Path) -> None:
    manner = RolloutSettings("realtime", 130.0)
    episode = suite_episodes("tabletop")[0]
    first = rollout(TabletopTask(episode.make, images=False), ExpertPolicy(episode), episode, manner)
    task = TabletopTask(episode.make, images=False)
    task.reset(episode.reset_variant, episode.layout)
    record = first.record
    flags = [
        advance(task, action, commanded=bool(commanded), late_s=float(late_s)).success
        for action, commanded, late_s in zip(record.actions, record.commanded, record.late_s, strict=True)
    ]
    assert flags == record.success.tolist() and set(record.late_s) == {0.13}


@pytest.mark.render
def test_a_checkpoint_is_served_and_played(tmp_path: Path) -> None:
    pytest.importorskip("magma_policy_client", reason="policies on a server need magma-policy-client")
    pytest.importorskip("magma_policy", reason="serving a checkpoint needs magma-policy")
    run = RunConfig(
        PolicyChoice(f"magma:{CHECKPOINT}", device="cpu"),
        "tabletop",
        tmp_path / "tiny",
        tasks=("carrot_on_plate",),
        limit=1,
        clock="realtime",
        latencies_ms=(400.0,),
        training="in-domain simulation",
    )
    assert Runner(run).run().errors == 0
    (result,) = load(run.out).results
    assert result.key.policy == "magma:magma-tiny" and result.training == "in-domain simulation"
    assert result.steps == 60 and result.queries == 30 and result.held_steps == 31
    assert "policy/vision" in result.stages
