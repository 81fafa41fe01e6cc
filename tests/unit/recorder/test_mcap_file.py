"""The MCAP file: readable by others, at every moment, and whole again after a write that failed."""

from __future__ import annotations

import os
import shutil

import pytest
from mcap.reader import make_reader
from rclpy.serialization import serialize_message
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore
from std_msgs.msg import String

from magma_recorder.definitions import schema_of, type_hash
from magma_recorder.recordings import bag_metadata
from magma_recorder.recordings.mcap_file import McapFile
from magma_recorder.recordings.recording import Recording, RecordingError
from magma_recorder.topics import LATCHED_QOS, Topic

TYPE = "std_msgs/msg/String"
TOPIC = Topic("/talk", TYPE, latched=True, stamped=False)


def write(folder, texts, finish=True, chunk=3):
    folder.mkdir()
    file = McapFile(folder / f"{folder.name}_0.mcap")
    channel = file.add_channel(TOPIC.name, TYPE, schema_of(TYPE), {"offered_qos_profiles": LATCHED_QOS})
    for number, text in enumerate(texts):
        file.add_message(channel, 1000 + number, 2000 + number, number + 1, serialize_message(String(data=text)))
        if number % chunk == chunk - 1:
            file.write_chunk()
    if finish:
        file.finish()
        bag_metadata.write(folder, file.path.name, [TOPIC], file.counts, *file.time_range_ns)
    return file


def texts_of(recording):
    return [item.message.data for item in recording]


def test_the_mcap_library_reads_it_by_its_index_and_checks_every_sum(tmp_path):
    file = write(tmp_path / "bag", ["a", "b", "c", "d", "e"])
    with file.path.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        assert summary.statistics.message_count == 5 and summary.statistics.chunk_count == 2
        assert [(schema.name, schema.encoding) for schema in summary.schemas.values()] == [(TYPE, "ros2msg")]
        messages = [(m.log_time, m.publish_time, m.sequence) for _, _, m in reader.iter_messages(topics=["/talk"])]
    assert messages == [(1000 + n, 2000 + n, n + 1) for n in range(5)]


def test_rosbags_reads_the_folder_as_a_bag(tmp_path):
    write(tmp_path / "bag", ["a", "b", "c", "d"])
    with Reader(tmp_path / "bag") as reader:
        assert reader.message_count == 4 and reader.topics["/talk"].msgtype == TYPE
    with AnyReader([tmp_path / "bag"], default_typestore=get_typestore(Stores.EMPTY)) as reader:
        texts = [reader.deserialize(raw, connection.msgtype).data for connection, _, raw in reader.messages()]
    assert texts == ["a", "b", "c", "d"], "read with the definitions in the file alone"


def test_a_file_cut_off_anywhere_gives_what_was_written_before(tmp_path):
    texts = [f"text {n}" for n in range(9)]
    whole = write(tmp_path / "whole", texts).path
    size = whole.stat().st_size
    seen = set()
    for length in range(8, size, 13):
        cut = tmp_path / "cut.mcap"
        shutil.copy(whole, cut)
        os.truncate(cut, length)
        try:
            recording = Recording(cut)
            found = texts_of(recording)
        except RecordingError:
            assert length < 60
            continue
        assert found == texts[: len(found)] and not recording.complete
        seen.add(len(found))
    assert seen == {0, 3, 6, 9}
    recording = Recording(whole)
    assert texts_of(recording) == texts and recording.complete


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    file = write(tmp_path / "bag", ["a", "b", "c"], finish=False)
    size = file.path.stat().st_size
    real = os.pwrite
    calls = []

    def full(fd, data, offset):
        calls.append(len(data))
        if len(calls) == 1:
            return real(fd, data[:10], offset)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    file.add_message(1, 5000, 5000, 4, serialize_message(String(data="lost")))
    with pytest.raises(OSError, match="No space"):
        file.write_chunk()
    monkeypatch.setattr(os, "pwrite", real)
    assert file.path.stat().st_size == size
    assert file.drop_chunk() == {"/talk": 1}
    file.add_message(1, 6000, 6000, 5, serialize_message(String(data="d")))
    file.finish()
    recording = Recording(file.path)
    assert texts_of(recording) == ["a", "b", "c", "d"] and recording.complete


def test_the_first_chunk_that_fails_takes_no_definitions_with_it(tmp_path, monkeypatch):
    file = write(tmp_path / "bag", ["lost"], finish=False)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(OSError, match="Input/output"):
            file.write_chunk()
    file.drop_chunk()
    file.add_message(1, 6000, 6000, 2, serialize_message(String(data="kept")))
    file.finish()
    assert texts_of(Recording(file.path)) == ["kept"]


def test_definitions_and_hashes_are_those_of_ros():
    schema = schema_of("magma_interfaces/msg/ActionChunk")
    assert "MSG: magma_interfaces/EndEffectorDelta" in schema and "MSG: std_msgs/Header" in schema
    # Published by every ROS 2 since Iron for std_msgs/msg/String.
    assert type_hash(TYPE) == "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"
    with pytest.raises(KeyError, match="not installed"):
        schema_of("no_such_package/msg/Thing")


def test_what_is_no_recording_is_said(tmp_path):
    with pytest.raises(RecordingError, match="no such file"):
        Recording(tmp_path / "nothing.mcap")
    (tmp_path / "text.mcap").write_text("hello, this is text")
    with pytest.raises(RecordingError, match="no MCAP file"):
        list(Recording(tmp_path / "text.mcap"))
    with pytest.raises(RecordingError, match="holds 0 files"):
        (tmp_path / "empty").mkdir()
        Recording(tmp_path / "empty")
