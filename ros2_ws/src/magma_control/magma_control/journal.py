"""The controller's journal: every input, request and tick with the moment at which it reached the core, and back again.

The core has no clock, no I/O and no chance in it, so the same configuration and the same journal give the same
commands, bit for bit. `Journal` writes it while the controller runs; `JournalPlayer` feeds it to a new core.
"""

from __future__ import annotations

import array
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from magma_interfaces.msg import ActionChunk, ActionSpec, ControllerJournal, EndEffectorDelta, EndEffectorState
from rclpy.serialization import deserialize_message, serialize_message

from magma_common.config import ConfigError
from magma_common.conversions import action_spec_from_msg, chunk_from_msg, delta_from_msg, state_from_msg
from magma_control.config import ControllerConfig
from magma_control.controller import Command, Controller, Source
from magma_control.freshness import Instant
from magma_control.safety import Refusal


class JournalError(ValueError):
    """A journal that cannot be replayed; the text says why."""


class Kind(IntEnum):
    """What an entry is, and what its data holds."""

    START = 0
    """the core was made"""
    TICK = 1
    """time passed"""
    SPEC = 2
    """ActionSpec"""
    STATE = 3
    """EndEffectorState"""
    INSTRUCTION = 4
    """text"""
    CHUNK = 5
    """ActionChunk"""
    OPERATOR = 6
    """EndEffectorDelta"""
    ESTOP = 7
    """text: why"""
    REARM = 8
    HAND_BACK = 9
    FAULT = 10
    """text: why"""
    HEARTBEAT = 11
    """text: name of the source"""
    ESTOP_BUTTON = 12
    """text: pressed or released"""
    ARM_REFUSED = 13
    """JSON: code, text and sender_broken of the refusal"""


@dataclass(frozen=True)
class Entry:
    """One thing that the controller was told."""

    kind: Kind
    now: Instant
    data: bytes = b""


class Journal:
    """Collects entries between two messages. Not thread-safe: it belongs to whoever feeds the core, under its lock."""

    def __init__(self, config: ControllerConfig, start: Instant) -> None:
        self._configuration: str | None = configuration_text(config)
        self._first = 0
        self._entries: list[Entry] = []
        self.add(Kind.START, start)

    def add(self, kind: Kind, now: Instant, payload: Any = b"") -> None:
        """Takes one entry, before the core is told.

        Args:
            payload: a message, a text, or nothing, as `Kind` says.
        """
        if isinstance(payload, str):
            payload = payload.encode()
        elif not isinstance(payload, bytes):
            payload = serialize_message(payload)
        self._entries.append(Entry(kind, now, payload))

    def reconfigure(self, config: ControllerConfig) -> list[ControllerJournal]:
        """The configuration changes now: returns what has to be published before."""
        messages = self.take()
        self._configuration = configuration_text(config)
        return messages

    def take(self) -> list[ControllerJournal]:
        """The message with what was collected since the last time; none when there is nothing."""
        entries, self._entries = self._entries, []
        if not entries:
            return []
        message = ControllerJournal(first=self._first, configuration=self._configuration or "")
        message.kinds = array.array("B", [entry.kind for entry in entries])
        message.steady_s = [entry.now.steady_s for entry in entries]
        message.ros_ns = [entry.now.ros_ns for entry in entries]
        message.sizes = [len(entry.data) for entry in entries]
        message.data = array.array("B", b"".join(entry.data for entry in entries))
        self._configuration = None
        self._first += len(entries)
        return [message]


def configuration_text(config: ControllerConfig) -> str:
    """A configuration as JSON; floats survive exactly."""
    return json.dumps(dataclasses.asdict(config))


