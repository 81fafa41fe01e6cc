"""Serialisation: equal to rosbags byte for byte, round trips, and no harm from malformed bytes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_typestore

from rclpy_dds.interfaces import cdr
from rclpy_dds.interfaces.definition import EMPTY_MEMBER, INTEGER_RANGES, FieldType
from rclpy_dds.interfaces.message import message_class
from rclpy_dds.interfaces.store import definition

STORE = get_typestore(Stores.ROS2_JAZZY)
USED = [
    "std_msgs/msg/String",
    "std_msgs/msg/Header",
    "std_msgs/msg/Empty",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/CameraInfo",
    "sensor_msgs/msg/JointState",
    "geometry_msgs/msg/PoseStamped",
    "tf2_msgs/msg/TFMessage",
    "diagnostic_msgs/msg/DiagnosticArray",
    "rosgraph_msgs/msg/Clock",
    "rcl_interfaces/msg/Log",
    "rcl_interfaces/msg/ParameterEvent",
    "rcl_interfaces/srv/SetParameters_Request",
    "std_srvs/srv/Trigger_Response",
    "rmw_dds_common/msg/ParticipantEntitiesInfo",
]


def primitive(base: str) -> st.SearchStrategy:
    if base == "string":
        return st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
    if base == "bool":
        return st.booleans()
    if base == "byte":
        return st.binary(min_size=1, max_size=1)
    if base in ("float32", "float64"):
        return st.floats(width=int(base[5:]), allow_nan=False)
    return st.integers(*INTEGER_RANGES.get(base, (0, 255)))


def values(kind: FieldType) -> st.SearchStrategy:
    element = messages(kind.base) if kind.is_nested else primitive(kind.base)
    if kind.kind == "scalar":
        return element
    if kind.kind == "array":
        return st.lists(element, min_size=kind.size, max_size=kind.size)
    return st.lists(element, max_size=min(kind.size or 3, 3))


def messages(name: str) -> st.SearchStrategy:
    fields = {field.name: values(field.type) for field in definition(name).fields if field.name != EMPTY_MEMBER}
    return st.builds(message_class(name), **fields)


def to_rosbags(message: Any) -> Any:
    """The same message as an object of rosbags."""
    converted = {}
    for field in definition(message.interface_name).fields:
        kind = field.type
        if field.name == EMPTY_MEMBER:
            converted[field.name] = 0
            continue
        value = getattr(message, field.name)
        if kind.is_nested:
            value = to_rosbags(value) if kind.kind == "scalar" else [to_rosbags(entry) for entry in value]
        elif kind.base == "byte":
            numbers = np.frombuffer(value if kind.kind == "scalar" else b"".join(value), np.int8)
            value = int(numbers[0]) if kind.kind == "scalar" else numbers
        elif kind.kind != "scalar" and kind.base != "string":
            value = np.array(value, dtype="bool" if kind.base == "bool" else cdr.DTYPES[kind.base])
        converted[field.name] = value
    return STORE.types[message.interface_name](**converted)


def random_value(base: str, rng: random.Random) -> Any:
    if base == "string":
        return "".join(rng.choice("abcé ") for _ in range(rng.randrange(6)))
    if base == "bool":
        return rng.random() < 0.5
    if base == "byte":
        return bytes([rng.randrange(256)])
    if base in ("float32", "float64"):
        return float(np.float32(rng.uniform(-1e6, 1e6)))
    return rng.randint(*INTEGER_RANGES.get(base, (0, 255)))


def random_message(name: str, rng: random.Random) -> Any:
    fields = {}
    for field in definition(name).fields:
        kind = field.type
        if field.name == EMPTY_MEMBER:
            continue
        count = {"scalar": 1, "array": kind.size, "sequence": min(rng.randrange(4), kind.size or 4)}[kind.kind]
        made = [
            random_message(kind.base, rng) if kind.is_nested else random_value(kind.base, rng) for _ in range(count)
        ]
        fields[field.name] = made[0] if kind.kind == "scalar" else made
    return message_class(name)(**fields)


def test_every_type_of_the_store_equals_rosbags_and_comes_back() -> None:
    rng = random.Random(7)
    for name in sorted(STORE.fielddefs):
        for _ in range(3):
            message = random_message(name, rng)
            payload = cdr.join(cdr.encode(message, name))
            assert payload == _padded(bytes(STORE.serialize_cdr(to_rosbags(message), name))), name
            assert cdr.decode(payload, name) == message


@pytest.mark.parametrize("name", ["sensor_msgs/msg/JointState", "rcl_interfaces/msg/ParameterEvent"])
@settings(max_examples=25, deadline=None, database=None)
@given(data=st.data())
def test_round_trip_of_extreme_values(name: str, data: st.DataObject) -> None:
    message = data.draw(messages(name))
    payload = cdr.join(cdr.encode(message, name))
    assert payload == _padded(bytes(STORE.serialize_cdr(to_rosbags(message), name)))
    assert cdr.decode(payload, name) == message


@pytest.mark.parametrize("name", USED)
@settings(max_examples=25, deadline=None, database=None)
@given(data=st.data())
def test_malformed_bytes_never_raise_anything_else(name: str, data: st.DataObject) -> None:
    message = random_message(name, random.Random(data.draw(st.integers(0, 9))))
    payload = bytearray(cdr.join(cdr.encode(message, name)))
    action = data.draw(st.sampled_from(["truncate", "flip", "extend", "random"]))
    if action == "truncate":
        payload = payload[: data.draw(st.integers(0, len(payload)))]
    elif action == "flip":
        for _ in range(data.draw(st.integers(1, 4))):
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    elif action == "extend":
        payload += data.draw(st.binary(min_size=4, max_size=64))
    else:
        payload = bytearray(b"\x00\x01\x00\x00" + data.draw(st.binary(max_size=200)))
    for raw in (bytes(payload), memoryview(bytes(payload))):
        try:
            message = cdr.decode(raw, name)
        except cdr.MalformedMessageError:
            continue
        assert type(message) is message_class(name)


@settings(max_examples=100, deadline=None, database=None)
@given(st.binary(max_size=300))
def test_random_payloads_of_an_image(body: bytes) -> None:
    try:
        cdr.decode(b"\x00\x01\x00\x00" + body, "sensor_msgs/msg/Image")
    except cdr.MalformedMessageError as error:
        assert "sensor_msgs/msg/Image" in str(error)


def test_huge_counts_are_refused_without_allocating() -> None:
    huge = (2**32 - 1).to_bytes(4, "little")
    for name in ("tf2_msgs/msg/TFMessage", "rcl_interfaces/srv/GetParameters_Request", "std_msgs/msg/String"):
        with pytest.raises(cdr.MalformedMessageError):
            cdr.decode(b"\x00\x01\x00\x00" + huge + bytes(64), name)


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x00\x01\x00", b"\x00\x00\x00\x00abcd", b"\x00\x07\x00\x00abcd"])
def test_only_little_endian_cdr_is_taken(payload: bytes) -> None:
    with pytest.raises(cdr.MalformedMessageError, match="CDR"):
        cdr.decode(payload, "std_msgs/msg/UInt8")


def test_strings_keep_what_is_not_utf8_readable() -> None:
    payload = b"\x00\x01\x00\x00" + (3).to_bytes(4, "little") + b"\xff\xfe\x00\x00"
    assert cdr.decode(payload, "std_msgs/msg/String").data == "\ufffd\ufffd"


def test_images_are_not_copied_on_the_way_out() -> None:
    pixels = np.arange(480 * 640 * 3, dtype=np.uint32).astype(np.uint8)
    image = message_class("sensor_msgs/msg/Image")(height=480, width=640, encoding="rgb8", step=1920, data=pixels)
    parts = cdr.encode(image, "sensor_msgs/msg/Image")
    assert any(part is pixels for part in parts)
    payload = memoryview(cdr.join(parts))
    received = cdr.decode(payload, "sensor_msgs/msg/Image")
    assert received == image
    assert np.shares_memory(received.data, np.frombuffer(payload, np.uint8))
    assert np.frombuffer(received.data, dtype=np.uint8).base is not None
    with pytest.raises(ValueError, match="read-only"):
        received.data[0] = 1


@pytest.mark.parametrize("size", [0, 1, 3, 5000, 20001, 70003])
def test_fields_after_a_large_sequence_are_aligned(size: int) -> None:
    """PointCloud2 ends with a bool behind its data; CameraInfo-like alignment of 8 behind odd sizes."""
    cloud = message_class("sensor_msgs/msg/PointCloud2")(data=bytes(range(256)) * (size // 256) + bytes(size % 256))
    cloud.is_dense = True
    payload = cdr.join(cdr.encode(cloud, "sensor_msgs/msg/PointCloud2"))
    assert payload == _padded(bytes(STORE.serialize_cdr(to_rosbags(cloud), "sensor_msgs/msg/PointCloud2")))
    assert cdr.decode(memoryview(payload), "sensor_msgs/msg/PointCloud2") == cloud


def _padded(payload: bytes) -> bytes:
    return payload + bytes(-len(payload) % 4)


@pytest.mark.parametrize("size", [1, 3000, 9001])
def test_large_sequences_of_wide_numbers(size: int) -> None:
    message = message_class("std_msgs/msg/Float64MultiArray")(data=np.linspace(0.0, 1.0, size))
    payload = cdr.join(cdr.encode(message, "std_msgs/msg/Float64MultiArray"))
    assert payload == _padded(bytes(STORE.serialize_cdr(to_rosbags(message), "std_msgs/msg/Float64MultiArray")))
    assert cdr.decode(memoryview(payload), "std_msgs/msg/Float64MultiArray") == message


def test_prefix_of_services_keeps_the_alignment() -> None:
    request = message_class("example_interfaces/srv/AddTwoInts_Request")(a=1, b=-2)
    payload = cdr.join(cdr.encode(request, "example_interfaces/srv/AddTwoInts_Request", bytes(range(16))))
    assert payload == b"\x00\x01\x00\x00" + bytes(range(16)) + (1).to_bytes(8, "little") + b"\xfe" + b"\xff" * 7
    assert cdr.decode(payload, "example_interfaces/srv/AddTwoInts_Request", 20) == request
