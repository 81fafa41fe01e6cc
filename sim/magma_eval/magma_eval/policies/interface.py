"""What a policy offers the evaluator, and how it says that it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from magma_contracts.foresight import Ahead


class PolicyMismatchError(ValueError):
    """A policy does not fit a task; the message names the field."""


class PolicyFailedError(RuntimeError):
    """A policy could not be asked, so nothing is known about its skill; the message says why."""


class PolicyNeeds(Protocol):
    """What the evaluator has to know of any policy before it plays."""

    @property
    def name(self) -> str:
        """As the policy calls itself."""

    @property
    def needs_image(self) -> bool:
        """Whether it looks at images."""

    @property
    def reads_state(self) -> bool:
        """Whether its actions start from the arm's state that it is given, rather than from what a picture shows."""

    def check_fits(self, task: Any) -> None:
        """Raises PolicyMismatchError for the first field in which the task's specification differs."""


@dataclass(frozen=True)
class BlindNeeds:
    """Needs of a policy that looks at nothing and fits every task."""

    name: str
    needs_image: bool = False
    reads_state: bool = False

    def check_fits(self, task: Any) -> None:
        """Nothing can differ."""


@dataclass(frozen=True)
class PolicySpec:
    """What a policy for arms needs and returns. None: any."""

    name: str
    needs_image: bool
    reads_state: bool = True
    horizon: int = 1
    step_period_s: float | None = None
    frame: str = "base"
    rotation: str = "axis_angle"
    gripper: str = "absolute_open_1"
    camera: str | None = None
    image_height: int | None = None
    image_width: int | None = None

    def check_fits(self, task: Any) -> None:
        """Raises PolicyMismatchError for the first field in which the task differs.

        Images may be larger than the policy's own: they are scaled down as on the robot. Smaller ones lack detail
        that the policy was made for.
        """
        for field in ("frame", "rotation", "gripper", "camera", "step_period_s"):
            mine, theirs = getattr(self, field), getattr(task, field)
            equal = mine is None or mine == theirs
            if field == "step_period_s" and mine is not None:
                equal = abs(mine - theirs) <= 1e-3 * theirs
            if not equal:
                raise PolicyMismatchError(
                    f"policy {self.name!r} and task {task.task!r} disagree on {field}: {mine!r} against {theirs!r}"
                )
        height, width = self.image_height or 0, self.image_width or 0
        if self.needs_image and (task.image_height < height or task.image_width < width):
            raise PolicyMismatchError(
                f"policy {self.name!r} looks at pictures of {height}x{width}, task {task.task!r} renders "
                f"{task.image_height}x{task.image_width}: give --image-size {height}x{width} where the suite can"
            )


class EpisodePolicy(Protocol):
    """A policy for one episode."""

    @property
    def spec(self) -> PolicyNeeds:
        """What it needs and returns."""

    @property
    def stage_ms(self) -> Mapping[str, float]:
        """Times of the stages of the last `act`, in milliseconds; may be empty."""

    def reset(self, instruction: str) -> None:
        """Begins the episode."""

    def act(self, observation: Any) -> Any:
        """The next action or actions, as the task's action type takes them; None: no command.

        Raises PolicyFailedError when there is no answer.
        """

    def close(self) -> None:
        """Ends the episode."""


@runtime_checkable
class PlanningPolicy(Protocol):
    """A policy of an arm that can answer for a later moment."""

    def plan(self, observation: Any, ahead: Ahead) -> Any:
        """The actions from the moment on at which the answer takes effect.

        Args:
            observation: what is known now.
            ahead: what will be commanded until then.
        """
