"""CDR (XCDR1, little endian) serialisation, generated per message type.

Runs of fixed-size fields, across nested messages, become one ``struct`` call. Large numeric sequences are never walked
or joined in Python: the encoder returns them as parts of their own, the decoder returns numpy views of the payload.
"""

import abc
import array
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .definition import EMPTY_MEMBER, NUMERIC, PRIMITIVE_SIZES, FieldType
from .store import definition

if sys.byteorder != "little":
    raise ImportError("rclpy_dds supports little-endian machines only")

HEADER = b"\x00\x01\x00\x00"
HEADER_BYTES = len(HEADER)
# Numeric sequences of at least this many bytes are handed to the transport as they are, not copied into the message.
PART_THRESHOLD_BYTES = 16 * 1024
# Received numeric sequences of at least this many bytes become read-only numpy views when the payload is a view.
VIEW_THRESHOLD_BYTES = 64 * 1024

FORMATS = {
    "bool": "?",
    "byte": "c",
    "char": "B",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
ARRAY_CODES = {base: FORMATS[base] for base in NUMERIC}
DTYPES = {base: np.dtype("uint8" if base == "char" else base) for base in NUMERIC}

Part = bytes | bytearray | memoryview | np.ndarray | array.array


class MalformedMessageError(ValueError):
    """Received bytes are not a message of the expected type."""


class Parts:
    """Finished parts of a message under construction.

    ``skip`` is the number of leading bytes of the current buffer that only keep its length congruent (modulo 8) to the
    position in the stream, so that alignment can be computed from the length alone.
    """

    __slots__ = ("done", "skip")

    def __init__(self) -> None:
        self.done: list[Part] = []
        self.skip = 0

    def add(self, buffer: bytearray, data: Part, size: int) -> bytearray:
        """Close ``buffer``, add ``data`` (``size`` bytes) after it, and return the buffer that continues the stream."""
        self.done.append(memoryview(buffer)[self.skip :])
        self.done.append(data)
        self.skip = (len(buffer) + size) & 7
        return bytearray(self.skip)


_ZEROS = tuple(bytes(count) for count in range(8))


class _Generator(abc.ABC):
    """Common to both directions: collects lines, and knows the position modulo a power of two."""

    origin = 0  # the position that alignment counts from

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}
        self.modulus, self.remainder = 1, 0
        self.indent = 1
        self.group: list[tuple[str, str]] = []
        self.group_size = 0
        self.counter = 0

    def emit(self, line: str) -> None:
        self.lines.append("    " * self.indent + line)

    def bind(self, prefix: str, value: Any) -> str:
        self.counter += 1
        name = f"{prefix}{self.counter}"
        self.names[name] = value
        return name

    def advance(self, size: int) -> None:
        self.remainder = (self.remainder + size) % self.modulus

    def forget(self) -> None:
        self.modulus, self.remainder = 1, 0

    def primitive(self, base: str, place: str) -> None:
        size = PRIMITIVE_SIZES[base]
        self.align(size)
        self.group.append((FORMATS[base], place))
        self.group_size += size
        self.advance(size)

    def align(self, size: int) -> None:
        if self.modulus >= size:
            padding = (self.origin - self.remainder) % size
            if padding:
                self.group.append((f"{padding}x", ""))
                self.group_size += padding
                self.advance(padding)
        elif size > 1:
            self.flush()
            self.emit_alignment(size)
            self.modulus, self.remainder = size, self.origin % size

    def flush(self) -> None:
        if self.group:
            code = struct.Struct("<" + "".join(code for code, _ in self.group))
            self.emit_group(code, [place for _, place in self.group if place])
            self.group = []
            self.group_size = 0

    @abc.abstractmethod
    def emit_group(self, code: struct.Struct, places: list[str]) -> None:
        """Add the code for a run of fixed-size fields; ``places`` are the fields without the padding."""

    @abc.abstractmethod
    def emit_alignment(self, size: int) -> None:
        """Add the code that aligns to ``size`` bytes where the position is known at run time only."""

    def compile(self, signature: str) -> Callable:
        source = "\n".join([f"def {signature}:", *self.lines])
        exec(source, self.names)  # the source is made of field names that match [a-z0-9_]+ and of numbers
        return self.names[signature.split("(")[0]]


