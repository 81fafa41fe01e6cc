"""Plays one episode: task and policy in, verdict and record out. Knows no files and no processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from magma_sim.evaluation.clock import RealTimeSchedule
from magma_sim.evaluation.episodes import Episode
from magma_sim.evaluation.policies import EpisodePolicy, as_rows, hold_action
from magma_sim.evaluation.results import EpisodeRecord, Stage, Success, SuccessRule
from magma_sim.task import LateCommandTask, Observation, Task

Clock = Literal["lockstep", "realtime", "wall"]
CLOCKS: tuple[Clock, ...] = get_args(Clock)


@dataclass(frozen=True)
class Manner:
    """How episodes are played.

    Raises:
        ValueError: values that do not go together.
    """

    clock: Clock = "lockstep"
    latency_ms: float | None = None
    """real time: every answer takes exactly so long; None: as long as it really took. Wall: added to what it took."""
    execute_steps: int | None = None
    """actions of a chunk that are executed before the policy is asked again; None: 1 in lock-step, in real time all
    until a newer answer is there"""
    rule: SuccessRule = "last"

    def __post_init__(self) -> None:
        if self.clock not in CLOCKS:
            raise ValueError(f"unknown clock {self.clock!r}; it is one of {', '.join(CLOCKS)}")
        if self.clock == "lockstep" and self.latency_ms is not None:
            raise ValueError("in lock-step the world waits, so latency means nothing: use --clock realtime")
        if self.latency_ms is not None and not 0 <= self.latency_ms <= 60_000:
            raise ValueError(f"a latency lies between 0 and 60000 ms, got {self.latency_ms}")
        if self.execute_steps is not None and self.execute_steps < 1:
            raise ValueError(f"execute_steps is at least 1, got {self.execute_steps}")


@dataclass(frozen=True)
class Played:
    """How an episode went."""

    success: Success
    first_success_step: int | None
    success_steps: int
    steps: int
    max_steps: int
    instruction: str
    queries: int
    held_steps: int
    rejected_actions: int
    stages: dict[str, Stage]
    record: EpisodeRecord


@dataclass
class _Book:
    """Collects what happens."""

    actions: list[NDArray[np.float64]] = field(default_factory=list)
    commanded: list[bool] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    success: list[bool] = field(default_factory=list)
    query_step: list[int] = field(default_factory=list)
    times_ms: dict[str, list[float]] = field(default_factory=dict)
    rejected: int = 0

    def time(self, stage: str, milliseconds: float) -> None:
        self.times_ms.setdefault(stage, []).append(milliseconds)


class _Player:
    """One episode in progress."""

    def __init__(self, task: Task, policy: EpisodePolicy, episode: Episode, manner: Manner) -> None:
        self._task, self._policy, self._manner = task, policy, manner
        self._book = _Book()
        self._images = policy.spec.needs_image
        self.max_steps = task.spec.max_steps
        begin = time.perf_counter()
        self.observation: Observation = task.reset(episode.reset_variant, episode.layout)
        self._book.time("reset", 1e3 * (time.perf_counter() - begin))
        policy.reset(self.observation.instruction)

    @property
    def step(self) -> int:
        return self.observation.step

    @property
    def ended(self) -> bool:
        stop = self._manner.rule == "first" and bool(self._book.success) and self._book.success[-1]
        return stop or self.step >= self.max_steps

    def ask(self, observation: Observation) -> tuple[list[NDArray[np.float64]], float]:
        """The policy's actions, none when they are invalid, and the seconds it took."""
        begin = time.perf_counter()
        answer = self._policy.act(observation)
        seconds = time.perf_counter() - begin
        self._book.query_step.append(observation.step)
        self._book.time("policy", 1e3 * seconds)
        for stage, milliseconds in self._policy.stage_ms.items():
            self._book.time(f"policy/{stage}", float(milliseconds))
        if answer is None:
            return [], seconds
        try:
            rows = list(as_rows(answer))
        except ValueError:
            # Refused whole, as the robot's controller does; time passes all the same.
            self._book.rejected += 1
            rows = []
        limit = self._manner.execute_steps or (1 if self._manner.clock == "lockstep" else None)
        return rows[:limit], seconds

    def advance(self, action: NDArray[np.float64] | None, *, look: bool, late_s: float = 0.0) -> None:
        """One step of the world; `look`: somebody will look at the picture after it."""
        chosen = hold_action(self.observation) if action is None else action
        begin = time.perf_counter()
        self.observation = advance(
            self._task, chosen, commanded=action is not None, late_s=late_s, render=look and self._images
        )
        self._book.time("simulator", 1e3 * (time.perf_counter() - begin))
        self._book.actions.append(np.asarray(chosen, dtype=np.float64))
        self._book.commanded.append(action is not None)
        self._book.late_s.append(late_s)
        self._book.success.append(bool(self.observation.success))

    def note(self, stage: str, milliseconds: float) -> None:
        """A time that belongs to the episode."""
        self._book.time(stage, milliseconds)

    def result(self) -> Played:
        book = self._book
        ever = any(book.success)
        last = bool(book.success) and book.success[-1]
        stopped_early = self._manner.rule == "first" and ever
        verdict = Success(last=None if stopped_early else last, first=ever, ever=None if stopped_early else ever)
        record = EpisodeRecord(
            actions=np.array(book.actions, dtype=np.float64).reshape(-1, 7),
            commanded=np.array(book.commanded, dtype=np.bool_),
            late_s=np.array(book.late_s, dtype=np.float64),
            success=np.array(book.success, dtype=np.bool_),
            query_step=np.array(book.query_step, dtype=np.int64),
            query_ms=np.array(book.times_ms.get("policy", []), dtype=np.float64),
        )
        return Played(
            success=verdict,
            first_success_step=book.success.index(True) + 1 if ever else None,
            success_steps=sum(book.success),
            steps=len(book.success),
            max_steps=self.max_steps,
            instruction=self.observation.instruction,
            queries=len(book.query_step),
            held_steps=book.commanded.count(False),
            rejected_actions=book.rejected,
            stages={name: Stage.of(values) for name, values in book.times_ms.items()},
            record=record,
        )


