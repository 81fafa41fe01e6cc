"""What gives way when the disk is slow; who had the arm; what the audit finds missing."""

from __future__ import annotations

import os
import time

import pytest
from magma_interfaces.msg import ActionChunk, ControllerState, EndEffectorDelta
from rclpy.serialization import serialize_message
from std_msgs.msg import String

from magma_common.conversions import ns_to_stamp
from magma_recorder import topics
from magma_recorder.config import RecorderConfig
from magma_recorder.recordings.audit import RecordingAudit, header_stamp_ns
from magma_recorder.recordings.interventions import InterventionTracker
from magma_recorder.recordings.message_queue import MessageQueue, Received
from magma_recorder.recordings.recording import Recording
from magma_recorder.recordings.writer import RecordingWriter
from magma_recorder.topics import Topic

PICTURE, STATE = 0, 1


def received(topic, size, sequence=1):
    return Received(topic, 1, 1, sequence, b"x" * size)


def test_pictures_give_way_first_and_everything_dropped_is_counted():
    queue = MessageQueue(1000, frozenset({PICTURE}))
    assert queue.put(received(PICTURE, 400))
    assert not queue.put(received(PICTURE, 200)), "half of the memory is for pictures"
    assert queue.put(received(STATE, 500))
    assert not queue.put(received(STATE, 200))
    assert queue.dropped == {PICTURE: 1, STATE: 1} and queue.highest_bytes == 900
    assert [item.topic for item in queue.take(0.0)] == [PICTURE, STATE]
    assert queue.waiting_bytes == 0 and queue.put(received(PICTURE, 400))
    queue.close()
    assert not queue.put(received(STATE, 1))


def test_a_slow_disk_costs_messages_and_never_time(tmp_path, monkeypatch):
    """Each write takes 50 ms; 400 messages of 10 kB come in at once."""
    real = os.pwrite

    def slow(fd, data, offset):
        time.sleep(0.05)
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", slow)
    recorded = [Topic("/talk", "std_msgs/msg/String", stamped=False)]
    queue = MessageQueue(300_000, frozenset())
    config = RecorderConfig(min_free_mb=0.0, flush_period_s=0.05)
    writer = RecordingWriter(tmp_path / "bag", recorded, queue, lambda: config)
    writer.start()
    data = serialize_message(String(data="x" * 10_000))
    taken = sum(queue.put(Received(0, 1000 + n, 1000 + n, n + 1, data)) for n in range(400))
    assert writer.join(30.0)
    assert queue.dropped[0] == 400 - taken > 0 and queue.highest_bytes <= 300_000
    recording = Recording(tmp_path / "bag")
    sequences = [item.sequence for item in recording]
    assert len(sequences) == taken and recording.complete
    (row,) = recording.account["audit"]
    missing = sequences[-1] - sequences[0] + 1 - len(sequences)
    assert row["dropped"] == missing and recording.account["dropped_because_the_queue_was_full"] == {
        "/talk": 400 - taken
    }


def test_an_intervention_has_a_start_an_end_and_a_device():
    tracker = InterventionTracker()
    assert tracker.on_phase(10, ControllerState.AUTONOMOUS) is None
    tracker.on_command(15, "magma-tiny")
    tracker.on_operator_command(20, "gamepad")
    assert tracker.on_phase(21, ControllerState.TELEOP) is None
    tracker.on_command(22, "magma-tiny")  # was on its way
    tracker.on_command(23, "gamepad")
    tracker.on_operator_command(30, "keyboard")
    tracker.on_command(31, "keyboard")
    assert tracker.on_phase(35, ControllerState.TELEOP) is None
    over = tracker.on_phase(40, ControllerState.ESTOP)
    assert (over.start_ns, over.end_ns, over.device, over.followed_by, over.commands) == (
        21,
        40,
        "gamepad, keyboard",
        "ESTOP",
        2,
    )
    assert tracker.end() is None
    tracker.on_operator_command(50, "")
    tracker.on_phase(51, ControllerState.TELEOP)
    tracker.on_command(52, "")
    last = tracker.end()
    assert (last.end_ns, last.device, last.followed_by, last.commands) == (52, "unknown device", "", 1)


@pytest.mark.parametrize("stamp_ns", [0, 1, 1_700_000_000_123_456_789])
def test_the_stamp_of_a_serialised_message(stamp_ns):
    message = EndEffectorDelta()
    message.header.stamp = ns_to_stamp(stamp_ns)
    assert header_stamp_ns(serialize_message(message)) == stamp_ns
    assert header_stamp_ns(b"\x00\x01") is None


def chunk(sequence, stamp_ns):
    message = ActionChunk(sequence=sequence)
    message.header.stamp = ns_to_stamp(stamp_ns)
    return serialize_message(message)


def state(sent, stamp_ns):
    message = ControllerState(commands_sent=sent)
    message.header.stamp = ns_to_stamp(stamp_ns)
    return serialize_message(message)


def test_the_audit_tells_what_was_lost_dropped_late_repeated_and_out_of_order():
    audit = RecordingAudit()
    moments = [(0, 0), (1, 100), (2, 200), (5, 900), (6, 900), (7, 850), (0, 1000)]
    for number, (sequence, milliseconds) in enumerate(moments):
        count = number + 1 if number < 4 else number + 3  # two were dropped by the recorder
        audit.add(topics.ACTION_CHUNK, number, count, chunk(sequence, 10**9 + milliseconds * 10**6))
    (row,) = audit.rows()
    expected = {"messages": 7, "lost": 2, "dropped": 2, "gaps": 1, "repeated": 1, "backwards": 1, "restarts": 1}
    assert {name: row[name] for name in expected} == expected
    assert row["longest_gap_s"] == pytest.approx(0.7)


def test_the_audit_counts_commands_against_what_the_controller_says_it_sent():
    audit = RecordingAudit()
    audit.add(topics.CONTROLLER_STATE, 0, 1, state(10, 1))
    for number in range(4):
        audit.add(topics.COMMAND, number, number + 1, serialize_message(EndEffectorDelta()))
    audit.add(topics.CONTROLLER_STATE, 0, 2, state(17, 2))
    assert audit.commands_lost == 3
    assert "/magma/command" in audit.table()
