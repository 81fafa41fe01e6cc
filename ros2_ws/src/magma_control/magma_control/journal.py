"""The controller's journal: every input with the moment at which it reached the core, and back again.

The core has no clock, no I/O and no chance in it, so the same configuration and the same inputs give the same commands,
bit for bit. `JournaledController` writes them down while it runs; `JournalPlayer` tells them to a new core. Now and
then the journal holds the core's whole state (`Remembered`), so that what is heard from somewhere in the middle on can
be replayed too.
"""

from __future__ import annotations

import array
import dataclasses
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

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
from magma_contracts.errors import ConfigError
from magma_contracts.text import printable
from magma_control import inputs
from magma_control.commands import Command, Source
from magma_control.config import ControllerConfig
from magma_control.controller import Controller
from magma_control.freshness import Instant
from magma_control.graph_names import GraphNames
from magma_control.inputs import AnswerT, Input
from magma_control.remembered import ForeignStateError, core_of, remembered, text_of
from magma_control.safety import Refusal

PRESSED, SHARED = "pressed", "\nshared"


class JournalError(ValueError):
    """A journal that cannot be replayed; the text says why."""


class Kind(IntEnum):
    """What an entry of a message is, and what its data holds."""

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
    REMEMBERED = 20
    """JSON: the core's state before what follows, see `magma_control.remembered`; no input"""


@dataclass(frozen=True)
class Remembered:
    """Between two inputs: how the core is."""

    state: Any
    """as `remembered` gives it when it is written, as text when it is read"""


@dataclass(frozen=True)
class Entry:
    """One thing that the controller was told, and when; or how it was then."""

    given: Input[Any] | Remembered
    now: Instant


@dataclass(frozen=True)
class Batch:
    """Entries on their way into one message, not serialised yet: collecting them costs the controller little."""

    first: int
    configuration: str
    entries: tuple[Entry, ...]

    def message(self) -> ControllerJournal:
        """The message, without its stamp."""
        codings = [_CODINGS[type(entry.given)] for entry in self.entries]
        data = [coding.encode(entry.given) for coding, entry in zip(codings, self.entries, strict=True)]
        message = ControllerJournal(first=self.first, configuration=self.configuration)
        message.kinds = array.array("B", [coding.kind for coding in codings])
        message.steady_s = [entry.now.steady_s for entry in self.entries]
        message.ros_ns = [entry.now.ros_ns for entry in self.entries]
        message.sizes = [len(item) for item in data]
        message.data = array.array("B", b"".join(data))
        return message


class Journal:
    """Collects entries between two messages. Not thread-safe: it belongs to whoever feeds the core, under its lock."""

    def __init__(self, config: ControllerConfig, start: Instant) -> None:
        self._configuration = configuration_text(config)
        self._first = 0
        self._entries: list[Entry] = []
        self._batches: list[Batch] = []
        self.add(inputs.Begun(), start)

    def add(self, given: Input[Any], now: Instant) -> None:
        """Takes one input, before the core is told."""
        if isinstance(given, inputs.Configured):
            # What follows belongs to another message: each says at most once what is in force.
            self._cut()
            self._configuration = configuration_text(given.config)
        else:
            self._entries.append(Entry(given, now))

    def remember(self, core: Controller) -> None:
        """Takes the whole state of the core, in a message of its own."""
        self._cut()
        self._entries.append(Entry(Remembered(remembered(core)), core.now))
        self._cut()

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
    """A controller that writes down what `handle` is told before it acts on it; it is told in no other way."""

    def __init__(self, config: ControllerConfig, now: Instant, names: GraphNames | None = None) -> None:
        super().__init__(config, now, names)
        self.journal = Journal(config, now)

    def remember(self) -> None:
        """Writes down how it is now: from here on the journal can be played without what came before."""
        self.journal.remember(self)

    def handle(self, given: Input[AnswerT], now: Instant) -> AnswerT:
        self.journal.add(given, now)
        return super().handle(given, now)


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
    """The entries of one message, the configuration that it may begin with among them.

    Raises:
        JournalError: its arrays do not agree, or an entry cannot be read.
    """
    kinds, sizes, data = bytes(message.kinds), list(message.sizes), bytes(message.data)
    if not (len(kinds) == len(message.steady_s) == len(message.ros_ns) == len(sizes)) or sum(sizes) != len(data):
        raise JournalError(f"the arrays of journal message {message.first} do not agree")
    moments = [Instant(float(steady), int(ros)) for steady, ros in zip(message.steady_s, message.ros_ns, strict=True)]
    if message.configuration and moments:
        yield Entry(inputs.Configured(configuration_from(message.configuration)), moments[0])
    end = 0
    for kind, moment, size in zip(kinds, moments, sizes, strict=True):
        start, end = end, end + int(size)
        coding = _BY_KIND.get(kind)
        if coding is None:
            raise JournalError(f"the journal holds an entry of unknown kind {kind}")
        try:
            yield Entry(coding.decode(data[start:end]), moment)
        except _UNREADABLE as error:
            raise JournalError(
                printable(f"the journal holds an entry of kind {coding.kind.name} that cannot be read: {error}")
            ) from error


