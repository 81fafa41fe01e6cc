"""Messages as bytes and back: dataclasses as msgpack maps with a `type`, and exactly the fields of their class.

Whatever does not fit is a ProtocolError that names the field; nothing is guessed, and no bytes can make the decoder run
code, recurse without bound or allocate more than their own length.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sized
from typing import Any, TypeVar

import msgpack
import numpy as np

from magma_policy_client.arrays import pack_array, unpack_array
from magma_policy_client.errors import ProtocolError

ARRAY_CODE = 1
"""msgpack extension type of an array."""
MAX_TEXT = 4096
"""Characters of a text, such as an instruction, session or error; what a model accepts may be less."""
MAX_LABEL = 256
"""Characters of a name, such as a robot's or a program's."""
MAX_SEQUENCE = 2**63 - 1
MAX_BUDGET_S = 3600.0
MAX_IDENTITY = 64
"""Hexadecimal digits of a model's identity."""
MAX_VALUES = 65_536
"""Of one message, in all of its lists and maps together: here each costs many times its byte on the wire."""

ContainerT = TypeVar("ContainerT", bound=Sized)
Check = Callable[[Any, str], Any]
"""Takes a field's value and its name; returns what the dataclass holds, or raises ProtocolError."""


class Counter:
    """Counts the values of one message while it is read."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def __call__(self, made: ContainerT) -> ContainerT:
        """The list or map itself. Raises ProtocolError when those of the message have too many values together."""
        self._left -= len(made)
        if self._left < 0:
            raise ProtocolError(f"a message of more than {MAX_VALUES} values")
        return made


class Codec:
    """The messages of one protocol."""

    def __init__(
        self,
        types: Mapping[str, type],
        checks: Mapping[type, Mapping[str, Check]],
        plain: Callable[[Any], Any] = lambda value: value,
    ) -> None:
        """
        Args:
            types: messages by what their `type` says.
            checks: of every field.
            plain: the form on the wire of a field's value: text, numbers, arrays, lists and maps of these.
        """
        self._types = types
        self._names = {kind: name for name, kind in types.items()}
        self._checks = checks
        self._plain = plain

    def encode(self, message: Any) -> bytes:
        """A message as bytes. Raises ProtocolError for a value the other side would reject."""
        fields = {item.name: self._plain(getattr(message, item.name)) for item in dataclasses.fields(message)}
        # The same checks on both sides: an error is raised where it is made, with the caller on the stack.
        self._build(type(message), fields)
        name = self._names[type(message)]
        try:
            return bytes(msgpack.packb({"type": name, **fields}, default=_pack_extension))
        except (TypeError, ValueError, OverflowError) as error:
            raise ProtocolError(f"a {name} message cannot be packed: {error}") from error

    def decode(self, data: bytes) -> Any:
        """Bytes to a message. Raises ProtocolError for anything else."""
        fields = unpack(data)
        kind = fields.pop("type", None)
        # An array compares element by element, so a value is asked for its type before it is compared.
        if not isinstance(kind, str) or kind not in self._types:
            raise ProtocolError(f"unknown message type {short(kind)}; known: {', '.join(self._types)}")
        return self._build(self._types[kind], fields)

    def _build(self, cls: type, fields: Mapping[str, Any]) -> Any:
        checks = self._checks[cls]
        unknown = sorted(set(fields) - set(checks))
        missing = sorted(set(checks) - set(fields))
        if unknown or missing:
            raise ProtocolError(
                f"a {self._names.get(cls, cls.__name__)} message has "
                f"{'unknown fields ' + ', '.join(short(name) for name in unknown[:5]) if unknown else ''}"
                f"{' and ' if unknown and missing else ''}{'no ' + ', '.join(missing) if missing else ''}"
            )
        return cls(**{name: check(fields[name], name) for name, check in checks.items()})


def peek_type(data: bytes) -> str:
    """The `type` of a message of any protocol. Raises ProtocolError when there is none."""
    kind = unpack(data).get("type")
    if not isinstance(kind, str):
        raise ProtocolError(f"expected a message with a type, got {short(kind)}")
    return kind


def peek_sequence(data: bytes) -> int | None:
    """Sequence of a message that `decode` rejects, so that the refusal can name it; None when there is none."""
    try:
        return integer(unpack(data).get("sequence"), "sequence", 0, MAX_SEQUENCE)
    except ProtocolError:
        return None


def peek_version(data: bytes, kinds: tuple[str, str], expected: str) -> int:
    """Protocol version of a first message of any version.

    Args:
        data: the message.
        kinds: the `type` of a hello and of a welcome.
        expected: what they are called in an error.

    Raises:
        ProtocolError: it is neither, or says none.
    """
    fields = unpack(data)
    kind = fields.get("type")
    if not isinstance(kind, str) or kind not in kinds:
        raise ProtocolError(f"expected {expected}, got type {short(kind)}")
    return version(fields.get("protocol"), "protocol")


def _pack_extension(value: Any) -> msgpack.ExtType:
    if isinstance(value, np.ndarray):
        return msgpack.ExtType(ARRAY_CODE, pack_array(value))
    raise TypeError(f"{type(value).__name__} has no form on the wire")


def _unpack_extension(code: int, data: bytes) -> np.ndarray:
    if code != ARRAY_CODE:
        raise ProtocolError(f"unknown extension type {code}")
    return unpack_array(data)


def unpack(data: bytes) -> dict[str, Any]:
    """The map that every message is. Raises ProtocolError."""
    if not isinstance(data, bytes):
        raise ProtocolError(f"messages are binary, got {type(data).__name__}")
    counted = Counter()
    try:
        fields = msgpack.unpackb(
            data, raw=False, ext_hook=_unpack_extension, max_map_len=256, max_array_len=256,
            object_hook=counted, list_hook=counted,
        )  # fmt: skip
    except ProtocolError:
        raise
    # The unpacker's errors have no common base; besides its own it lets through what its callees raise.
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError, msgpack.UnpackException) as error:
        raise ProtocolError(f"not a msgpack message: {type(error).__name__}") from error
    if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
        raise ProtocolError(f"expected a map with text keys, got {type(fields).__name__}")
    return fields


def short(value: object) -> str:
    """At most about 100 characters, without ever making the text of something large."""
    if isinstance(value, (str, bytes)):
        return repr(value) if len(value) <= 60 else f"{value[:60]!r}... ({len(value)} long)"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of shape {value.shape}"
    if isinstance(value, (list, dict)):
        return f"{type(value).__name__} of {len(value)}"
    return repr(value)[:100]


def integer(value: Any, name: str, low: int, high: int) -> int:
    """A whole number of a range."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ProtocolError(f"{name} must be an integer from {low} to {high}, got {short(value)}")
    return value


