"""Episodes of a task without a simulator: verdicts under each rule, clocks, what is rendered and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from magma_eval.actions import as_rows
from magma_eval.episodes import Episode
from magma_eval.policies.interface import PolicyFailedError, PolicyMismatchError, PolicySpec
from magma_eval.policies.replay import ReplayPolicy
from magma_eval.policies.scripted import HoldPolicy, RandomPolicy
from magma_eval.results.episode_result import Success
from magma_eval.rollout.log import Rollout
from magma_eval.rollout.loop import rollout
from magma_eval.rollout.settings import RolloutSettings
from magma_sim.tasks.interface import Observation

from .evaluation_fakes import FakeLateTask, FakeTask


def episode(layout: int) -> Episode:
    return Episode("fake", "reach", "eval", layout, make="reach", layout=layout)


class Chunks:
    """Answers with `horizon` steps whose x is the frame's number; counts what it sees."""

    def __init__(self, horizon: int = 1, **spec: object) -> None:
        self.spec = replace(PolicySpec("chunks", needs_image=True, horizon=horizon), **spec)
        self.stage_ms = {"model": 2.0}
        self.seen: list[int] = []
        self.instructions: list[str] = []
        self.closed = False

    def reset(self, instruction: str) -> None:
        self.instructions = [instruction]

    def act(self, observation: Observation) -> np.ndarray:
        assert observation.image is not None and observation.image[0, 0, 0] == observation.step
        self.seen.append(observation.step)
        self.instructions.append(observation.instruction)
        rows = np.zeros((self.spec.horizon, 7))
        rows[:, 1], rows[:, 2], rows[:, 6] = observation.step, np.arange(self.spec.horizon), 1.0
        return rows

    def close(self) -> None:
        self.closed = True


def did(played: Rollout) -> list[str]:
    """Frame.place of what each step executed, "-" for none."""
    rows = zip(played.record.actions, played.record.commanded, strict=True)
    return [f"{row[1]:.0f}.{row[2]:.0f}" if commanded else "-" for row, commanded in rows]


def test_verdicts_under_all_three_rules() -> None:
    middle = rollout(FakeTask("reach"), HoldPolicy(), episode(0), RolloutSettings())
    assert middle.success == Success(last=False, first=True, ever=True)
    assert (middle.first_success_step, middle.success_steps, middle.steps) == (3, 3, 8)
    never = rollout(FakeTask("reach"), HoldPolicy(), episode(1), RolloutSettings())
    assert never.success == Success(False, False, False) and never.first_success_step is None
    end = rollout(FakeTask("reach"), HoldPolicy(), episode(3), RolloutSettings())
    assert end.success == Success(True, True, True) and end.first_success_step == 8


def test_rule_first_ends_the_episode_and_leaves_the_other_verdicts_open() -> None:
    played = rollout(FakeTask("reach"), HoldPolicy(), episode(0), RolloutSettings(rule="first"))
    assert played.success == Success(last=None, first=True, ever=None)
    assert played.steps == 3
    failed = rollout(FakeTask("reach"), HoldPolicy(), episode(1), RolloutSettings(rule="first"))
    assert failed.success == Success(False, False, False) and failed.steps == 8


def test_lockstep_asks_at_every_step_and_renders_only_what_is_looked_at() -> None:
    task, policy = FakeTask("reach"), Chunks(horizon=4)
    played = rollout(task, policy, episode(1), RolloutSettings())
    assert policy.seen == list(range(8)) and task.renders == 8
    assert did(played) == [f"{step}.0" for step in range(8)]
    assert played.queries == 8 and played.held_steps == 0 and policy.closed
    assert played.stages["policy"].count == 8 and played.stages["policy/model"].mean == 2.0
    task = FakeTask("reach")
    played = rollout(task, Chunks(horizon=4), episode(1), RolloutSettings(execute_steps=3))
    assert did(played) == ["0.0", "0.1", "0.2", "3.0", "3.1", "3.2", "6.0", "6.1"]
    assert task.renders == 3


def test_the_policy_reads_the_instruction_of_every_step() -> None:
    policy = Chunks()
    rollout(FakeTask("reach", steps=3), policy, episode(1), RolloutSettings())
    assert policy.instructions == ["reach, step 0", "reach, step 0", "reach, step 1", "reach, step 2"]


def test_real_time_without_latency_equals_lockstep() -> None:
    lockstep = rollout(FakeTask("reach"), Chunks(), episode(1), RolloutSettings())
    real = rollout(FakeTask("reach"), Chunks(), episode(1), RolloutSettings("realtime", 0.0))
    assert np.array_equal(lockstep.record.actions, real.record.actions)
    assert lockstep.success == real.success


@pytest.mark.parametrize(
    ("latency_ms", "expected"),
    [
        (50, ["-", "0.0", "1.0", "2.0", "3.0", "4.0", "5.0", "6.0"]),
        (200, ["-", "0.0", "1.0", "2.0", "3.0", "4.0", "5.0", "6.0"]),
        (400, ["-", "-", "0.0", "-", "2.0", "-", "4.0", "-"]),
        (800, ["-", "-", "-", "-", "0.0", "-", "-", "-"]),
    ],
)
def test_late_actions_are_late(latency_ms: float, expected: list[str]) -> None:
    task, policy = FakeTask("reach"), Chunks()
    played = rollout(task, policy, episode(1), RolloutSettings("realtime", latency_ms))
    assert did(played) == expected
    assert played.held_steps == expected.count("-")
    assert task.renders <= len(policy.seen) + 1  # the frame after the last step is nobody's


