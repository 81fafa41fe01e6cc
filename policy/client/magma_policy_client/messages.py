"""The messages between client and server: dataclasses, and msgpack maps on the wire.

Every message is one binary websocket frame holding a map with a `type`, and exactly the fields of its class. Whatever
does not fit is a ProtocolError that names the field; nothing is guessed, and no bytes can make the decoder run code,
recurse without bound or allocate more than their own length.

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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgpack
import numpy as np

from magma_contracts.action_spec import ActionSpec
from magma_contracts.arm_state import STATE_SIZE, ArmState
from magma_contracts.policies import PolicyResult
from magma_policy_client.arrays import pack_array, unpack_array
from magma_policy_client.errors import ProtocolError

PROTOCOL_VERSION = 3
"""Rises with every change that an older peer would misread."""

MAX_MESSAGE_BYTES = 16 * 2**20
"""Default limit of a message, both ways: a 1920 x 1080 picture is 6 MiB."""

ARRAY_CODE = 1
"""msgpack extension type of an array."""

MAX_TEXT = 4096
"""Characters of an instruction, session or error text; what a policy accepts may be less."""
MAX_STAGES = 64
MAX_SEQUENCE = 2**63 - 1
MAX_BUDGET_S = 3600.0

FAILURE_CODES = ("malformed", "version", "robot", "observation", "late", "overloaded", "internal", "stopping")
"""Why the server gives no action: bytes it cannot read; another protocol version; a robot the policy does not know; a
picture, state or instruction the policy rejects; a deadline that has passed; too many requests waiting; the policy
itself failed; the server ends."""

MAX_ROBOTS = 64
"""Robots that a server may name."""


MAX_IDENTITY = 64
"""Hexadecimal digits of a policy's identity."""


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
    """No action, and why. `sequence` is None when the message could not be read that far."""

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
_NAMES = {kind: name for name, kind in TYPES.items()}


def encode(message: Message) -> bytes:
    """A message as bytes. Raises ProtocolError for a value the other side would reject."""
    fields = {item.name: getattr(message, item.name) for item in dataclasses.fields(message)}
    for name, value in fields.items():
        if isinstance(value, ActionSpec):
            fields[name] = dataclasses.asdict(value)
        elif isinstance(value, ArmState):
            fields[name] = value.as_vector(np.float64)
        elif isinstance(value, Mapping):
            fields[name] = dict(value)
    # The same checks on both sides: an error is raised where it is made, with the caller on the stack.
    _build(type(message), fields)
    try:
        return bytes(msgpack.packb({"type": _NAMES[type(message)], **fields}, default=_pack_extension))
    except (TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f"a {_NAMES[type(message)]} message cannot be packed: {error}") from error


def decode(data: bytes) -> Message:
    """Bytes to a message. Raises ProtocolError for anything else."""
    fields = _unpack(data)
    kind = fields.pop("type", None)
    # An array compares element by element, so a value is asked for its type before it is compared.
    if not isinstance(kind, str) or kind not in TYPES:
        raise ProtocolError(f"unknown message type {_short(kind)}; known: {', '.join(TYPES)}")
    return _build(TYPES[kind], fields)


def peek_version(data: bytes) -> int:
    """Protocol version of a Hello or Welcome of any version. Raises ProtocolError when there is none."""
    fields = _unpack(data)
    kind = fields.get("type")
    if not isinstance(kind, str) or kind not in ("hello", "welcome"):
        raise ProtocolError(f"expected a hello or welcome message, got type {_short(kind)}")
    return _integer(fields.get("protocol"), "protocol", 0, 2**31)


def peek_sequence(data: bytes) -> int | None:
    """Sequence of a message that `decode` rejects, so that the refusal can name it; None when there is none."""
    try:
        return _integer(_unpack(data).get("sequence"), "sequence", 0, MAX_SEQUENCE)
    except ProtocolError:
        return None


def _pack_extension(value: Any) -> msgpack.ExtType:
    if isinstance(value, np.ndarray):
        return msgpack.ExtType(ARRAY_CODE, pack_array(value))
    raise TypeError(f"{type(value).__name__} has no form on the wire")


def _unpack_extension(code: int, data: bytes) -> np.ndarray:
    if code != ARRAY_CODE:
        raise ProtocolError(f"unknown extension type {code}")
    return unpack_array(data)


def _unpack(data: bytes) -> dict[str, Any]:
    if not isinstance(data, bytes):
        raise ProtocolError(f"messages are binary, got {type(data).__name__}")
    try:
        fields = msgpack.unpackb(data, raw=False, ext_hook=_unpack_extension, max_map_len=256, max_array_len=256)
    except ProtocolError:
        raise
    # The unpacker's errors have no common base; besides its own it lets through what its callees raise.
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError, msgpack.UnpackException) as error:
        raise ProtocolError(f"not a msgpack message: {type(error).__name__}") from error
    if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
        raise ProtocolError(f"expected a map with text keys, got {type(fields).__name__}")
    return fields


T = TypeVar("T")


def _build(cls: type[T], fields: Mapping[str, Any]) -> Any:
    checks = _CHECKS[cls]
    unknown = sorted(set(fields) - set(checks))
    missing = sorted(set(checks) - set(fields))
    if unknown or missing:
        raise ProtocolError(
            f"a {_NAMES.get(cls, cls.__name__)} message has {'unknown fields ' + _names(unknown) if unknown else ''}"
            f"{' and ' if unknown and missing else ''}{'no ' + ', '.join(missing) if missing else ''}"
        )
    return cls(**{name: check(fields[name], name) for name, check in checks.items()})