def advance(
    task: Task, action: NDArray[np.float64], *, commanded: bool, late_s: float = 0.0, render: bool = True
) -> Observation:
    """One step of a task, as it is recorded.

    Args:
        task: the task.
        action: EndEffectorDelta (7,); without a command, the one that holds still.
        commanded: whether it is a command. Without one, a simulator that can leaves its arm to what it was told before.
        late_s: when in the step it takes effect; 0 for simulators that take commands only between steps.
        render: whether the observation has a picture.
    """
    if isinstance(task, LateCommandTask):
        return task.step(action if commanded else None, render=render, late_s=late_s)
    return task.step(action, render=render)


def play(
    task: Task,
    policy: EpisodePolicy,
    episode: Episode,
    manner: Manner,
    progress: Callable[[int], None] = lambda step: None,
) -> Played:
    """Plays an episode.

    Args:
        task: the episode's environment, made with images when the policy needs them.
        policy: the policy for this episode.
        episode: which start.
        manner: clock, latency, rule.
        progress: called with the number of steps done, after the reset and after every step.

    Raises:
        PolicyMismatchError: the policy does not fit the task.
        PolicyFailedError: the policy could not be asked.
        Whatever the simulator raises.
    """
    policy.spec.check_fits(task.spec)
    player = _Player(task, policy, episode, manner)
    progress(0)
    try:
        if manner.clock == "lockstep":
            _play_lockstep(player, progress)
        elif manner.clock == "realtime":
            _play_realtime(player, task, manner, progress)
        else:
            _play_wall(player, task, manner, progress)
    finally:
        policy.close()
    return player.result()


def _play_lockstep(player: _Player, progress: Callable[[int], None]) -> None:
    waiting: list[NDArray[np.float64]] = []
    while not player.ended:
        if not waiting:
            waiting, _ = player.ask(player.observation)
        action = waiting.pop(0) if waiting else None
        # Nobody looks at a picture in the middle of a chunk, nor at the one after the last step.
        player.advance(action, look=not waiting and player.step + 1 < player.max_steps)
        progress(player.step)


