"""States of a lifecycle node and the transitions between them.

Numbers are those of ``lifecycle_msgs/msg/State`` and ``Transition``; the table is that of rcl_lifecycle.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from ..exceptions import RCLError


class LifecycleState(NamedTuple):
    """A state."""

    label: str
    state_id: int


class TransitionCallbackReturn(IntEnum):
    """What a transition callback returns."""

    SUCCESS = 97
    FAILURE = 98
    ERROR = 99

    def to_label(self) -> str:
        """Return the label of the transition that follows."""
        return f"transition_{self.name.lower()}"


class Transition(NamedTuple):
    """A transition between two states, given by their ids."""

    transition_id: int
    label: str
    start: int
    goal: int


UNCONFIGURED, INACTIVE, ACTIVE, FINALIZED = 1, 2, 3, 4
CONFIGURING, CLEANING_UP, SHUTTING_DOWN, ACTIVATING, DEACTIVATING, ERROR_PROCESSING = range(10, 16)

STATES = {
    0: "unknown",
    UNCONFIGURED: "unconfigured",
    INACTIVE: "inactive",
    ACTIVE: "active",
    FINALIZED: "finalized",
    CONFIGURING: "configuring",
    CLEANING_UP: "cleaningup",
    SHUTTING_DOWN: "shuttingdown",
    ACTIVATING: "activating",
    DEACTIVATING: "deactivating",
    ERROR_PROCESSING: "errorprocessing",
}


def _ends(first_id: int, start: int, success: int, failure: int, error: int) -> list[Transition]:
    goals = (("success", success), ("failure", failure), ("error", error))
    return [Transition(first_id + index, f"transition_{end}", start, goal) for index, (end, goal) in enumerate(goals)]


TRANSITIONS = (
    Transition(1, "configure", UNCONFIGURED, CONFIGURING),
    *_ends(10, CONFIGURING, INACTIVE, UNCONFIGURED, ERROR_PROCESSING),
    Transition(2, "cleanup", INACTIVE, CLEANING_UP),
    *_ends(20, CLEANING_UP, UNCONFIGURED, INACTIVE, ERROR_PROCESSING),
    Transition(3, "activate", INACTIVE, ACTIVATING),
    *_ends(30, ACTIVATING, ACTIVE, INACTIVE, ERROR_PROCESSING),
    Transition(4, "deactivate", ACTIVE, DEACTIVATING),
    *_ends(40, DEACTIVATING, INACTIVE, ACTIVE, ERROR_PROCESSING),
    Transition(5, "shutdown", UNCONFIGURED, SHUTTING_DOWN),
    Transition(6, "shutdown", INACTIVE, SHUTTING_DOWN),
    Transition(7, "shutdown", ACTIVE, SHUTTING_DOWN),
    *_ends(50, SHUTTING_DOWN, FINALIZED, FINALIZED, ERROR_PROCESSING),
    *_ends(60, ERROR_PROCESSING, UNCONFIGURED, FINALIZED, FINALIZED),
)


class StateMachine:
    """The current state, and how it may change.

    Args:
        on_change: called with each transition that was made.
    """

    def __init__(self, on_change: Callable[[Transition], None]) -> None:
        self._state = UNCONFIGURED
        self._on_change = on_change

    @property
    def current_state(self) -> tuple[int, str]:
        """Id and label of the current state."""
        return self._state, STATES[self._state]

    @property
    def available_transitions(self) -> list[Transition]:
        """Transitions that start in the current state."""
        return [transition for transition in TRANSITIONS if transition.start == self._state]

    def find(self, wanted: int | str) -> Transition:
        """Return a transition from the current state by its id or label.

        Raises:
            RCLError: there is none.
        """
        for transition in self.available_transitions:
            if wanted in (transition.transition_id, transition.label):
                return transition
        known = ", ".join(f"{entry.label} ({entry.transition_id})" for entry in self.available_transitions) or "none"
        raise RCLError(
            f"Failed to trigger lifecycle state machine transition: no transition {wanted!r} from state "
            f"{STATES[self._state]!r}; there are: {known}"
        )

    def trigger(self, wanted: int | str) -> None:
        """Make a transition from the current state, given by its id or label.

        Raises:
            RCLError: there is none.
        """
        transition = self.find(wanted)
        self._state = transition.goal
        self._on_change(transition)
