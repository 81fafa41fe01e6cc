"""Parameters: declaring, setting, rules, callbacks, services, events, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterEvent,
    SetParametersResult,
)
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterAlreadyDeclaredException,
    ParameterImmutableException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)
from rclpy.parameter import Parameter, get_parameter_value, parameter_dict_from_yaml_file, parameter_value_to_python
from type_description_interfaces.srv import GetTypeDescription


@pytest.fixture
def node(make_node: Callable[..., Any]) -> Any:
    return make_node("node")


@pytest.mark.parametrize(
    "value", [True, 1, 1.5, "text", [b"\x01"], [True, False], [1, 2], [1.0, 2.0], ["a", "b"]], ids=repr
)
def test_types_round_trip(value: Any) -> None:
    parameter = Parameter("p", value=value)
    assert Parameter.from_parameter_msg(parameter.to_parameter_msg()) == parameter
    assert parameter_value_to_python(parameter.get_parameter_value()) == value


def test_type_and_value_must_agree() -> None:
    with pytest.raises(ValueError, match="do not agree"):
        Parameter("p", Parameter.Type.INTEGER, 1.0)
    with pytest.raises(ValueError, match="do not agree"):
        Parameter("p", Parameter.Type.INTEGER, True)
    with pytest.raises(TypeError):
        Parameter("p", value=[1, "a"])


def test_values_from_a_command_line() -> None:
    assert [parameter_value_to_python(get_parameter_value(text)) for text in ("1", "a", "[1.0]", "true", "")] == [
        1,
        "a",
        [1.0],
        True,
        "",
    ]


def test_declaring(node: Any) -> None:
    assert node.declare_parameter("a", 1).value == 1
    assert node.get_parameter("a").type_ is Parameter.Type.INTEGER
    with pytest.raises(ParameterAlreadyDeclaredException):
        node.declare_parameter("a", 2)
    with pytest.raises(ParameterNotDeclaredException):
        node.get_parameter("b")
    declared = node.declare_parameters("ns", [("x", 1.0), ("y", "s", ParameterDescriptor(description="d"))])
    assert [parameter.name for parameter in declared] == ["ns.x", "ns.y"]
    assert {name: parameter.value for name, parameter in node.get_parameters_by_prefix("ns").items()} == {
        "x": 1.0,
        "y": "s",
    }
    with pytest.raises(ValueError, match="PARAMETER_NOT_SET"):
        node.declare_parameter("c", None, ParameterDescriptor())
    node.declare_parameter("typed", Parameter.Type.STRING)
    with pytest.raises(ParameterUninitializedException):
        node.get_parameter("typed")
    assert node.get_parameter_or("typed", Parameter("typed", value="x")).value == "x"
    node.undeclare_parameter("a")
    assert not node.has_parameter("a")


def test_static_types(node: Any) -> None:
    node.declare_parameter("a", 1)
    (result,) = node.set_parameters([Parameter("a", value="text")])
    assert not result.successful and "Wrong parameter type" in result.reason
    (result,) = node.set_parameters([Parameter("a", value=None)])
    assert not result.successful
    node.declare_parameter("b", 1, ParameterDescriptor(dynamic_typing=True))
    assert node.set_parameters([Parameter("b", value="text")])[0].successful


def test_undeclared(make_node: Callable[..., Any], node: Any) -> None:
    with pytest.raises(ParameterNotDeclaredException):
        node.set_parameters([Parameter("x", value=1)])
    free = make_node("free", allow_undeclared_parameters=True)
    assert free.get_parameter("x").type_ is Parameter.Type.NOT_SET
    assert free.set_parameters([Parameter("x", value=1)])[0].successful
    assert free.get_parameter("x").value == 1


def test_ranges(node: Any) -> None:
    node.declare_parameter("i", 4, ParameterDescriptor(integer_range=[IntegerRange(from_value=0, to_value=9, step=2)]))
    outcomes = {value: node.set_parameters([Parameter("i", value=value)])[0].successful for value in (0, 3, 6, 9, 10)}
    assert outcomes == {0: True, 3: False, 6: True, 9: True, 10: False}
    limits = FloatingPointRange(from_value=-1.0, to_value=1.0, step=0.1)
    node.declare_parameter("f", 0.0, ParameterDescriptor(floating_point_range=[limits]))
    outcomes = {value: node.set_parameters([Parameter("f", value=value)])[0].successful for value in (0.3, 0.35, 1.1)}
    assert outcomes == {0.3: True, 0.35: False, 1.1: False}
    with pytest.raises(InvalidParameterValueException, match="out of range"):
        node.declare_parameter(
            "j", 10, ParameterDescriptor(integer_range=[IntegerRange(from_value=0, to_value=9, step=1)])
        )


def test_nan_is_outside_every_range(node: Any) -> None:
    limits = FloatingPointRange(from_value=-1.0, to_value=1.0)
    node.declare_parameter("f", 0.0, ParameterDescriptor(floating_point_range=[limits]))
    assert not node.set_parameters([Parameter("f", value=float("nan"))])[0].successful


def test_read_only(node: Any) -> None:
    node.declare_parameter("a", 1, ParameterDescriptor(read_only=True))
    (result,) = node.set_parameters([Parameter("a", value=2)])
    assert not result.successful and "read-only" in result.reason
    with pytest.raises(ParameterImmutableException):
        node.undeclare_parameter("a")


def test_atomically(node: Any) -> None:
    node.declare_parameters("", [("a", 1), ("b", 1)])
    result = node.set_parameters_atomically([Parameter("a", value=2), Parameter("b", value="x")])
    assert not result.successful and node.get_parameter("a").value == 1


def test_callbacks(node: Any) -> None:
    node.declare_parameter("a", 1)
    seen: list[Any] = []

    def before(parameters: list[Parameter]) -> list[Parameter]:
        return [Parameter(entry.name, value=entry.value * 2) for entry in parameters]

    def check(parameters: list[Parameter]) -> Any:
        return SetParametersResult(successful=parameters[0].value < 10, reason="too large")

    node.add_pre_set_parameters_callback(before)
    node.add_on_set_parameters_callback(check)
    node.add_post_set_parameters_callback(lambda parameters: seen.extend(entry.value for entry in parameters))
    assert node.set_parameters([Parameter("a", value=3)])[0].successful
    assert node.set_parameters([Parameter("a", value=5)])[0].reason == "too large"
    assert node.get_parameter("a").value == 6 and seen == [6]
    node.remove_on_set_parameters_callback(check)
    assert node.set_parameters([Parameter("a", value=5)])[0].successful
    with pytest.raises(TypeError, match="SetParametersResult"):
        node.add_on_set_parameters_callback(lambda parameters: True)
        node.set_parameters([Parameter("a", value=5)])


def test_list(node: Any) -> None:
    node.declare_parameters("", [("a", 1), ("g.b", 1), ("g.h.c", 1)])
    own = {"a", "g.b", "g.h.c"}

    def listed(prefixes: list[str], depth: int) -> set[str]:
        return set(node.list_parameters(prefixes, depth).names) & own

    assert listed([], 0) == own
    assert listed([], 1) == {"a"}
    assert listed(["g"], 1) == {"g.b"} and listed(["g"], 0) == {"g.b", "g.h.c"}
    assert set(node.list_parameters(["g"], 0).prefixes) == {"g", "g.h"}


def test_overrides(make_node: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("/**:\n  ros__parameters: {a: 2, b: 3, empty: []}\ncam:\n  ros__parameters: {b: 4}\n")
    arguments = ["--params-file", str(path), "-p", "c:=5"]
    node = make_node("cam", cli_args=arguments)
    node.declare_parameters("", [("a", 1), ("b", 1), ("c", 1), ("empty", ["x"])])
    assert [node.get_parameter(name).value for name in ("a", "b", "c", "empty")] == [2, 4, 5, []]
    assert node.get_parameter("empty").type_ is Parameter.Type.STRING_ARRAY
    other = make_node("lidar", cli_args=arguments, automatically_declare_parameters_from_overrides=True)
    assert other.get_parameter("b").value == 3
    with pytest.raises(InvalidParameterTypeException):
        make_node("cam", cli_args=arguments).declare_parameter("a", "text")
    loaded = parameter_dict_from_yaml_file(str(path), use_wildcard=True, target_nodes=["/cam"])
    assert {name: entry.value.integer_value for name, entry in loaded.items() if name != "empty"} == {"a": 2, "b": 4}


def test_services(make_node: Callable[..., Any], node: Any, executor: Any) -> None:
    node.declare_parameter("a", 1, ParameterDescriptor(description="some number"))
    asking = make_node("asking")

    def ask(kind: type, name: str, **fields: Any) -> Any:
        client = asking.create_client(kind, f"/node/{name}")
        assert client.wait_for_service(10.0)
        future = client.call_async(kind.Request(**fields))
        executor.spin_until_future_complete(future, 10.0)
        return future.result()

    assert ask(GetParameters, "get_parameters", names=["a"]).values[0].integer_value == 1
    assert ask(GetParameters, "get_parameters", names=["a", "nothing"]).values == []
    assert list(ask(GetParameterTypes, "get_parameter_types", names=["a"]).types) == [2]
    assert ask(DescribeParameters, "describe_parameters", names=["a"]).descriptors[0].description == "some number"
    assert set(ask(ListParameters, "list_parameters").result.names) >= {"a", "use_sim_time"}
    good, bad = Parameter("a", value=2).to_parameter_msg(), Parameter("nothing", value=2).to_parameter_msg()
    results = ask(SetParameters, "set_parameters", parameters=[good, bad]).results
    assert [result.successful for result in results] == [True, False]
    assert not ask(SetParametersAtomically, "set_parameters_atomically", parameters=[good, bad]).result.successful
    good.value.type = 77
    assert not ask(SetParameters, "set_parameters", parameters=[good]).results[0].successful
    described = ask(GetTypeDescription, "get_type_description", type_name="std_msgs/msg/Header")
    assert described.successful
    assert described.type_description.referenced_type_descriptions[0].type_name == "builtin_interfaces/msg/Time"
    assert not ask(GetTypeDescription, "get_type_description", type_name="no/msg/Thing").successful


def test_events(make_node: Callable[..., Any], node: Any, spin_until: Callable[..., None]) -> None:
    events: list[Any] = []
    listening = make_node("listening")
    subscription = listening.create_subscription(ParameterEvent, "/parameter_events", events.append, 100)
    spin_until(lambda: subscription.get_publisher_count() == 2)
    node.declare_parameter("a", 1)
    node.set_parameters([Parameter("a", value=2)])
    spin_until(lambda: len(events) >= 2)
    assert [(event.node, len(event.new_parameters), len(event.changed_parameters)) for event in events[-2:]] == [
        ("/node", 1, 0),
        ("/node", 0, 1),
    ]


def test_derived_classes_may_use_any_name(make_node: Callable[..., Any], context: Any) -> None:
    """Attributes and methods of a derived class do not collide with internals."""
    from rclpy.node import Node

    class Mine(Node):
        def __init__(self) -> None:
            super().__init__("mine", context=context)
            for name in ("_lock", "_name", "_timers", "_services", "_remaps", "_set", "_store", "_rates", "_destroyed"):
                setattr(self, name, "mine")
            self.declare_parameter("a", 1)

        def _resolve(self) -> None:
            raise AssertionError("called")

        _register = _set_checked = _set_all = _profile = _adapted = _resolve

    mine = Mine()
    assert mine.set_parameters([Parameter("a", value=2)])[0].successful
    mine.create_timer(1.0, print)
    mine.destroy_node()