def _names(names: list[str]) -> str:
    return ", ".join(_short(name) for name in names[:5])


def _short(value: object) -> str:
    """At most about 100 characters, without ever making the text of something large."""
    if isinstance(value, (str, bytes)):
        return repr(value) if len(value) <= 60 else f"{value[:60]!r}... ({len(value)} long)"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of shape {value.shape}"
    if isinstance(value, (list, dict)):
        return f"{type(value).__name__} of {len(value)}"
    return repr(value)[:100]


def _integer(value: Any, name: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ProtocolError(f"{name} must be an integer from {low} to {high}, got {_short(value)}")
    return value


def _sequence(value: Any, name: str) -> int:
    return _integer(value, name, 0, MAX_SEQUENCE)


def _version(value: Any, name: str) -> int:
    return _integer(value, name, 0, 2**31)


def _size(value: Any, name: str) -> int:
    return _integer(value, name, 1, 2**40)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        got = f"text of {len(value)} characters" if isinstance(value, str) else _short(value)
        raise ProtocolError(f"{name} must be text of at most {MAX_TEXT} characters, got {got}")
    return value


def _identity(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_IDENTITY or not all(c in "0123456789abcdef" for c in value):
        raise ProtocolError(f"{name} must be at most {MAX_IDENTITY} hexadecimal digits, got {_short(value)}")
    return value


def _robots(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or len(value) > MAX_ROBOTS:
        raise ProtocolError(f"{name} must be a list of at most {MAX_ROBOTS} names, got {_short(value)}")
    return tuple(_text(item, f"{name}[{index}]") for index, item in enumerate(value))


def _code(value: Any, name: str) -> str:
    if not isinstance(value, str) or value not in FAILURE_CODES:
        raise ProtocolError(f"{name} must be one of {', '.join(FAILURE_CODES)}, got {_short(value)}")
    return value


def _budget(value: Any, name: str) -> float:
    if not isinstance(value, float) or not 0.0 < value <= MAX_BUDGET_S:
        raise ProtocolError(f"{name} must be a number of seconds in (0, {MAX_BUDGET_S:g}], got {_short(value)}")
    return value


def _stage_ms(value: Any, name: str) -> dict[str, float]:
    if not isinstance(value, dict) or len(value) > MAX_STAGES:
        raise ProtocolError(f"{name} must be a map of at most {MAX_STAGES} times, got {_short(value)}")
    for key, number in value.items():
        if not isinstance(key, str) or not isinstance(number, float) or not math.isfinite(number):
            raise ProtocolError(f"{name} must map names to finite milliseconds, got {_short(key)}: {_short(number)}")
    return value


def _array(value: Any, name: str, dtype: type, shape: tuple[int | None, ...]) -> np.ndarray:
    fits = (
        isinstance(value, np.ndarray)
        and value.dtype == dtype
        and value.ndim == len(shape)
        and all(want is None or have == want for have, want in zip(value.shape, shape, strict=True))
    )
    if not fits:
        got = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else _short(value)
        wanted = ", ".join("any" if side is None else str(side) for side in shape)
        raise ProtocolError(f"{name} must be a {np.dtype(dtype)} array of shape ({wanted}), got {got}")
    return typing.cast(np.ndarray, value)


def _image(value: Any, name: str) -> np.ndarray:
    return _array(value, name, np.uint8, (None, None, 3))


def _deltas(value: Any, name: str) -> np.ndarray:
    deltas = _array(value, name, np.float64, (None, 7))
    if not len(deltas) or not np.isfinite(deltas).all():
        raise ProtocolError(f"{name} must be finite and at least one, got {_short(deltas)}")
    return deltas


def _proprioception(value: Any, name: str) -> ArmState:
    return ArmState.from_vector(_array(value, name, np.float64, (STATE_SIZE,)))


def _marks(value: Any, name: str) -> np.ndarray:
    return _array(value, name, np.float64, (None, 2))


def _optional(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, name: None if value is None else check(value, name)


def _spec(value: Any, name: str) -> ActionSpec:
    hints = typing.get_type_hints(ActionSpec)
    if not isinstance(value, dict) or set(value) != set(hints):
        raise ProtocolError(f"{name} must have the fields {', '.join(hints)}, got {_short(value)}")
    for key, hint in hints.items():
        if type(value[key]) is not hint:
            raise ProtocolError(f"{name}.{key} must be {hint.__name__}, got {_short(value[key])}")
    try:
        spec = ActionSpec(**value)
        spec.check()
        return spec
    except ValueError as error:
        raise ProtocolError(f"{name}: {error}") from error


_CHECKS: dict[type, dict[str, Callable[[Any, str], Any]]] = {
    Hello: {"protocol": _version, "client": _text, "robot": _text},
    Welcome: {
        "protocol": _version,
        "server": _text,
        "spec": _spec,
        "robots": _robots,
        "max_message_bytes": _size,
        "identity": _identity,
    },
    Act: {
        "sequence": _sequence,
        "session": _text,
        "budget_s": _budget,
        "instruction": _text,
        "image": _image,
        "proprioception": _optional(_proprioception),
    },
    Reset: {"sequence": _sequence, "session": _text},
    Result: {"sequence": _sequence, "deltas": _deltas, "stage_ms": _stage_ms, "marks": _optional(_marks)},
    Done: {"sequence": _sequence},
    Failure: {"sequence": _optional(_sequence), "code": _code, "message": _text},
}
