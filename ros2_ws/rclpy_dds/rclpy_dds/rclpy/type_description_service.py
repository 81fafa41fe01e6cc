"""The service ``~/get_type_description``, which tells the definition of the node's interfaces."""

from typing import Any

from rclpy_dds.interfaces import DefinitionError, message_class, service_class
from rclpy_dds.interfaces.store import distro
from rclpy_dds.interfaces.type_hash import description, type_hash

from .qos import qos_profile_services_default

START_TYPE_DESCRIPTION_SERVICE_PARAM = "start_type_description_service"


class TypeDescriptionService:
    """Answers with type descriptions; it exists from Jazzy on, unless the node's parameter says no."""

    def __init__(self, node: Any) -> None:
        if distro() in ("humble", "iron"):
            return
        if not node.has_parameter(START_TYPE_DESCRIPTION_SERVICE_PARAM):
            descriptor = message_class("rcl_interfaces/msg/ParameterDescriptor")(
                description=(
                    "If enabled, start the ~/get_type_description service for this node. Must be set at start-up."
                ),
                read_only=True,
            )
            node.declare_parameter(START_TYPE_DESCRIPTION_SERVICE_PARAM, True, descriptor)
        if node.get_parameter(START_TYPE_DESCRIPTION_SERVICE_PARAM).value is not True:
            return
        node.create_service(
            service_class("type_description_interfaces/srv/GetTypeDescription"),
            "~/get_type_description",
            self._answer,
            qos_profile=qos_profile_services_default,
        )

    def _answer(self, request: Any, response: Any) -> Any:
        try:
            found = description(request.type_name)
            digest = type_hash(request.type_name)
        except DefinitionError as error:
            response.failure_reason = str(error)
            return response
        if request.type_hash and request.type_hash != digest:
            response.failure_reason = f"The hash of {request.type_name} is {digest} here, not {request.type_hash}"
            return response
        response.successful = True
        response.type_description.type_description = _individual(found["type_description"])
        response.type_description.referenced_type_descriptions = [
            _individual(entry) for entry in found["referenced_type_descriptions"]
        ]
        return response


def _individual(entry: dict) -> Any:
    field_class = message_class("type_description_interfaces/msg/Field")
    type_class = message_class("type_description_interfaces/msg/FieldType")
    return message_class("type_description_interfaces/msg/IndividualTypeDescription")(
        type_name=entry["type_name"],
        fields=[field_class(name=field["name"], type=type_class(**field["type"])) for field in entry["fields"]],
    )
