"""Callbacks for changes of parameters, of any node."""

import threading
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from rclpy_dds.interfaces import message_class

from .callback_groups import CallbackGroup
from .event_handler import SubscriptionEventCallbacks
from .node import Node
from .qos import QoSProfile, qos_profile_parameter_events


class ParameterCallbackHandle:
    """A callback for one parameter of one node."""

    def __init__(self, parameter_name: str, node_name: str, callback: Callable[[Any], None]) -> None:
        self.parameter_name = parameter_name
        self.node_name = node_name
        self.callback = callback


class ParameterEventCallbackHandle:
    """A callback for all parameter events."""

    def __init__(self, callback: Callable[[Any], None]) -> None:
        self.callback = callback


class ParameterEventHandler:
    """Listens to ``/parameter_events`` and calls back; the callback that was added last is called first."""

    def __init__(
        self,
        node: Node,
        qos_profile: QoSProfile = qos_profile_parameter_events,
        callback_group: CallbackGroup | None = None,
        event_callbacks: SubscriptionEventCallbacks | None = None,
        qos_overriding_options: Any = None,
        raw: bool = False,
    ) -> None:
        """
        Args:
            node: node that subscribes.
            qos_profile, callback_group, event_callbacks, qos_overriding_options: of the subscription.
            raw: not covered; a raw event has no parameters to look for.
        """
        if raw:
            raise NotImplementedError("rclpy_dds has no raw parameter events (ParameterEventHandler(raw=True))")
        self.node = node
        self.qos_profile = qos_profile
        self._lock = threading.RLock()
        self._parameter_handles: list[ParameterCallbackHandle] = []
        self._event_handles: list[ParameterEventCallbackHandle] = []
        self.parameter_event_subscription = node.create_subscription(
            message_class("rcl_interfaces/msg/ParameterEvent"),
            "/parameter_events",
            self._on_event,
            qos_profile,
            callback_group=callback_group,
            event_callbacks=event_callbacks,
            qos_overriding_options=qos_overriding_options,
        )

    def destroy(self) -> None:
        """Stop listening."""
        self.node.destroy_subscription(self.parameter_event_subscription)

    def _on_event(self, event: Any) -> None:
        with self._lock:
            parameter_handles, event_handles = list(self._parameter_handles), list(self._event_handles)
        for handle in parameter_handles:
            parameter = self.get_parameter_from_event(event, handle.parameter_name, handle.node_name)
            if parameter is not None:
                handle.callback(parameter)
        for entry in event_handles:
            entry.callback(event)

    @staticmethod
    def get_parameter_from_event(event: Any, parameter_name: str, node_name: str) -> Any:
        """Return the new value of a parameter (``rcl_interfaces.msg.Parameter``), or None if it is not in the event."""
        if event.node != node_name:
            return None
        found = ParameterEventHandler.get_parameters_from_event(event)
        return next((parameter for parameter in found if parameter.name == parameter_name), None)

    @staticmethod
    def get_parameters_from_event(event: Any) -> Iterator[Any]:
        """Yield the new and the changed parameters of an event."""
        yield from chain(event.new_parameters, event.changed_parameters)

    def add_parameter_callback(
        self, parameter_name: str, node_name: str, callback: Callable[[Any], None]
    ) -> ParameterCallbackHandle:
        """Call back when a parameter of a node is set; the name is relative to the own node's namespace."""
        handle = ParameterCallbackHandle(parameter_name, self._resolve_path(node_name), callback)
        with self._lock:
            self._parameter_handles.insert(0, handle)
        return handle

    def remove_parameter_callback(self, handle: ParameterCallbackHandle) -> None:
        """Remove a callback.

        Raises:
            RuntimeError: it is not there.
        """
        self._remove(self._parameter_handles, handle)

    def add_parameter_event_callback(self, callback: Callable[[Any], None]) -> ParameterEventCallbackHandle:
        """Call back with every event (``rcl_interfaces.msg.ParameterEvent``)."""
        handle = ParameterEventCallbackHandle(callback)
        with self._lock:
            self._event_handles.insert(0, handle)
        return handle

    def remove_parameter_event_callback(self, handle: ParameterEventCallbackHandle) -> None:
        """Remove a callback.

        Raises:
            RuntimeError: it is not there.
        """
        self._remove(self._event_handles, handle)

    def _remove(self, handles: list, handle: Any) -> None:
        with self._lock:
            if handle not in handles:
                raise RuntimeError("Callback doesn't exist")
            handles.remove(handle)

    def _resolve_path(self, node_path: str | None = None) -> str:
        if not node_path:
            return self.node.get_fully_qualified_name()
        return node_path if node_path.startswith("/") else f"{self.node.get_namespace().rstrip('/')}/{node_path}"
