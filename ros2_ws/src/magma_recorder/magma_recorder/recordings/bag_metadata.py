"""metadata.yaml beside an MCAP file: what makes the folder a bag for `ros2 bag`.

In rosbag2's metadata version 8: of version 9 (Jazzy) Humble's reader cannot read the profiles of quality of service,
while the readers of Iron, Jazzy and later read both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from magma_recorder.definitions import type_hash
from magma_recorder.topics import LATCHED_QOS, Topic

VERSION = 8


def write(
    folder: Path, file_name: str, recorded: Sequence[Topic], counts: Mapping[str, int], start_ns: int, end_ns: int
) -> None:
    """Writes the file whole or not at all.

    Args:
        counts: messages by recorded topic; topics without any are left out, as rosbag2 does.
        start_ns, end_ns: first and last log time; 0 when there is none.
    """
    with_messages = [topic for topic in recorded if counts.get(topic.recorded_name, 0)]
    total = sum(counts.get(topic.recorded_name, 0) for topic in with_messages)

    def span() -> dict[str, Any]:
        return {
            "starting_time": {"nanoseconds_since_epoch": start_ns},
            "duration": {"nanoseconds": end_ns - start_ns},
            "message_count": total,
        }

    information = {
        "version": VERSION,
        "storage_identifier": "mcap",
        **span(),
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": topic.recorded_name,
                    "type": topic.recorded_type,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": LATCHED_QOS if topic.latched else "",
                    "type_description_hash": type_hash(topic.recorded_type),
                },
                "message_count": counts[topic.recorded_name],
            }
            for topic in with_messages
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file_name],
        "files": [{"path": file_name, **span()}],
        "custom_data": None,
        "ros_distro": os.environ.get("ROS_DISTRO", "jazzy"),
    }
    partial = folder / "metadata.yaml.partial"
    partial.write_text(yaml.safe_dump({"rosbag2_bagfile_information": information}, sort_keys=False), encoding="utf-8")
    partial.replace(folder / "metadata.yaml")