def test_a_simulator_that_can_takes_the_command_in_the_middle_of_the_step() -> None:
    task = FakeLateTask("reach")
    played = rollout(task, Chunks(), episode(1), RolloutSettings("realtime", 250.0))
    assert did(played) == ["-", "0.0", "1.0", "2.0", "-", "3.0", "5.0", "6.0"]
    assert played.record.late_s == pytest.approx([0, 0.05, 0.1, 0.15, 0, 0, 0.05, 0.1])
    assert task.late_s == played.record.late_s.tolist()
    assert [action is None for action in task.actions] == [word == "-" for word in did(played)]
    with pytest.raises(PolicyFailedError, match="middle of steps"):
        ReplayPolicy(played.record)


def test_real_time_uses_a_whole_chunk_unless_told_otherwise() -> None:
    played = rollout(FakeTask("reach"), Chunks(horizon=3), episode(1), RolloutSettings("realtime", 400.0))
    assert did(played) == ["-", "-", "0.0", "0.1", "2.0", "2.1", "4.0", "4.1"]
    settings = RolloutSettings("realtime", 400.0, execute_steps=1)
    played = rollout(FakeTask("reach"), Chunks(horizon=3), episode(1), settings)
    assert did(played) == ["-", "-", "0.0", "-", "2.0", "-", "4.0", "-"]


def test_a_step_without_command_leaves_the_target_and_the_gripper() -> None:
    class Close(Chunks):
        def act(self, observation: Observation) -> np.ndarray:
            super().act(observation)
            return np.array([0, 0, 0, 0, 0, 0, 0.0])

    played = rollout(FakeTask("reach"), Close(), episode(1), RolloutSettings("realtime", 400.0))
    assert played.record.actions[:, 6].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert not played.record.actions[:, :6].any()


def test_wall_clock_plays_every_step_and_policy_errors_come_out() -> None:
    played = rollout(FakeTask("reach", period_s=0.01), Chunks(), episode(1), RolloutSettings("wall"))
    assert played.steps == 8 and played.queries >= 1
    assert "world late" in played.stages
    # Between steps only: what was made from a frame comes a step later at the earliest.
    assert did(played)[0] == "-"
    ages = [step - int(word.split(".")[0]) for step, word in enumerate(did(played)) if word != "-"]
    assert min(ages) >= 1

    late = rollout(FakeLateTask("reach", period_s=0.2), Chunks(), episode(1), RolloutSettings("wall", 20.0))
    # Within steps: never at the moment of the frame itself.
    steps = [step for step, word in enumerate(did(late)) if word != "-"]
    assert steps
    assert all(late.record.late_s[step] > 0 or int(did(late)[step].split(".")[0]) < step for step in steps)

    class Failing(Chunks):
        def act(self, observation: Observation) -> np.ndarray:
            raise PolicyFailedError("gone")

    with pytest.raises(PolicyFailedError, match="gone"):
        rollout(FakeTask("reach", period_s=0.05), Failing(), episode(1), RolloutSettings("wall"))


@pytest.mark.parametrize("bad", [np.full(7, np.nan), np.zeros(6), np.array([0, 0, 0, 0, 0, 0, 2.0]), np.zeros((0, 7))])
def test_invalid_answers_move_nothing_and_are_counted(bad: np.ndarray) -> None:
    class Bad(Chunks):
        def act(self, observation: Observation) -> np.ndarray:
            return bad if observation.step < 2 else super().act(observation)

    played = rollout(FakeTask("reach", steps=3), Bad(), episode(1), RolloutSettings())
    assert played.rejected_actions == 2 and did(played) == ["-", "-", "2.0"]
    with pytest.raises(ValueError):
        as_rows(bad)


@pytest.mark.parametrize(
    ("field", "value"),
    [("frame", "camera"), ("rotation", "euler"), ("gripper", "x"), ("step_period_s", 0.333), ("image_height", 9)],
)
def test_a_policy_that_does_not_fit_is_refused_with_the_field(field: str, value: object) -> None:
    with pytest.raises(PolicyMismatchError, match="pictures" if field == "image_height" else field):
        rollout(FakeTask("reach"), Chunks(**{"image_width": 8, field: value}), episode(1), RolloutSettings())


def test_replay_repeats_what_was_executed_also_what_was_not() -> None:
    original = rollout(FakeTask("reach"), Chunks(horizon=2), episode(1), RolloutSettings("realtime", 250.0))
    again = rollout(FakeTask("reach"), ReplayPolicy(original.record), episode(1), RolloutSettings())
    assert np.array_equal(original.record.actions, again.record.actions)


def test_random_differs_by_seed_and_episode_only() -> None:
    observation = FakeTask("reach").reset("eval", 0)

    def first(layout: int, seed: int) -> list[float]:
        return RandomPolicy(episode(layout), seed).act(observation).tolist()

    assert first(0, 0) == first(0, 0)
    assert len({tuple(first(layout, seed)) for layout in range(3) for seed in range(3)}) == 9


@pytest.mark.parametrize(
    "arguments",
    [
        {"clock": "lockstep", "latency_ms": 5.0},
        {"clock": "sidereal"},
        {"clock": "realtime", "latency_ms": -1.0},
        {"execute_steps": 0},
    ],
)
def test_manners_that_make_no_sense_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError):
        RolloutSettings(**arguments)
