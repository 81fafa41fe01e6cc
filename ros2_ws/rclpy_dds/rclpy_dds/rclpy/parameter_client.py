"""Clients of another node's parameters."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from rclpy_dds.interfaces import message_class, service_class

from .callback_groups import CallbackGroup
from .node import Node
from .parameter import Parameter, parameter_dict_from_yaml_file
from .qos import QoSProfile, qos_profile_parameter_events, qos_profile_services_default
from .subscription import Subscription
from .task import Future

_POLL_S = 0.01

DoneCallback = Callable[[Future], None]


class AsyncParameterClient:
    """Reads and sets parameters of another node through its services; every method returns a future of a response."""

    def __init__(
        self,
        node: Node,
        remote_node_name: str,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> None:
        """
        Args:
            node: node of the clients.
            remote_node_name: name of the other node, as for services: relative or absolute.
            qos_profile: quality of service of the clients.
            callback_group: their group.
        """
        self.remote_node_name = remote_node_name
        self.node = node

        def client(kind: str, name: str) -> Any:
            return node.create_client(
                service_class(f"rcl_interfaces/srv/{kind}"),
                f"{remote_node_name}/{name}",
                qos_profile=qos_profile,
                callback_group=callback_group,
            )

        self._get_parameter_client = client("GetParameters", "get_parameters")
        self._list_parameter_client = client("ListParameters", "list_parameters")
        self._set_parameter_client = client("SetParameters", "set_parameters")
        self._get_parameter_types_client = client("GetParameterTypes", "get_parameter_types")
        self._describe_parameters_client = client("DescribeParameters", "describe_parameters")
        self._set_parameters_atomically_client = client("SetParametersAtomically", "set_parameters_atomically")
        self._clients = (
            self._get_parameter_client,
            self._list_parameter_client,
            self._set_parameter_client,
            self._get_parameter_types_client,
            self._describe_parameters_client,
            self._set_parameters_atomically_client,
        )

    def services_are_ready(self) -> bool:
        """Return whether all six services are there."""
        return all(client.service_is_ready() for client in self._clients)

    def wait_for_services(self, timeout_sec: float | None = None) -> bool:
        """Wait until all services are there; return whether they are."""
        deadline = None if timeout_sec is None else time.monotonic() + timeout_sec
        while self.node.context.ok():
            if self.services_are_ready():
                return True
            left = _POLL_S if deadline is None else min(_POLL_S, deadline - time.monotonic())
            if left <= 0:
                return False
            time.sleep(left)
        return False

    def list_parameters(
        self, prefixes: list[str] | None = None, depth: int | None = None, callback: DoneCallback | None = None
    ) -> Future:
        """List the parameters under prefixes, down to a depth."""
        return _call(self._list_parameter_client, callback, prefixes=prefixes or [], depth=depth or 0)

    def get_parameters(self, names: list[str], callback: DoneCallback | None = None) -> Future:
        """Get values."""
        return _call(self._get_parameter_client, callback, names=names)

    def set_parameters(self, parameters: Sequence[Any], callback: DoneCallback | None = None) -> Future:
        """Set parameters one by one; they are ``Parameter`` or ``rcl_interfaces.msg.Parameter``."""
        return _call(self._set_parameter_client, callback, parameters=_messages(parameters))

    def describe_parameters(self, names: list[str], callback: DoneCallback | None = None) -> Future:
        """Get descriptors."""
        return _call(self._describe_parameters_client, callback, names=names)

    def get_parameter_types(self, names: list[str], callback: DoneCallback | None = None) -> Future:
        """Get types."""
        return _call(self._get_parameter_types_client, callback, names=names)

    def set_parameters_atomically(self, parameters: Sequence[Any], callback: DoneCallback | None = None) -> Future:
        """Set all parameters or none."""
        return _call(self._set_parameters_atomically_client, callback, parameters=_messages(parameters))

    def delete_parameters(self, names: list[str], callback: DoneCallback | None = None) -> Future:
        """Take the values from dynamically typed parameters."""
        return self.set_parameters([Parameter(name=name) for name in names], callback)

    def load_parameter_file(
        self, parameter_file: str, use_wildcard: bool = False, callback: DoneCallback | None = None
    ) -> Future:
        """Set the parameters of a YAML file one by one; see :func:`rclpy.parameter.parameter_dict_from_yaml_file`."""
        found = parameter_dict_from_yaml_file(parameter_file, use_wildcard)
        return self.set_parameters(list(found.values()), callback)

    def load_parameter_file_atomically(
        self, parameter_file: str, use_wildcard: bool = False, callback: DoneCallback | None = None
    ) -> Future:
        """Set all parameters of a YAML file or none."""
        found = parameter_dict_from_yaml_file(parameter_file, use_wildcard)
        return self.set_parameters_atomically(list(found.values()), callback)

    def on_parameter_event(
        self,
        callback: Callable[..., Any],
        qos_profile: QoSProfile = qos_profile_parameter_events,
        **options: Any,
    ) -> Subscription:
        """Subscribe to ``/parameter_events``, which tells of changes in all nodes."""
        kind = message_class("rcl_interfaces/msg/ParameterEvent")
        return self.node.create_subscription(kind, "/parameter_events", callback, qos_profile, **options)


def _messages(parameters: Sequence[Any]) -> list[Any]:
    return [entry.to_parameter_msg() if isinstance(entry, Parameter) else entry for entry in parameters]


def _call(client: Any, callback: DoneCallback | None, **fields: Any) -> Future:
    future = client.call_async(client.srv_type.Request(**fields))
    if callback is not None:
        future.add_done_callback(callback)
    return future
