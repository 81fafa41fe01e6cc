"""Episodes of an arm whose policy answers late: what keeps its reference, what is foretold, what is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import ActionChunk
from magma_contracts.arm_state import EndEffectorState
from magma_contracts.foresight import Ahead, AnswerTimes, foretell
from magma_control.config import ControllerConfig
from magma_control.controller import Controller
from magma_control.freshness import Instant
from magma_eval.episodes import Episode
from magma_eval.policies.choice import PolicyChoice
from magma_eval.policies.interface import PolicySpec
from magma_eval.rollout.arm_schedule import ArmSchedule
from magma_eval.rollout.log import Rollout
from magma_eval.rollout.loop import rollout
from magma_eval.rollout.schedule import RealTimeSchedule
from magma_eval.rollout.settings import Clock, RolloutSettings
from magma_eval.run.plan import RunConfig
from magma_sim.tasks.interface import Observation

from .evaluation_fakes import DOWN, FakeLateTask

PERIOD_US = 200_000


def episode(layout: int = 1) -> Episode:
    return Episode("fake", "reach", "eval", layout, make="reach", layout=layout)


class Seeker:
    """Goes to x = 0.1 m in steps of at most 2 cm, from where its target is said to be; remembers what it saw."""

    def __init__(self, horizon: int = 1) -> None:
        self.spec = replace(PolicySpec("seeker", needs_image=False), horizon=horizon)
        self.stage_ms: dict[str, float] = {}
        self.seen: list[float] = []

    def reset(self, instruction: str) -> None:
        self.seen = []

    def act(self, observation: Observation) -> np.ndarray:
        at = float(observation.end_effector.target_position[0])
        self.seen.append(at)
        steps = []
        for _ in range(self.spec.horizon):
            step = float(np.clip(0.1 - at, -0.02, 0.02))
            steps.append([step, 0, 0, 0, 0, 0, 1.0])
            at += step
        return np.array(steps)

    def close(self) -> None:
        pass


def play(settings: RolloutSettings, policy: Seeker | None = None) -> Rollout:
    return rollout(FakeLateTask("reach", steps=24), policy or Seeker(), episode(), settings)


def way(played: Rollout) -> np.ndarray:
    """Where the target is after each step, m."""
    return np.cumsum(played.record.actions[:, 0])


@pytest.mark.parametrize("horizon", [1, 4])
@pytest.mark.parametrize("latency_ms", [150.0, 200.0, 250.0, 400.0, 800.0])
@pytest.mark.parametrize("compensation", ["references", "prediction"])
def test_a_late_policy_arrives_and_does_not_go_too_far(compensation: str, latency_ms: float, horizon: int) -> None:
    settings = RolloutSettings("realtime", latency_ms, compensation=compensation)  # type: ignore[arg-type]
    reached = way(play(settings, Seeker(horizon)))
    assert reached.max() <= 0.1 + 1e-9
    if horizon == 4 or latency_ms <= 250:
        assert reached[-1] == pytest.approx(0.1)


def test_to_a_policy_that_does_not_read_the_state_nothing_is_foretold() -> None:
    """Its steps start from what its picture shows: they are references, not plans for later."""
    blind, seeing = Seeker(), Seeker()
    blind.spec = replace(blind.spec, reads_state=False)
    one = play(RolloutSettings("realtime", 400.0, compensation="prediction"), blind)
    other = play(RolloutSettings("realtime", 400.0, compensation="references"), seeing)
    assert one.record.actions.tobytes() == other.record.actions.tobytes()
    assert blind.seen == seeing.seen


@pytest.mark.parametrize("latency_ms", [200.0, 400.0])
def test_without_compensation_it_goes_too_far(latency_ms: float) -> None:
    assert way(play(RolloutSettings("realtime", latency_ms, compensation="none"))).max() > 0.11


def test_step_caps_stay_as_they_are() -> None:
    for compensation in ("references", "prediction"):
        played = play(RolloutSettings("realtime", 400.0, compensation=compensation), Seeker(4))  # type: ignore[arg-type]
        assert np.abs(played.record.actions[:, 0]).max() <= 0.02 + 1e-9


def test_with_prediction_no_step_is_without_a_command_once_a_plan_is_under_way() -> None:
    played = play(RolloutSettings("realtime", 400.0, compensation="prediction"), Seeker(4))
    first = int(np.argmax(played.record.commanded))
    assert played.record.commanded[first + 2 :].all()


def test_what_it_is_told_comes_from_measured_times_only() -> None:
    """The first question is asked as if answers took no time: nobody has told how long they take."""
    policy = Seeker(4)
    play(RolloutSettings("realtime", 400.0, compensation="prediction"), policy)
    # 0, before anything was measured; then foretold from four steps of which one is cut off by the next answer.
    assert policy.seen[0] == 0.0 and policy.seen[1] > 0.0


@pytest.mark.parametrize("compensation", ["none", "references", "prediction"])
def test_without_latency_every_compensation_is_lock_step_to_the_bit(compensation: str) -> None:
    lockstep = play(RolloutSettings())
    real = play(RolloutSettings("realtime", 0.0, compensation=compensation))  # type: ignore[arg-type]
    assert lockstep.record.actions.tobytes() == real.record.actions.tobytes()


def test_jitter_and_losses_are_the_same_for_the_same_episode() -> None:
    settings = RolloutSettings("realtime", 50.0, latency_jitter_ms=350.0, lost_answers=0.3, compensation="prediction")
    one, other = play(settings, Seeker(8)), play(settings, Seeker(8))
    assert one.record.actions.tobytes() == other.record.actions.tobytes()
    steady = play(RolloutSettings("realtime", 50.0, compensation="prediction"), Seeker(8))
    assert one.queries < steady.queries
    assert way(one)[-1] == pytest.approx(0.1)


def test_on_the_clock_of_the_wall_references_are_kept_too() -> None:
    task = FakeLateTask("reach", period_s=0.05, steps=30)
    reached = way(rollout(task, Seeker(4), episode(), RolloutSettings("wall", 60.0, compensation="references")))
    assert reached[-1] > 0.0 and reached.max() <= 0.1 + 1e-9


def test_an_answer_of_nothing_ends_what_was_planned() -> None:
    arm = ArmSchedule(PERIOD_US, within_steps=True)
    arm.answer(0, 0, [np.full(7, 0.01)] * 4)
    assert arm.due(0) is not None
    arm.answer(1, PERIOD_US, [])
    assert arm.due(1) is None and arm.due(2) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"compensation": "all"},
        {"compensation": "references"},
        {"clock": "wall", "compensation": "prediction"},
        {"clock": "realtime", "lost_answers": 0.1},
        {"clock": "realtime", "latency_ms": 0.0, "lost_answers": 1.0},
        {"clock": "wall", "latency_ms": 0.0, "latency_jitter_ms": 5.0},
        {"clock": "realtime", "latency_ms": 0.0, "latency_jitter_ms": -1.0},
    ],
)
def test_settings_that_do_not_go_together_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        RolloutSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "clock", "compensation"),
    [
        ("expert", "realtime", "prediction"),
        ("ws://robot:8765", "realtime", "references"),
        ("ws://robot:8765", "wall", "references"),
        ("expert", "lockstep", "none"),
    ],
)
def test_a_run_compensates_as_the_robot_would(policy: str, clock: Clock, compensation: str) -> None:
    choice = PolicyChoice(policy)
    assert RunConfig(choice, "tabletop", Path("out"), clock=clock).rollouts()[0].compensation == compensation
    if clock == "realtime":
        told = RunConfig(choice, "tabletop", Path("out"), clock=clock, compensation="none")
        assert told.rollouts()[0].compensation == "none"


class TestForetold:
    state = EndEffectorState(
        stamp_ns=1, position=np.array([0.0, 0.0, 0.3]), quaternion_xyzw=DOWN,
        target_position=np.array([0.01, 0.0, 0.3]), target_quaternion_xyzw=DOWN, gripper=0.9, gripper_target=1.0,
    )  # fmt: skip

    def test_nothing_ahead_changes_nothing(self) -> None:
        assert foretell(self.state, Ahead(np.zeros((0, 7)), np.zeros(0), 0.0)) is self.state

    def test_the_arm_arrives_where_it_was_told_to_go(self) -> None:
        commands = np.array([[0.02, 0, 0, 0, 0, 0.1, 1.0], [0.02, 0, 0, 0, 0, 0.1, 0.0]])
        then = foretell(self.state, Ahead(commands, np.array([0.1, 0.3]), 2.0))
        np.testing.assert_allclose(then.target_position, [0.05, 0, 0.3])
        np.testing.assert_allclose(then.position, [0.05, 0, 0.3], atol=1e-6)
        np.testing.assert_allclose(then.quaternion_xyzw, then.target_quaternion_xyzw, atol=1e-6)
        assert then.gripper_target == 0.0 and then.gripper == 0.9
        soon = foretell(self.state, Ahead(commands, np.array([0.1, 0.3]), 0.31))
        assert 0.01 < soon.position[0] < 0.04

    def test_the_slowest_of_the_last_answers_is_expected(self) -> None:
        times = AnswerTimes()
        assert times.expected_s == 0.0
        for seconds in (0.3, 0.1, 0.2):
            times.add(seconds)
        assert times.expected_s == 0.3
        for _ in range(8):
            times.add(0.1)
        assert times.expected_s == 0.1


class TestAgainstTheController:
    """The controller of the robot and the evaluator's clock tell the arm the same, from the same answers."""

    spec = ActionSpec("test", 12, 0.2, "base", "axis_angle", "absolute_open_1", "x", "third_person", 128, 128, True)

    def of_controller(self, answers: list[tuple[int, int, np.ndarray]], until_us: int) -> dict[int, np.ndarray]:
        """The commands by the moment at which they go out, asked every millisecond."""

        def at(us: int) -> Instant:
            return Instant(1e-6 * us, 10**18 + 1000 * us)

        controller = Controller(ControllerConfig(max_frame_age_s=2.0, watchdog_s=5.0), at(0))
        controller.on_spec(self.spec, at(0))
        target, quaternion, sent, waiting = np.array([0.5, 0.0, 0.3]), DOWN, {}, list(answers)
        for us in range(0, until_us, 1000):
            now = at(us)
            if us % 20_000 == 0:
                report = (target, quaternion, target, quaternion, 1.0, 1.0)
                controller.on_state(EndEffectorState(now.ros_ns, *report), now)
            while waiting and waiting[0][1] <= us:
                frame, _, deltas = waiting.pop(0)
                chunk = ActionChunk(deltas, 10**18 + 1000 * PERIOD_US * frame, 0.2, "test", "go", frame)
                assert controller.on_chunk(chunk, now) is None
            command = controller.tick(now)
            if command is not None:
                sent[us] = command.delta
                target = target + command.delta[:3]
        return sent

    @pytest.mark.parametrize("horizon", [1, 6])
    @pytest.mark.parametrize("latency_us", [0, 120_000, 200_000, 400_000, 450_000])
    def test_equal_answers_give_equal_commands(self, latency_us: int, horizon: int) -> None:
        random = np.random.default_rng(7)
        questions: RealTimeSchedule[np.ndarray] = RealTimeSchedule(PERIOD_US, within_steps=True)
        arm, answers, executed = ArmSchedule(PERIOD_US, within_steps=True), [], {}
        for step in range(12):
            if questions.question(step) is not None:
                deltas = np.column_stack([random.normal(0.0, 0.003, (horizon, 6)), random.integers(0, 2, horizon)])
                arrival_us = questions.answered(step, latency_us)
                answers.append((step, arrival_us, deltas.astype(float)))
                arm.answer(step, arrival_us, list(deltas))
            due = arm.due(step)
            if due is not None:
                executed[step * PERIOD_US + due.late_us] = due.action
        sent = self.of_controller(answers, 12 * PERIOD_US)
        assert len(sent) > 3
        assert list(sent) == list(executed)
        for us, delta in sent.items():
            np.testing.assert_allclose(delta, executed[us], rtol=0, atol=1e-12)
        if latency_us == 400_000 and horizon == 1:
            # The frame of the second answer does not show the command of the first yet.
            np.testing.assert_allclose(sent[800_000][:3], answers[1][2][0, :3] - answers[0][2][0, :3])