def sequence(value: Any, name: str) -> int:
    """Number of a question."""
    return integer(value, name, 0, MAX_SEQUENCE)


def version(value: Any, name: str) -> int:
    """Version of a protocol."""
    return integer(value, name, 0, 2**31)


def size(value: Any, name: str) -> int:
    """A size in bytes."""
    return integer(value, name, 1, 2**40)


def text(value: Any, name: str) -> str:
    """A text that is not too long."""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        got = f"text of {len(value)} characters" if isinstance(value, str) else short(value)
        raise ProtocolError(f"{name} must be text of at most {MAX_TEXT} characters, got {got}")
    return value


def label(value: Any, name: str) -> str:
    """A name that is shown: one printable line."""
    if not isinstance(value, str) or len(value) > MAX_LABEL or not value.isprintable():
        raise ProtocolError(f"{name} must be at most {MAX_LABEL} printable characters, got {short(value)}")
    return value


def identity(value: Any, name: str) -> str:
    """A content hash."""
    if not isinstance(value, str) or len(value) > MAX_IDENTITY or not all(c in "0123456789abcdef" for c in value):
        raise ProtocolError(f"{name} must be at most {MAX_IDENTITY} hexadecimal digits, got {short(value)}")
    return value


def budget(value: Any, name: str) -> float:
    """Seconds that are left."""
    if not isinstance(value, float) or not 0.0 < value <= MAX_BUDGET_S:
        raise ProtocolError(f"{name} must be a number of seconds in (0, {MAX_BUDGET_S:g}], got {short(value)}")
    return value


def array(value: Any, name: str, dtype: type, shape: tuple[int | None, ...]) -> np.ndarray:
    """An array of a type and shape; None stands for any length."""
    fits = (
        isinstance(value, np.ndarray)
        and value.dtype == dtype
        and value.ndim == len(shape)
        and all(want is None or have == want for have, want in zip(value.shape, shape, strict=True))
    )
    if not fits:
        got = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else short(value)
        wanted = ", ".join("any" if side is None else str(side) for side in shape)
        raise ProtocolError(f"{name} must be a {np.dtype(dtype)} array of shape ({wanted}), got {got}")
    return typing.cast(np.ndarray, value)


def image(value: Any, name: str) -> np.ndarray:
    """A picture, uint8 (H, W, 3)."""
    return array(value, name, np.uint8, (None, None, 3))


def one_of(choices: tuple[str, ...]) -> Check:
    """A check for one of several words."""

    def checked(value: Any, name: str) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ProtocolError(f"{name} must be one of {', '.join(choices)}, got {short(value)}")
        return value

    return checked


def optional(check: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """A check that lets None pass."""
    return lambda value, name: None if value is None else check(value, name)
