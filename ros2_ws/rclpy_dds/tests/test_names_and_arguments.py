"""Names, remappings and ``--ros-args``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rclpy.arguments import node_matches, parse_arguments, remove_ros_args
from rclpy.exceptions import (
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidServiceNameException,
    InvalidTopicNameException,
    UnknownROSArgsError,
)
from rclpy.expand_topic_name import expand_topic_name
from rclpy.impl.logging_severity import LoggingSeverity
from rclpy.topic_or_service_is_hidden import topic_or_service_is_hidden
from rclpy.validate_namespace import validate_namespace
from rclpy.validate_node_name import validate_node_name
from rclpy.validate_topic_name import validate_topic_name
from std_msgs.msg import String
from std_srvs.srv import Trigger


@pytest.mark.parametrize("name", ["a", "_a", "A9_b"])
def test_node_names(name: str) -> None:
    assert validate_node_name(name)


@pytest.mark.parametrize(("name", "index"), [("", 0), ("9a", 0), ("a-b", 1), ("a/b", 1), ("a" * 256, 255)])
def test_bad_node_names(name: str, index: int) -> None:
    with pytest.raises(InvalidNodeNameException) as caught:
        validate_node_name(name)
    assert caught.value.invalid_index == index


@pytest.mark.parametrize("name", ["", "a", "/a/", "//a", "/9", "/a b", "/" + "a" * 250])
def test_bad_namespaces(name: str) -> None:
    with pytest.raises(InvalidNamespaceException):
        validate_namespace(name)


@pytest.mark.parametrize("name", ["a", "/a/b", "~", "~/a", "{node}/a", "a_b"])
def test_topic_names(name: str) -> None:
    assert validate_topic_name(name)


@pytest.mark.parametrize("name", ["", "9", "a/", "a b", "a~", "~a", "a//b", "/a/9", "{a", "{a-b}", "a__b"])
def test_bad_topic_names(name: str) -> None:
    with pytest.raises(InvalidTopicNameException):
        validate_topic_name(name)
    with pytest.raises(InvalidServiceNameException):
        validate_topic_name(name, is_service=True)


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("a", "/ns/a"),
        ("/a", "/a"),
        ("~", "/ns/node"),
        ("~/a/b", "/ns/node/a/b"),
        ("{node}/a", "/ns/node/a"),
        ("/x{ns}/a", "/x/ns/a"),
    ],
)
def test_expansion(name: str, full: str) -> None:
    assert expand_topic_name(name, "node", "/ns") == full
    assert expand_topic_name("a", "node", "/") == "/a"


def test_hidden_names() -> None:
    assert topic_or_service_is_hidden("/a/_b") and not topic_or_service_is_hidden("/a/b_")


def test_remove_ros_args() -> None:
    assert remove_ros_args(["x", "--ros-args", "-r", "a:=b", "--", "y", "--ros-args"]) == ["x", "y"]


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("/**", "/a/b", True),
        ("/*", "/a", True),
        ("/*", "/a/b", False),
        ("/a/*", "/a/b", True),
        ("/**/b", "/a/c/b", True),
        ("/**/b", "/b", True),
        ("/a", "/ab", False),
        ("/cam*", "/camera", True),
    ],
)
def test_node_patterns(pattern: str, name: str, matches: bool) -> None:
    assert node_matches(pattern, name) is matches


def test_parameter_values_are_yaml() -> None:
    values = ["1", "1.5", "1e3", "true", "'1'", "text", "[1, 2]", "[a, b]", "2020-01-01", "-2"]
    arguments = ["--ros-args"]
    for index, value in enumerate(values):
        arguments += ["-p", f"p{index}:={value}"]
    parsed = parse_arguments(arguments)
    expected = [1, 1.5, 1000.0, True, "1", "text", [1, 2], ["a", "b"], "2020-01-01", -2]
    assert [entry.value for entry in parsed.parameters] == expected
    assert isinstance(parsed.parameters[2].value, float)


def test_parameter_file(tmp_path: Path) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text(
        """
