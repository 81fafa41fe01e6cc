"""Whether the world waits for the policy: the three clocks of an episode. Each says what a step executes; the loop that
executes it is the same for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from magma_contracts.foresight import Ahead, AnswerTimes
from magma_eval.actions import END_EFFECTOR_DELTA, Deltas, action_type_of
from magma_eval.rollout.arm_schedule import ArmSchedule
from magma_eval.rollout.schedule import RealTimeSchedule
from magma_eval.rollout.settings import RolloutSettings
from magma_eval.tasks import Observation, Task, takes_late_commands

ActionT = TypeVar("ActionT")


class Ask(Protocol[ActionT]):
    """Asks the policy."""

    def __call__(self, observation: Observation, ahead: Ahead | None = None) -> tuple[list[ActionT], float]:
        """Its actions, and the seconds it took.

        Args:
            observation: what it is asked about.
            ahead: what comes before its answer takes effect; the actions begin with those commands.
        """


Chance = Callable[[], float]
"""draws evenly from 0 to 1"""
Note = Callable[[str, float], None]
"""keeps a time of the episode: name, milliseconds"""
_AGE = "age of the frame acted on"


@dataclass(frozen=True)
class Command(Generic[ActionT]):
    """What a step executes."""

    action: ActionT | None
    """None: no command came"""
    late_s: float = 0.0
    """time from the step's beginning until it takes effect"""


class EpisodeClock(Protocol[ActionT]):
    """Per step: `command`, `looks_at` for the step after it, and `stepped` when the world has moved."""

    def command(self, observation: Observation) -> Command[ActionT]:
        """What the step after this observation executes; asks the policy where it has to."""

    def looks_at(self, step: int) -> bool:
        """Whether the policy will look at the frame of the next step."""

    def stepped(self) -> None:
        """The step was executed."""

    def close(self) -> None:
        """The episode has ended."""


def clock_of(
    settings: RolloutSettings, task: Task[ActionT], ask: Ask[ActionT], note: Note, chance: Chance
) -> LockStep[ActionT] | RealTime[ActionT] | WallTime[ActionT]:
    """The clock that the settings name."""
    if settings.clock == "lockstep":
        return LockStep(ask, task.spec.max_steps)
    period_s, within_steps = task.spec.step_period_s, takes_late_commands(task)
    compensates = settings.compensation if action_type_of(task) is END_EFFECTOR_DELTA else "none"
    arm = None if compensates == "none" else ArmSchedule(round(1e6 * period_s), within_steps=within_steps)
    if settings.clock == "realtime":
        foretells = compensates == "prediction"
        return RealTime(ask, note, period_s, settings, chance, arm, foretells=foretells, within_steps=within_steps)
    return WallTime(ask, note, period_s, (settings.latency_ms or 0.0) / 1e3, arm, within_steps=within_steps)


class LockStep(Generic[ActionT]):
    """The world waits for the policy."""

    def __init__(self, ask: Ask[ActionT], max_steps: int) -> None:
        self._ask, self._max_steps = ask, max_steps
        self._waiting: list[ActionT] = []

    def command(self, observation: Observation) -> Command[ActionT]:
        if not self._waiting:
            self._waiting, _ = self._ask(observation)
        return Command(self._waiting.pop(0) if self._waiting else None)

    def looks_at(self, step: int) -> bool:
        # Nobody looks at an image in the middle of a chunk, nor at the one after the last step.
        return not self._waiting and step < self._max_steps

    def stepped(self) -> None:
        pass

    def close(self) -> None:
        pass


class RealTime(Generic[ActionT]):
    """The world does not wait, in simulated time; see `magma_eval.rollout.schedule`.

    Args:
        ask: asks the policy.
        note: keeps times.
        period_s: step period.
        settings: of these the latency of every answer (None: as long as it really took), its jitter, and what is lost.
        chance: for jitter and losses.
        arm: what becomes of the actions of an arm that keep what they refer to; None: the newest replace the others.
        foretells: the policy is told what comes before its answer takes effect.
        within_steps: whether a command can take effect in the middle of a step.
    """

    def __init__(
        self,
        ask: Ask[ActionT],
        note: Note,
        period_s: float,
        settings: RolloutSettings,
        chance: Chance,
        arm: ArmSchedule | None = None,
        *,
        foretells: bool = False,
        within_steps: bool,
    ) -> None:
        self._ask, self._note, self._period_s = ask, note, period_s
        self._settings, self._chance = settings, chance
        self._schedule: RealTimeSchedule[ActionT] = RealTimeSchedule(round(1e6 * period_s), within_steps=within_steps)
        self._arm, self._foretells = arm, foretells
        self._times = AnswerTimes()

    def command(self, observation: Observation) -> Command[ActionT]:
        step, arm = observation.step, self._arm
        asked_us = self._schedule.question(step)
        if asked_us is not None:
            self._question(observation, asked_us)
        due = self._schedule.due(step) if arm is None else arm.due(step)
        if due is None:
            return Command(None)
        self._note(_AGE, 1e3 * self._period_s * (step - due.frame) + 1e-3 * due.late_us)
        return Command(cast(ActionT, due.action), 1e-6 * due.late_us)

    def _question(self, observation: Observation, asked_us: int) -> None:
        step, arm, settings = observation.step, self._arm, self._settings
        ahead = None
        if arm is not None and self._foretells:
            ahead = arm.ahead(step, asked_us, round(1e6 * self._times.expected_s))
        actions, seconds = self._ask(observation, ahead)
        latency_ms = 1e3 * seconds
        if settings.latency_ms is not None:
            latency_ms = settings.latency_ms
        if settings.latency_jitter_ms:
            latency_ms += settings.latency_jitter_ms * self._chance()
        if settings.lost_answers and self._chance() < settings.lost_answers:
            self._schedule.answered(step, round(1e3 * latency_ms))
        elif arm is None:
            self._schedule.answer(step, round(1e3 * latency_ms), actions)
        else:
            arrival_us = self._schedule.answered(step, round(1e3 * latency_ms))
            self._times.add(1e-6 * (arrival_us - asked_us))
            arm.answer(step, arrival_us, cast("list[Deltas]", actions))

    def looks_at(self, step: int) -> bool:
        return self._schedule.looks_at(step)

    def stepped(self) -> None:
        pass

    def close(self) -> None:
        pass


