"""Where interface definitions come from.

Looked up in this order: share folders (``AMENT_PREFIX_PATH``, then ``sys.prefix``: ``<prefix>/share/<pkg>/msg/*.msg``),
the service and action texts that ship with this package, and the rosbags type store of the ROS distribution named by
``ROS_DISTRO`` (Jazzy when unset). The 13 types of ``rcl_interfaces`` and the like follow the distribution, too.
"""

import functools
import importlib
import importlib.util
import json
import os
import threading
from pathlib import Path

from rclpy_dds._finder import prefixes

from .definition import Constant, DefinitionError, Field, FieldType, MessageDefinition, parse_message, split_parts

DEFAULT_DISTRO = "jazzy"
DISTROS = ("humble", "iron", "jazzy", "kilted", "lyrical")
SHIPPED = Path(__file__).parent / "share"

# rosbags drops default values. Among the packages in its stores only these have any (geometry_msgs/msg/Quaternion.msg).
_STORE_DEFAULTS = {("geometry_msgs/msg/Quaternion", "w"): 1.0}


def distro() -> str:
    """Return the ROS distribution whose message definitions are used.

    Raises:
        DefinitionError: ``ROS_DISTRO`` names one without a type store.
    """
    name = os.environ.get("ROS_DISTRO", "").strip().lower() or DEFAULT_DISTRO
    if name not in DISTROS:
        raise DefinitionError(f"ROS_DISTRO={name!r} has no message definitions here; known: {', '.join(DISTROS)}")
    return name


@functools.lru_cache(maxsize=1)
def _rosbags_definitions() -> dict:
    """Return the definitions of the distribution's type store: ``name -> [constants, fields]``.

    Importing a type store makes a dataclass of every message of every older distribution and takes longer than all
    else a node does at start; so the plain definitions are kept in a file of the user's cache folder.
    """
    name = f"ros2_{distro()}"
    spec = importlib.util.find_spec("rosbags")
    if spec is None or not spec.submodule_search_locations:
        raise DefinitionError("rclpy_dds needs the rosbags wheel: pip install rosbags==0.11.9")
    folder = Path(next(iter(spec.submodule_search_locations)), "typesys", "stores")
    # The key changes with the installed wheel: a store builds on those of older distributions.
    key = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(folder.glob("ros2_*.py"))]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rclpy_dds" / f"{name}.json"
    try:
        content = json.loads(cache.read_text(encoding="utf-8"))
        if content["key"] == key:
            return content["definitions"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no file yet, or not one of ours: it is written anew
    store = importlib.import_module(f"rosbags.typesys.stores.{name}").FIELDDEFS
    definitions = {interface: entry[:2] for interface, entry in store.items()}
    temporary = cache.with_suffix(f".{os.getpid()}")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"key": key, "definitions": definitions}), encoding="utf-8")
        temporary.replace(cache)
    except OSError:
        pass  # a read-only home: every start is slower, nothing else
    return definitions


def _convert(description: tuple) -> FieldType:
    kind, rest = int(description[0]), description[1]
    if kind == 1:
        return FieldType(rest[0], string_bound=rest[1])
    if kind == 2:
        return FieldType(rest)
    element = _convert(rest[0])
    return FieldType(element.base, "array" if kind == 3 else "sequence", rest[1], element.string_bound)


def _from_rosbags(name: str) -> MessageDefinition | None:
    entry = _rosbags_definitions().get(name)
    if entry is None:
        return None
    constants, fields = entry[:2]
    converted = [
        Field(field, _convert(description), _STORE_DEFAULTS.get((name, field))) for field, description in fields
    ]
    if not converted:
        return parse_message("", name)
    return MessageDefinition(
        name,
        tuple(converted),
        tuple(
            Constant(constant, base, bytes([value]) if base == "byte" else value) for constant, base, value in constants
        ),
    )


