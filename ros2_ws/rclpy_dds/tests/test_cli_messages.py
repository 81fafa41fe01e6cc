"""Messages as YAML and back."""

import array

import pytest
import yaml
from geometry_msgs.msg import PoseArray, PoseStamped, TwistWithCovariance
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, Byte, Float32, Int8, String

from rclpy_dds.cli.messages import (
    InterfaceTypeError,
    get_interface,
    message_to_dict,
    parse_field_type,
    parse_yaml_fields,
    set_message_fields,
    to_csv,
    to_yaml,
)


def test_yaml_of_a_message_keeps_the_order_of_its_fields():
    message = PoseStamped()
    message.header.frame_id = "base"
    message.pose.position.x = 1.5
    text = to_yaml(message_to_dict(message))
    assert text.splitlines()[:4] == ["header:", "  stamp:", "    sec: 0", "    nanosec: 0"]
    assert yaml.safe_load(text)["pose"]["position"] == {"x": 1.5, "y": 0.0, "z": 0.0}


def test_long_values_are_cut():
    message = Image(encoding="x" * 10)
    message.data = bytes(range(10))
    shown = message_to_dict(message, truncate_length=4)
    assert shown["data"] == [0, 1, 2, 3, "..."]
    assert shown["encoding"] == "xxxx..."
    assert message_to_dict(message)["data"] == list(range(10))
    hidden = message_to_dict(message, no_arr=True, no_str=True)
    assert hidden["data"] == "<sequence type: uint8, length: 10>"
    assert hidden["encoding"] == "<string length: <10>>"
    assert message_to_dict(TwistWithCovariance(), no_arr=True)["covariance"] == "<array type: double[36]>"


def test_repeated_values_are_written_out():
    message = JointState(position=[0.5], velocity=[0.5])
    assert "&" not in to_yaml(message_to_dict(message))


def test_csv():
    message = JointState(name=["a", "b"], position=[0.5, 1.0])
    assert to_csv(message_to_dict(message)) == "0,0,,a,b,0.5,1.0,,"


def test_numbers_become_the_type_of_the_field():
    message = PoseArray()
    set_message_fields(message, parse_yaml_fields("{header: {frame_id: 5}, poses: [{position: {x: 1, y: 1e-3}}]}"))
    assert message.header.frame_id == "5"
    assert (message.poses[0].position.x, message.poses[0].position.y) == (1.0, 0.001)
    joints = JointState()
    set_message_fields(joints, {"position": [1, 2], "name": ["a"]})
    assert joints.position == array.array("d", [1.0, 2.0])
    byte = Byte()
    set_message_fields(byte, {"data": 7})
    assert byte.data == b"\x07"


def test_now_and_auto_stand_for_the_time_of_sending():
    message = PoseStamped()
    (setter,) = set_message_fields(message, {"header": "auto"}, expand_now=True)
    stamp = get_interface("builtin_interfaces/Time", "msg")(sec=5)
    setter(stamp)
    assert message.header.stamp.sec == 5
    (setter,) = set_message_fields(message, {"header": {"stamp": "now"}}, expand_now=True)
    setter(get_interface("builtin_interfaces/msg/Time", "msg")(sec=6))
    assert message.header.stamp.sec == 6
    with pytest.raises(ValueError, match="'header'"):
        set_message_fields(message, {"header": "auto"})


@pytest.mark.parametrize(
    ("message", "text", "complaint"),
    [
        (PoseArray(), "{poses: 3}", "'poses'.*expects a list"),
        (PoseArray(), "{pose: []}", "no field 'pose'.*did you mean 'poses'"),
        (PoseArray(), "{poses: [{position: 3}]}", r"'poses\[0\].position' has the fields x, y, z"),
        (PoseArray(), "{poses: [{position: {x: a}}]}", r"'poses\[0\].position.x' of type double cannot be 'a'"),
        (Int8(), "{data: 300}", "'data' of type int8"),
        (Int8(), "{data: 1.5}", "'data' of type int8 cannot be 1.5"),
        (Bool(), "{data: 'false'}", "'data' of type boolean cannot be 'false'"),
        (String(), "{data: [1]}", "'data'"),
        (TwistWithCovariance(), "{covariance: [1, 2]}", "'covariance'"),
    ],
)
def test_bad_values_name_the_field(message, text, complaint):
    with pytest.raises(ValueError, match=complaint):
        set_message_fields(message, parse_yaml_fields(text))


@pytest.mark.parametrize(
    ("text", "complaint"), [("data:1", "'data: 1'"), ("[1]", "dictionary"), ("{a: ", "not valid YAML"), ("5", "dict")]
)
def test_bad_yaml_says_what_is_expected(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_yaml_fields(text)


@pytest.mark.parametrize(
    ("name", "kind", "complaint"),
    [
        ("std_msgs/Strin", "msg", "did you mean std_msgs/msg/String"),
        ("nowhere_msgs/msg/X", "msg", "no package 'nowhere_msgs'"),
        ("String", "msg", "not of the form"),
        ("std_srvs/msg/Trigger", "srv", "not of the form package/srv/Name"),
        ("std_msgs/msg/../String", "msg", "not of the form"),
    ],
)
def test_bad_type_names(name, kind, complaint):
    with pytest.raises(InterfaceTypeError, match=complaint):
        get_interface(name, kind)


@pytest.mark.parametrize(
    ("field_type", "parsed"),
    [
        ("double", ("double", "scalar", 0)),
        ("string<10>", ("string<10>", "scalar", 0)),
        ("double[36]", ("double", "array", 36)),
        ("sequence<std_msgs/String>", ("std_msgs/String", "sequence", 0)),
        ("sequence<string<5>, 3>", ("string<5>", "sequence", 3)),
    ],
)
def test_field_types(field_type, parsed):
    assert parse_field_type(field_type) == parsed


# YAML folds the line breaks of Unicode, and has no way to write some control characters.
_TEXT = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(_TEXT, max_size=8), max_size=4),
    st.lists(st.floats(allow_nan=False), max_size=4),
)
def test_what_is_printed_can_be_sent_again(names, positions):
    message = JointState(name=names, position=positions)
    copy = JointState()
    set_message_fields(copy, yaml.safe_load(to_yaml(message_to_dict(message))))
    assert copy == message


def test_float32_keeps_its_value():
    message = Float32(data=0.1)
    copy = Float32()
    set_message_fields(copy, yaml.safe_load(to_yaml(message_to_dict(message))))
    assert copy == message
