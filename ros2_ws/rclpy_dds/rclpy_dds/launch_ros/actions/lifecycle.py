"""Actions on nodes with a life cycle."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from ...launch import logging as launch_logging
from ...launch.action import Action
from ...launch.actions import EmitEvent, OpaqueFunction, RegisterEventHandler
from ...launch.event_handler import EventHandler
from ...launch.launch_description_entity import LaunchDescriptionEntity
from ...launch.some_substitutions_type import SomeSubstitutionsType
from ...launch.utilities import describe_substitutions, resolve
from ..event_handlers import OnStateTransition
from ..events.lifecycle import ChangeState, StateTransition
from ..events.matchers import matches_node_name
from ..ros_adapters import get_ros_node
from .node import Node

if TYPE_CHECKING:
    from ...launch.launch_context import LaunchContext

_POLL_S = 1.0
# From the state that a transition passes through to the one that it leads to.
_STEPS = {
    1: ("configuring", "inactive"),
    2: ("cleaningup", "unconfigured"),
    3: ("activating", "active"),
    4: ("deactivating", "inactive"),
    5: ("shuttingdown", "finalized"),
    6: ("shuttingdown", "finalized"),
    7: ("shuttingdown", "finalized"),
}


class LifecycleNode(Node):
    """Runs a node with a life cycle. ChangeState events make it change its state; it emits StateTransition events."""

    def __init__(self, *, name: SomeSubstitutionsType, namespace: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(name=name, namespace=namespace, **kwargs)
        self._change_state: Any = None

    def execute(self, context: LaunchContext) -> None:
        from lifecycle_msgs.msg import TransitionEvent
        from lifecycle_msgs.srv import ChangeState as ChangeStateService

        self.command(context)  # sets the node's name
        own_node = get_ros_node(context)
        own_node.create_subscription(
            TransitionEvent, f"{self.node_name}/transition_event", partial(self._on_transition, context), 10
        )
        self._change_state = own_node.create_client(ChangeStateService, f"{self.node_name}/change_state")
        context.register_event_handler(
            EventHandler(
                matcher=lambda event: isinstance(event, ChangeState),
                entities=OpaqueFunction(function=self._on_change_state),
            )
        )
        super().execute(context)

    def _on_transition(self, context: LaunchContext, message: Any) -> None:
        # Called in the thread of launch's node.
        loop = context.asyncio_loop
        if loop is not None:
            loop.call_soon_threadsafe(context.emit_event_sync, StateTransition(action=self, msg=message))

    def _on_change_state(self, context: LaunchContext) -> None:
        event = context.locals.event
        if event.lifecycle_node_matcher(self):
            context.add_task(self._request(event.transition_id, context))

    async def _request(self, transition_id: int, context: LaunchContext) -> None:
        loop = context.asyncio_loop
        if loop is not None:
            await loop.run_in_executor(None, self._call, transition_id, context)

    def _call(self, transition_id: int, context: LaunchContext) -> None:
        """Call the service, in a thread of its own; gives up when the launch ends."""
        logger = launch_logging.get_logger("launch_ros")
        client = self._change_state
        while not client.wait_for_service(timeout_sec=_POLL_S):
            if context.is_shutdown:
                logger.warning("Abandoning wait for the '%s' service, due to shutdown.", client.srv_name)
                return
        request = client.srv_type.Request()
        request.transition.id = transition_id
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        while not answered.wait(_POLL_S):
            if context.is_shutdown:
                logger.warning("Abandoning wait for the '%s' service response, due to shutdown.", client.srv_name)
                return
        if not future.result().success:
            logger.error(
                "Failed to make transition '%s' for LifecycleNode '%s'",
                ChangeState.valid_transitions[transition_id],
                self.node_name,
            )


class LifecycleTransition(Action):
    """Takes lifecycle nodes through transitions, each one when the one before has succeeded."""

    def __init__(
        self,
        *,
        lifecycle_node_names: Iterable[SomeSubstitutionsType],
        transition_ids: Iterable[int | SomeSubstitutionsType],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._node_names = list(lifecycle_node_names)
        self._transition_ids = [str(number) if isinstance(number, int) else number for number in transition_ids]
        if not self._transition_ids:
            raise ValueError("No transition_ids provided.")
        if not self._node_names:
            raise ValueError("No lifecycle_node_names provided.")

    def describe(self) -> str:
        names = ", ".join(describe_substitutions(name) for name in self._node_names)
        return f"LifecycleTransition({names})"

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        numbers = []
        for text in (resolve(context, number) for number in self._transition_ids):
            if not text.isdigit() or int(text) not in _STEPS:
                raise ValueError(
                    f"expected the number of a lifecycle transition ({', '.join(map(str, _STEPS))}), got {text!r}"
                )
            numbers.append(int(text))
        entities: list[LaunchDescriptionEntity] = []
        for name in (resolve(context, name) for name in self._node_names):
            entities += self._sequence(name, numbers)
        return entities

    def _sequence(self, name: str, numbers: list[int]) -> list[LaunchDescriptionEntity]:
        """Return the handlers that lead one node from transition to transition, and the event that begins it."""
        is_meant = matches_node_name(name)
        orders = [EmitEvent(event=ChangeState(lifecycle_node_matcher=is_meant, transition_id=n)) for n in numbers]
        handlers: list[OnStateTransition] = []

        def give_up(context: LaunchContext) -> None:
            launch_logging.get_logger("launch_ros").info("Stopping transitions for %s because of an error", name)
            for handler in handlers:
                if context.is_registered(handler):
                    context.unregister_event_handler(handler)

        for number, following in zip(numbers, [*orders[1:], None], strict=True):
            start, goal = _STEPS[number]

            def arrived(event: Any, start: str = start, goal: str = goal) -> bool:
                return (
                    isinstance(event, StateTransition)
                    and is_meant(event.action)
                    and (event.start_state, event.goal_state) == (start, goal)
                )

            handlers.append(OnStateTransition(matcher=arrived, entities=following, handle_once=True))
        failed = EventHandler(
            matcher=lambda event: (
                isinstance(event, StateTransition) and is_meant(event.action) and event.goal_state == "errorprocessing"
            ),
            entities=OpaqueFunction(function=give_up),
            handle_once=True,
        )
        return [*(RegisterEventHandler(handler) for handler in [*handlers, failed]), orders[0]]
