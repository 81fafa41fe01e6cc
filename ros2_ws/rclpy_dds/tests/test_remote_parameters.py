"""Parameters of other nodes: the client, the events, and quality of service by parameter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.exceptions import ParameterImmutableException
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.parameter_event_handler import ParameterEventHandler
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import InvalidQosOverridesError, QoSOverridingOptions
from std_msgs.msg import String


@pytest.fixture
def server(make_node: Callable[..., Any]) -> Any:
    node = make_node("server", namespace="/robot")
    node.declare_parameter("speed", 1.5)
    node.declare_parameter("name", "arm")
    node.declare_parameter("free", 3, ParameterDescriptor(dynamic_typing=True))
    return node


def test_parameter_client(
    server: Any, make_node: Callable[..., Any], spin_until: Callable[..., None], tmp_path: Path
) -> None:
    client = AsyncParameterClient(make_node("client"), "/robot/server")
    spin_until(client.services_are_ready)
    assert client.wait_for_services(1.0)

    def result(future: Any) -> Any:
        spin_until(future.done)
        return future.result()

    assert "speed" in result(client.list_parameters(depth=1)).result.names
    assert [value.double_value for value in result(client.get_parameters(["speed"])).values] == [1.5]
    assert list(result(client.get_parameter_types(["name"])).types) == [Parameter.Type.STRING.value]
    assert result(client.describe_parameters(["free"])).descriptors[0].dynamic_typing
    changes = [Parameter("speed", value=2.5), Parameter("name", value=7).to_parameter_msg()]
    assert [entry.successful for entry in result(client.set_parameters(changes)).results] == [True, False]
    changes[0] = Parameter("speed", value=3.5)
    assert not result(client.set_parameters_atomically(changes)).result.successful
    assert server.get_parameter("speed").value == 2.5
    done: list[Any] = []
    result(client.delete_parameters(["free"], callback=done.append))
    assert len(done) == 1 and not server.has_parameter("free")
    path = tmp_path / "parameters.yaml"
    path.write_text("/robot/server:\n  ros__parameters:\n    speed: 4.5\n")
    assert result(client.load_parameter_file(str(path))).results[0].successful
    assert server.get_parameter("speed").value == 4.5
    assert result(client.load_parameter_file_atomically(str(path))).result.successful


def test_parameter_events(server: Any, make_node: Callable[..., Any], spin_until: Callable[..., None]) -> None:
    handler = ParameterEventHandler(make_node("watcher", namespace="/robot"))
    speeds: list[float] = []
    events: list[Any] = []
    handle = handler.add_parameter_callback("speed", "server", lambda entry: speeds.append(entry.value.double_value))
    handler.add_parameter_callback("speed", "/other", lambda entry: speeds.append(-1.0))
    every = handler.add_parameter_event_callback(events.append)
    spin_until(lambda: handler.parameter_event_subscription.get_publisher_count() >= 2)
    server.set_parameters([Parameter("speed", value=9.0)])
    spin_until(lambda: speeds)
    handler.remove_parameter_callback(handle)
    server.set_parameters([Parameter("speed", value=10.0), Parameter("name", value="hand")])
    spin_until(
        lambda: any(entry.value.string_value == "hand" for event in events for entry in event.changed_parameters)
    )
    assert speeds == [9.0]
    handler.remove_parameter_event_callback(every)
    with pytest.raises(RuntimeError, match="doesn't exist"):
        handler.remove_parameter_callback(handle)
    handler.destroy()


def test_quality_of_service_by_parameter(make_node: Callable[..., Any]) -> None:
    prefix = "qos_overrides./chatter.publisher"
    node = make_node(
        "tunable",
        parameter_overrides=[
            Parameter(f"{prefix}.depth", value=7),
            Parameter(f"{prefix}.reliability", value="best_effort"),
            Parameter(f"{prefix}_second.lifespan", value=1000),
        ],
    )
    profile = QoSProfile(depth=1)
    publisher = node.create_publisher(
        String, "chatter", profile, qos_overriding_options=QoSOverridingOptions.with_default_policies()
    )
    assert publisher.qos_profile.depth == 7
    assert publisher.qos_profile.reliability is ReliabilityPolicy.BEST_EFFORT
    assert profile.depth == 1
    with pytest.raises(ParameterImmutableException):
        node.undeclare_parameter(f"{prefix}.depth")
    again = node.create_publisher(
        String, "chatter", 2, qos_overriding_options=QoSOverridingOptions([QoSPolicyKind.DEPTH])
    )
    assert again.qos_profile.depth == 7
    second = QoSOverridingOptions([QoSPolicyKind.LIFESPAN], entity_id="second")
    assert node.create_publisher(String, "chatter", 1, qos_overriding_options=second).qos_profile.lifespan.nanoseconds
    refusing = QoSOverridingOptions(
        [QoSPolicyKind.DEPTH, QoSPolicyKind.LIFESPAN],
        callback=lambda profile: SetParametersResult(successful=False, reason="too deep"),
    )
    with pytest.raises(InvalidQosOverridesError, match="too deep"):
        node.create_subscription(String, "chatter", print, 1, qos_overriding_options=refusing)
    assert not node.has_parameter("qos_overrides./chatter.subscription.lifespan")
