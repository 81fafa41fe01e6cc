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
from magma_recorder.recordings.mcap_file import MAGIC
from magma_recorder.recordings.mcap_reader import CutOffError, DamagedError, records
from magma_recorder.topics import TOPICS, recorded_name


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
    name: str = ""
    """by which the topic is known, whatever namespace it was recorded in; see `topics`"""

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


_TYPES = {topic.known_name: topic.recorded_type for topic in TOPICS}
"""What each of our topics holds: a recording that has something else there is none of ours."""


class Recording:
    """A file, read from its start: an index is not needed, so a file that was cut off reads like any other."""

    def __init__(self, path: Path, namespace: str | None = None) -> None:
        """
        Args:
            path: an MCAP file, or the folder of a bag that holds exactly one.
            namespace: of the robot whose topics `read` looks for, such as /left or left, "/" for none; None = of the
                only robot that it holds.

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
        self._chosen = None if namespace is None else ("/" + namespace.strip("/")).rstrip("/")
        self._first: str | None = None
        self.namespaces: set[str] = set()
        """of the robots that were met while it was read; an empty one = none"""
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

        Args:
            topics: by the names by which they are known, of one robot: the chosen one, or the only one.

        Raises:
            RecordingError: not an MCAP file at all, one of our topics with another type of messages, or topics of
                several robots, or of others than the chosen one, where those of one are looked for.
        """
        self.namespaces, self._first = set(), None
        if topics is not None and self._chosen is None:
            self._first = self._find_robot()
        yield from self._read(topics)
        if (
            topics is not None
            and self._chosen is not None
            and self.namespaces - {self._chosen} == self.namespaces != set()
        ):
            raise RecordingError(
                f"{self.path} holds nothing of a robot in the namespace {self._chosen or '/'}, but of "
                f"{_listed(self.namespaces)}"
            )

    def _read(self, topics: Collection[str] | None) -> Iterator[Recorded]:
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
                name = self._name_of(channel.topic, one_robot=topics is not None)
                known = _TYPES.get(name)
                if known is not None and schema.name != known:
                    raise RecordingError(
                        f"{self.path}: {printable(channel.topic)} holds {printable(schema.name, 80)}, not {known}"
                    )
                if topics is None or name in topics:
                    yield Recorded(
                        printable(channel.topic),
                        schema.name,
                        record.log_time,
                        record.publish_time,
                        record.sequence,
                        record.data,
                        name if known is not None else printable(name),
                    )

    def _name_of(self, topic: str, one_robot: bool) -> str:
        """By which a topic is known; empty for one of another robot than the one that is looked for."""
        found = recorded_name(topic)
        if found is None:
            return topic
        if found.tells_a_robot:
            self.namespaces.add(found.namespace)
            if one_robot and self._chosen is None and len(self.namespaces) > 1:
                raise RecordingError(
                    f"{self.path} holds several robots, in the namespaces {_listed(self.namespaces)}: choose one with "
                    "--namespace"
                )
        if found.shared or found.namespace == self.namespace:
            return found.known
        if one_robot:
            return ""
        return found.known if found.namespace in self.namespaces else topic

    @property
    def namespace(self) -> str:
        """Of the robot that `read` looks for, as far as it is known by now; empty = none."""
        return self._chosen if self._chosen is not None else self._first or ""

    def _find_robot(self) -> str | None:
        """Namespace of the robot that the recording tells of first: what is around it, such as its camera, may have
        said something before. None when there is none, or the file cannot be read."""
        try:
            for record in records(self.path):
                told = recorded_name(record.topic) if isinstance(record, Channel) else None
                if told is not None and told.tells_a_robot:
                    return told.namespace
        except (DamagedError, OSError):
            pass  # the reading itself says so
        return None

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


def _listed(namespaces: Collection[str]) -> str:
    return " and ".join(sorted(printable(namespace) or "/" for namespace in namespaces))
