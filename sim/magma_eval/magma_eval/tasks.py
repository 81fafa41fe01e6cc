"""What the evaluator asks of a task, whichever simulator runs it; structural, so that a simulator need not know of it.

Beside this a task may have `action_type` (`magma_eval.actions.ActionType`, for actions that are not an arm's),
`late_commands` (see `LateCommandTask`), observations with `ended` (True once nothing can change any more: the episode
is over before its last step) and `notes` (a tuple of sentences that every reader of its results must see).
"""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

ActionT = TypeVar("ActionT", contravariant=True)


class Observation(Protocol):
    """What is known after `reset` or `step`."""

    @property
    def image(self) -> NDArray[np.uint8] | None:
        """(H, W, 3) RGB; None when nothing was rendered."""

    @property
    def step(self) -> int:
        """Steps since the reset."""

    @property
    def success(self) -> bool:
        """Whether the goal holds now; not latched."""

    @property
    def instruction(self) -> str:
        """What to do."""


class TaskSpec(Protocol):
    """Fixed facts of a task; `robot` too, as a checkpoint of several robots names it, where there is one. What else a
    policy must agree with, its own specification knows."""

    @property
    def task(self) -> str:
        """Its name."""

    @property
    def max_steps(self) -> int:
        """Length of an episode."""

    @property
    def step_period_s(self) -> float:
        """Of the world."""


class Task(Protocol[ActionT]):
    """One episode after another of one task."""

    @property
    def spec(self) -> Any:
        """A `TaskSpec`, and what policies for this kind of task look at."""

    def reset(self, variant: Any, layout: int) -> Any:
        """Starts an episode; an `Observation`. Equal arguments give equal worlds."""

    def step(self, action: ActionT, *, render: bool = True) -> Any:
        """Executes one action for one step period; an `Observation`, with an image when asked for."""

    def render_large(self) -> NDArray[np.uint8]:
        """An image (H, W, 3) RGB of the present state for people to look at."""

    def close(self) -> None:
        """Releases the simulator."""


class LateCommandTask(Protocol[ActionT]):
    """A task with `late_commands = True`: its simulator takes a command also in the middle of a step."""

    late_commands: bool

    def step(self, action: ActionT | None, *, render: bool = True, late_s: float = 0.0) -> Any:
        """As `Task.step`; None: no command comes. The command takes effect `late_s` after the step's beginning."""


def has_ended(observation: Any) -> bool:
    """Whether the episode is over, whatever would still be done."""
    return bool(getattr(observation, "ended", False))


def takes_late_commands(task: Any) -> TypeGuard[LateCommandTask[Any]]:
    """Whether a command may come in the middle of a step of this task."""
    return bool(getattr(task, "late_commands", False))
