"""The part of the recording that runs inside ROS 2: reads questions from standard input, answers on standard output."""

import inspect
import json
import os
import pkgutil
import sys
from importlib import import_module
from pathlib import Path

import rclpy
from interop_fill import fill
from rclpy.serialization import deserialize_message, serialize_message
from rosidl_runtime_py import get_message_interfaces
from rosidl_runtime_py.convert import message_to_ordereddict

# What nodes and launch files may import; their public names say how much of it rclpy_dds has.
LIBRARIES = ("rclpy", "launch", "launch_ros", "ament_index_python")


def message_class(interface: str):
    """Class of ``pkg/msg/Name``, of a half of a service, or of a part of an action."""
    package, kind, name = interface.split("/")
    module = import_module(f"{package}.{kind}")
    if hasattr(module, name):
        return getattr(module, name)
    if kind == "srv":
        service, _, half = name.rpartition("_")
        return getattr(getattr(module, service), half)
    action, _, part = name.partition("_")
    implementation = getattr(module, action).Impl
    return {
        "SendGoal_Request": lambda: implementation.SendGoalService.Request,
        "SendGoal_Response": lambda: implementation.SendGoalService.Response,
        "GetResult_Request": lambda: implementation.GetResultService.Request,
        "GetResult_Response": lambda: implementation.GetResultService.Response,
        "FeedbackMessage": lambda: implementation.FeedbackMessage,
    }[part]()


def type_hashes() -> dict:
    """Hashes of all installed messages, services and actions, and of their parts."""
    found = {}
    for prefix in os.environ["AMENT_PREFIX_PATH"].split(":"):
        for file in Path(prefix, "share").glob("*/*/*.json"):
            if file.parent.name in ("msg", "srv", "action"):
                for entry in json.loads(file.read_text())["type_hashes"]:
                    found[entry["type_name"]] = entry["hash_string"]
    return dict(sorted(found.items()))


def serialised_messages() -> dict:
    """The CDR stream of one filled message of every installed type."""
    found = {}
    for package, names in sorted(get_message_interfaces().items()):
        for name in sorted(names):
            kind, _, short = name.partition("/")
            if kind != "msg":
                continue
            interface = f"{package}/msg/{short}"
            message = fill(message_class(interface)(), lambda name: message_class(name.replace("/", "/msg/"))())
            found[interface] = serialize_message(message).hex()
    return found


def public_names() -> dict:
    """Public functions and classes of every module of the libraries, with the classes' own public members."""
    found = {}
    for library in LIBRARIES:
        package = import_module(library)
        modules = [library, *(info.name for info in pkgutil.walk_packages(package.__path__, library + "."))]
        for name in modules:
            if any(part.startswith("_") or part in ("impl", "conftest", "frontend") for part in name.split(".")):
                continue
            module = import_module(name)
            found[name] = {
                key: sorted(entry for entry in vars(value) if not entry.startswith("_"))
                if inspect.isclass(value)
                else None
                for key, value in sorted(vars(module).items())
                if is_public(module, key, value)
            }
    return found


def is_public(module, name: str, value) -> bool:
    """Whether a name belongs to a module: defined there, or put there by the ``__init__`` of a package."""
    if name.startswith("_") or inspect.ismodule(value) or not callable(value):
        return False
    origin = getattr(value, "__module__", None) or ""
    return origin == module.__name__ or (hasattr(module, "__path__") and origin.split(".")[0] in LIBRARIES)


def main() -> None:
    questions = json.load(sys.stdin)
    values = []
    for interface, cdr in questions:
        message = deserialize_message(bytes.fromhex(cdr), message_class(interface))
        values.append(message_to_ordereddict(message))
    answer = {
        "distribution": os.environ["ROS_DISTRO"],
        "rclpy": rclpy.__file__,
        "values": values,
        "type_hashes": type_hashes(),
        "messages": serialised_messages(),
        "public_names": public_names(),
    }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