_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError, struct.error)
"""what messages and JSON of an entry raise that no journal wrote"""


_TOO_LATE = "the journal does not say how the controller was: it begins too late to be replayed"


class JournalPlayer:
    """A core that is told what another one was told."""

    def __init__(self) -> None:
        self._core: Controller | None = None
        self._next: int | None = None
        self._unsure = False
        self.missing = 0
        """entries that were lost on the way; from there to the next state that the journal tells commands may differ"""
        self.late = 0
        """entries before the first that could be played"""

    @property
    def began(self) -> bool:
        """Whether there is a core already: not before the first configuration or state that the journal tells."""
        return self._core is not None

    @property
    def core(self) -> Controller:
        """The core as it is now.

        Raises:
            JournalError: nothing was played yet.
        """
        if self._core is None:
            raise JournalError(_TOO_LATE)
        return self._core

    def play(self, message: ControllerJournal) -> Iterator[tuple[Entry, Command | None]]:
        """Tells the core what a message holds; yields each entry with the command that it led to, if any. What comes
        before the first configuration or state leads to nothing."""
        first = int(message.first)
        if self._next is not None and first != self._next:
            self.missing += max(0, first - self._next)
            self._unsure = True
        self._next = first + len(message.kinds)
        for number, entry in enumerate(entries_of(message), first):
            given = entry.given
            if isinstance(given, Remembered):
                if self._core is None or self._unsure:
                    self._begin(_remembered_core(given.state), number)
                continue
            if self._core is None:
                if not isinstance(given, inputs.Configured):
                    continue
                self._begin(Controller(given.config, entry.now), number)
            try:
                answer = self.core.handle(given, entry.now)
            except _UNREADABLE as error:
                raise JournalError(
                    printable(f"the journal holds a {type(given).__name__} that no controller was told: {error}")
                ) from error
            self.core.take_events()
            yield entry, answer if isinstance(answer, Command) else None

    def _begin(self, core: Controller, number: int) -> None:
        if self._core is None:
            self.late = number
        self._core, self._unsure = core, False


def _remembered_core(text: str) -> Controller:
    try:
        return core_of(text)
    except ForeignStateError as error:
        raise JournalError(printable(str(error))) from error


@dataclass(frozen=True)
class _Coding:
    """How inputs of one class lie in a message."""

    kind: Kind
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Input[Any] | Remembered]


def _nothing(kind: Kind, made: Callable[[], Input[Any]]) -> _Coding:
    """An input that says no more than that it came."""
    return _Coding(kind, lambda given: b"", lambda data: made())


def _text(kind: Kind, field: str, made: Callable[[str], Input[Any]]) -> _Coding:
    """An input with one text."""
    return _Coding(kind, lambda given: str(getattr(given, field)).encode(), lambda data: made(data.decode()))


def _encode_heartbeat(given: inputs.HeartbeatHeard) -> bytes:
    return (f"{given.source.value}\n{given.who}" if given.who else given.source.value).encode()


def _decode_heartbeat(data: bytes) -> Input[Any]:
    source, _, who = data.decode().partition("\n")
    return inputs.HeartbeatHeard(Source(source), who)


def _encode_button(given: inputs.ButtonHeard) -> bytes:
    return ((PRESSED if given.pressed else "released") + (SHARED if given.shared else "")).encode()


def _decode_button(data: bytes) -> Input[Any]:
    text = data.decode()
    return inputs.ButtonHeard(text.removesuffix(SHARED) == PRESSED, text.endswith(SHARED))


def _encode_unread(given: inputs.Unread) -> bytes:
    return json.dumps(
        [dataclasses.asdict(given.refusal), None if given.source is None else given.source.value]
    ).encode()


def _decode_unread(data: bytes) -> Input[Any]:
    refusal, source = json.loads(data)
    return inputs.Unread(Refusal(**refusal), None if source is None else Source(source))


