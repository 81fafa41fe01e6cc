"""The controller's journal: every input, request and tick with the moment at which it reached the core, and back again.

The core has no clock, no I/O and no chance in it, so the same configuration and the same journal give the same
commands, bit for bit. `JournaledController` writes it while it runs; `JournalPlayer` feeds it to a new core.
"""

from __future__ import annotations

import array
import dataclasses
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

from magma_interfaces.msg import ActionChunk as ActionChunkMsg
from magma_interfaces.msg import ActionSpec as ActionSpecMsg
from magma_interfaces.msg import ControllerJournal
from magma_interfaces.msg import EndEffectorDelta as EndEffectorDeltaMsg
from magma_interfaces.msg import EndEffectorState as EndEffectorStateMsg
from rclpy.serialization import deserialize_message, serialize_message

from magma_common.conversions import (
    action_spec_from_msg,
    action_spec_to_msg,
    chunk_from_msg,
    chunk_to_msg,
    delta_from_msg,
    delta_to_msg,
    state_from_msg,
    state_to_msg,
)
from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import ActionChunk, EndEffectorDelta
from magma_contracts.arm_state import EndEffectorState
from magma_contracts.errors import ConfigError
from magma_contracts.text import printable
from magma_control.config import ControllerConfig
from magma_control.controller import Command, Controller, Outcome, Source
from magma_control.freshness import Instant
from magma_control.graph_names import GraphNames
from magma_control.safety import Refusal

ResultT = TypeVar("ResultT")
PRESSED, SHARED = "pressed", "\nshared"


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
    """text: name of the source, and after a line break who, if it has a name"""
    ESTOP_BUTTON = 12
    """text: pressed or released"""
    ARM_REFUSED = 13
    """JSON: code, text and sender_broken of the refusal"""
    ACTIVATE = 14
    DEACTIVATE = 15
    """text: why"""
    FORGET = 16
    ARM_BARRED = 17
    """JSON: code, text and sender_broken of the refusal; null: no longer"""
    UNREAD = 18
    """JSON: the refusal, and the name of the source or null"""
    RIVAL = 19
    """text: what it says, and who"""


@dataclass(frozen=True)
class Entry:
    """One thing that the controller was told."""

    kind: Kind
    now: Instant
    data: bytes = b""


@dataclass(frozen=True)
class Batch:
    """Entries on their way into one message, not serialised yet: collecting them costs the controller little."""

    first: int
    configuration: str
    entries: tuple[tuple[Kind, Instant, Any], ...]

    def message(self) -> ControllerJournal:
        """The message, without its stamp."""
        data = [_serialised(payload) for _, _, payload in self.entries]
        message = ControllerJournal(first=self.first, configuration=self.configuration)
        message.kinds = array.array("B", [kind for kind, _, _ in self.entries])
        message.steady_s = [now.steady_s for _, now, _ in self.entries]
        message.ros_ns = [now.ros_ns for _, now, _ in self.entries]
        message.sizes = [len(item) for item in data]
        message.data = array.array("B", b"".join(data))
        return message


class Journal:
    """Collects entries between two messages. Not thread-safe: it belongs to whoever feeds the core, under its lock."""

    def __init__(self, config: ControllerConfig, start: Instant) -> None:
        self._configuration = configuration_text(config)
        self._first = 0
        self._entries: list[tuple[Kind, Instant, Any]] = []
        self._batches: list[Batch] = []
        self.add(Kind.START, start)

    def add(self, kind: Kind, now: Instant, payload: Any = b"") -> None:
        """Takes one entry, before the core is told.

        Args:
            payload: a dataclass of `magma_contracts`, a text, or nothing, as `Kind` says.
        """
        self._entries.append((kind, now, payload))

    def reconfigure(self, config: ControllerConfig) -> None:
        """The configuration changes now: what follows belongs to another message."""
        self._cut()
        self._configuration = configuration_text(config)

    def take(self) -> list[Batch]:
        """What was collected since the last time."""
        self._cut()
        batches, self._batches = self._batches, []
        return batches

    def _cut(self) -> None:
        if not self._entries:
            return
        self._batches.append(Batch(self._first, self._configuration, tuple(self._entries)))
        self._first += len(self._entries)
        self._entries, self._configuration = [], ""


