"""Episodes of a simulated task as the simulator node plays them: which commands count, and when an episode ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from magma_eval.results.episode_record import EpisodeRecord
    from magma_sim import Observation, Task, Variant

VARIANTS = ("eval", "random")


def record_name(task: str, variant: str, layout: int) -> str:
    """File name of the record of an episode."""
    return f"{task}-{variant}-{layout:03d}.npz"


@dataclass(frozen=True)
class EpisodeSettings:
    """How episodes are played.

    Attributes:
        lockstep: the world waits for commands; otherwise it goes on by itself.
        success_hold_steps: end an episode when the goal held at so many steps in a row; 0 plays all steps. The result
            is the flag at the last step either way.
        stop_when_done: commands after the end are refused until the next reset.
    """

    lockstep: bool = True
    success_hold_steps: int = 0
    stop_when_done: bool = False

    def __post_init__(self) -> None:
        if self.success_hold_steps < 0:
            raise ValueError(f"success_hold_steps must be at least 0, not {self.success_hold_steps}")


class Episode:
    """One episode after another. No clock: stamps are given by the caller. Not thread-safe."""

    def __init__(self, make_task: Callable[[str], Task], settings: EpisodeSettings) -> None:
        """
        Args:
            make_task: gives the task of a name, or raises ValueError.
            settings: how to play.
        """
        self._make_task = make_task
        self._settings = settings
        self._tasks: dict[str, Task] = {}
        self._task: Task | None = None
        self._observation: Observation | None = None
        self.variant = "eval"
        self.layout = 0
        self._holds_since = 0
        self._ended = False
        self._first_stamp_ns = 0
        self._last_command_ns: int | None = None
        self._actions: list[np.ndarray] = []
        self._commanded: list[bool] = []
        self._success: list[bool] = []
        self._began_with_success = False
        self._snapshots: list[NDArray[np.float64]] = []

    @property
    def task(self) -> Task:
        """The task being played; RuntimeError before the first reset."""
        if self._task is None:
            raise RuntimeError("no episode was started: call reset first")
        return self._task

    @property
    def observation(self) -> Observation:
        """What is known now; RuntimeError before the first reset."""
        if self._observation is None:
            raise RuntimeError("no episode was started: call reset first")
        return self._observation

    @property
    def done(self) -> bool:
        """Whether the episode has ended; stays so until the next reset."""
        return self._ended

    def reset(self, task: str = "", variant: str = "", layout: int = 0) -> Observation:
        """Begins an episode.

        Args:
            task: name; empty keeps the task.
            variant: ``eval`` or ``random``; empty keeps the variant.
            layout: number within the variant.

        Raises:
            ValueError: unknown task, variant or layout; the episode that was running goes on.
        """
        name = task or self.task.spec.task
        chosen = variant or self.variant
        if chosen not in VARIANTS:
            raise ValueError(f"unknown variant {chosen!r}; there are {', '.join(VARIANTS)}")
        if name not in self._tasks:
            self._tasks[name] = self._make_task(name)
        observation = self._tasks[name].reset(cast("Variant", chosen), layout)
        self._task, self._observation = self._tasks[name], observation
        self.variant, self.layout = chosen, layout
        self._ended = False
        self._holds_since = 0
        self._first_stamp_ns = 0
        self._last_command_ns = None
        self._actions, self._commanded, self._success = [], [], []
        self._began_with_success, self._snapshots = bool(observation.success), []
        self._remember()
        return observation

    def next_layout(self) -> int:
        """Number of the layout after this one; evaluation layouts begin again at 0."""
        following = self.layout + 1
        return following % self.task.evaluation_layouts if self.variant == "eval" else following

    def record(self) -> EpisodeRecord:
        """What was executed from the reset to the end of the episode, as the evaluator keeps it; without the policy's
        times."""
        from magma_eval.results.episode_record import EpisodeRecord

        return EpisodeRecord(
            actions=np.array(self._actions, dtype=np.float64).reshape(-1, 7),
            commanded=np.array(self._commanded, dtype=np.bool_),
            # The world moves in whole steps: a command takes effect where a step begins.
            late_s=np.zeros(len(self._actions)),
            success=np.array(self._success, dtype=np.bool_),
            query_step=np.zeros(0, dtype=np.int64),
            query_ms=np.zeros(0),
        )

    def film(self, path: Path) -> None:
        """Shows the episode that has ended once more, larger than the policy saw it, up to shortly after its success.

        Raises:
            ValueError: there is nothing to show, or this world cannot show what is over.
            OSError: the film cannot be written.
        """
        from magma_eval.report.clips import Moment, Titles, steps_worth_seeing, write_film
        from magma_sim.tasks.interface import FilmableTask

        task, verdict = self.task, bool(self._success) and self._success[-1]
        if not isinstance(task, FilmableTask):
            raise ValueError(f"{task.spec.suite} cannot show what is over")
        if not (self._ended and self._success):
            raise ValueError("no episode has ended")
        steps = steps_worth_seeing(self._success)

        def moments() -> Iterator[Moment]:
            flags = (self._began_with_success, *self._success)
            for snapshot, success in zip(self._snapshots[: steps + 1], flags, strict=False):
                task.show(snapshot)
                yield Moment(task.render_large(), success)

        titles = Titles(
            self.observation.instruction, task.spec.max_steps, verdict, lambda: "SUCCESS" if verdict else "FAILURE"
        )
        now = task.snapshot()
        try:
            write_film(path, moments(), self.record(), titles, task.spec.step_period_s)
        finally:
            task.show(now)

    def _remember(self) -> None:
        from magma_sim.tasks.interface import FilmableTask

        if isinstance(self._task, FilmableTask):
            self._snapshots.append(self._task.snapshot())

    def published(self, stamp_ns: int) -> None:
        """The present observation was published under this stamp, in nanoseconds."""
        if not self._first_stamp_ns:
            self._first_stamp_ns = stamp_ns

    def refusal(self, stamp_ns: int) -> str | None:
        """Why a command with this stamp must not move the world, or None.

        A command answers the frame whose stamp it carries. In lock-step a frame may be published more than once, so
        a second answer to a world that has moved on already would be an action on something no longer there. The
        stamp of the command before is fine: chunks hold several steps.
        """
        if self._observation is None or not self._first_stamp_ns:
            return "no episode is running"
        if self._ended and self._settings.stop_when_done:
            return "the episode has ended"
        if stamp_ns < self._first_stamp_ns and stamp_ns != self._last_command_ns:
            return "it answers a frame from before the last step" if self.observation.step else "from before the reset"
        return None

    def step(self, action: np.ndarray | None, stamp_ns: int | None = None) -> Observation:
        """Lets one step period pass.

        Args:
            action: EndEffectorDelta (7,), or None: the arm's target stays where it is.
            stamp_ns: stamp of the command that this action came with.

        Raises:
            ValueError: the action is not a finite delta; nothing has moved then.
        """
        task = self.task
        commanded = action is not None
        if action is None:
            action = np.zeros(7)
            action[6] = self.observation.end_effector.gripper_target
        observation = task.step(action)
        self._observation = observation
        if not self._ended:
            self._actions.append(np.array(action, dtype=np.float64))
            self._commanded.append(commanded)
            self._success.append(bool(observation.success))
            self._remember()
        self._last_command_ns = stamp_ns if stamp_ns is not None else self._last_command_ns
        if self._settings.lockstep:
            self._first_stamp_ns = 0
        if observation.success:
            self._holds_since += 1
        else:
            self._holds_since = 0
        hold = self._settings.success_hold_steps
        held = bool(hold) and self._holds_since >= hold
        self._ended = self._ended or held or observation.step >= task.spec.max_steps
        return observation
