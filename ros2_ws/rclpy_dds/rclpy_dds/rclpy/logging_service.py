"""The services to get and set logger levels from outside (``enable_logger_service``)."""

from typing import Any

from rclpy_dds.interfaces import message_class, service_class

from . import logging


class LoggingService:
    """``~/get_logger_levels`` and ``~/set_logger_levels`` of a node."""

    def __init__(self, node: Any) -> None:
        node.create_service(service_class("rcl_interfaces/srv/GetLoggerLevels"), "~/get_logger_levels", self._get)
        node.create_service(service_class("rcl_interfaces/srv/SetLoggerLevels"), "~/set_logger_levels", self._set)

    def _get(self, request: Any, response: Any) -> Any:
        level_class = message_class("rcl_interfaces/msg/LoggerLevel")
        response.levels = [
            level_class(name=name, level=int(logging.get_logger_effective_level(name))) for name in request.names
        ]
        return response

    def _set(self, request: Any, response: Any) -> Any:
        result_class = message_class("rcl_interfaces/msg/SetLoggerLevelsResult")
        results = []
        for entry in request.levels:
            try:
                logging.set_logger_level(entry.name, entry.level)
                results.append(result_class(successful=True))
            except ValueError as error:
                results.append(result_class(successful=False, reason=str(error)))
        response.results = results
        return response