def _play_realtime(player: _Player, task: Task, manner: Manner, progress: Callable[[int], None]) -> None:
    schedule: RealTimeSchedule[NDArray[np.float64]] = RealTimeSchedule(
        round(1e6 * task.spec.step_period_s), within_steps=isinstance(task, LateCommandTask)
    )
    period_ms = 1e3 * task.spec.step_period_s
    while not player.ended:
        step = player.step
        if schedule.question(step) is not None:
            actions, seconds = player.ask(player.observation)
            latency_ms = 1e3 * seconds if manner.latency_ms is None else manner.latency_ms
            schedule.answer(step, round(1e3 * latency_ms), actions)
        due = schedule.due(step)
        if due is not None:
            player.note("age of the frame acted on", period_ms * (step - due.frame) + 1e-3 * due.late_us)
        action, late_s = (None, 0.0) if due is None else (due.action, 1e-6 * due.late_us)
        player.advance(action, look=schedule.looks_at(step + 1), late_s=late_s)
        progress(player.step)


@dataclass(frozen=True)
class _Thought:
    """A policy's answer on the wall's clock."""

    actions: list[NDArray[np.float64]]
    frame: int
    arrival_s: float


class _Thinker:
    """A policy in a thread of its own, always on the newest frame."""

    def __init__(self, player: _Player, added_s: float) -> None:
        self._player, self._added_s = player, added_s
        self._changed = threading.Condition()
        self._newest: Observation | None = None
        self._answer: _Thought | None = None
        self._error: BaseException | None = None
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="policy", daemon=True)
        self._thread.start()

    def show(self, observation: Observation) -> None:
        """A new frame."""
        with self._changed:
            self._newest = observation
            self._changed.notify_all()

    def take(self, until_s: float) -> _Thought | None:
        """The newest answer since the last call; waits for one until `until_s`. Raises what the policy raised."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._answer is not None or self._error is not None,
                timeout=max(0.0, until_s - time.monotonic()),
            )
            if self._error is not None:
                raise self._error
            answer, self._answer = self._answer, None
            return answer

    def close(self) -> None:
        """Waits for the answer in progress, and ends."""
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None or self._stop)
                if self._stop or self._newest is None:
                    return
                observation, self._newest = self._newest, None
            try:
                actions, _ = self._player.ask(observation)
            except BaseException as error:
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            with self._changed:
                if self._added_s:
                    self._changed.wait_for(lambda: self._stop, timeout=self._added_s)
                self._answer = _Thought(actions, observation.step, time.monotonic())
                self._changed.notify_all()


def _play_wall(player: _Player, task: Task, manner: Manner, progress: Callable[[int], None]) -> None:
    """The world keeps pace with the clock on the wall: no frame is shown before its time.

    A step is computed at the end of its period, so that a command that comes in its middle can take effect there.
    Simulators that take commands only between steps compute it at its beginning. One too slow for either makes the
    world late: see the stage "world late" in the times, which should be far below the step period.
    """
    period_s = task.spec.step_period_s
    within_steps = isinstance(task, LateCommandTask)
    thinker = _Thinker(player, (manner.latency_ms or 0.0) / 1e3)
    left: list[NDArray[np.float64]] = []
    frame, late_s, cost_s = 0, 0.0, 0.0
    due_s = time.monotonic()
    try:
        while not player.ended:
            thinker.show(player.observation)
            patience_s = max(0.0, period_s - 2.0 * cost_s) if within_steps else 0.0
            answer = thinker.take(until_s=due_s + patience_s)
            if answer is not None:
                left, frame, late_s = list(answer.actions), answer.frame, max(0.0, answer.arrival_s - due_s)
            late_s = min(late_s, 0.999 * period_s) if within_steps else 0.0
            if left:
                player.note("age of the frame acted on", 1e3 * (period_s * (player.step - frame) + late_s))
            begin_s = time.monotonic()
            action = left.pop(0) if left else None
            player.advance(action, look=True, late_s=0.0 if action is None else late_s)
            cost_s = max(0.9 * cost_s, time.monotonic() - begin_s)
            progress(player.step)
            due_s += period_s
            time.sleep(max(0.0, due_s - time.monotonic()))
            behind_s = time.monotonic() - due_s
            player.note("world late", 1e3 * behind_s)
            if behind_s > period_s:
                # A world that fell behind does not run faster to catch up: that would shorten the policy's time.
                due_s += behind_s
    finally:
        thinker.close()
