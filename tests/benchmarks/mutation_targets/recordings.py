"""Recordings: the MCAP file as `magma-recording info` and `magma-replay` read it."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

import numpy as np
import zstandard
from file_mutations import Edit, Reading, Target
from magma_interfaces.msg import ControllerState
from mutation_edits import bytes_edits
from rclpy.serialization import serialize_message

from magma_common.conversions import delta_to_msg
from magma_control.config import ControllerConfig
from magma_control.freshness import Instant
from magma_control.inputs import Tick
from magma_control.journal import JournaledController, JournalError
from magma_recorder import topics
from magma_recorder.definitions import schema_of
from magma_recorder.recording_command import describe
from magma_recorder.recordings.mcap_file import MAGIC, McapFile
from magma_recorder.recordings.recording import Recording, RecordingError
from magma_recorder.replay import replay

STEP_NS = 20_000_000


def _seed(folder: Path) -> Path:
    file = McapFile(folder / "bag_0.mcap")
    channels = {
        topic.recorded_name: file.add_channel(
            topic.recorded_name, topic.recorded_type, schema_of(topic.recorded_type), {}
        )
        for topic in topics.TOPICS
        if topic.name in (topics.COMMAND, topics.TELEOP_COMMAND, topics.CONTROLLER_STATE, topics.JOURNAL)
    }
    core = JournaledController(ControllerConfig(), Instant(0.0, 0))
    for step in range(12):
        now = Instant(step * 0.02, 1_000_000_000 + step * STEP_NS)
        core.handle(Tick(), now)
        delta = delta_to_msg(np.array([0.001, 0, 0, 0, 0, 0, 1.0]), now.ros_ns, "base", "keyboard")
        for name, message in (
            (topics.TELEOP_COMMAND, delta),
            (topics.COMMAND, delta),
            (topics.CONTROLLER_STATE, ControllerState(phase=ControllerState.TELEOP, commands_sent=step + 1)),
        ):
            file.add_message(channels[name], now.ros_ns, now.ros_ns, step + 1, serialize_message(message))
        if step == 5:
            core.remember()
        if step % 4 == 3:
            for batch in core.journal.take():
                data = serialize_message(batch.message())
                file.add_message(channels[topics.JOURNAL], now.ros_ns, now.ros_ns, step // 4 + 1, data)
            file.write_chunk()
    file.add_metadata("magma_recording", {"audit": "[]", "remark": '"kept by hand"'})
    file.finish()
    return file.path


def _chunk_edits(inner: Edit) -> Edit:
    """Edits of what a chunk unpacks to, packed again with a right checksum: the records behind it are damaged."""

    def edit(data: bytes, rng: random.Random) -> bytes:
        place = len(MAGIC)
        chunks = []
        while place + 9 <= len(data):
            opcode, length = struct.unpack_from("<BQ", data, place)
            if opcode == 6:
                chunks.append((place, length))
            place += 9 + length
        if not chunks:
            return inner(data, rng)
        place, length = rng.choice(chunks)
        head = struct.Struct("<QQQI")
        try:
            start_ns, end_ns, size, _ = head.unpack_from(data, place + 9)
            packed_at = place + 9 + head.size + 4 + len("zstd") + 8
            content = zstandard.decompress(data[packed_at : place + 9 + length], size)
        except (struct.error, zstandard.ZstdError, MemoryError):
            return inner(data, rng)
        changed = inner(content, rng)
        packed = zstandard.compress(changed, 1)
        body = head.pack(start_ns, end_ns, len(changed), zlib.crc32(changed))
        body += struct.pack("<I", 4) + b"zstd" + struct.pack("<Q", len(packed)) + packed
        return data[:place] + struct.pack("<BQ", 6, len(body)) + body + data[place + 9 + length :]

    return edit


def _read(path: Path) -> Reading:
    # The first line names the file and its content, which is the identity.
    found = [describe(path).split("\n", 1)[1]]
    try:
        found.append(replay(path).text().split("commands recorded", 1)[1])
    except JournalError as error:
        found.append(str(error))
    return Reading(found, Recording(path).content)


TARGETS = [Target("recording", _seed, _read, (RecordingError,), (bytes_edits, _chunk_edits(bytes_edits)))]
