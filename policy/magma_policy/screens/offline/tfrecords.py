"""TFRecord files of `Example`s, read without TensorFlow.

Framing: 8 bytes of length, 4 of its masked CRC-32C, the data, 4 of its masked CRC-32C; little-endian, often all of it
gzipped. The data is a protobuf message: features by name, each a list of byte strings, floats or integers.
"""

from __future__ import annotations

import contextlib
import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from magma_policy.errors import ScreenError, shown

Feature = list[bytes] | list[float] | list[int]
LARGEST_RECORD = 256 << 20
"""Bytes."""
_POLYNOMIAL = 0x82F63B78
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def _table() -> tuple[int, ...]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        found.append(value)
    return tuple(found)


_CRC_TABLE = _table()


def masked_crc(data: bytes) -> int:
    """CRC-32C as TFRecord files have it: turned by 15 bits and moved by a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def read_tfrecords(path: Path, *, check_data: bool = False) -> Iterator[dict[str, Feature]]:
    """The examples of a file, gzipped or not.

    Args:
        path: the file.
        check_data: also the data's CRC, which takes this reader a second per few megabytes; lengths are checked always.

    Raises:
        ScreenError: the file is missing, cut off or damaged; the message says at which record.
    """
    try:
        with contextlib.ExitStack() as opened:
            plain = opened.enter_context(path.open("rb"))
            zipped = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            source = cast(BinaryIO, opened.enter_context(gzip.open(plain))) if zipped else plain
            number = 0
            while (data := _record(source, f"{path}, record {number}", check_data)) is not None:
                yield read_example(data, f"{path}, record {number}")
                number += 1
    except (OSError, EOFError, zlib.error) as error:
        raise ScreenError(f"{path} cannot be read: {shown(str(error))}") from error


def _record(source: BinaryIO, where: str, check_data: bool) -> bytes | None:
    head = source.read(12)
    if not head:
        return None
    if len(head) < 12:
        raise ScreenError(f"{where} is cut off in its length")
    length, crc = struct.unpack("<QI", head)
    if masked_crc(head[:8]) != crc:
        raise ScreenError(
            f"{where}: its length does not fit its checksum, so this is no TFRecord file or a damaged one"
        )
    if length > LARGEST_RECORD:
        raise ScreenError(f"{where} has {length} bytes, at most {LARGEST_RECORD} are read")
    data = source.read(length + 4)
    if len(data) < length + 4:
        raise ScreenError(f"{where} is cut off after {len(data)} of {length + 4} bytes")
    if check_data and masked_crc(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
        raise ScreenError(f"{where}: its data does not fit its checksum")
    return data[:-4]


def read_example(data: bytes, where: str = "example") -> dict[str, Feature]:
    """The features of a serialised `Example`. Raises ScreenError when it is none."""
    try:
        found: dict[str, Feature] = {}
        for number, features in _fields(data):
            if number != 1 or not isinstance(features, bytes):
                continue
            for entry_number, entry in _fields(features):
                if entry_number != 1 or not isinstance(entry, bytes):
                    continue
                parts = dict(_fields(entry))
                name, value = parts.get(1, b""), parts.get(2, b"")
                if not isinstance(name, bytes) or not isinstance(value, bytes):
                    raise ValueError("a feature has no name or value")
                found[name.decode("utf-8")] = _feature(value)
        return found
    except (ValueError, struct.error, IndexError) as error:
        raise ScreenError(f"{where} is no serialised Example: {shown(str(error))}") from error


def _feature(data: bytes) -> Feature:
    """One of bytes_list = 1, float_list = 2, int64_list = 3, each with value = 1."""
    for number, value in _fields(data):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            return [item for inner, item in _fields(value) if inner == 1 and isinstance(item, bytes)]
        if number == 2:
            return _floats(value)
        if number == 3:
            return _integers(value)
    return cast("list[bytes]", [])


def _floats(data: bytes) -> list[float]:
    """Packed, or one by one."""
    found: list[float] = []
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            if len(value) % 4:
                raise ValueError(f"{len(value)} bytes are no floats")
            found += struct.unpack(f"<{len(value) // 4}f", value)
    return found


def _integers(data: bytes) -> list[int]:
    """Packed, or one by one; of 64 bits, with a sign."""
    found: list[int] = []
    for number, value in _fields(data):
        if number != 1:
            continue
        if isinstance(value, int):
            found.append(_signed(value))
        else:
            at = 0
            while at < len(value):
                one, at = _varint(value, at)
                found.append(_signed(one))
    return found


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of every field of a message; numbers of fixed width as their bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == _LENGTH:
            length, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        if at + length > len(data):
            raise ValueError(f"a field of {length} bytes, where {len(data) - at} are left")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at >= len(data):
            raise ValueError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            return value & (1 << 64) - 1, at
    raise ValueError("a number of more than ten bytes")