def configuration_from(text: str) -> ControllerConfig:
    """The configuration in a journal.

    Raises:
        JournalError: not a configuration of this version of the controller.
    """
    try:
        values = json.loads(text)
        return ControllerConfig.from_mapping(
            {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        )
    except (ValueError, ConfigError, AttributeError) as error:
        raise JournalError(f"the journal's configuration does not fit this controller: {error}") from error


def entries_of(message: ControllerJournal) -> Iterator[Entry]:
    """The entries of one message.

    Raises:
        JournalError: its arrays do not agree.
    """
    kinds, sizes, data = bytes(message.kinds), list(message.sizes), bytes(message.data)
    if not (len(kinds) == len(message.steady_s) == len(message.ros_ns) == len(sizes)) or sum(sizes) != len(data):
        raise JournalError(f"the arrays of journal message {message.first} do not agree")
    end = 0
    for kind, steady_s, ros_ns, size in zip(kinds, message.steady_s, message.ros_ns, sizes, strict=True):
        start, end = end, end + int(size)
        try:
            yield Entry(Kind(kind), Instant(float(steady_s), int(ros_ns)), data[start:end])
        except ValueError as error:
            raise JournalError(f"the journal holds an entry of unknown kind {kind}") from error


class JournalPlayer:
    """A core that is told what another one was told."""

    def __init__(self) -> None:
        self._config: ControllerConfig | None = None
        self._core: Controller | None = None
        self._next: int | None = None
        self.missing = 0
        """entries that were lost on the way; after the first, commands may differ"""
        self.late = 0
        """entries before the first that is there"""

    @property
    def core(self) -> Controller:
        """The core as it is now.

        Raises:
            JournalError: nothing was played yet.
        """
        if self._core is None:
            raise JournalError("the journal has no configuration: it begins too late to be replayed")
        return self._core

    def play(self, message: ControllerJournal) -> Iterator[tuple[Entry, Command | None]]:
        """Tells the core what a message holds; yields each entry with the command that it led to, if any."""
        first = int(message.first)
        if self._next is None:
            self.late = first
        elif first != self._next:
            self.missing += max(0, first - self._next)
        self._next = first + len(message.kinds)
        if message.configuration:
            self._config = configuration_from(message.configuration)
            if self._core is not None:
                self._core.reconfigure(self._config)
        for entry in entries_of(message):
            if self._core is None:
                if self._config is None:
                    raise JournalError("the journal has no configuration: it begins too late to be replayed")
                self._core = Controller(self._config, entry.now)
            yield entry, self._tell(self._core, entry)

    @staticmethod
    def _tell(core: Controller, entry: Entry) -> Command | None:
        feed = _FEEDS.get(entry.kind)
        if feed is not None:
            feed(core, entry)
        # As in the node: whatever follows from an input is done at once.
        command = core.tick(entry.now) if entry.kind is not Kind.START else None
        core.take_events()
        return command


def _text(entry: Entry) -> str:
    return entry.data.decode()


_FEEDS: Mapping[Kind, Callable[[Controller, Entry], Any]] = {
    Kind.SPEC: lambda core, entry: core.on_spec(
        action_spec_from_msg(deserialize_message(entry.data, ActionSpec)), entry.now
    ),
    Kind.STATE: lambda core, entry: core.on_state(
        state_from_msg(deserialize_message(entry.data, EndEffectorState)), entry.now
    ),
    Kind.INSTRUCTION: lambda core, entry: core.on_instruction(_text(entry)),
    Kind.CHUNK: lambda core, entry: core.on_chunk(
        chunk_from_msg(deserialize_message(entry.data, ActionChunk)), entry.now
    ),
    Kind.OPERATOR: lambda core, entry: core.on_operator(
        delta_from_msg(deserialize_message(entry.data, EndEffectorDelta)), entry.now
    ),
    Kind.ESTOP: lambda core, entry: core.estop(_text(entry)),
    Kind.REARM: lambda core, entry: core.rearm(entry.now),
    Kind.HAND_BACK: lambda core, entry: core.hand_back(entry.now),
    Kind.FAULT: lambda core, entry: core.fault(_text(entry)),
    Kind.HEARTBEAT: lambda core, entry: core.on_heartbeat(Source(_text(entry)), entry.now),
    Kind.ESTOP_BUTTON: lambda core, entry: core.on_estop_button(_text(entry) == "pressed", entry.now),
    Kind.ARM_REFUSED: lambda core, entry: core.refuse_arm(Refusal(**json.loads(_text(entry)))),
}


def commands_of(messages: Sequence[ControllerJournal]) -> list[Command]:
    """Every command that a journal leads to, in order."""
    player = JournalPlayer()
    return [command for message in messages for _, command in player.play(message) if command is not None]
