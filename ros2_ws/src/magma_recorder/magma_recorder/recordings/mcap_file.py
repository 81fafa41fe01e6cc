"""An MCAP file that is readable at every moment, whatever happens to the process or the disk.

The `mcap` library's own writer decides by size alone when a chunk goes to disk, so a quiet robot would leave minutes in
memory, and it cannot take a failed write back. This one is built on the library's record classes: the caller says when
a chunk is written; a chunk that does not fit on the disk is cut off again, and the file stays whole.

Format: https://mcap.dev/spec (records, chunks, summary) and https://mcap.dev/spec/registry (profile ros2, encodings
cdr and ros2msg).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    Message,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)

MAGIC = b"\x89MCAP0\r\n"
COMPRESSION = "zstd"
COMPRESSION_LEVEL = 1
"""Pictures do not shrink any more, everything else is small: the fastest level is the right one."""
_MAX_UINT32 = 2**32


class McapFile:
    """One file being written. Not thread-safe. Every method that touches the disk raises OSError when that fails, and
    then the file on disk is as it was before the call."""

    def __init__(self, path: Path, library: str = "magma_recorder") -> None:
        """Creates the file; FileExistsError if there is one."""
        self._path = path
        self._fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o644)
        self._end = 0
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._on_disk: set[int] = set()
        """channels whose record is in a chunk on disk"""
        self._compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
        self._chunk_indexes: list[ChunkIndex] = []
        self._metadata_indexes: list[MetadataIndex] = []
        self._counts: Counter[int] = Counter()
        self._start_ns: int | None = None
        self._end_ns = 0
        self._chunk = RecordBuilder()
        self._pending_index: dict[int, list[tuple[int, int]]] = {}
        self._pending_start_ns: int | None = None
        self._pending_end_ns = 0
        self._pending_bytes = 0
        try:
            self._append(MAGIC + _bytes_of(Header(profile="ros2", library=library)))
        except OSError:
            os.close(self._fd)
            os.unlink(path)
            raise

    @property
    def path(self) -> Path:
        return self._path

    @property
    def counts(self) -> dict[str, int]:
        """Messages on disk by topic."""
        return {channel.topic: self._counts[number] for number, channel in self._channels.items()}

    @property
    def time_range_ns(self) -> tuple[int, int]:
        """First and last log time on disk; (0, 0) when there is no message."""
        return (self._start_ns or 0, self._end_ns)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._end

    @property
    def pending_bytes(self) -> int:
        """Bytes of messages that `write_chunk` would write."""
        return self._pending_bytes

    @property
    def pending_counts(self) -> Counter[str]:
        """Messages by topic that `write_chunk` would write."""
        return Counter({self._channels[number].topic: len(index) for number, index in self._pending_index.items()})

    def add_channel(self, topic: str, schema_name: str, schema: str, metadata: Mapping[str, str]) -> int:
        """Declares a topic of CDR messages and returns its number.

        Args:
            schema_name: such as `sensor_msgs/msg/Image`.
            schema: its definition with those of all its parts, as in a ros2msg schema.
        """
        numbers = {item.name: number for number, item in self._schemas.items()}
        schema_number = numbers.get(schema_name)
        if schema_number is None:
            schema_number = len(self._schemas) + 1
            self._schemas[schema_number] = Schema(
                id=schema_number, data=schema.encode(), encoding="ros2msg", name=schema_name
            )
        number = len(self._channels) + 1
        self._channels[number] = Channel(
            id=number, topic=topic, message_encoding="cdr", metadata=dict(metadata), schema_id=schema_number
        )
        return number

    def add_message(self, channel: int, log_ns: int, publish_ns: int, sequence: int, data: bytes) -> None:
        """Adds a message to the chunk in memory."""
        if channel not in self._on_disk and channel not in self._pending_index:
            item = self._channels[channel]
            self._schemas[item.schema_id].write(self._chunk)
            item.write(self._chunk)
        self._pending_index.setdefault(channel, []).append((log_ns, self._chunk.count))
        Message(
            channel_id=channel, log_time=log_ns, publish_time=publish_ns, sequence=sequence % _MAX_UINT32, data=data
        ).write(self._chunk)
        self._pending_start_ns = log_ns if self._pending_start_ns is None else min(log_ns, self._pending_start_ns)
        self._pending_end_ns = max(log_ns, self._pending_end_ns)
        self._pending_bytes += len(data)

    def write_chunk(self) -> None:
        """Writes what was added since the last time. On OSError the file ends where it did before, and what was to be
        written is still in memory."""
        if not self._pending_index:
            return
        content = self._chunk_content()
        data = self._compressor.compress(content)
        start_ns = self._pending_start_ns or 0
        chunk = _bytes_of(
            Chunk(
                compression=COMPRESSION,
                data=data,
                message_start_time=start_ns,
                message_end_time=self._pending_end_ns,
                uncompressed_crc=zlib.crc32(content),
                uncompressed_size=len(content),
            )
        )
        index = RecordBuilder()
        offsets: dict[int, int] = {}
        for channel, records in self._pending_index.items():
            offsets[channel] = self._end + len(chunk) + index.count
            MessageIndex(channel_id=channel, records=records).write(index)
        index_bytes = index.end()
        chunk_offset = self._end
        self._append(chunk + index_bytes)
        self._chunk_indexes.append(
            ChunkIndex(
                chunk_length=len(chunk),
                chunk_start_offset=chunk_offset,
                compression=COMPRESSION,
                compressed_size=len(data),
                message_start_time=start_ns,
                message_end_time=self._pending_end_ns,
                message_index_length=len(index_bytes),
                message_index_offsets=offsets,
                uncompressed_size=len(content),
            )
        )
        self._start_ns = start_ns if self._start_ns is None else min(self._start_ns, start_ns)
        self._end_ns = max(self._end_ns, self._pending_end_ns)
        for channel, records in self._pending_index.items():
            self._counts[channel] += len(records)
            self._on_disk.add(channel)
        self._begin_chunk()

    def drop_chunk(self) -> Counter[str]:
        """Forgets what was added since the last `write_chunk`; returns how many messages of each topic."""
        dropped = self.pending_counts
        self._begin_chunk()
        return dropped

    def add_metadata(self, name: str, values: Mapping[str, str]) -> None:
        """Writes a metadata record, after what was added before."""
        self.write_chunk()
        record = _bytes_of(Metadata(name=name, metadata=dict(values)))
        offset = self._end
        self._append(record)
        self._metadata_indexes.append(MetadataIndex(offset=offset, length=len(record), name=name))

    def sync(self) -> None:
        """Waits until the disk has everything written so far; only then does it survive a power cut."""
        os.fdatasync(self._fd)

    def finish(self) -> None:
        """Writes what is left and the summary that lets readers seek, and closes. On OSError the file stays without
        summary: readers then have to go through it from the start."""
        try:
            self.write_chunk()
            self._append(self._summary())
            self.sync()
        finally:
            os.close(self._fd)

    def _chunk_content(self) -> bytes:
        """The bytes of the chunk in memory; they stay there."""
        content = self._chunk.end()
        self._chunk.write(content)
        return content

    def _begin_chunk(self) -> None:
        self._chunk = RecordBuilder()
        self._pending_index = {}
        self._pending_start_ns = None
        self._pending_end_ns = 0
        self._pending_bytes = 0

    def _append(self, data: bytes) -> None:
        """Writes at the end, whole or not at all."""
        view = memoryview(data)
        written = 0
        try:
            while written < len(view):
                written += os.pwrite(self._fd, view[written:], self._end + written)
        except OSError:
            os.ftruncate(self._fd, self._end)
            raise
        self._end += len(data)

    def _summary(self) -> bytes:
        data_end = _bytes_of(DataEnd(0))
        summary_start = self._end + len(data_end)
        builder = RecordBuilder()
        offsets: list[SummaryOffset] = []
        used = {self._channels[number].schema_id for number in self._on_disk}
        groups: list[tuple[Opcode, list[McapRecord]]] = [
            (Opcode.SCHEMA, [self._schemas[number] for number in sorted(used)]),
            (Opcode.CHANNEL, [self._channels[number] for number in sorted(self._on_disk)]),
            (Opcode.STATISTICS, [self._statistics()]),
            (Opcode.CHUNK_INDEX, list(self._chunk_indexes)),
            (Opcode.METADATA_INDEX, list(self._metadata_indexes)),
        ]
        for opcode, records in groups:
            if not records:
                continue
            start = builder.count
            for record in records:
                record.write(builder)
            offsets.append(
                SummaryOffset(
                    group_opcode=opcode, group_start=summary_start + start, group_length=builder.count - start
                )
            )
        offset_start = summary_start + builder.count
        for offset in offsets:
            offset.write(builder)
        summary = builder.end()
        # The checksum covers the summary and the footer up to the checksum itself.
        footer = struct.pack("<BQQQ", Opcode.FOOTER, 8 + 8 + 4, summary_start, offset_start)
        crc = zlib.crc32(footer, zlib.crc32(summary))
        footer = _bytes_of(Footer(summary_start=summary_start, summary_offset_start=offset_start, summary_crc=crc))
        return data_end + summary + footer + MAGIC

    def _statistics(self) -> Statistics:
        return Statistics(
            attachment_count=0,
            channel_count=len(self._on_disk),
            channel_message_counts=dict(self._counts),
            chunk_count=len(self._chunk_indexes),
            message_count=sum(self._counts.values()),
            metadata_count=len(self._metadata_indexes),
            message_start_time=self._start_ns or 0,
            message_end_time=self._end_ns,
            schema_count=len({self._channels[number].schema_id for number in self._on_disk}),
        )


def _bytes_of(record: McapRecord) -> bytes:
    builder = RecordBuilder()
    record.write(builder)
    return builder.end()