class _EncoderGenerator(_Generator):
    """Generates ``encode(m, b, o) -> b``: append message ``m`` to bytearray ``b``, large data to ``Parts`` ``o``."""

    def emit_group(self, code: struct.Struct, places: list[str]) -> None:
        if places:
            self.emit(f"b += {self.bind('pack', code.pack)}({', '.join(places)})")
        else:
            self.emit(f"b += ZEROS[{code.size}]")

    def emit_alignment(self, size: int) -> None:
        # The stream position is the length minus the 4-byte header.
        self.emit(f"b += ZEROS[{'4 ' if size == 8 else ''}-len(b) & {size - 1}]")

    def message(self, name: str, place: str) -> None:
        for field in definition(name).fields:
            if field.name == EMPTY_MEMBER:
                self.primitive("uint8", "0")
            else:
                self.field(field.type, f"{place}._{field.name}")

    def field(self, kind: FieldType, place: str) -> None:
        if kind.kind == "scalar":
            if kind.is_nested:
                self.message(kind.base, place)
            elif kind.base == "string":
                self.string(place)
            elif kind.base == "wstring":
                raise NotImplementedError("rclpy_dds does not serialise fields of type wstring")
            else:
                self.primitive(kind.base, place)
            return
        if kind.kind == "sequence":
            self.flush()
            self.emit(f"v = {place}")
            self.primitive("uint32", "len(v)")
            self.flush()
            self.elements(kind, "v")
        else:
            self.flush()
            self.emit(f"v = {place}")
            self.emit(f"if len(v) != {kind.size}:")
            self.emit(f"    raise ValueError(f'{place[3:]} needs {kind.size} elements, it has {{len(v)}}')")
            self.elements(kind, "v")

    def string(self, place: str) -> None:
        self.flush()
        self.emit(f"s = {place}.encode()")
        self.primitive("uint32", "len(s) + 1")
        self.flush()
        self.emit("b += s")
        self.emit("b.append(0)")
        self.forget()

    def elements(self, kind: FieldType, values: str) -> None:
        if kind.base in NUMERIC:
            size = PRIMITIVE_SIZES[kind.base]
            if kind.kind == "sequence":
                self.emit(f"if len({values}):")
                self.indent += 1
                self.align(size)
                self.flush()
                self.extend(kind, values, size)
                self.indent -= 1
                # After the count the position is a multiple of 4, after elements a multiple of their size.
                self.modulus, self.remainder = (4, 0) if size >= 4 else (1, 0)
            else:
                self.align(size)
                self.flush()
                self.extend(kind, values, size)
                self.advance(kind.size * size)
            return
        if kind.base in ("bool", "byte"):
            self.emit(f"b.extend(map(bool, {values}))" if kind.base == "bool" else f"b += b''.join({values})")
            self.forget()
            return
        self.emit(f"for x in {values}:")
        self.indent += 1
        self.forget()
        if kind.base == "string":
            self.string("x")
        elif kind.base == "wstring":
            raise NotImplementedError("rclpy_dds does not serialise fields of type wstring")
        else:
            self.emit(f"b = {self.bind('encode_', _LazyFunction(kind.base, _encoder))}(x, b, o)")
        self.indent -= 1
        self.forget()

    def extend(self, kind: FieldType, values: str, size: int) -> None:
        if kind.kind == "array" and kind.size * size < PART_THRESHOLD_BYTES:
            self.emit(f"b.extend({values})")
            return
        self.emit(f"if len({values}) >= {PART_THRESHOLD_BYTES // size}:")
        self.emit(f"    b = o.add(b, {values}, len({values}) * {size})")
        self.emit("else:")
        self.emit(f"    b.extend({values})")


