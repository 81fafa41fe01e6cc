"""Events about the life cycle of nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from ...launch.event import Event
from .matchers import matches_node_name

if TYPE_CHECKING:
    from ..actions import LifecycleNode

__all__ = ["ChangeState", "StateTransition", "matches_node_name"]


class ChangeState(Event):
    """Asks the matching lifecycle nodes to make a transition, an id of `lifecycle_msgs.msg.Transition`."""

    name = "launch_ros.events.lifecycle.ChangeState"
    # lifecycle_msgs/msg/Transition and State, by number.
    valid_transitions: ClassVar[dict[int, str]] = {
        0: "TRANSITION_CREATE",
        1: "TRANSITION_CONFIGURE",
        2: "TRANSITION_CLEANUP",
        3: "TRANSITION_ACTIVATE",
        4: "TRANSITION_DEACTIVATE",
        5: "TRANSITION_UNCONFIGURED_SHUTDOWN",
        6: "TRANSITION_INACTIVE_SHUTDOWN",
        7: "TRANSITION_ACTIVE_SHUTDOWN",
        8: "TRANSITION_DESTROY",
    }
    valid_states: ClassVar[dict[int, str]] = {
        0: "PRIMARY_STATE_UNKNOWN",
        1: "PRIMARY_STATE_UNCONFIGURED",
        2: "PRIMARY_STATE_INACTIVE",
        3: "PRIMARY_STATE_ACTIVE",
        4: "PRIMARY_STATE_FINALIZED",
        10: "TRANSITION_STATE_CONFIGURING",
        11: "TRANSITION_STATE_CLEANINGUP",
        12: "TRANSITION_STATE_SHUTTINGDOWN",
        13: "TRANSITION_STATE_ACTIVATING",
        14: "TRANSITION_STATE_DEACTIVATING",
        15: "TRANSITION_STATE_ERRORPROCESSING",
    }

    def __init__(self, *, lifecycle_node_matcher: Callable[[LifecycleNode], bool], transition_id: int) -> None:
        if transition_id not in self.valid_transitions:
            known = ", ".join(f"{name}: {number}" for number, name in self.valid_transitions.items())
            raise ValueError(f"given transition_id of '{transition_id}', expected one of {{{known}}}")
        self._matcher = lifecycle_node_matcher
        self._transition_id = transition_id

    @property
    def lifecycle_node_matcher(self) -> Callable[[LifecycleNode], bool]:
        """Tells which nodes are meant."""
        return self._matcher

    @property
    def transition_id(self) -> int:
        """The wanted transition."""
        return self._transition_id


class StateTransition(Event):
    """A lifecycle node has changed its state; `msg` is the `lifecycle_msgs/TransitionEvent` that it published."""

    name = "launch_ros.events.lifecycle.StateTransition"

    def __init__(self, *, action: LifecycleNode, msg: Any) -> None:
        self._action = action
        self._msg = msg

    @property
    def action(self) -> LifecycleNode:
        """The action that runs the node."""
        return self._action

    @property
    def msg(self) -> Any:
        """The message."""
        return self._msg

    @property
    def timestamp(self) -> int:
        """Time of the transition in nanoseconds; 0 from nodes of stock ROS 2."""
        return self._msg.timestamp

    @property
    def transition(self) -> str:
        """Label of the transition; empty from nodes of stock ROS 2."""
        return self._msg.transition.label

    @property
    def start_state(self) -> str:
        """Label of the state before, for example "configuring"."""
        return self._msg.start_state.label

    @property
    def goal_state(self) -> str:
        """Label of the state after, for example "inactive"."""
        return self._msg.goal_state.label