def share_folders(package: str) -> list[Path]:
    """Return the existing share folders of a package, in the order in which they are searched."""
    folders = [Path(prefix) / "share" / package for prefix in prefixes()]
    return [folder for folder in [*folders, SHIPPED / package] if folder.is_dir()]


def _text(package: str, kind: str, name: str) -> str | None:
    for folder in share_folders(package):
        path = folder / kind / f"{name}.{kind}"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return None


_lock = threading.RLock()
_definitions: dict[str, MessageDefinition] = {}


def definition(name: str) -> MessageDefinition:
    """Return the definition of a message, or of one structure of a service or action (``pkg/srv/Name_Request``).

    Raises:
        DefinitionError: no definition by this name, or its text cannot be read.
    """
    with _lock:
        found = _definitions.get(name)
        if found is None:
            found = _definitions[name] = _load(name)
        return found


def _load(name: str) -> MessageDefinition:
    parts = name.split("/")
    if len(parts) != 3 or parts[1] not in ("msg", "srv", "action"):
        raise DefinitionError(f"{name!r} is not an interface name such as 'std_msgs/msg/String'")
    package, kind, short = parts
    if kind == "msg":
        text = _text(package, kind, short)
        if text is not None:
            return parse_message(text, name)
        found = _from_rosbags(name)
        if found is not None:
            return found
        raise DefinitionError(_missing(name))
    for base, part in _part_names(short, kind):
        text = _text(package, kind, base)
        if text is not None:
            count = 2 if kind == "srv" else 3
            return parse_message(split_parts(text, count, f"{package}/{kind}/{base}")[part], name)
    generated = _generated(package, kind, short)
    if generated is not None:
        return parse_message(generated, name)
    raise DefinitionError(_missing(name))


def _missing(name: str) -> str:
    return (
        f"No definition of {name!r} in the share folders of {', '.join(prefixes())}, in rclpy_dds or in the "
        f"{distro()} type store. Is the package that defines it installed in this environment?"
    )


def _part_names(short: str, kind: str) -> list[tuple[str, int]]:
    suffixes = ("_Request", "_Response") if kind == "srv" else ("_Goal", "_Result", "_Feedback")
    return [(short[: -len(suffix)], index) for index, suffix in enumerate(suffixes) if short.endswith(suffix)]


# rosidl_parser/definition.py: the services and messages that every action and service has implicitly.
_ACTION_TEXTS = {
    "_SendGoal_Request": "unique_identifier_msgs/UUID goal_id\n{base}_Goal goal",
    "_SendGoal_Response": "bool accepted\nbuiltin_interfaces/Time stamp",
    "_GetResult_Request": "unique_identifier_msgs/UUID goal_id",
    "_GetResult_Response": "int8 status\n{base}_Result result",
    "_FeedbackMessage": "unique_identifier_msgs/UUID goal_id\n{base}_Feedback feedback",
}


def _generated(package: str, kind: str, short: str) -> str | None:
    if kind != "action":
        return None
    for suffix, text in _ACTION_TEXTS.items():
        base = short[: -len(suffix)]
        if short.endswith(suffix) and _text(package, kind, base) is not None:
            return text.format(base=f"{package}/action/{base}")
    return None


def names(package: str, kind: str) -> list[str]:
    """Return the sorted short names of the interfaces of a kind (``msg``, ``srv`` or ``action``) in a package."""
    found = {path.stem for folder in share_folders(package) for path in (folder / kind).glob(f"*.{kind}")}
    if kind == "msg":
        prefix = f"{package}/msg/"
        found |= {name[len(prefix) :] for name in _rosbags_definitions() if name.startswith(prefix)}
    return sorted(found)


def packages() -> list[str]:
    """Return the sorted names of all packages with interfaces."""
    found = {name.split("/")[0] for name in _rosbags_definitions()}
    for root in [*(Path(prefix) / "share" for prefix in prefixes()), SHIPPED]:
        if root.is_dir():
            for folder in root.iterdir():
                if any((folder / kind).is_dir() for kind in ("msg", "srv", "action")):
                    found.add(folder.name)
    return sorted(found)
