"""Goes through the records of an MCAP file that may be cut off, damaged or made to hurt.

The `mcap` library's reader believes what a file says of itself: a chunk of a few kilobytes may claim gigabytes and gets
them, a length of four gigabytes is allocated before it is read. Here every record is held against the bytes that are
there, and what chunks unpack to against the size of the file. The library's record classes take single records apart.

Format: https://mcap.dev/spec
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Footer, Header, McapRecord, Message, Metadata, Schema

from magma_recorder.recordings.mcap_file import MAGIC

UNPACKED_BYTES = 128 << 20
UNPACKED_FACTOR = 100
"""Chunks may unpack to so many bytes, and so many times the size of the file, together. Pictures hardly shrink and are
most of a recording; what shrinks to a thousandth is no recording."""
LARGEST_RECORD_BYTES = 1 << 30
_HEAD = struct.Struct("<BQ")
_PARSED = (Opcode.HEADER, Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE, Opcode.METADATA, Opcode.FOOTER)


class DamagedError(ValueError):
    """The file ends here as far as it can be read; the text says why."""


class CutOffError(DamagedError):
    """The file ends before a record does, as when its writer was killed."""


def records(path: Path) -> Iterator[McapRecord]:
    """Header, schemas, channels, messages, metadata and footer, in the order of the file.

    Raises:
        DamagedError: at the first record that is not whole and right; everything before it was given.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise DamagedError("it does not begin as MCAP files do")
        left = UNPACKED_BYTES + UNPACKED_FACTOR * size
        while True:
            opcode, content = _next(file, size - file.tell())
            if opcode == Opcode.CHUNK:
                unpacked = _unpacked(content, left)
                left -= len(unpacked)
                yield from _inside(unpacked)
            elif opcode in _PARSED:
                record = _parse(opcode, content)
                yield record
                if isinstance(record, Footer):
                    return


def _next(file: BinaryIO, left: int) -> tuple[int, bytes]:
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise CutOffError("it is cut off between two records")
    opcode, length = _HEAD.unpack(head)
    # The format reserves 0, so that a hole in the file is no record.
    if opcode == 0 or length > LARGEST_RECORD_BYTES:
        raise DamagedError(f"a record of kind {opcode} claims {length} bytes")
    if length > left - _HEAD.size:
        raise CutOffError(f"a record of kind {opcode} has {length} bytes, and {left - _HEAD.size} are there")
    return opcode, file.read(length)


def _inside(data: bytes) -> Iterator[McapRecord]:
    """The records of an unpacked chunk."""
    place = 0
    while place < len(data):
        if place + _HEAD.size > len(data):
            raise DamagedError("a chunk ends within a record")
        opcode, length = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        if opcode == 0 or length > len(data) - place:
            raise DamagedError(
                f"a record of kind {opcode} in a chunk claims {length} bytes, {len(data) - place} are there"
            )
        if opcode in (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE):
            yield _parse(opcode, data[place : place + length])
        place += length


def _parse(opcode: int, content: bytes) -> McapRecord:
    kinds: dict[int, type[McapRecord]] = {
        Opcode.HEADER: Header,
        Opcode.SCHEMA: Schema,
        Opcode.CHANNEL: Channel,
        Opcode.METADATA: Metadata,
        Opcode.FOOTER: Footer,
    }
    try:
        # The stream holds this record alone: a length within it cannot reach beyond.
        stream = ReadDataStream(BytesIO(content))
        if opcode == Opcode.MESSAGE:
            return Message.read(stream, len(content))
        return kinds[opcode].read(stream)
    except (McapError, struct.error, ValueError, EOFError, TypeError, KeyError, OverflowError) as error:
        raise DamagedError(f"a record of kind {opcode} is damaged ({type(error).__name__})") from error


def _unpacked(content: bytes, allowed: int) -> bytes:
    try:
        chunk = Chunk.read(ReadDataStream(BytesIO(content)))
    except (McapError, struct.error, ValueError, EOFError, TypeError, OverflowError) as error:
        raise DamagedError(f"a chunk is damaged ({type(error).__name__})") from error
    if chunk.uncompressed_size > allowed:
        raise DamagedError(
            f"a chunk claims to unpack to {chunk.uncompressed_size} bytes, far more than a recording of this size holds"
        )
    if chunk.compression == "":
        data = chunk.data
    elif chunk.compression == "zstd":
        # One byte more than claimed would show a lie; nothing beyond it is unpacked.
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(chunk.data) as stream:
            try:
                data = stream.read(chunk.uncompressed_size + 1)
            except zstandard.ZstdError as error:
                raise DamagedError(f"a chunk does not unpack ({error})") from error
    elif chunk.compression == "lz4":
        data = _from_lz4(chunk.data, chunk.uncompressed_size)
    else:
        raise DamagedError(f"a chunk is packed by {chunk.compression[:20]!r}, which is not known here")
    if len(data) != chunk.uncompressed_size:
        raise DamagedError(f"a chunk unpacks to {len(data)} bytes or more and claims {chunk.uncompressed_size}")
    if chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc:
        raise DamagedError("the checksum of a chunk is wrong")
    return bytes(data)


def _from_lz4(data: bytes, size: int) -> bytes:
    import lz4.frame  # the mcap library brings it

    try:
        return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size + 1))
    except (RuntimeError, EOFError) as error:
        raise DamagedError(f"a chunk does not unpack ({error})") from error