class _DecoderGenerator(_Generator):
    """Generates ``decode(d, p, e) -> (message, p)``: read one message from ``d`` at ``p``, not beyond ``e``."""

    origin = HEADER_BYTES
    parameters = "d, p, e"

    def nested(self, name: str) -> str:
        """Return what calls the function of another message type."""
        return f"{self.bind('decode_', _LazyFunction(name, _decoder))}({self.parameters})"

    def emit_group(self, code: struct.Struct, places: list[str]) -> None:
        if places:
            targets = f"{places[0]}," if len(places) == 1 else ", ".join(places)
            self.emit(f"{targets} = {self.bind('unpack', code.unpack_from)}(d, p)")
        self.emit(f"p += {code.size}")

    def emit_alignment(self, size: int) -> None:
        self.emit("p = (p + 3 & -8) + 4" if size == 8 else f"p = p + {size - 1} & -{size}")

    def message(self, name: str, target: str) -> None:
        from .message import message_class

        self.emit(f"{target} = new({self.bind('Class', message_class(name))})")
        for field in definition(name).fields:
            if field.name == EMPTY_MEMBER:
                self.primitive("uint8", "_")
            else:
                self.field(field.type, f"{target}._{field.name}")

    def field(self, kind: FieldType, place: str) -> None:
        if kind.kind == "scalar":
            if kind.is_nested:
                self.counter += 1
                inner = f"m{self.counter}"
                self.message(kind.base, inner)
                self.emit(f"{place} = {inner}")
            elif kind.base == "string":
                self.string(place)
            elif kind.base == "wstring":
                raise NotImplementedError("rclpy_dds does not deserialise fields of type wstring")
            else:
                self.primitive(kind.base, place)
            return
        if kind.kind == "sequence":
            self.primitive("uint32", "n")
            self.flush()
            if kind.size:
                self.emit(f"if n > {kind.size}:")
                self.emit(f"    raise Malformed(f'{place[2:]}: {{n}} elements, at most {kind.size} allowed')")
        else:
            self.flush()
            self.emit(f"n = {kind.size}")
        self.elements(kind, place)

    def string(self, place: str) -> None:
        self.primitive("uint32", "n")
        self.flush()
        self.emit("q = p + n")
        self.emit("if q > e or n and d[q - 1]:")
        self.emit("    raise Malformed(f'string of {n} bytes at offset {p} ends outside or without a zero')")
        self.emit(f"{place} = str(d[p:q - 1], 'utf-8', 'replace') if n else ''")
        self.emit("p = q")
        self.forget()

    def elements(self, kind: FieldType, place: str) -> None:
        if kind.base in NUMERIC:
            size = PRIMITIVE_SIZES[kind.base]
            if size > 1:
                self.emit("if n:")
                self.indent += 1
                saved = self.modulus, self.remainder
                self.forget()
                self.emit_alignment(size)
                self.indent -= 1
                self.modulus, self.remainder = saved
            self.numbers(kind, place, size)
            self.forget()
            return
        if kind.base in ("bool", "byte"):
            self.emit("if n > e - p:")
            self.emit(f"    raise Malformed(f'{place[2:]}: {{n}} elements do not fit the message')")
            self.emit(f"{place} = list(unpack_from(f'{{n}}{FORMATS[kind.base]}', d, p))")
            self.emit("p += n")
            self.forget()
            return
        smallest = 4 if kind.base == "string" else minimum_size(kind.base)
        self.emit(f"if n * {smallest} > e - p:")
        self.emit(f"    raise Malformed(f'{place[2:]}: {{n}} elements do not fit the message')")
        self.emit("items = []")
        self.emit("for _ in range(n):")
        self.indent += 1
        self.forget()
        if kind.base == "string":
            self.string("x")
        elif kind.base == "wstring":
            raise NotImplementedError("rclpy_dds does not deserialise fields of type wstring")
        else:
            self.emit(f"x, p = {self.nested(kind.base)}")
        self.emit("items.append(x)")
        self.indent -= 1
        self.emit(f"{place} = items")
        self.forget()

    def numbers(self, kind: FieldType, place: str, size: int) -> None:
        """Add the code for ``n`` numbers of ``size`` bytes, once ``p`` is aligned."""
        self.emit(f"q = p + n * {size}" if size > 1 else "q = p + n")
        self.emit("if q > e:")
        self.emit(f"    raise Malformed(f'{place[2:]}: {{n}} elements do not fit the message')")
        dtype = self.bind("dtype", DTYPES[kind.base])
        if kind.kind == "array":
            self.emit(f"{place} = frombuffer(d, {dtype}, n, p).copy()")
        else:
            self.emit(f"if q - p >= {VIEW_THRESHOLD_BYTES} and type(d) is memoryview:")
            self.emit(f"    {place} = frombuffer(d, {dtype}, n, p)")
            self.emit("else:")
            self.emit(f"    {place} = a = array({ARRAY_CODES[kind.base]!r})")
            self.emit("    a.frombytes(d[p:q])")
        self.emit("p = q")