/**:
  ros__parameters:
    everywhere: 1
    group: {inner: 2.5, deep: {er: x}}
camera:
  ros__parameters:
    rate: 30
/ns:
  camera:
    ros__parameters: {rate: 5}
"""
    )
    parsed = parse_arguments(["--ros-args", "--params-file", str(path), "-p", "camera:rate:=7"])
    assert [(entry.node, entry.name, entry.value) for entry in parsed.parameters] == [
        ("/**", "everywhere", 1),
        ("/**", "group.inner", 2.5),
        ("/**", "group.deep.er", "x"),
        ("/camera", "rate", 30),
        ("/ns/camera", "rate", 5),
        ("/**/camera", "rate", 7),
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nonsense"], "nonsense"),
        (["-r"], "needs a value"),
        (["-r", "a=b"], "not a remapping"),
        (["-r", "__ns:=a"], "namespace"),
        (["-r", "__node:=a-b"], "node name"),
        (["-p", "a"], "not a parameter"),
        (["-p", "a:=[1, x]"], "one type"),
        (["-p", "a:={"], "not valid YAML"),
        (["--params-file", "/no/such/file"], "/no/such/file"),
        (["--log-level", "loud"], "loud"),
    ],
)
def test_bad_arguments(arguments: list[str], says: str) -> None:
    with pytest.raises(UnknownROSArgsError, match=says):
        parse_arguments(["--ros-args", *arguments])


def test_log_levels() -> None:
    parsed = parse_arguments(["--ros-args", "--log-level", "debug", "--log-level", "a.b:=error"])
    assert parsed.default_log_level is LoggingSeverity.DEBUG
    assert parsed.log_levels == {"a.b": LoggingSeverity.ERROR}


def test_remaps_of_a_node(make_node: Callable[..., Any]) -> None:
    arguments = ["-r", "__ns:=/robot", "-r", "chatter:=/words", "-r", "~/go:=run", "-r", "other:chatter:=/no"]
    node = make_node("talker", cli_args=[*arguments, "-r", "__node:=speaker"])
    assert node.get_fully_qualified_name() == "/robot/speaker"
    assert node.get_logger().name == "robot.speaker"
    assert node.create_publisher(String, "chatter", 1).topic_name == "/words"
    assert node.create_subscription(String, "/chatter", print, 1).topic_name == "/chatter"
    assert node.create_service(Trigger, "~/go", print).service_name == "/robot/run"
    assert node.resolve_topic_name("chatter", only_expand=True) == "/robot/chatter"


def test_remaps_for_one_node_only(make_node: Callable[..., Any]) -> None:
    arguments = ["-r", "one:__node:=uno", "-r", "uno:a:=b", "-r", "rosservice://a:=c"]
    one, two = (make_node(name, cli_args=arguments) for name in ("one", "two"))
    assert (one.get_name(), two.get_name()) == ("uno", "two")
    assert one.resolve_topic_name("a") == "/b" and two.resolve_topic_name("a") == "/a"
    assert two.resolve_service_name("a") == "/c" and one.resolve_service_name("a") == "/b"


def test_bad_names_raise(make_node: Callable[..., Any]) -> None:
    with pytest.raises(InvalidNodeNameException):
        make_node("a-b")
    node = make_node("a")
    with pytest.raises(InvalidTopicNameException):
        node.create_publisher(String, "a b", 1)
    with pytest.raises(InvalidServiceNameException):
        node.create_client(Trigger, "a//b")
    with pytest.raises(RuntimeError, match="message type"):
        node.create_publisher(Trigger, "a", 1)
    with pytest.raises(RuntimeError, match="service type"):
        node.create_service(String, "a", print)
    with pytest.raises(TypeError):
        node.create_publisher(String, "a", "10")
    with pytest.raises(ValueError, match="depth"):
        node.create_publisher(String, "a", -1)


@pytest.mark.parametrize("text", ["[x, y]", "[1, 2.0]", "[a, 1]", "[true, off, 0]"])
def test_a_list_of_several_types_is_refused_as_by_rcl(text: str) -> None:
    with pytest.raises(UnknownROSArgsError, match=r"must all be of one type .* unless they are quoted"):
        parse_arguments(["--ros-args", "-p", f"names:={text}"])


def test_names_in_a_parameter_file_are_never_values(tmp_path: Path) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text("on:\n  ros__parameters:\n    y: 1\n    no: {null: 2, 3: x}\n")
    parsed = parse_arguments(["--ros-args", "--params-file", str(path)])
    found = {(entry.node, entry.name): entry.value for entry in parsed.parameters}
    assert found == {("/on", "y"): 1, ("/on", "no.null"): 2, ("/on", "no.3"): "x"}
