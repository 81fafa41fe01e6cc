"""Reads a recording, whole or cut off."""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard
from mcap.exceptions import McapError
from mcap.records import Channel, Footer, Message, Metadata, Schema
from mcap.stream_reader import StreamReader
from rclpy.serialization import deserialize_message

from magma_recorder.definitions import message_class
from magma_recorder.mcap_file import MAGIC


class RecordingError(ValueError):
    """A file that is no recording; the text says why."""


@dataclass(frozen=True)
class Recorded:
    """One message of a recording."""

    topic: str
    type_name: str
    log_ns: int
    """when it was received"""
    publish_ns: int
    sequence: int
    """the recorder's own count"""
    data: bytes
    """CDR"""

    @property
    def message(self) -> Any:
        """The message itself; ImportError when its package is not installed."""
        return deserialize_message(self.data, message_class(self.type_name))


_BROKEN = (McapError, struct.error, zstandard.ZstdError, RuntimeError, UnicodeDecodeError, ValueError, EOFError)
"""What the readers of mcap, zstandard and lz4 raise where a file was cut off."""


class Recording:
    """A file, read from its start: an index is not needed, so a file that was cut off reads like any other."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: an MCAP file, or the folder of a bag that holds exactly one.

        Raises:
            RecordingError: there is no such file.
        """
        if path.is_dir():
            files = sorted(path.glob("*.mcap"))
            if len(files) != 1:
                raise RecordingError(f"{path} holds {len(files)} files *.mcap, expected one")
            path = files[0]
        if not path.is_file():
            raise RecordingError(f"{path}: no such file")
        self.path = path
        self.complete = False
        """after reading to the end: whether the file was closed properly"""
        self.metadata: dict[str, dict[str, str]] = {}
        """metadata records by name, as far as they were read"""

    def __iter__(self) -> Iterator[Recorded]:
        return self.read()

    def read(self, topics: Collection[str] | None = None) -> Iterator[Recorded]:
        """Every message in the order in which it was recorded; those of some topics if `topics` is given.

        Where the file was cut off, it ends, and `complete` stays False.

        Raises:
            RecordingError: not an MCAP file at all.
        """
        self.complete = False
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        with self.path.open("rb") as file:
            records = StreamReader(file, emit_chunks=False, validate_crcs=True).records
            first = True
            while True:
                try:
                    record = next(records)
                except StopIteration:
                    return
                except _BROKEN as error:
                    if first:
                        raise RecordingError(f"{self.path} is no MCAP file ({error})") from error
                    return
                first = False
                if isinstance(record, Schema):
                    schemas[record.id] = record
                elif isinstance(record, Channel):
                    channels[record.id] = record
                elif isinstance(record, Metadata):
                    self.metadata[record.name] = record.metadata
                elif isinstance(record, Footer):
                    file.seek(-len(MAGIC), 2)
                    self.complete = file.read() == MAGIC
                    return
                elif isinstance(record, Message):
                    channel = channels[record.channel_id]
                    if topics is None or channel.topic in topics:
                        yield Recorded(
                            channel.topic,
                            schemas[channel.schema_id].name,
                            record.log_time,
                            record.publish_time,
                            record.sequence,
                            record.data,
                        )

    @property
    def account(self) -> dict[str, Any]:
        """What the recorder wrote about the recording at its end; empty when it had no time to."""
        return {name: json.loads(text) for name, text in self.metadata.get("magma_recording", {}).items()}
