"""Service and action classes: containers of the message classes they consist of."""

import threading
from typing import Any

from .definition import DefinitionError
from .message import message_class
from .store import names

_lock = threading.RLock()
_services: dict[str, type] = {}
_actions: dict[str, type] = {}


class _Container(type):
    """Metaclass of services and actions: they hold classes and have no instances."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{cls.__name__} is a container of message classes and has no instances")


def service_class(name: str) -> Any:
    """Return the class of a service type ``pkg/srv/Name``, with ``Request`` and ``Response``.

    Raises:
        DefinitionError: no such service.
    """
    with _lock:
        found = _services.get(name)
        if found is None:
            package, kind, short = name.split("/")
            request, response = message_class(f"{name}_Request"), message_class(f"{name}_Response")
            found = _services[name] = _container(short, package, kind, Request=request, Response=response)
        return found


def action_class(name: str) -> Any:
    """Return the class of an action type ``pkg/action/Name``, with ``Goal``, ``Result``, ``Feedback`` and ``Impl``.

    Raises:
        DefinitionError: no such action.
    """
    with _lock:
        found = _actions.get(name)
        if found is None:
            package, kind, short = name.split("/")
            if short not in names(package, kind):
                raise DefinitionError(f"No action {name!r}")
            parts = {part: message_class(f"{name}_{part}") for part in ("Goal", "Result", "Feedback")}
            implementation = _container(
                f"{short}_Impl",
                package,
                kind,
                SendGoalService=service_class(f"{name}_SendGoal"),
                GetResultService=service_class(f"{name}_GetResult"),
                FeedbackMessage=message_class(f"{name}_FeedbackMessage"),
                CancelGoalService=service_class("action_msgs/srv/CancelGoal"),
                GoalStatusMessage=message_class("action_msgs/msg/GoalStatusArray"),
            )
            found = _actions[name] = _container(short, package, kind, **parts, Impl=implementation)
        return found


def _container(short: str, package: str, kind: str, **members: type) -> type:
    return _Container(
        short,
        (),
        {
            **members,
            "__module__": f"{package}.{kind}",
            "__doc__": f"{short!r} of {package}/{kind}.",
            "interface_name": f"{package}/{kind}/{short}",
        },
    )