class WallTime(Generic[ActionT]):
    """The world keeps pace with the clock on the wall: no frame is shown before its time.

    A step is computed at the end of its period, so that a command that comes in its middle can take effect there.
    Simulators that take commands only between steps compute it at its beginning. One too slow for either makes the
    world late: see the stage "world late" in the times, which should be far below the step period.

    Args:
        ask: asks the policy.
        note: keeps times.
        period_s: step period.
        added_s: latency added to what every answer took.
        arm: as of `RealTime`.
        within_steps: whether a command can take effect in the middle of a step.
    """

    def __init__(
        self,
        ask: Ask[ActionT],
        note: Note,
        period_s: float,
        added_s: float,
        arm: ArmSchedule | None = None,
        *,
        within_steps: bool,
    ) -> None:
        self._note, self._period_s, self._within_steps = note, period_s, within_steps
        self._arm = arm
        self._policy = _PolicyThread(ask, added_s)
        self._left: list[ActionT] = []
        self._frame, self._late_s, self._cost_s = 0, 0.0, 0.0
        self._due_s = self._begin_s = time.monotonic()

    def command(self, observation: Observation) -> Command[ActionT]:
        self._policy.show(observation)
        patience_s = max(0.0, self._period_s - 2.0 * self._cost_s) if self._within_steps else 0.0
        answer = self._policy.take(until_s=self._due_s + patience_s)
        if self._arm is not None:
            return self._arm_command(self._arm, observation.step, answer)
        if answer is not None:
            self._left, self._frame = list(answer.actions), answer.frame
            self._late_s = max(0.0, answer.arrival_s - self._due_s)
        self._late_s = min(self._late_s, 0.999 * self._period_s) if self._within_steps else 0.0
        if self._left:
            self._note(_AGE, 1e3 * (self._period_s * (observation.step - self._frame) + self._late_s))
        self._begin_s = time.monotonic()
        return Command(self._left.pop(0), self._late_s) if self._left else Command(None)

    def _arm_command(self, arm: ArmSchedule, step: int, answer: _Answer[ActionT] | None) -> Command[ActionT]:
        if answer is not None:
            late_s = min(max(0.0, answer.arrival_s - self._due_s), 0.999 * self._period_s)
            arrival_us = round(1e6 * (step * self._period_s + late_s))
            arm.answer(answer.frame, arrival_us, cast("list[Deltas]", answer.actions))
        due = arm.due(step)
        self._begin_s = time.monotonic()
        if due is None:
            return Command(None)
        late_s = min(1e-6 * due.late_us, 0.999 * self._period_s)
        self._note(_AGE, 1e3 * (self._period_s * (step - due.frame) + late_s))
        return Command(cast(ActionT, due.action), late_s)

    def looks_at(self, step: int) -> bool:
        del step
        return True

    def stepped(self) -> None:
        self._cost_s = max(0.9 * self._cost_s, time.monotonic() - self._begin_s)
        self._due_s += self._period_s
        time.sleep(max(0.0, self._due_s - time.monotonic()))
        behind_s = time.monotonic() - self._due_s
        self._note("world late", 1e3 * behind_s)
        if behind_s > self._period_s:
            # A world that fell behind does not run faster to catch up: that would shorten the policy's time.
            self._due_s += behind_s

    def close(self) -> None:
        self._policy.close()


@dataclass(frozen=True)
class _Answer(Generic[ActionT]):
    """A policy's answer on the wall's clock."""

    actions: list[ActionT]
    frame: int
    arrival_s: float


class _PolicyThread(Generic[ActionT]):
    """A policy in a thread of its own, always on the newest frame."""

    def __init__(self, ask: Ask[ActionT], added_s: float) -> None:
        self._ask, self._added_s = ask, added_s
        self._changed = threading.Condition()
        self._newest: Any = None
        self._answer: _Answer[ActionT] | None = None
        self._error: BaseException | None = None
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="policy", daemon=True)
        self._thread.start()

    def show(self, observation: Observation) -> None:
        """A new frame."""
        with self._changed:
            self._newest = observation
            self._changed.notify_all()

    def take(self, until_s: float) -> _Answer[ActionT] | None:
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
                actions, _ = self._ask(observation)
            except BaseException as error:
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            with self._changed:
                if self._added_s:
                    self._changed.wait_for(lambda: self._stop, timeout=self._added_s)
                self._answer = _Answer(actions, observation.step, time.monotonic())
                self._changed.notify_all()
