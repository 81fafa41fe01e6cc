"""`ros2 bag play` of recordings: as it was on the wire (always), and live (needs a ROS 2 with rosbag2)."""

import json
from pathlib import Path

import pytest

pytest.importorskip("magma_recorder", reason="no workspace lies around this package")
from interop_bag import PLAYED, play, write
from interop_capture import decoded
from interop_domains import free_domain
from interop_stock import run_stock

from magma_recorder.recordings.recording import Recording
from rclpy_dds._dds import names
from rclpy_dds.interfaces.cdr import encode, join
from rclpy_dds.interfaces.type_hash import type_hash

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("jazzy_bag_play.json").read_text(encoding="utf-8"))
BY_TOPIC = {f"{names.TOPIC}{topic.recorded_name}": topic for topic in PLAYED}


def without_filling(cdr: bytes) -> bytes:
    """The last bytes that fill up to four may be left out, and so may their count in the header."""
    return cdr[:2] + cdr[4:].rstrip(b"\0")


def test_every_recorded_message_was_played_as_it_was_recorded(tmp_path: Path) -> None:
    recorded = {item.topic: item.data for item in Recording(write(tmp_path))}
    assert {topic.recorded_name for topic in PLAYED} == set(recorded)
    assert sorted(sample["topic"] for sample in GOLDEN["samples"]) == sorted(BY_TOPIC)
    for sample in GOLDEN["samples"]:
        topic = BY_TOPIC[sample["topic"]]
        played = bytes.fromhex(sample["cdr"])
        assert without_filling(played) == without_filling(recorded[topic.recorded_name]), topic.name
        assert without_filling(join(encode(decoded(sample), topic.type_name))) == without_filling(played)


@pytest.mark.parametrize("entry", GOLDEN["endpoints"], ids=lambda entry: entry["topic"])
def test_players_meet_our_subscriptions(entry: dict) -> None:
    """Types, hashes, and latched topics latched again."""
    topic = BY_TOPIC[entry["topic"]]
    assert names.ros_type(entry["type"]) == topic.type_name
    assert entry["user_data"]["typehash"] == type_hash(topic.type_name)
    assert entry["qos"] == {
        "reliability": "reliable",
        "durability": "transient local" if topic.latched else "volatile",
    }


@pytest.mark.ros2
def test_a_recording_is_played_alike_today(tmp_path: Path) -> None:
    if run_stock("ros2", "bag", "play", "--help", domain=free_domain()).returncode:
        pytest.skip("this ROS 2 has no rosbag2")
    assert play(write(tmp_path), free_domain()) == GOLDEN
