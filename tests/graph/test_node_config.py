"""A configuration dataclass as the ROS parameters of a real node."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from magma_common.settings.config import HIGHER, LOWER, NodeConfig, parameter
from magma_common.settings.node_config import NodeParameters
from magma_contracts.errors import ConfigError


@dataclass(frozen=True)
class Example(NodeConfig):
    rate_hz: float = parameter(10.0, "Rate in hertz.", minimum=1.0, maximum=100.0)
    count: int = parameter(3, "Count.", minimum=0)
    name: str = parameter("a", "Name.", choices=("a", "b"))
    names: tuple[str, ...] = parameter((), "Names.")
    corner_m: tuple[float, float] = parameter((0.0, 1.0), "Corner.")
    fixed: bool = parameter(False, "Fixed.", read_only=True)

    def check(self) -> None:
        if self.count > self.rate_hz:
            raise ConfigError("count exceeds rate_hz")


@pytest.fixture
def make_node(ros_domain):
    context = Context()
    rclpy.init(context=context, domain_id=ros_domain)
    nodes = []

    def make(*arguments):
        node = Node(
            "example",
            context=context,
            cli_args=["--ros-args", *arguments] if arguments else None,
            automatically_declare_parameters_from_overrides=True,
        )
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()
    context.try_shutdown()


def given(*pairs):
    return [word for pair in pairs for word in ("-p", pair)]


def test_defaults_are_declared_with_description_and_range(make_node):
    node = make_node()
    assert NodeParameters(node, Example).config == Example()
    assert node.get_parameter("corner_m").value == [0.0, 1.0] or tuple(node.get_parameter("corner_m").value) == (0, 1)
    descriptor = node.describe_parameter("rate_hz")
    assert descriptor.description == "Rate in hertz."
    assert (descriptor.floating_point_range[0].from_value, descriptor.floating_point_range[0].to_value) == (1.0, 100.0)
    assert node.describe_parameter("fixed").read_only


def test_values_from_the_command_line(make_node):
    node = make_node(*given("rate_hz:=20", "corner_m:=[1, 2]", "name:=b", "fixed:=true", "names:=['x', 'y']"))
    config = NodeParameters(node, Example).config
    assert config == Example(rate_hz=20.0, corner_m=(1.0, 2.0), name="b", fixed=True, names=("x", "y"))
    assert node.get_parameter("rate_hz").value == 20.0


@pytest.mark.parametrize(
    ("pair", "text"),
    [
        ("rate:=1.0", "node example: unknown parameter rate"),
        ("rate_hz:=0.1", "rate_hz must be at least 1.0"),
        ("count:=1.5", "count takes a int"),
        ("name:=c", "name must be one of a, b"),
        ("count:=11", "count exceeds rate_hz"),
    ],
)
def test_what_is_not_allowed_stops_the_node(make_node, pair, text):
    with pytest.raises(ConfigError, match=text):
        NodeParameters(make_node(*given(pair)), Example)


def test_use_sim_time_is_no_stranger(make_node):
    assert NodeParameters(make_node(*given("use_sim_time:=true")), Example).config == Example()


def test_setting_while_running(make_node):
    node = make_node()
    seen = []
    parameters = NodeParameters(node, Example, seen.append)
    (result,) = node.set_parameters([Parameter("rate_hz", value=5.0)])
    assert result.successful and parameters.config.rate_hz == 5.0 and seen == [parameters.config]
    (result,) = node.set_parameters([Parameter("count", value=9)])
    assert not result.successful and "count exceeds rate_hz" in result.reason
    (result,) = node.set_parameters([Parameter("name", value="c")])
    assert not result.successful and "one of a, b" in result.reason
    (result,) = node.set_parameters([Parameter("fixed", value=True)])
    assert not result.successful
    assert parameters.config == Example(rate_hz=5.0)


@dataclass(frozen=True)
class Limits(NodeConfig):
    speed_m_s: float = parameter(1.0, "Limit.", tighter=LOWER)
    lowest_m: tuple[float, float] = parameter((0.0, 0.0), "Limit.", tighter=HIGHER)
    mode: str = parameter("a", "No limit.")


@pytest.mark.parametrize("works", [False, True], ids=["at rest", "at work"])
def test_limits_of_a_node_that_can_be_brought_to_rest(make_node, works):
    node = make_node()
    seen = []
    parameters = NodeParameters(node, Limits, seen.append, lambda: "bring it to rest first" if works else "")
    for name, value in (("speed_m_s", 2.0), ("lowest_m", [0.1, -0.1]), ("mode", "b"), ("use_sim_time", True)):
        (result,) = node.set_parameters([Parameter(name, value=value)])
        assert result.successful is not works
        if works:
            assert name in result.reason and "bring it to rest first" in result.reason
    assert (len(seen) == 0) is works and node.get_parameter("use_sim_time").value is not works
    for name, value in (("speed_m_s", 0.5), ("lowest_m", [0.2, 0.0])):
        assert node.set_parameters([Parameter(name, value=value)])[0].successful
    assert (parameters.config.speed_m_s, parameters.config.lowest_m[0]) == (0.5, 0.2)
    # All or nothing: one that loosens takes the others with it.
    both = node.set_parameters_atomically([Parameter("speed_m_s", value=0.1), Parameter("lowest_m", value=[0.0, 0.0])])
    assert both.successful is not works and parameters.config.speed_m_s == (0.5 if works else 0.1)


def test_limits_of_a_node_that_always_works_are_tightened_only(make_node):
    node = make_node()
    parameters = NodeParameters(node, Limits)
    assert not node.set_parameters([Parameter("speed_m_s", value=1.1)])[0].successful
    assert node.set_parameters([Parameter("speed_m_s", value=0.9)])[0].successful
    assert node.set_parameters([Parameter("mode", value="b")])[0].successful
    assert parameters.config == Limits(speed_m_s=0.9, mode="b")
