"""Reads a recording, whole or cut off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcap.records import Channel, Footer, Message, Metadata, Schema

from magma_contracts.text import printable
from magma_recorder.definitions import MessageError, decoded
from magma_recorder.mcap_file import MAGIC
from magma_recorder.mcap_reader import CutOffError, DamagedError, records
from magma_recorder.topics import TOPICS


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
        """The message itself.

        Raises:
            ImportError: its package is not installed.
            RecordingError: the bytes are no message of this type.
        """
        try:
            return decoded(self.data, self.type_name)
        except MessageError as error:
            raise RecordingError(f"a message on {self.topic} is damaged: {error}") from error


_TYPES = {topic.recorded_name: topic.recorded_type for topic in TOPICS}
"""What each of our topics holds: a recording that has something else there is none of ours."""


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
        self.damage = ""
        """after reading to the end: why it ends before its own end; "" when it does not, or was only cut off"""
        self.metadata: dict[str, dict[str, str]] = {}
        """metadata records by name, as far as they were read"""

    def __iter__(self) -> Iterator[Recorded]:
        return self.read()

    def read(self, topics: Collection[str] | None = None) -> Iterator[Recorded]:
        """Every message in the order in which it was recorded; those of some topics if `topics` is given.

        Where the file was cut off, it ends, and `complete` stays False.

        Raises:
            RecordingError: not an MCAP file at all, or one of our topics with another type of messages.
        """
        self.complete = False
        self.damage = ""
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        first = True
        found = records(self.path)
        while True:
            try:
                record = next(found)
            except DamagedError as error:
                if first:
                    raise RecordingError(f"{self.path} is no MCAP file ({error})") from error
                self.damage = "" if isinstance(error, CutOffError) else str(error)
                return
            except OSError as error:
                raise RecordingError(f"{self.path} cannot be read: {error.strerror}") from error
            first = False
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Metadata):
                self.metadata[record.name] = record.metadata
            elif isinstance(record, Footer):
                with self.path.open("rb") as file:
                    file.seek(-len(MAGIC), 2)
                    self.complete = file.read() == MAGIC
                return
            elif isinstance(record, Message):
                channel = channels.get(record.channel_id)
                schema = schemas.get(channel.schema_id) if channel is not None else None
                if channel is None or schema is None:
                    self.damage = f"a message belongs to channel {record.channel_id}, which the file does not describe"
                    return
                known = _TYPES.get(channel.topic)
                if known is not None and schema.name != known:
                    raise RecordingError(
                        f"{self.path}: {printable(channel.topic)} holds {printable(schema.name, 80)}, not {known}"
                    )
                if topics is None or channel.topic in topics:
                    yield Recorded(
                        printable(channel.topic),
                        schema.name,
                        record.log_time,
                        record.publish_time,
                        record.sequence,
                        record.data,
                    )

    @property
    def account(self) -> dict[str, Any]:
        """What the recorder wrote about the recording at its end; empty when it had no time to."""
        try:
            return {name: json.loads(text) for name, text in self.metadata.get("magma_recording", {}).items()}
        except (ValueError, RecursionError) as error:
            raise RecordingError(f"{self.path}: what the recorder wrote at its end cannot be read ({error})") from error

    @property
    def content(self) -> str:
        """Names the recording by the bytes of its file, whatever the file is called."""
        found = hashlib.sha256()
        with self.path.open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
        return found.hexdigest()[:12]
