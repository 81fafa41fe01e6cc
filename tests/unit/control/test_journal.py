"""The journal of a controller, fed to another one, gives the same commands, bit for bit."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from magma_interfaces.msg import ControllerJournal
from rclpy.serialization import deserialize_message, serialize_message

from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import ActionChunk, EndEffectorDelta
from magma_contracts.arm_state import EndEffectorState
from magma_control import inputs
from magma_control.commands import Source
from magma_control.config import ControllerConfig
from magma_control.freshness import Instant
from magma_control.journal import (
    JournaledController,
    JournalError,
    JournalPlayer,
    Kind,
    Remembered,
    commands_of,
    configuration_from,
    configuration_text,
    entries_of,
)
from magma_control.remembered import ForeignStateError, core_of, remembered, text_of
from magma_control.safety import Refusal

SPEC = ActionSpec("test", 4, 0.2, "base", "axis_angle", "absolute_open_1", "none", "third_person", 128, 128, True)
DOWN = np.array([1.0, 0.0, 0.0, 0.0])


class Recorded:
    """A controller with its journal, in a random but repeatable life."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.now = Instant(1000.123456789, 1_700_000_000_000_000_123)
        self.config = ControllerConfig()
        self.core = JournaledController(self.config, self.now)
        self.messages = []
        self.commands = []
        self.target = np.array([0.5, 0.0, 0.3])
        self.sequence = 0

    def tick(self):
        command = self.core.handle(inputs.Tick(), self.now)
        self.core.take_events()
        if command is not None:
            self.commands.append(command)
            self.target = self.target + command.delta[:3]

    def pass_time(self, seconds):
        self.now = Instant(self.now.steady_s + seconds, self.now.ros_ns + round(seconds * 1e9))

    def live(self, steps):
        self.core.handle(inputs.SpecHeard(SPEC), self.now)
        self.core.handle(inputs.InstructionHeard("go"), self.now)
        for _ in range(steps):
            self.pass_time(float(self.rng.uniform(0.0, 0.06)))
            self.act(self.rng.uniform())
            if self.rng.uniform() < 0.9:
                self.tick()
            if self.rng.uniform() < 0.1:
                self.messages += self.core.journal.take()
            if self.rng.uniform() < 0.02:
                self.core.remember()
        self.messages += self.core.journal.take()

    def act(self, chance):
        core, now = self.core, self.now
        age_ns = int(self.rng.integers(0, 50_000_000))
        if chance < 0.45:
            return
        if chance < 0.75:
            position = self.target + self.rng.normal(0, 0.003, 3)
            state = EndEffectorState(now.ros_ns, position, DOWN, self.target, DOWN, 1.0, 1.0)
            core.handle(inputs.StateHeard(state), now)
        elif chance < 0.90:
            self.sequence += 1
            deltas = np.append(self.rng.normal(0, 0.04, (3, 6)), self.rng.integers(0, 2, (3, 1)), axis=1)
            if self.rng.uniform() < 0.05:
                deltas[0, 0] = np.nan
            # With the frame of each step, as messages tell it.
            frames = ("base",) * 3
            chunk = ActionChunk(deltas, now.ros_ns - age_ns, 0.2, "test", "go", self.sequence, "base", frames)
            core.handle(inputs.ChunkHeard(chunk), now)
        elif chance < 0.94:
            values = np.append(self.rng.normal(0, 0.03, 6), 1.0)
            command = EndEffectorDelta(values, now.ros_ns - age_ns // 10, source="gamepad")
            core.handle(inputs.OperatorHeard(command), now)
        elif chance < 0.97:
            core.handle(inputs.HandBack(), now)
        elif chance < 0.975:
            core.handle(inputs.Stop("test"), now)
        elif chance < 0.98:
            core.handle(inputs.ButtonHeard(bool(self.rng.integers(0, 2)), shared=chance > 0.9775), now)
        elif chance < 0.983:
            core.handle(inputs.HeartbeatHeard(Source.POLICY), now)
        elif chance < 0.986:
            core.handle(inputs.ArmRefused(Refusal("joint state refused", "test", bool(self.rng.integers(0, 2)))), now)
        elif chance < 0.99:
            self.config = dataclasses.replace(self.config, max_speed_m_s=float(self.rng.uniform(0.05, 0.4)))
            core.handle(inputs.Configured(self.config), now)
        elif chance < 0.993:
            core.handle(inputs.Deactivate("test"), now)
            if chance < 0.991:
                core.handle(inputs.Forget(), now)
                core.handle(inputs.SpecHeard(SPEC), now)
            core.handle(inputs.Activate(), now)
        else:
            core.handle(inputs.ButtonHeard(False), now)
            core.handle(inputs.ButtonHeard(False, shared=True), now)
            core.handle(inputs.Rearm(), now)


def bits(command):
    return (command.delta.tobytes(), command.stamp_ns, command.source, command.sender)


@pytest.mark.parametrize("seed", range(10))
def test_the_same_inputs_give_the_same_commands_bit_for_bit(seed):
    recorded = Recorded(seed)
    recorded.live(1500)
    assert len(recorded.commands) > 20
    messages = [deserialize_message(serialize_message(item.message()), ControllerJournal) for item in recorded.messages]
    again = commands_of(messages)
    assert [bits(command) for command in again] == [bits(command) for command in recorded.commands]
    assert any(command.source is Source.OPERATOR for command in again)


TROUBLE = Refusal("joint state refused", "test", True)
EACH = [
    inputs.Begun(),
    inputs.Configured(ControllerConfig(max_speed_m_s=0.1 + 0.2)),
    inputs.Tick(),
    inputs.InstructionHeard("leg den Löffel hin"),
    inputs.SpecHeard(SPEC),
    inputs.ChunkHeard(ActionChunk(np.full((1, 7), 0.1), 7, 0.2, "test", "go", 3, "base", ("base",))),
    inputs.OperatorHeard(EndEffectorDelta(np.full(7, 0.1), 9, source="gamepad")),
    inputs.HeartbeatHeard(Source.POLICY),
    inputs.HeartbeatHeard(Source.OPERATOR, "pad@host:3"),
    inputs.Unread(TROUBLE),
    inputs.Unread(TROUBLE, Source.POLICY),
    inputs.RivalHeard("magma/command, and who"),
    inputs.StateHeard(EndEffectorState(5, np.full(3, 0.1), DOWN, np.full(3, 0.2), DOWN, 0.5, 1.0)),
    inputs.ArmRefused(TROUBLE),
    inputs.ArmBarred(TROUBLE),
    inputs.ArmBarred(None),
    inputs.ButtonHeard(True),
    inputs.ButtonHeard(False, shared=True),
    inputs.Stop("test"),
    inputs.Fault("test"),
    inputs.Rearm(),
    inputs.HandBack(),
    inputs.Deactivate("test"),
    inputs.Forget(),
    inputs.Activate(),
]


def test_every_input_is_taken_and_comes_out_of_the_journal_as_it_was():
    assert {type(one) for one in EACH} == set(inputs.Input.__subclasses__())
    now = Instant(1.5, 2_000_000_000)
    core = JournaledController(ControllerConfig(), now)
    for one in EACH:
        core.handle(one, now)
    entries = [entry for batch in core.journal.take() for entry in entries_of(batch.message())]
    # What was in force when the journal began comes first, and then that it began.
    assert [repr(entry.given) for entry in entries[2:]] == [repr(one) for one in EACH]
    assert all(entry.now == now for entry in entries)


def states_in(messages):
    return [number for number, item in enumerate(messages) if isinstance(item.entries[0].given, Remembered)]


@pytest.mark.parametrize("seed", range(4))
def test_from_each_state_that_it_tells_the_journal_leads_to_the_same_commands_and_the_same_state(seed):
    recorded = Recorded(seed)
    recorded.live(400)
    whole = JournalPlayer()
    messages = [deserialize_message(serialize_message(item.message()), ControllerJournal) for item in recorded.messages]
    before = {}
    for number, message in enumerate(messages):
        before[number] = sum(1 for _, command in whole.play(message) if command is not None) + before.get(number - 1, 0)
    states = states_in(recorded.messages)
    assert len(states) > 2
    for number in (states[0], states[len(states) // 2], states[-1]):
        again = commands_of(messages[number:])
        assert [bits(one) for one in again] == [bits(one) for one in recorded.commands[before[number] :]]
        # So it does behind what cannot be played yet.
        assert [bits(one) for one in commands_of(messages[max(1, number - 2) :])][-len(again) or None :] == (
            [bits(one) for one in again]
        )
    last = JournalPlayer()
    for message in messages[states[0] :]:
        list(last.play(message))
    assert text_of(remembered(last.core)) == text_of(remembered(recorded.core)) == text_of(remembered(whole.core))
    assert last.late == messages[states[0]].first > 1


def test_after_a_loss_the_next_state_makes_it_exact_again():
    recorded = Recorded(5)
    recorded.live(600)
    messages = [item.message() for item in recorded.messages]
    states = states_in(recorded.messages)
    lost = next(number for number in range(2, states[3]) if number not in states)
    player = JournalPlayer()
    after = next(number for number in states if number > lost)
    for message in [*messages[:lost], *messages[lost + 1 : after]]:
        list(player.play(message))
    rest = [command for message in messages[after:] for _, command in player.play(message) if command is not None]
    assert player.missing == len(messages[lost].kinds)
    assert [bits(one) for one in rest] == [bits(one) for one in recorded.commands[len(recorded.commands) - len(rest) :]]
    assert text_of(remembered(player.core)) == text_of(remembered(recorded.core))


HOSTILE = [
    "",
    "3",
    "[]",
    "{}",
    '["object", "os.system", {}]',
    '["object", "magma_control.journal.Journal", {}]',
    '["object", "magma_control.controller.Controller", {}]',
    '["object", "magma_control.phases.Phase", {}]',
    '["enum", "magma_control.controller.Controller", "HOLD"]',
    '["array", "|O", [1], "00"]',
    '["array", "<f8", [-1, 3], "00"]',
    '["number", "<f8", ""]',
    '["deque", -1, []]',
    '["dict", [[["list", []], 1]]]',
    "[" * 5000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_state_that_is_none_is_refused(text):
    with pytest.raises(ForeignStateError, match="the controller's state"):
        core_of(text)


def test_a_state_of_another_version_is_refused():
    recorded = Recorded(6)
    recorded.live(100)
    text = text_of(remembered(recorded.core))
    for known in ("_easing", "_jumped_since_rearm", "max_speed_m_s"):
        assert f'"{known}"' in text
        with pytest.raises(ForeignStateError, match="another version"):
            core_of(text.replace(f'"{known}"', '"warp"'))


def test_a_state_names_classes_without_the_folders_in_which_their_files_lie():
    """So recordings made before a file found its room are read as those made after."""
    recorded = Recorded(6)
    recorded.live(100)
    text = text_of(remembered(recorded.core))
    for name in ("magma_control.controller.Controller", "magma_control.arm_channel.ArmChannel"):
        assert f'["object","{name}"' in text
    assert "magma_control.channels" not in text
    assert text_of(remembered(core_of(text))) == text


@functools.cache
def a_state() -> str:
    """The text of a controller's state."""
    recorded = Recorded(7)
    recorded.live(60)
    return text_of(remembered(recorded.core))


@settings(max_examples=int(os.environ.get("MAGMA_PROPERTY_CASES", "60")), deadline=None)
@given(st.data())
def test_a_damaged_state_is_refused_or_is_another_one(data):
    """Whatever is changed in it: no other error comes out, and nothing passes for the state that was written."""
    text = a_state()
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.text('0123456789"[]{},.-aeln', max_size=2)) + text[at + 1 :]
    with contextlib.suppress(ForeignStateError):
        told = text_of(remembered(core_of(damaged)))
        assert (told == text) == (text_of(json.loads(damaged)) == text)


def without_refusals(message):
    """As it was written before action chunks had the field `refusal`, which ends their messages: an empty text."""
    data, sizes, end = b"", [], 0
    for kind, size in zip(bytes(message.kinds), message.sizes, strict=True):
        entry, end = bytes(message.data)[end : end + size], end + size
        if kind == Kind.CHUNK:
            # Length with the ending zero, that zero, and what fills up to four bytes.
            assert entry.endswith(b"\x01\x00\x00\x00" + bytes(4))
            entry = entry[:-8]
        data, sizes = data + entry, [*sizes, len(entry)]
    message.sizes, message.data = sizes, data
    return message


def test_a_journal_from_before_chunks_could_say_why_there_is_no_action_replays():
    recorded = Recorded(4)
    recorded.live(600)
    again = commands_of([without_refusals(item.message()) for item in recorded.messages])
    assert [bits(command) for command in again] == [bits(command) for command in recorded.commands]
    assert any(command.source is Source.POLICY for command in again)


def test_a_lost_message_and_a_late_start_are_noticed():
    recorded = Recorded(3)
    recorded.live(300)
    assert len(recorded.messages) > 4
    player = JournalPlayer()
    for message in [*recorded.messages[:2], *recorded.messages[3:]]:
        list(player.play(message.message()))
    assert player.missing == len(recorded.messages[2].entries) and player.late == 0
    late = JournalPlayer()
    assert list(late.play(recorded.messages[1].message())) == [] and not late.began
    for read in (lambda: late.core, lambda: commands_of([recorded.messages[1].message()])):
        with pytest.raises(JournalError, match="begins too late"):
            read()


def test_a_configuration_survives_exactly_and_a_foreign_one_is_refused():
    config = ControllerConfig(max_speed_m_s=0.1 + 0.2)
    assert configuration_from(configuration_text(config)) == config
    with pytest.raises(JournalError, match="unknown parameter warp"):
        configuration_from('{"warp": 9}')
    with pytest.raises(JournalError, match="does not fit"):
        configuration_from("nonsense")


def test_a_broken_message_is_refused():
    with pytest.raises(JournalError, match="do not agree"):
        list(entries_of(ControllerJournal(kinds=[1], steady_s=[0.0], ros_ns=[0], sizes=[5])))
    with pytest.raises(JournalError, match="unknown kind 200"):
        list(entries_of(ControllerJournal(kinds=[200], steady_s=[0.0], ros_ns=[0], sizes=[0])))
