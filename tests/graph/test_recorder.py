"""The recorder as a process: it records what was said, survives kill -9, full and slow disks, and disturbs nobody."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from magma_interfaces.msg import ActionChunk as ActionChunkMsg
from magma_interfaces.msg import ActionSpec as ActionSpecMsg
from magma_interfaces.msg import ControllerState, EndEffectorDelta
from magma_interfaces.msg import EndEffectorState as EndEffectorStateMsg
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from magma_common import qos
from magma_common.conversions import action_spec_to_msg, chunk_to_msg, delta_to_msg, image_to_msg, state_to_msg
from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import ActionChunk
from magma_contracts.arm_state import EndEffectorState
from magma_recorder import replay_command, topics
from magma_recorder.recording_command import describe, repair
from magma_recorder.recordings.image_compression import decompress
from magma_recorder.recordings.recording import Recording
from magma_recorder.replay import replay

INSTRUCTION = "put the carrot on the plate"
SPEC = ActionSpec("test", 2, 0.2, "base", "axis_angle", "absolute_open_1", "none", "third_person", 128, 128, True)
PERIOD_S = 0.05


class World:
    """A camera, an arm and a policy at 20 Hz, and an operator when asked."""

    def __init__(self, peer):
        self.peer = peer
        self.spec = peer.publisher(ActionSpecMsg, topics.ACTION_SPEC, qos.STATE, matched=2)
        self.instruction = peer.publisher(String, topics.INSTRUCTION, qos.STATE, matched=2)
        self.chunks = peer.publisher(ActionChunkMsg, topics.ACTION_CHUNK, qos.COMMAND, matched=2)
        self.arm = peer.publisher(EndEffectorStateMsg, topics.END_EFFECTOR_STATE, qos.ROBOT_STATE, matched=2)
        self.frames = peer.publisher(Image, topics.FRAME, qos.FRAME)
        self.teleop = peer.publisher(EndEffectorDelta, topics.TELEOP_COMMAND, qos.COMMAND, matched=2)
        self.states = peer.collect(ControllerState, topics.CONTROLLER_STATE, qos.STATE)
        self.commands = peer.collect(EndEffectorDelta, topics.COMMAND, qos.COMMAND)
        self.diagnostics = peer.collect(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self.picture = np.random.default_rng(0).integers(0, 255, (128, 128, 3)).astype(np.uint8)
        self.sequence = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.spec.publish(action_spec_to_msg(SPEC))
        self.instruction.publish(String(data=INSTRUCTION))
        self.thread.start()

    def run(self):
        position, down = np.array([0.5, 0.0, 0.3]), np.array([1.0, 0.0, 0.0, 0.0])
        while not self.stopped.wait(PERIOD_S):
            stamp_ns = self.peer.now_ns()
            self.arm.publish(state_to_msg(EndEffectorState(stamp_ns, position, down, position, down, 1.0, 1.0)))
            self.frames.publish(image_to_msg(self.picture, stamp_ns))
            chunk = ActionChunk(np.array([[0.01, 0, 0, 0, 0, 0, 1]]), stamp_ns, 0.2, "test", INSTRUCTION, self.sequence)
            self.chunks.publish(chunk_to_msg(chunk))
            self.sequence += 1

    def moves(self, count=3):
        before = len(self.commands.messages)
        self.peer.wait(lambda: len(self.commands.messages) >= before + count, f"{count} commands")

    def operated(self):
        """An operator asks for a motion until the arm is his: a busy machine may deliver one command too late."""

        def ask():
            self.states.clear()
            self.teleop.publish(delta_to_msg((0, 0.01, 0, 0, 0, 0, 1), self.peer.now_ns(), source="gamepad"))

        def taken(_):
            return self.states.wait_for(lambda state: state.phase == ControllerState.TELEOP, timeout_s=1.0)

        self.peer.send_until(ask, taken)

    def close(self):
        self.stopped.set()
        self.thread.join()

    def recorder_says(self, text):
        self.diagnostics.clear()
        return self.diagnostics.wait_for(
            lambda message: any(item.name == "recorder" and text in item.message for item in message.status)
        )


@pytest.fixture
def record(start_node, peer, wait, tmp_path):
    """Starts controller, recorder and world; returns (recorder process, world, folder)."""
    worlds = []

    def start(**parameters):
        start_node("magma_control.controller_node", {"teleop_timeout_s": 1.0})
        settings = {"directory": str(tmp_path), "name": "bag", "min_free_mb": 0.0, "flush_period_s": 0.1, **parameters}
        recorder = start_node("magma_recorder.recorder_node", settings)
        peer.wait = wait
        worlds.append(World(peer))
        worlds[0].moves()
        return recorder, worlds[0], Path(settings["directory"]) / "bag"

    yield start
    for world in worlds:
        world.close()


def test_what_was_said_is_in_the_recording(record):
    recorder, world, folder = record()
    world.operated()
    world.commands.wait_for(lambda command: command.translation.y != 0.0)
    assert world.peer.call(Trigger, "/magma/hand_back").success
    world.moves()
    world.close()
    assert recorder.stop() == 0

    recording = Recording(folder)
    seen = {}
    for item in recording:
        seen.setdefault(item.topic, []).append(item.message)
    assert recording.complete
    assert seen[topics.INSTRUCTION][-1].data == INSTRUCTION
    frames = seen[topics.FRAME + "/compressed"]
    np.testing.assert_array_equal(decompress(frames[-1]), world.picture)
    sequences = [message.sequence for message in seen[topics.ACTION_CHUNK]]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences))), "no chunk is missing"
    (intervention,) = seen[topics.INTERVENTIONS]
    assert intervention.device == "gamepad" and intervention.followed_by == "HOLD"
    commands = [message for message in seen[topics.COMMAND] if message.source == "gamepad"]
    assert intervention.commands == len(commands) >= 1
    assert recording.account["interventions"][0]["device"] == "gamepad"
    (row,) = [row for row in recording.account["audit"] if row["topic"] == topics.ACTION_CHUNK]
    assert row["lost"] == 0 and row["dropped"] == 0 and row["messages"] == len(sequences)
    again = replay(folder)
    assert again.exact and again.equal >= 6 and again.journal_late == again.journal_missing == 0, again.text()
    assert [phase.name for _, phase in again.phases][-3:] == ["TELEOP", "HOLD", "AUTONOMOUS"]
    assert replay_command.main([str(folder)]) == 0
    picture = cv2.imread(str(folder / "replay.png"))
    assert picture is not None and picture.std() > 10
    text = describe(folder)
    assert "closed properly" in text and "1 interventions" in text and "gamepad" in text


def test_a_recorder_that_is_killed_leaves_a_readable_file(record, wait, tmp_path):
    recorder, world, folder = record()
    world.moves(5)
    file = folder / "bag_0.mcap"
    size = file.stat().st_size
    wait(lambda: file.stat().st_size > size, "another chunk in the file")
    recorder.send_signal(signal.SIGKILL)
    recorder.wait()
    recording = Recording(folder)
    chunks = sum(item.topic == topics.ACTION_CHUNK for item in recording)
    assert chunks > 5 and not recording.complete
    assert "CUT OFF" in describe(folder)
    world.moves()
    repaired = tmp_path / "repaired"
    repair(folder, repaired)
    whole = Recording(repaired)
    assert sum(item.topic == topics.ACTION_CHUNK for item in whole) == chunks and whole.complete


@pytest.fixture
def tiny_disk(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_recording_and_nothing_else(record, tiny_disk, wait):
    recorder, world, folder = record(directory=str(tiny_disk), retry_s=0.2)
    world.recorder_says("No space left on device")
    world.moves(5)
    # Room again: it goes on, in the same file.
    kept = sum(1 for _ in Recording(folder))
    subprocess.run(["mount", "-o", "remount,size=20m", str(tiny_disk)], check=True)
    world.recorder_says("messages were lost")
    world.moves(5)
    world.close()
    assert recorder.stop() == 0
    recording = Recording(folder)
    assert sum(1 for _ in recording) > kept and recording.complete
    assert recording.account["dropped_because_of_the_disk"][topics.ACTION_CHUNK] > 0
    (row,) = [row for row in recording.account["audit"] if row["topic"] == topics.ACTION_CHUNK]
    assert row["lost"] > 0, "the gap is found in the recording itself too"


def test_a_recorder_that_hangs_disturbs_nobody_and_counts_what_it_missed(record):
    recorder, world, folder = record(queue_mb=0.3)
    recorder.send_signal(signal.SIGSTOP)
    sent = world.sequence
    world.moves(8)
    assert world.states.last.phase == ControllerState.AUTONOMOUS
    assert world.sequence - sent > 20, "publishing never waits for the recorder"
    recorder.send_signal(signal.SIGCONT)
    world.moves(3)
    world.close()
    assert recorder.stop() == 0
    recording = Recording(folder)
    numbers = [item.message.sequence for item in recording if item.topic == topics.ACTION_CHUNK]
    (row,) = [row for row in recording.account["audit"] if row["topic"] == topics.ACTION_CHUNK]
    assert row["lost"] == numbers[-1] - numbers[0] + 1 - len(numbers)


def test_a_wrong_parameter_is_named(start_node, tmp_path):
    node = start_node("magma_recorder.recorder_node", {"directory": str(tmp_path), "flush": 1.0})
    assert node.wait() == 2 and "unknown parameter flush" in node.output
    (tmp_path / "taken").mkdir()
    node = start_node("magma_recorder.recorder_node", {"directory": str(tmp_path), "name": "taken"})
    assert node.wait() == 2 and "exists already" in node.output


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_is_an_orderly_end(ros_domain, tmp_path, number):
    """The recorder in a terminal that is closed while it records: the recording has its summary all the same."""
    master, terminal = pty.openpty()
    command = [sys.executable, "-m", "magma_recorder.recorder_node", "--ros-args", "-p", f"directory:={tmp_path}"]
    settings = ["-p", "name:=bag", "-p", "min_free_mb:=0.0"]
    recorder = subprocess.Popen(
        command + settings, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    said = b""
    while b"recording" not in said:
        said += os.read(master, 4096)
    os.close(master)
    recorder.send_signal(number)
    assert recorder.wait(60.0) == 0
    recording = Recording(tmp_path / "bag")
    list(recording)  # to the end
    assert recording.complete