def _encode_refusal(refusal: Refusal | None) -> bytes:
    return json.dumps(None if refusal is None else dataclasses.asdict(refusal)).encode()


def _decode_barred(data: bytes) -> Input[Any]:
    values = json.loads(data)
    return inputs.ArmBarred(None if values is None else Refusal(**values))


def _encode_operator(given: inputs.OperatorHeard) -> bytes:
    command = given.command
    return serialize_message(delta_to_msg(command.delta, command.stamp_ns, command.frame, command.source))


_EMPTY_TEXT = b"\x01\x00\x00\x00\x00"
"""In CDR: its length with the ending zero, and that."""


def _chunk_message(data: bytes) -> Any:
    """An ActionChunk; of a journal from before its last field, `refusal`, too."""
    try:
        return deserialize_message(data, ActionChunkMsg)
    except Exception:  # the two kinds of rclpy raise different ones
        # CDR counts its alignment from behind the four bytes of its header.
        return deserialize_message(data + bytes(-(len(data) - 4) % 4) + _EMPTY_TEXT, ActionChunkMsg)


_CODINGS: Mapping[type[Any], _Coding] = {
    inputs.Begun: _nothing(Kind.START, inputs.Begun),
    inputs.Tick: _nothing(Kind.TICK, inputs.Tick),
    inputs.SpecHeard: _Coding(
        Kind.SPEC,
        lambda given: serialize_message(action_spec_to_msg(given.spec)),
        lambda data: inputs.SpecHeard(action_spec_from_msg(deserialize_message(data, ActionSpecMsg))),
    ),
    inputs.StateHeard: _Coding(
        Kind.STATE,
        lambda given: serialize_message(state_to_msg(given.state)),
        lambda data: inputs.StateHeard(state_from_msg(deserialize_message(data, EndEffectorStateMsg))),
    ),
    inputs.InstructionHeard: _text(Kind.INSTRUCTION, "text", inputs.InstructionHeard),
    inputs.ChunkHeard: _Coding(
        Kind.CHUNK,
        lambda given: serialize_message(chunk_to_msg(given.chunk)),
        lambda data: inputs.ChunkHeard(chunk_from_msg(_chunk_message(data))),
    ),
    inputs.OperatorHeard: _Coding(
        Kind.OPERATOR,
        _encode_operator,
        lambda data: inputs.OperatorHeard(delta_from_msg(deserialize_message(data, EndEffectorDeltaMsg))),
    ),
    inputs.Stop: _text(Kind.ESTOP, "why", inputs.Stop),
    inputs.Rearm: _nothing(Kind.REARM, inputs.Rearm),
    inputs.HandBack: _nothing(Kind.HAND_BACK, inputs.HandBack),
    inputs.Fault: _text(Kind.FAULT, "why", inputs.Fault),
    inputs.HeartbeatHeard: _Coding(Kind.HEARTBEAT, _encode_heartbeat, _decode_heartbeat),
    inputs.ButtonHeard: _Coding(Kind.ESTOP_BUTTON, _encode_button, _decode_button),
    inputs.ArmRefused: _Coding(
        Kind.ARM_REFUSED,
        lambda given: _encode_refusal(given.refusal),
        lambda data: inputs.ArmRefused(Refusal(**json.loads(data))),
    ),
    inputs.Activate: _nothing(Kind.ACTIVATE, inputs.Activate),
    inputs.Deactivate: _text(Kind.DEACTIVATE, "why", inputs.Deactivate),
    inputs.Forget: _nothing(Kind.FORGET, inputs.Forget),
    inputs.ArmBarred: _Coding(Kind.ARM_BARRED, lambda given: _encode_refusal(given.trouble), _decode_barred),
    inputs.Unread: _Coding(Kind.UNREAD, _encode_unread, _decode_unread),
    inputs.RivalHeard: _text(Kind.RIVAL, "what", inputs.RivalHeard),
    Remembered: _Coding(
        Kind.REMEMBERED, lambda given: text_of(given.state).encode(), lambda data: Remembered(data.decode())
    ),
}
_BY_KIND: Mapping[int, _Coding] = {coding.kind: coding for coding in _CODINGS.values()}


def commands_of(messages: Sequence[ControllerJournal]) -> list[Command]:
    """Every command that a journal leads to, in order.

    Raises:
        JournalError: it cannot be read, or nothing in it says how the controller was.
    """
    player = JournalPlayer()
    commands = [command for message in messages for _, command in player.play(message) if command is not None]
    if not player.began:
        raise JournalError(_TOO_LATE)
    return commands
