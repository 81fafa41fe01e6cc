"""metadata.yaml as rosbag2's readers want it: Humble's takes profiles of quality of service as text with rmw's numbers
only."""

from __future__ import annotations

import yaml

from magma_recorder.recordings import bag_metadata
from magma_recorder.topics import Topic

INFINITE = {"sec": 9223372036, "nsec": 854775807}
LATCHED = Topic("/magma/instruction", "std_msgs/msg/String", latched=True)
OTHER = Topic("/joint_states", "sensor_msgs/msg/JointState")
SILENT = Topic("/tf", "tf2_msgs/msg/TFMessage")


def test_every_field_that_rosbag2_reads(tmp_path):
    counts = {LATCHED.name: 1, OTHER.name: 2}
    bag_metadata.write(tmp_path, "bag_0.mcap", [LATCHED, OTHER, SILENT], counts, 5_000_000_007, 6_000_000_008)
    text = (tmp_path / "metadata.yaml").read_text()
    assert "&" not in text, "no anchors, for readers that are not a YAML library"
    information = yaml.safe_load(text)["rosbag2_bagfile_information"]
    span = {
        "starting_time": {"nanoseconds_since_epoch": 5_000_000_007},
        "duration": {"nanoseconds": 1_000_000_001},
        "message_count": 3,
    }
    assert {key: information[key] for key in span} == span
    assert information["version"] == 8 and information["storage_identifier"] == "mcap"
    assert information["relative_file_paths"] == ["bag_0.mcap"]
    assert information["files"] == [{"path": "bag_0.mcap", **span}]
    assert information["compression_format"] == information["compression_mode"] == ""
    first, second = information["topics_with_message_count"]
    assert (first["message_count"], second["message_count"]) == (1, 2)
    assert first["topic_metadata"]["type_description_hash"].startswith("RIHS01_")
    assert {**second["topic_metadata"], "type_description_hash": ""} == {
        "name": "/joint_states",
        "type": "sensor_msgs/msg/JointState",
        "serialization_format": "cdr",
        "offered_qos_profiles": "",
        "type_description_hash": "",
    }
    # rmw_qos_profile_t: keep last, reliable, transient local, automatic.
    assert yaml.safe_load(first["topic_metadata"]["offered_qos_profiles"]) == [
        {
            "history": 1,
            "depth": 1,
            "reliability": 1,
            "durability": 1,
            "deadline": INFINITE,
            "lifespan": INFINITE,
            "liveliness": 1,
            "liveliness_lease_duration": INFINITE,
            "avoid_ros_namespace_conventions": False,
        }
    ]