class JournaledController(Controller):
    """A controller that writes down what it is told before it acts on it."""

    def __init__(self, config: ControllerConfig, now: Instant, names: GraphNames | None = None) -> None:
        super().__init__(config, now, names)
        self.journal = Journal(config, now)
        self._told_at = now
        self._inside = False

    def reconfigure(self, config: ControllerConfig) -> None:
        self.journal.reconfigure(config)
        super().reconfigure(config)

    def on_instruction(self, text: str) -> None:
        self._tell(Kind.INSTRUCTION, None, text, lambda: super(JournaledController, self).on_instruction(text))

    def on_spec(self, spec: ActionSpec, now: Instant) -> Refusal | None:
        return self._tell(Kind.SPEC, now, spec, lambda: super(JournaledController, self).on_spec(spec, now))

    def on_state(self, state: EndEffectorState, now: Instant) -> Refusal | None:
        return self._tell(Kind.STATE, now, state, lambda: super(JournaledController, self).on_state(state, now))

    def on_chunk(self, chunk: ActionChunk, now: Instant) -> Refusal | None:
        return self._tell(Kind.CHUNK, now, chunk, lambda: super(JournaledController, self).on_chunk(chunk, now))

    def on_operator(self, command: EndEffectorDelta, now: Instant) -> Refusal | None:
        return self._tell(
            Kind.OPERATOR, now, command, lambda: super(JournaledController, self).on_operator(command, now)
        )

    def on_heartbeat(self, source: Source, now: Instant, who: str = "") -> None:
        text = f"{source.value}\n{who}" if who else source.value
        self._tell(Kind.HEARTBEAT, now, text, lambda: super(JournaledController, self).on_heartbeat(source, now, who))

    def on_rival(self, what: str, now: Instant) -> None:
        self._tell(Kind.RIVAL, now, what, lambda: super(JournaledController, self).on_rival(what, now))

    def refuse_unread(self, refusal: Refusal, now: Instant, source: Source | None = None) -> None:
        text = json.dumps([dataclasses.asdict(refusal), None if source is None else source.value])
        self._tell(Kind.UNREAD, now, text, lambda: super(JournaledController, self).refuse_unread(refusal, now, source))

    def on_estop_button(self, pressed: bool, now: Instant, shared: bool = False) -> None:
        text = (PRESSED if pressed else "released") + (SHARED if shared else "")
        self._tell(
            Kind.ESTOP_BUTTON, now, text, lambda: super(JournaledController, self).on_estop_button(pressed, now, shared)
        )

    def refuse_arm(self, refusal: Refusal) -> None:
        text = json.dumps(dataclasses.asdict(refusal))
        self._tell(Kind.ARM_REFUSED, None, text, lambda: super(JournaledController, self).refuse_arm(refusal))

    def bar_arm(self, trouble: Refusal | None) -> None:
        text = json.dumps(None if trouble is None else dataclasses.asdict(trouble))
        self._tell(Kind.ARM_BARRED, None, text, lambda: super(JournaledController, self).bar_arm(trouble))

    def estop(self, why: str) -> Outcome:
        return self._tell(Kind.ESTOP, None, why, lambda: super(JournaledController, self).estop(why))

    def fault(self, why: str) -> None:
        self._tell(Kind.FAULT, None, why, lambda: super(JournaledController, self).fault(why))

    def rearm(self, now: Instant) -> Outcome:
        return self._tell(Kind.REARM, now, b"", lambda: super(JournaledController, self).rearm(now))

    def hand_back(self, now: Instant) -> Outcome:
        return self._tell(Kind.HAND_BACK, now, b"", lambda: super(JournaledController, self).hand_back(now))

    def activate(self, now: Instant) -> None:
        self._tell(Kind.ACTIVATE, now, b"", lambda: super(JournaledController, self).activate(now))

    def deactivate(self, why: str) -> None:
        self._tell(Kind.DEACTIVATE, None, why, lambda: super(JournaledController, self).deactivate(why))

    def forget(self, now: Instant) -> None:
        self._tell(Kind.FORGET, now, b"", lambda: super(JournaledController, self).forget(now))

    def tick(self, now: Instant) -> Command | None:
        return self._tell(Kind.TICK, now, b"", lambda: super(JournaledController, self).tick(now))

    def _tell(self, kind: Kind, now: Instant | None, payload: Any, act: Callable[[], ResultT]) -> ResultT:
        """Writes down what comes from outside; what the core then does by itself it will do again."""
        if self._inside:
            return act()
        if now is not None:
            self._told_at = now
        self.journal.add(kind, self._told_at, payload)
        self._inside = True
        try:
            return act()
        finally:
            self._inside = False


def _serialised(payload: Any) -> bytes:
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, str):
        return payload.encode()
    return serialize_message(_TO_MESSAGE[type(payload)](payload))


def _operator_message(command: EndEffectorDelta) -> Any:
    return delta_to_msg(command.delta, command.stamp_ns, command.frame, command.source)


