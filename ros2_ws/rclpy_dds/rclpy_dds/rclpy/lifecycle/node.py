"""Lifecycle nodes."""

import traceback
from typing import Any

from rclpy_dds.interfaces import message_class, service_class

from ..callback_groups import CallbackGroup
from ..exceptions import RCLError
from ..node import Node
from ..publisher import Publisher
from ..qos import QoSProfile
from .managed_entity import ManagedEntity
from .publisher import LifecyclePublisher
from .state_machine import (
    ACTIVATING,
    CLEANING_UP,
    CONFIGURING,
    DEACTIVATING,
    ERROR_PROCESSING,
    SHUTTING_DOWN,
    STATES,
    TRANSITIONS,
    LifecycleState,
    StateMachine,
    Transition,
    TransitionCallbackReturn,
)

_CALLBACK_NAMES = {
    CONFIGURING: "on_configure",
    CLEANING_UP: "on_cleanup",
    SHUTTING_DOWN: "on_shutdown",
    ACTIVATING: "on_activate",
    DEACTIVATING: "on_deactivate",
    ERROR_PROCESSING: "on_error",
}


class LifecycleNodeMixin(ManagedEntity):
    """What makes a :class:`rclpy.node.Node` a lifecycle node; to be inherited together with it."""

    _logger: Any

    def __init__(
        self, *, enable_communication_interface: bool = True, callback_group: CallbackGroup | None = None
    ) -> None:
        """
        Args:
            enable_communication_interface: offer the services of lifecycle nodes and ``~/transition_event``.
            callback_group: group of the services; the node's default one when None.
        """
        node: Any = self
        self._managed_entities: set[ManagedEntity] = set()
        self._state_machine = StateMachine(self.__publish_transition)
        self.__event_publisher: Publisher | None = None
        if not enable_communication_interface:
            return
        self.__event_publisher = Node.create_publisher(
            node, message_class("lifecycle_msgs/msg/TransitionEvent"), "~/transition_event", QoSProfile(depth=10)
        )
        for name, type_name, callback in (
            ("change_state", "ChangeState", self.__on_change_state),
            ("get_state", "GetState", self.__on_get_state),
            ("get_available_states", "GetAvailableStates", self.__on_get_available_states),
            ("get_available_transitions", "GetAvailableTransitions", self.__on_get_available_transitions),
            ("get_transition_graph", "GetAvailableTransitions", self.__on_get_transition_graph),
        ):
            kind = service_class(f"lifecycle_msgs/srv/{type_name}")
            Node.create_service(node, kind, f"~/{name}", callback, callback_group=callback_group)

    # --- transitions ---

    def trigger_configure(self) -> TransitionCallbackReturn:
        """Configure the node: unconfigured to inactive.

        Raises:
            RCLError: not possible in the current state.
        """
        return self.__change_state("configure")

    def trigger_cleanup(self) -> TransitionCallbackReturn:
        """Undo the configuration: inactive to unconfigured.

        Raises:
            RCLError: not possible in the current state.
        """
        return self.__change_state("cleanup")

    def trigger_shutdown(self) -> TransitionCallbackReturn:
        """End the node's life: to finalized.

        Raises:
            RCLError: not possible in the current state.
        """
        return self.__change_state("shutdown")

    def trigger_activate(self) -> TransitionCallbackReturn:
        """Activate the node: inactive to active.

        Raises:
            RCLError: not possible in the current state.
        """
        return self.__change_state("activate")

    def trigger_deactivate(self) -> TransitionCallbackReturn:
        """Deactivate the node: active to inactive.

        Raises:
            RCLError: not possible in the current state.
        """
        return self.__change_state("deactivate")

    def __change_state(self, wanted: int | str) -> TransitionCallbackReturn:
        previous_id, previous_label = self._state_machine.current_state
        previous = LifecycleState(label=previous_label, state_id=previous_id)
        self._state_machine.trigger(wanted)
        result = self.__call(previous)
        self._state_machine.trigger(result.to_label())
        if result is TransitionCallbackReturn.ERROR:
            self._state_machine.trigger(self.__call(previous).to_label())
        return result

    def __call(self, previous: LifecycleState) -> TransitionCallbackReturn:
        """Call the callback of the current transition state; what it raises counts as an error."""
        name = _CALLBACK_NAMES[self._state_machine.current_state[0]]
        try:
            result = getattr(self, name)(previous)
            if not isinstance(result, TransitionCallbackReturn):
                raise TypeError(f"{name}() must return a TransitionCallbackReturn, not {result!r}")
            return result
        except Exception as error:
            self._logger.error(f"Error raised in {name}(): {error}\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR

    def __publish_transition(self, transition: Transition) -> None:
        publisher = self.__event_publisher
        if publisher is None or publisher.handle.closed:
            return
        node: Any = self
        event = message_class("lifecycle_msgs/msg/TransitionEvent")(timestamp=node.get_clock().now().nanoseconds)
        _describe(transition, event)
        publisher.publish(event)

    # --- managed entities ---

    def add_managed_entity(self, entity: ManagedEntity) -> None:
        """Let an entity follow the transitions of this node.

        Raises:
            TypeError: not a :class:`ManagedEntity`.
        """
        if not isinstance(entity, ManagedEntity):
            raise TypeError("Expected a rclpy.lifecycle.ManagedEntity instance.")
        self._managed_entities.add(entity)

    def __forward(self, name: str, state: LifecycleState) -> TransitionCallbackReturn:
        for entity in list(self._managed_entities):
            result = getattr(entity, name)(state)
            if not isinstance(result, TransitionCallbackReturn):
                raise TypeError(f"{name}() of {entity} must return a TransitionCallbackReturn, not {result!r}")
            if result is not TransitionCallbackReturn.SUCCESS:
                return result
        return TransitionCallbackReturn.SUCCESS

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Configure the managed entities, up to the first that does not succeed; call it when you override it."""
        return self.__forward("on_configure", state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Clean up the managed entities, up to the first that does not succeed; call it when you override it."""
        return self.__forward("on_cleanup", state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Shut the managed entities down, up to the first that does not succeed; call it when you override it."""
        return self.__forward("on_shutdown", state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Activate the managed entities, up to the first that does not succeed; call it when you override it."""
        return self.__forward("on_activate", state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate the managed entities, up to the first that does not succeed; call it when you override it."""
        return self.__forward("on_deactivate", state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Tell the managed entities of an error, up to the first that does not succeed."""
        return self.__forward("on_error", state)

    def create_lifecycle_publisher(self, *args: Any, **kwargs: Any) -> LifecyclePublisher:
        """Create a publisher that sends only while the node is active; arguments as of ``create_publisher``.

        Raises:
            TypeError: ``publisher_class`` is given.
        """
        if "publisher_class" in kwargs:
            raise TypeError("create_publisher() got an unexpected keyword argument 'publisher_class'")
        node: Any = self
        publisher: Any = Node.create_publisher(node, *args, **kwargs, publisher_class=LifecyclePublisher)
        self._managed_entities.add(publisher)
        return publisher

    def destroy_lifecycle_publisher(self, publisher: LifecyclePublisher) -> bool:
        """Destroy a lifecycle publisher of this node; return False when it is not one."""
        self._managed_entities.discard(publisher)
        node: Any = self
        return Node.destroy_publisher(node, publisher)

    # --- services ---

    def __on_change_state(self, request: Any, response: Any) -> Any:
        wanted = request.transition.label or request.transition.id
        try:
            response.success = self.__change_state(wanted) is TransitionCallbackReturn.SUCCESS
        except RCLError as error:
            self._logger.warning(str(error))
            response.success = False
        return response

    def __on_get_state(self, request: Any, response: Any) -> Any:
        response.current_state.id, response.current_state.label = self._state_machine.current_state
        return response

    def __on_get_available_states(self, request: Any, response: Any) -> Any:
        state = message_class("lifecycle_msgs/msg/State")
        response.available_states = [state(id=number, label=label) for number, label in STATES.items()]
        return response

    def __on_get_available_transitions(self, request: Any, response: Any) -> Any:
        response.available_transitions = _descriptions(self._state_machine.available_transitions)
        return response

    def __on_get_transition_graph(self, request: Any, response: Any) -> Any:
        response.available_transitions = _descriptions(TRANSITIONS)
        return response


def _describe(transition: Transition, message: Any) -> Any:
    message.transition.id, message.transition.label = transition.transition_id, transition.label
    message.start_state.id, message.start_state.label = transition.start, STATES[transition.start]
    message.goal_state.id, message.goal_state.label = transition.goal, STATES[transition.goal]
    return message


def _descriptions(transitions: Any) -> list[Any]:
    kind = message_class("lifecycle_msgs/msg/TransitionDescription")
    return [_describe(transition, kind()) for transition in transitions]


class LifecycleNode(LifecycleNodeMixin, Node):
    """A node with managed states."""

    def __init__(self, node_name: str, *, enable_communication_interface: bool = True, **kwargs: Any) -> None:
        """
        Args:
            node_name: name.
            enable_communication_interface: offer the services of lifecycle nodes and ``~/transition_event``.
            kwargs: options of :class:`rclpy.node.Node`.
        """
        Node.__init__(self, node_name, **kwargs)
        LifecycleNodeMixin.__init__(self, enable_communication_interface=enable_communication_interface)
