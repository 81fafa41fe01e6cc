"""The whole state of a controller's core as text, and back: from there it goes on as the first one does, bit for bit.

What is written is a tree of plain values. Reading makes objects of the classes in MODULES alone, without running any of
their code: a recording may come from anybody.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np

from magma_contracts import action_spec, action_stream, actions, arm_state, chunk_schedule
from magma_contracts.errors import ConfigError
from magma_control import commands, config, controller, freshness, graph_names, gripper, phases, safety
from magma_control.channels import (
    agreement,
    arm_channel,
    heartbeat,
    operator_channel,
    operator_lease,
    policy_channel,
    rebase,
    stop_button,
    under_way,
)
from magma_control.controller import Controller

MODULES = (
    *(action_spec, action_stream, actions, arm_state, chunk_schedule, agreement, arm_channel, commands, config),
    *(controller, freshness, graph_names, gripper, heartbeat, operator_channel, operator_lease, phases),
    *(policy_channel, rebase, safety, stop_button, under_way),
)
"""In which everything that a core consists of is defined."""


def _recorded_name(kind: type) -> str:
    """Package, file and class, not the folders between: a file that moves leaves recordings readable."""
    package, *_, file = kind.__module__.split(".")
    return f"{package}.{file}.{kind.__qualname__}"


_CLASSES: Mapping[str, type] = {
    _recorded_name(value): value
    for module in MODULES
    for value in vars(module).values()
    if isinstance(value, type) and value.__module__ == module.__name__
}
_NAMES: Mapping[type, str] = {kind: name for name, kind in _CLASSES.items()}
_MAPPINGS: Mapping[str, Any] = {"dict": dict, "ordered": OrderedDict, "counter": Counter}
_SEQUENCES: Mapping[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_SEQUENCE_WORDS: Mapping[type, str] = {kind: word for word, kind in _SEQUENCES.items()}
_MAPPING_WORDS: Mapping[type, str] = {kind: word for word, kind in _MAPPINGS.items()}
_NUMBERS = "fiub"
"""Kinds of arrays."""
_PARTS = frozenset(vars(Controller(config.ControllerConfig(), freshness.Instant(0.0, 0))))
"""Of a controller."""


class ForeignStateError(ValueError):
    """A text that is no state of this version of the controller; the text says why."""


def remembered(core: Controller) -> Any:
    """The state of a core as a tree that `json` writes exactly. It shares nothing with the core.

    Raises:
        TypeError: the core holds what MODULES does not define.
    """
    # Of a subclass, such as one that keeps a journal, what makes it a controller.
    parts = {name: _written(value) for name, value in vars(core).items() if name in _PARTS}
    return ["object", _NAMES[Controller], parts]


def text_of(tree: Any) -> str:
    """The tree as text."""
    return json.dumps(tree, separators=(",", ":"))


def core_of(text: str) -> Controller:
    """A core in the state that a text tells.

    Raises:
        ForeignStateError: it is none, or one of another version.
    """
    try:
        core = _read(json.loads(text))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise ForeignStateError(f"the controller's state cannot be read: {error}") from error
    if type(core) is not Controller:
        raise ForeignStateError("the controller's state is none of a controller")
    told, now = core.__dict__.get("_config"), core.__dict__.get("_now")
    if type(told) is not config.ControllerConfig or type(now) is not freshness.Instant:
        raise ForeignStateError("the controller's state has no configuration")
    try:
        core.__dict__["_config"] = config.ControllerConfig(**vars(told))
        of_this_version = Controller(core.config, freshness.Instant(**vars(now)))
    except (TypeError, ConfigError) as error:
        raise ForeignStateError(f"the controller's state is one of another version: {error}") from error
    _check_names(core, of_this_version)
    return core


def _written(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Enum):
        return ["enum", _name(value), value.name]
    if isinstance(value, np.ndarray):
        return ["array", value.dtype.str, list(value.shape), value.tobytes().hex()]
    if isinstance(value, np.generic):
        return ["number", value.dtype.str, value.tobytes().hex()]
    if isinstance(value, deque):
        return ["deque", value.maxlen, [_written(item) for item in value]]
    if type(value) in _SEQUENCE_WORDS:
        return [_SEQUENCE_WORDS[type(value)], [_written(item) for item in value]]
    if type(value) in _MAPPING_WORDS:
        pairs = [[_written(key), _written(item)] for key, item in value.items()]
        return [_MAPPING_WORDS[type(value)], pairs]
    return ["object", _name(value), {name: _written(item) for name, item in vars(value).items()}]


def _name(value: object) -> str:
    name = _NAMES.get(type(value))
    if name is None:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(f"{kind} is no part of a controller's core: add its module to remembered.MODULES")
    return name


def _read(tree: Any) -> Any:
    if not isinstance(tree, list):
        if isinstance(tree, dict):
            raise ValueError("a mapping without a kind")
        return tree
    word, *rest = tree
    if word == "enum":
        kind = _CLASSES[rest[0]]
        if not issubclass(kind, Enum):
            raise ValueError(f"{rest[0]} has no members")
        return kind[rest[1]]
    if word == "array":
        return _numbers(rest[0], rest[2]).reshape([int(size) for size in rest[1]]).copy()
    if word == "number":
        return _numbers(rest[0], rest[1])[0]
    if word == "deque":
        return deque((_read(item) for item in rest[1]), rest[0])
    if word in _SEQUENCES:
        return _SEQUENCES[word](_read(item) for item in rest[0])
    if word in _MAPPINGS:
        return _MAPPINGS[word]({_read(key): _read(item) for key, item in rest[0]})
    if word != "object":
        raise ValueError(f"unknown kind {word!r}")
    kind = _CLASSES[rest[0]]
    if issubclass(kind, Enum):
        raise ValueError(f"{rest[0]} has members only")
    made = object.__new__(kind)
    made.__dict__.update({str(name): _read(item) for name, item in rest[1].items()})
    return made


def _numbers(dtype: str, data: str) -> np.ndarray:
    kind = np.dtype(dtype)
    if kind.kind not in _NUMBERS or kind.str != dtype:
        raise ValueError(f"no numbers: {dtype}")
    return np.frombuffer(bytes.fromhex(data), kind)


def _check_names(told: Any, made: Any) -> None:
    """Raises ForeignStateError where what was told has other parts than what this version makes."""
    if set(vars(told)) != set(vars(made)):
        different = ", ".join(sorted(set(vars(told)) ^ set(vars(made))))
        raise ForeignStateError(f"the controller's state is one of another version: {different} of {_name(made)}")
    for name, value in vars(made).items():
        if type(value) in _NAMES and not isinstance(value, Enum):
            if type(told.__dict__[name]) is not type(value):
                raise ForeignStateError(f"the controller's state is one of another version: {name}")
            _check_names(told.__dict__[name], value)
