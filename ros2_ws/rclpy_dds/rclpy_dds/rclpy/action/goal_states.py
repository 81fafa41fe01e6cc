"""States of a goal on the server and the transitions between them (https://design.ros2.org/articles/actions.html)."""

from enum import IntEnum

from ..exceptions import RCLError


class GoalState(IntEnum):
    """States, with the numbers of ``action_msgs/msg/GoalStatus``."""

    UNKNOWN = 0
    ACCEPTED = 1
    EXECUTING = 2
    CANCELING = 3
    SUCCEEDED = 4
    CANCELED = 5
    ABORTED = 6


class GoalEvent(IntEnum):
    """What changes the state of a goal."""

    EXECUTE = 0
    CANCEL_GOAL = 1
    SUCCEED = 2
    ABORT = 3
    CANCELED = 4


ACTIVE_STATES = frozenset({GoalState.ACCEPTED, GoalState.EXECUTING, GoalState.CANCELING})
CANCELABLE_STATES = frozenset({GoalState.ACCEPTED, GoalState.EXECUTING})

_TRANSITIONS = {
    (GoalState.ACCEPTED, GoalEvent.EXECUTE): GoalState.EXECUTING,
    (GoalState.ACCEPTED, GoalEvent.CANCEL_GOAL): GoalState.CANCELING,
    (GoalState.EXECUTING, GoalEvent.CANCEL_GOAL): GoalState.CANCELING,
    (GoalState.EXECUTING, GoalEvent.SUCCEED): GoalState.SUCCEEDED,
    (GoalState.EXECUTING, GoalEvent.ABORT): GoalState.ABORTED,
    (GoalState.CANCELING, GoalEvent.SUCCEED): GoalState.SUCCEEDED,
    (GoalState.CANCELING, GoalEvent.ABORT): GoalState.ABORTED,
    (GoalState.CANCELING, GoalEvent.CANCELED): GoalState.CANCELED,
}


def next_state(state: GoalState, event: GoalEvent) -> GoalState:
    """Return the state after an event.

    Raises:
        RCLError: the event is not allowed in this state.
    """
    try:
        return _TRANSITIONS[state, event]
    except KeyError:
        raise RCLError(
            f"goal_handle attempted invalid transition from state {state.name} with event {event.name}"
        ) from None
