"""Recordings of strangers: what they claim is held against what is there."""

from __future__ import annotations

import struct
import zlib

import pytest
import zstandard
from mcap.data_stream import RecordBuilder
from mcap.records import Channel, Chunk, Header, Message, Schema

from magma_recorder.definitions import message_class
from magma_recorder.recording_command import describe
from magma_recorder.recordings.mcap_file import MAGIC
from magma_recorder.recordings.recording import Recording, RecordingError


def built(*records) -> bytes:
    builder = RecordBuilder()
    for record in records:
        record.write(builder)
    return builder.end()


def chunk(content: bytes, claims: int | None = None, packed: bytes | None = None, crc: int | None = None) -> bytes:
    return built(
        Chunk(
            compression="zstd",
            data=zstandard.compress(content) if packed is None else packed,
            message_start_time=0,
            message_end_time=0,
            uncompressed_crc=zlib.crc32(content) if crc is None else crc,
            uncompressed_size=len(content) if claims is None else claims,
        )
    )


def messages(topic: str = "/talk", type_name: str = "std_msgs/msg/String", data: bytes = b"\0\1\0\0") -> bytes:
    return built(
        Schema(id=1, data=b"string data", encoding="ros2msg", name=type_name),
        Channel(id=1, topic=topic, message_encoding="cdr", metadata={}, schema_id=1),
        Message(channel_id=1, log_time=1, publish_time=1, sequence=1, data=data),
    )


def recording(tmp_path, *parts: bytes) -> Recording:
    path = tmp_path / "a.mcap"
    path.write_bytes(MAGIC + built(Header(profile="ros2", library="x")) + b"".join(parts))
    return Recording(path)


def packed_zeros(size: int) -> bytes:
    compressor = zstandard.ZstdCompressor().compressobj(size=size)
    return b"".join(compressor.compress(bytes(1 << 20)) for _ in range(size >> 20)) + compressor.flush()


def test_a_chunk_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path):
    bomb = packed_zeros(1 << 30)
    assert len(bomb) < 1 << 18
    found = recording(tmp_path, chunk(messages()), chunk(b"", claims=1 << 30, packed=bomb, crc=0))
    assert len(list(found)) == 1 and not found.complete
    assert "far more than a recording of this size holds" in found.damage
    # A small claim does not make it unpack more than that.
    found = recording(tmp_path, chunk(messages()), chunk(b"", claims=100, packed=bomb, crc=0))
    assert len(list(found)) == 1 and "101 bytes or more and claims 100" in found.damage


def test_many_chunks_share_one_allowance(tmp_path, monkeypatch):
    monkeypatch.setattr("magma_recorder.recordings.mcap_reader.UNPACKED_BYTES", 10_000)
    monkeypatch.setattr("magma_recorder.recordings.mcap_reader.UNPACKED_FACTOR", 1)
    padding = built(Schema(id=9, data=bytes(9000), encoding="ros2msg", name="x"))
    found = recording(tmp_path, *[chunk(messages() + padding)] * 5)
    assert len(list(found)) == 1 and "far more" in found.damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (chunk(messages(), crc=1), "checksum"),
        (chunk(messages(), packed=b"nonsense"), "does not unpack"),
        (chunk(bytes(90)), "a record of kind 0 in a chunk"),
        (chunk(b"\x05" + struct.pack("<Q", 2**40)), "claims 1099511627776 bytes, 0 are there"),
        (b"\x05" + struct.pack("<Q", 2**62), "claims 4611686018427387904 bytes"),
        (built(Message(channel_id=7, log_time=1, publish_time=1, sequence=1, data=b"")), "channel 7, which"),
        (b"\x04" + struct.pack("<Q", 10) + b"\xff" * 10, "kind 4 is damaged"),
    ],
)
def test_damage_ends_the_recording_and_is_told(tmp_path, damage, said):
    found = recording(tmp_path, chunk(messages()), damage)
    assert [item.topic for item in found] == ["/talk"]
    assert said in found.damage and not found.complete
    assert "ENDS EARLY" in describe(found.path) and found.content in describe(found.path)


def test_a_topic_of_ours_with_other_messages_is_refused(tmp_path):
    found = recording(tmp_path, chunk(messages("/magma/command")))
    with pytest.raises(RecordingError, match=r"/magma/command holds std_msgs/msg/String, not magma_interfaces"):
        list(found)
    found = recording(tmp_path, chunk(messages("/magma/instruction", data=b"\0\1\0\0\xff\xff\xff\xff")))
    with pytest.raises(RecordingError, match="a message on /magma/instruction is damaged"):
        _ = next(iter(found)).message


@pytest.mark.parametrize(
    "name", ["this/msg/Zen", "this.s/x/y", "os/path/join", "", "a/b", "std_msgs/msg/Nothing", "../../x"]
)
def test_a_type_that_a_file_names_runs_no_import_of_anything_else(name, capsys):
    with pytest.raises(ImportError):
        message_class(name)
    assert capsys.readouterr().out == ""


def test_names_with_terminal_escapes_are_shown_as_text(tmp_path):
    found = recording(tmp_path, chunk(messages("/talk\x1b]0;owned\x07")))
    assert "\x1b" not in describe(found.path) and "/talk\\x1b]0;owned\\x07" in describe(found.path)
