"""The messages between a policy's client and its server; on the wire each is one binary websocket frame (`codec`).

    client                                server
      Hello            ->                           protocol version
                       <-   Welcome                 version, action specification, limits, the policy's identity
      Act / Reset      ->                           sequence chosen by the client, rising
                       <-   Result / Done / Failure with the same sequence

Deadlines travel as the time that is left, because the clocks of two machines differ. A client drops every answer whose
sequence is not that of the question it is waiting for.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from magma_contracts.action_spec import ActionSpec
from magma_contracts.arm_state import STATE_SIZE, ArmState
from magma_contracts.policies import PolicyResult
from magma_policy_client import codec
from magma_policy_client.codec import (
    Check,
    Codec,
    array,
    budget,
    identity,
    image,
    label,
    one_of,
    optional,
    sequence,
    short,
    size,
    text,
    version,
)
from magma_policy_client.errors import ProtocolError

PROTOCOL_VERSION = 3
"""Rises with every change that an older peer would misread."""

MAX_MESSAGE_BYTES = 16 * 2**20
"""Default limit of a message, both ways: a 1920 x 1080 picture is 6 MiB."""

MAX_STAGES = 64
MAX_MARKS = 1024

FAILURE_CODES = ("malformed", "version", "robot", "observation", "late", "overloaded", "internal", "stopping")
"""Why the server gives no answer: bytes it cannot read; another protocol version; a robot the policy does not know, or
a model of another kind; a picture, state or text the model rejects; a deadline that has passed; too many requests
waiting; the model itself failed; the server ends."""

MAX_ROBOTS = 64
"""Robots that a server may name."""


@dataclass(frozen=True)
class Hello:
    """First message of a client. `robot` is the one that this connection is for, "" the policy's default one."""

    protocol: int
    client: str
    robot: str


@dataclass(frozen=True)
class Welcome:
    """The server's answer to Hello: `spec` is that of the robot asked for, `robots` names those besides the default,
    `identity` is the policy's content (a hash), whatever it is called; "" where that is not known."""

    protocol: int
    server: str
    spec: ActionSpec
    robots: tuple[str, ...]
    max_message_bytes: int
    identity: str = ""


@dataclass(frozen=True)
class Act:
    """Asks for one action chunk within `budget_s` seconds from arrival. `image` is uint8 (H, W, 3) rgb."""

    sequence: int
    session: str
    budget_s: float
    instruction: str
    image: np.ndarray
    proprioception: ArmState | None


@dataclass(frozen=True)
class Reset:
    """A new episode begins in this session: what the server remembers of the last one is forgotten."""

    sequence: int
    session: str


@dataclass(frozen=True)
class _Numbered:
    """Comes first among the fields of what answers a question."""

    sequence: int


@dataclass(frozen=True)
class Result(PolicyResult, _Numbered):
    """One action chunk, `ActionSpec.horizon` deltas. What a client returns has in `stage_ms` also `queue` (waiting in
    the server) and `network` (all that happened outside it)."""

    marks: np.ndarray | None = None


@dataclass(frozen=True)
class Done:
    """The session was reset."""

    sequence: int


@dataclass(frozen=True)
class Failure:
    """No answer, and why. `sequence` is None when the message could not be read that far."""

    sequence: int | None
    code: str
    message: str


Message = Hello | Welcome | Act | Reset | Result | Done | Failure

TYPES: dict[str, type] = {
    "hello": Hello,
    "welcome": Welcome,
    "act": Act,
    "reset": Reset,
    "result": Result,
    "done": Done,
    "failure": Failure,
}


def _robots(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or len(value) > MAX_ROBOTS:
        raise ProtocolError(f"{name} must be a list of at most {MAX_ROBOTS} names, got {short(value)}")
    return tuple(label(item, f"{name}[{index}]") for index, item in enumerate(value))


def _stage_ms(value: Any, name: str) -> dict[str, float]:
    if not isinstance(value, dict) or len(value) > MAX_STAGES:
        raise ProtocolError(f"{name} must be a map of at most {MAX_STAGES} times, got {short(value)}")
    for key, number in value.items():
        label(key, f"a key of {name}")
        if not isinstance(number, float) or not math.isfinite(number):
            raise ProtocolError(f"{name} must map names to finite milliseconds, got {short(key)}: {short(number)}")
    return value


def _deltas(value: Any, name: str) -> np.ndarray:
    deltas = array(value, name, np.float64, (None, 7))
    if not len(deltas) or not np.isfinite(deltas).all():
        raise ProtocolError(f"{name} must be finite and at least one, got {short(deltas)}")
    return deltas


def _proprioception(value: Any, name: str) -> ArmState:
    return ArmState.from_vector(array(value, name, np.float64, (STATE_SIZE,)))


def _marks(value: Any, name: str) -> np.ndarray:
    marks = array(value, name, np.float64, (None, 2))
    if len(marks) > MAX_MARKS or not np.isfinite(marks).all():
        raise ProtocolError(f"{name} must be finite and at most {MAX_MARKS}, got {short(marks)}")
    return marks


def _spec(value: Any, name: str) -> ActionSpec:
    hints = typing.get_type_hints(ActionSpec)
    if not isinstance(value, dict) or set(value) != set(hints):
        raise ProtocolError(f"{name} must have the fields {', '.join(hints)}, got {short(value)}")
    for key, hint in hints.items():
        if type(value[key]) is not hint:
            raise ProtocolError(f"{name}.{key} must be {hint.__name__}, got {short(value[key])}")
    try:
        spec = ActionSpec(**value)
        spec.check()
        return spec
    except ValueError as error:
        raise ProtocolError(f"{name}: {error}") from error


_CHECKS: dict[type, dict[str, Check]] = {
    Hello: {"protocol": version, "client": label, "robot": text},
    Welcome: {
        "protocol": version,
        "server": label,
        "spec": _spec,
        "robots": _robots,
        "max_message_bytes": size,
        "identity": identity,
    },
    Act: {
        "sequence": sequence,
        "session": text,
        "budget_s": budget,
        "instruction": text,
        "image": image,
        "proprioception": optional(_proprioception),
    },
    Reset: {"sequence": sequence, "session": text},
    Result: {"sequence": sequence, "deltas": _deltas, "stage_ms": _stage_ms, "marks": optional(_marks)},
    Done: {"sequence": sequence},
    Failure: {"sequence": optional(sequence), "code": one_of(FAILURE_CODES), "message": text},
}


def _plain(value: Any) -> Any:
    if isinstance(value, ActionSpec):
        return dataclasses.asdict(value)
    if isinstance(value, ArmState):
        return value.as_vector(np.float64)
    return dict(value) if isinstance(value, Mapping) else value


_CODEC = Codec(TYPES, _CHECKS, _plain)


def encode(message: Message) -> bytes:
    """A message as bytes. Raises ProtocolError for a value the other side would reject."""
    return _CODEC.encode(message)


def decode(data: bytes) -> Message:
    """Bytes to a message. Raises ProtocolError for anything else."""
    return typing.cast(Message, _CODEC.decode(data))


def peek_version(data: bytes) -> int:
    """Protocol version of a Hello or Welcome of any version. Raises ProtocolError when there is none."""
    return codec.peek_version(data, ("hello", "welcome"), "a hello or welcome message")
