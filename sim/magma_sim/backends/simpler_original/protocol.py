"""Messages between an evaluator and a simulator process: a JSON header and raw arrays over a socket, with deadlines.

A frame on the wire, integers big-endian:

    4 bytes  b"MSIM"
    u32      length of the header
    header   UTF-8 JSON: {"version", "id", "operation", "body", "arrays": [{"name", "dtype", "shape"}]}
    payload  the arrays' bytes (C order, little-endian) one after the other

Nothing is unpickled or evaluated. Only the types in `DTYPES` exist, and every length is bounded before memory is taken.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

VERSION = 2
MAGIC = b"MSIM"
DTYPES = {name: np.dtype(name).newbyteorder("<") for name in ("uint8", "bool", "int32", "int64", "float32", "float64")}
MAX_HEADER_BYTES = 1 << 20
MAX_PAYLOAD_BYTES = 64 << 20


class ProtocolError(RuntimeError):
    """What arrived is not a message of this protocol, or of another version of it. The connection is of no more use."""


class DeadlineError(TimeoutError):
    """The other side did not answer, or did not read, in time. The connection is of no more use."""


class PeerClosedError(ConnectionError):
    """The other side is gone."""


@dataclass(frozen=True)
class Message:
    """One request, answer or failure."""

    id: int
    """of the request, repeated by its answer"""
    operation: str
    """what is asked for; "result" or "error" in an answer"""
    body: dict[str, Any] = field(default_factory=dict)
    """JSON"""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    """numpy arrays by name, of a type in `DTYPES`"""


def encode(message: Message) -> list[bytes]:
    """The parts of a frame; ProtocolError when the message cannot be sent."""
    described: list[dict[str, Any]] = []
    payload: list[bytes] = []
    size = 0
    for name, array in message.arrays.items():
        if array.dtype.name not in DTYPES:
            raise ProtocolError(f"array {name!r} is of type {array.dtype}; allowed are {', '.join(DTYPES)}")
        contiguous = np.ascontiguousarray(array, dtype=DTYPES[array.dtype.name])
        described.append({"name": name, "dtype": array.dtype.name, "shape": list(array.shape)})
        payload.append(contiguous.tobytes())
        size += contiguous.nbytes
    try:
        header = json.dumps(
            {
                "version": VERSION,
                "id": message.id,
                "operation": message.operation,
                "body": message.body,
                "arrays": described,
            },
            allow_nan=False,
        ).encode()
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"the body of {message.operation!r} is not JSON: {error}") from error
    if len(header) > MAX_HEADER_BYTES or size > MAX_PAYLOAD_BYTES:
        raise ProtocolError(f"message too large: header {len(header)} bytes, arrays {size} bytes")
    return [MAGIC + struct.pack(">I", len(header)) + header, *payload]


def send(connection: socket.socket, message: Message, timeout_s: float) -> None:
    """Sends a message or raises DeadlineError, PeerClosedError, ProtocolError."""
    deadline = time.monotonic() + timeout_s
    for part in encode(message):
        view = memoryview(part)
        while view:
            connection.settimeout(_left(deadline, "sending"))
            try:
                view = view[connection.send(view) :]
            except TimeoutError as error:
                raise DeadlineError(f"the other side did not read within {timeout_s:g} s") from error
            except OSError as error:
                raise PeerClosedError(f"the other side is gone: {error}") from error


def receive(connection: socket.socket, timeout_s: float | None) -> Message:
    """The next message; None waits for ever. Raises DeadlineError, PeerClosedError, ProtocolError."""
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    start = bytes(_read(connection, 8, deadline))
    if start[:4] != MAGIC:
        raise ProtocolError(f"a message begins with {MAGIC!r}, got {start[:4]!r}")
    (length,) = struct.unpack(">I", start[4:])
    if length > MAX_HEADER_BYTES:
        raise ProtocolError(f"a header of {length} bytes is announced; at most {MAX_HEADER_BYTES} are accepted")
    header = _parse_header(bytes(_read(connection, length, deadline)))
    arrays, size = {}, 0
    for name, dtype, shape in header.arrays:
        size += math.prod(shape) * dtype.itemsize
        if size > MAX_PAYLOAD_BYTES:
            raise ProtocolError(f"arrays of {size} bytes are announced; at most {MAX_PAYLOAD_BYTES} are accepted")
        raw = _read(connection, math.prod(shape) * dtype.itemsize, deadline)
        arrays[name] = np.frombuffer(raw, dtype=dtype).reshape(shape)
    return Message(header.id, header.operation, header.body, arrays)


@dataclass(frozen=True)
class _Header:
    id: int
    operation: str
    body: dict[str, Any]
    arrays: list[tuple[str, np.dtype, tuple[int, ...]]]


def _parse_header(raw: bytes) -> _Header:
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the header is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ProtocolError("the header is not a JSON object")
    if fields.get("version") != VERSION:
        raise ProtocolError(f"the other side speaks version {fields.get('version')!r}, this one {VERSION}")
    if set(fields) != {"version", "id", "operation", "body", "arrays"}:
        raise ProtocolError(f"a header has version, id, operation, body and arrays; got {sorted(fields)}")
    number, operation, body, described = fields["id"], fields["operation"], fields["body"], fields["arrays"]
    if not (
        _is_count(number) and isinstance(operation, str) and isinstance(body, dict) and isinstance(described, list)
    ):
        raise ProtocolError("a field of the header is of the wrong type")
    arrays = []
    for item in described:
        if not isinstance(item, dict) or set(item) != {"name", "dtype", "shape"}:
            raise ProtocolError("an array is described by name, dtype and shape")
        name, dtype, shape = item["name"], item["dtype"], item["shape"]
        if not isinstance(name, str) or not isinstance(dtype, str) or dtype not in DTYPES:
            raise ProtocolError(f"array {name!r} is of type {dtype!r}; allowed are {', '.join(DTYPES)}")
        if not isinstance(shape, list) or len(shape) > 8 or not all(_is_count(n) for n in shape):
            raise ProtocolError(f"array {name!r} has the shape {shape!r}")
        arrays.append((name, DTYPES[dtype], tuple(shape)))
    return _Header(number, operation, body, arrays)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def _left(deadline: float, doing: str) -> float | None:
    if math.isinf(deadline):
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise DeadlineError(f"the deadline passed while {doing}")
    return left


def _read(connection: socket.socket, count: int, deadline: float) -> bytearray:
    buffer = bytearray(count)
    view = memoryview(buffer)
    while view:
        connection.settimeout(_left(deadline, "waiting for an answer"))
        try:
            read = connection.recv_into(view)
        except TimeoutError as error:
            raise DeadlineError("the other side did not answer in time") from error
        except OSError as error:
            raise PeerClosedError(f"the other side is gone: {error}") from error
        if read == 0:
            raise PeerClosedError("the other side closed the connection")
        view = view[read:]
    return buffer