class _SharedDecoderGenerator(_DecoderGenerator):
    """Generates ``decode(d, p, e, o)`` for the text of a :class:`SharedPayload`, whose arrays iterator ``o`` gives."""

    parameters = "d, p, e, o"

    def nested(self, name: str) -> str:
        return f"{self.bind('decode_', _LazyFunction(name, _shared_decoder))}({self.parameters})"

    def numbers(self, kind: FieldType, place: str, size: int) -> None:
        if kind.kind == "array" and kind.size * size < PART_THRESHOLD_BYTES:
            super().numbers(kind, place, size)
            return
        # As the encoder decides; the field gets what it would get from a payload that is a view.
        self.emit(f"if n >= {PART_THRESHOLD_BYTES // size}:")
        if kind.kind == "array":
            self.emit(f"    {place} = next(o).copy()")
        else:
            self.emit("    a = next(o)")
            self.emit(f"    if n * {size} < {VIEW_THRESHOLD_BYTES}:")
            self.emit(f"        a = array({ARRAY_CODES[kind.base]!r}, a.tobytes())")
            self.emit(f"    {place} = a")
        self.emit(f"    p += n * {size} & 7")
        self.emit("else:")
        self.indent += 1
        super().numbers(kind, place, size)
        self.indent -= 1


def minimum_size(name: str) -> int:
    """Return a lower bound of the serialised size of a message type in bytes (at least 1)."""
    total = 0
    for field in definition(name).fields:
        kind = field.type
        if kind.kind == "sequence":
            total += 4
            continue
        element = (
            minimum_size(kind.base)
            if kind.is_nested
            else 4
            if kind.base in ("string", "wstring")
            else PRIMITIVE_SIZES[kind.base]
        )
        total += element * (kind.size if kind.kind == "array" else 1)
    return max(total, 1)


class SharedPayload:
    """A message whose large arrays are referred to, for delivery within a process.

    ``text`` is the CDR stream without them; where one is left out, a few zeros keep positions congruent modulo 8.
    """

    __slots__ = ("arrays", "parts", "text")

    def __init__(self, parts: Sequence[Part], arrays: list[np.ndarray]) -> None:
        """
        Args:
            parts: as :func:`encode` returns them.
            arrays: what stands for the numpy arrays and ``array.array`` among them.
        """
        text = bytearray()
        self.parts: list[Part] = []
        self.arrays = arrays
        remaining = iter(arrays)
        for part in parts:
            if isinstance(part, np.ndarray | array.array):
                data = next(remaining)
                self.parts.append(data)
                text += _ZEROS[data.nbytes & 7]
            else:
                self.parts.append(part)
                text += part
        self.text = bytes(text)

    def decode(self, name: str) -> Any:
        """Return a new message of type ``pkg/msg/Name`` that refers to the arrays."""
        arrays = (data[:] for data in self.arrays)  # an object of its own for each message
        # No end to check against: the text was made here.
        return _shared_decoder(name, 8)(self.text, HEADER_BYTES, sys.maxsize, arrays)[0]

    def __bytes__(self) -> bytes:
        return join(self.parts)


class _LazyFunction:
    """Stands for the function of an element type until the first call."""

    __slots__ = ("factory", "name")

    def __init__(self, name: str, factory: Callable[[str], Callable]) -> None:
        self.name = name
        self.factory = factory

    def __call__(self, *arguments: Any) -> Any:
        return self.factory(self.name)(*arguments)


