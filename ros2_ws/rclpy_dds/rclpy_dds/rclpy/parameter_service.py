"""The services through which a node's parameters are read and set from outside."""

import weakref
from typing import Any

from rclpy_dds.interfaces import message_class, service_class

from .exceptions import ParameterNotDeclaredException, ParameterUninitializedException
from .parameter import Parameter
from .qos import qos_profile_parameters


class ParameterService:
    """The six parameter services of a node."""

    def __init__(self, node: Any) -> None:
        self._node_reference = weakref.ref(node)
        for type_name, callback in (
            ("DescribeParameters", self._describe),
            ("GetParameters", self._get),
            ("GetParameterTypes", self._get_types),
            ("ListParameters", self._list),
            ("SetParameters", self._set),
            ("SetParametersAtomically", self._set_atomically),
        ):
            name = "".join("_" + char.lower() if char.isupper() else char for char in type_name).lstrip("_")
            node.create_service(
                service_class(f"rcl_interfaces/srv/{type_name}"),
                f"~/{name}",
                callback,
                qos_profile=qos_profile_parameters,
            )

    @property
    def _node(self) -> Any:
        node = self._node_reference()
        if node is None:
            raise ReferenceError("Expected valid node weak reference")
        return node

    def _describe(self, request: Any, response: Any) -> Any:
        try:
            response.descriptors = self._node.describe_parameters(request.names)
        except ParameterNotDeclaredException:
            response.descriptors = []
        return response

    def _get(self, request: Any, response: Any) -> Any:
        try:
            response.values = [
                parameter.get_parameter_value() for parameter in self._node.get_parameters(request.names)
            ]
        except (ParameterNotDeclaredException, ParameterUninitializedException):
            response.values = []
        return response

    def _get_types(self, request: Any, response: Any) -> Any:
        try:
            response.types = [kind.value for kind in self._node.get_parameter_types(request.names)]
        except ParameterNotDeclaredException:
            response.types = []
        return response

    def _list(self, request: Any, response: Any) -> Any:
        response.result = self._node.list_parameters(request.prefixes, request.depth)
        return response

    def _set(self, request: Any, response: Any) -> Any:
        response.results = [self._set_all([message]) for message in request.parameters]
        return response

    def _set_atomically(self, request: Any, response: Any) -> Any:
        response.result = self._set_all(request.parameters)
        return response

    def _set_all(self, messages: list[Any]) -> Any:
        try:
            return self._node.set_parameters_atomically([Parameter.from_parameter_msg(entry) for entry in messages])
        except (ParameterNotDeclaredException, ValueError, RuntimeError) as error:
            # Unknown name, or a value message with an unknown type number.
            return message_class("rcl_interfaces/msg/SetParametersResult")(successful=False, reason=str(error))
