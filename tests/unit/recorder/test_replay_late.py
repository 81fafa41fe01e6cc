"""A recording that begins long after its controller: it is replayed from the state that the journal tells, exactly."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.serialization import serialize_message

from magma_common.conversions import delta_to_msg
from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import ActionChunk
from magma_contracts.arm_state import EndEffectorState
from magma_control import inputs
from magma_control.config import ControllerConfig
from magma_control.freshness import Instant
from magma_control.journal import JournaledController, JournalError
from magma_recorder import topics
from magma_recorder.definitions import schema_of
from magma_recorder.recordings.mcap_file import McapFile
from magma_recorder.replay import replay

SPEC = ActionSpec("test", 1, 0.2, "base", "axis_angle", "absolute_open_1", "none", "third_person", 128, 128, True)
DOWN = np.array([1.0, 0.0, 0.0, 0.0])
STEP_S = 0.2
REMEMBERED = 20
"""Steps between two states in the journal."""
STEPS = 70


def record(folder, begins, remembers=True):
    """A recording that begins at a step of a controller whose policy acts; nothing is delivered of what came before."""
    file = McapFile(folder / "bag_0.mcap")
    channels = {
        topic.name: file.add_channel(topic.recorded_name, topic.recorded_type, schema_of(topic.recorded_type), {})
        for topic in topics.TOPICS
        if topic.name in (topics.COMMAND, topics.JOURNAL)
    }
    start = Instant(100.0, 1_700_000_000_000_000_000)
    core = JournaledController(ControllerConfig(), start)
    core.handle(inputs.SpecHeard(SPEC), start)
    core.handle(inputs.InstructionHeard("go"), start)
    target, written = np.array([0.4, 0.0, 0.3]), 0
    for step in range(STEPS):
        now = Instant(start.steady_s + step * STEP_S, start.ros_ns + round(step * STEP_S * 1e9))
        if remembers and step % REMEMBERED == REMEMBERED - 1:
            core.remember()
        core.handle(inputs.StateHeard(EndEffectorState(now.ros_ns, target, DOWN, target, DOWN, 1.0, 1.0)), now)
        delta = np.array([0.004, 0.002 * np.sin(step), 0.0, 0.0, 0.0, 0.01, 1.0])
        core.handle(inputs.ChunkHeard(ActionChunk(delta[None], now.ros_ns - 1000, STEP_S, "test", "go", step + 1)), now)
        command = core.handle(inputs.Tick(), now)
        recorded = step >= begins
        if command is not None:
            target = target + command.delta[:3]
            if recorded:
                message = delta_to_msg(command.delta, command.stamp_ns, "base", "policy")
                file.add_message(channels[topics.COMMAND], now.ros_ns, now.ros_ns, step, serialize_message(message))
                written += 1
        for batch in core.journal.take():
            if recorded:
                data = serialize_message(batch.message())
                file.add_message(channels[topics.JOURNAL], now.ros_ns, now.ros_ns, step, data)
    file.write_chunk()
    file.add_metadata("magma_recording", {"audit": "[]"})
    file.finish()
    return written


@pytest.mark.parametrize("begins", [0, 1, REMEMBERED - 1, REMEMBERED + 5, 3 * REMEMBERED - 2])
def test_it_is_exact_from_there_on(tmp_path, begins):
    written = record(tmp_path, begins)
    result = replay(tmp_path)
    assert result.exact and result.different == 0, result.text()
    # What was commanded before the first state is told apart, and is at most what lies between two of them.
    assert result.equal + result.before_journal == written and result.before_journal <= REMEMBERED
    assert (result.before_journal == 0) == (begins in (0, REMEMBERED - 1))
    assert (result.journal_late > 0) == (begins > 0)
    assert ("played from the controller's state" in result.text()) == (begins > 0)


def test_a_recording_without_a_state_is_refused_in_a_sentence(tmp_path):
    record(tmp_path, 5, remembers=False)
    with pytest.raises(JournalError, match="begins too late"):
        replay(tmp_path)