_lock = threading.RLock()
_encoders: dict[tuple[str, int], Callable] = {}
_decoders: dict[tuple[str, int], Callable] = {}
_shared_decoders: dict[tuple[str, int], Callable] = {}
# Functions for whole messages, by type name alone.
_message_encoders: dict[str, Callable] = {}
_message_decoders: dict[str, Callable] = {}


def _encoder(name: str, modulus: int = 1) -> Callable:
    function = _encoders.get((name, modulus))
    if function is None:
        with _lock:
            generator = _EncoderGenerator()
            generator.modulus = modulus
            generator.names["ZEROS"] = _ZEROS
            generator.message(name, "m")
            generator.flush()
            generator.emit("return b")
            function = _encoders[name, modulus] = generator.compile("encode(m, b, o)")
    return function


def _decoder(name: str, modulus: int = 1) -> Callable:
    function = _decoders.get((name, modulus))
    if function is None:
        function = _decoders[name, modulus] = _generate_decoder(_DecoderGenerator(), name, modulus)
    return function


def _shared_decoder(name: str, modulus: int = 1) -> Callable:
    function = _shared_decoders.get((name, modulus))
    if function is None:
        function = _shared_decoders[name, modulus] = _generate_decoder(_SharedDecoderGenerator(), name, modulus)
    return function


def _generate_decoder(generator: _DecoderGenerator, name: str, modulus: int) -> Callable:
    with _lock:
        generator.modulus = modulus
        generator.remainder = generator.origin % modulus
        generator.names.update(
            new=object.__new__,
            array=array.array,
            frombuffer=np.frombuffer,
            unpack_from=struct.unpack_from,
            Malformed=MalformedMessageError,
        )
        generator.message(name, "m")
        generator.flush()
        generator.emit("return m, p")
        return generator.compile(f"decode({generator.parameters})")


def encode(message: Any, name: str, prefix: bytes = b"") -> list[Part]:
    """Serialise a message of type ``pkg/msg/Name`` to the parts of a CDR stream, header and final padding included.

    Args:
        message: an instance of the generated class.
        name: its type name.
        prefix: bytes between the header and the message; the length must be a multiple of 8.

    Raises:
        ValueError, TypeError, struct.error: a container in the message holds something that does not fit its type.
    """
    parts = Parts()
    encoder = _message_encoders.get(name)
    if encoder is None:
        encoder = _message_encoders[name] = _encoder(name, 8)
    buffer = encoder(message, bytearray(HEADER + prefix), parts)
    buffer += _ZEROS[-len(buffer) & 3]
    if not parts.done:
        return [buffer]
    if len(buffer) > parts.skip:
        parts.done.append(memoryview(buffer)[parts.skip :])
    return parts.done


def decode(payload: bytes | memoryview, name: str, offset: int = HEADER_BYTES) -> Any:
    """Deserialise a CDR stream to a new message of type ``pkg/msg/Name``.

    Args:
        payload: the whole stream. Large numeric sequences of a memoryview stay views of it.
        name: type name.
        offset: where the message begins, 4 plus a multiple of 8.

    Raises:
        MalformedMessageError: wrong encapsulation, truncated, or not a message of this type.
    """
    end = len(payload)
    if end < HEADER_BYTES or payload[0] != 0 or payload[1] != 1:
        raise MalformedMessageError(f"{name}: not a little-endian CDR stream ({bytes(payload[:4]).hex()})")
    decoder = _message_decoders.get(name)
    if decoder is None:
        decoder = _message_decoders[name] = _decoder(name, 8)
    try:
        message, position = decoder(payload, offset, end)
    except (struct.error, ValueError) as error:
        raise MalformedMessageError(f"{name} ({end} bytes): {error}") from None
    if not position <= end <= position + 3:
        raise MalformedMessageError(f"{name}: {end} bytes received, the message has {position}")
    return message


def join(parts: list[Part]) -> bytes:
    """Join the parts of a stream to one ``bytes`` object."""
    return b"".join(np.frombuffer(part, dtype=np.uint8).tobytes() for part in parts)
