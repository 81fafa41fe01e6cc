"""The evaluator on the built-in suite: the expert without rendering, and the shipped model through a policy server."""

from __future__ import annotations

from pathlib import Path

import pytest

from magma_sim.evaluation.policies import PolicyChoice
from magma_sim.evaluation.results import load
from magma_sim.evaluation.runner import RunConfig, Runner

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