_TO_MESSAGE: Mapping[type, Callable[[Any], Any]] = {
    ActionSpec: action_spec_to_msg,
    EndEffectorState: state_to_msg,
    ActionChunk: chunk_to_msg,
    EndEffectorDelta: _operator_message,
}


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
        raise JournalError(printable(f"the journal's configuration does not fit this controller: {error}")) from error


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


_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError, struct.error)
"""what messages and JSON of an entry raise that no journal wrote"""


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
            try:
                command = self._tell(self._core, entry)
            except _UNREADABLE as error:
                raise JournalError(
                    printable(f"the journal holds an entry of kind {entry.kind.name} that cannot be read: {error}")
                ) from error
            yield entry, command

    @staticmethod
    def _tell(core: Controller, entry: Entry) -> Command | None:
        command = None
        if entry.kind is Kind.TICK:
            command = core.tick(entry.now)
        elif entry.kind is not Kind.START:
            _FEEDS[entry.kind](core, entry)
        core.take_events()
        return command


def _text(entry: Entry) -> str:
    return entry.data.decode()


def _refusal(text: str) -> Refusal | None:
    values = json.loads(text)
    return None if values is None else Refusal(**values)


def _heartbeat(core: Controller, entry: Entry) -> None:
    source, _, who = _text(entry).partition("\n")
    core.on_heartbeat(Source(source), entry.now, who)


def _estop_button(core: Controller, entry: Entry) -> None:
    text = _text(entry)
    core.on_estop_button(text.removesuffix(SHARED) == PRESSED, entry.now, text.endswith(SHARED))


def _unread(core: Controller, entry: Entry) -> None:
    refusal, source = json.loads(_text(entry))
    core.refuse_unread(Refusal(**refusal), entry.now, None if source is None else Source(source))


_EMPTY_TEXT = b"\x01\x00\x00\x00\x00"
"""In CDR: its length with the ending zero, and that."""


def _chunk_message(data: bytes) -> Any:
    """An ActionChunk; of a journal from before its last field, `refusal`, too."""
    try:
        return deserialize_message(data, ActionChunkMsg)
    except Exception:  # the two kinds of rclpy raise different ones
        # CDR counts its alignment from behind the four bytes of its header.
        return deserialize_message(data + bytes(-(len(data) - 4) % 4) + _EMPTY_TEXT, ActionChunkMsg)


_FEEDS: Mapping[Kind, Callable[[Controller, Entry], Any]] = {
    Kind.SPEC: lambda core, entry: core.on_spec(
        action_spec_from_msg(deserialize_message(entry.data, ActionSpecMsg)), entry.now
    ),
    Kind.STATE: lambda core, entry: core.on_state(
        state_from_msg(deserialize_message(entry.data, EndEffectorStateMsg)), entry.now
    ),
    Kind.INSTRUCTION: lambda core, entry: core.on_instruction(_text(entry)),
    Kind.CHUNK: lambda core, entry: core.on_chunk(chunk_from_msg(_chunk_message(entry.data)), entry.now),
    Kind.OPERATOR: lambda core, entry: core.on_operator(
        delta_from_msg(deserialize_message(entry.data, EndEffectorDeltaMsg)), entry.now
    ),
    Kind.ESTOP: lambda core, entry: core.estop(_text(entry)),
    Kind.REARM: lambda core, entry: core.rearm(entry.now),
    Kind.HAND_BACK: lambda core, entry: core.hand_back(entry.now),
    Kind.FAULT: lambda core, entry: core.fault(_text(entry)),
    Kind.HEARTBEAT: lambda core, entry: _heartbeat(core, entry),
    Kind.RIVAL: lambda core, entry: core.on_rival(_text(entry), entry.now),
    Kind.UNREAD: lambda core, entry: _unread(core, entry),
    Kind.ESTOP_BUTTON: _estop_button,
    Kind.ARM_REFUSED: lambda core, entry: core.refuse_arm(Refusal(**json.loads(_text(entry)))),
    Kind.ARM_BARRED: lambda core, entry: core.bar_arm(_refusal(_text(entry))),
    Kind.ACTIVATE: lambda core, entry: core.activate(entry.now),
    Kind.DEACTIVATE: lambda core, entry: core.deactivate(_text(entry)),
    Kind.FORGET: lambda core, entry: core.forget(entry.now),
}


def commands_of(messages: Sequence[ControllerJournal]) -> list[Command]:
    """Every command that a journal leads to, in order."""
    player = JournalPlayer()
    return [command for message in messages for _, command in player.play(message) if command is not None]
