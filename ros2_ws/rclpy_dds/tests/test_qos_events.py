"""Quality-of-service events, and what lifespan, deadline and liveliness do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from rclpy.duration import Duration
from rclpy.event_handler import IncompatibleTypeInfo, PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool, String

from rclpy_dds._dds.graph import NodeInfo

TOPIC = "events"


def milliseconds(value: int) -> Duration:
    return Duration(nanoseconds=value * 1_000_000)


def test_matched(make_node: Callable[..., Any], spin_until: Callable[..., None]) -> None:
    node = make_node("matching")
    seen: dict[str, list[Any]] = {"publisher": [], "subscription": []}
    publisher = node.create_publisher(
        String, TOPIC, 1, event_callbacks=PublisherEventCallbacks(matched=seen["publisher"].append)
    )
    node.create_subscription(
        String, TOPIC, print, 1, event_callbacks=SubscriptionEventCallbacks(matched=seen["subscription"].append)
    )
    assert publisher.get_subscription_count() == 1  # asking does not use up the event
    spin_until(lambda: all(seen.values()))
    assert seen["publisher"][0].current_count == seen["subscription"][0].current_count_change == 1
    node.destroy_publisher(publisher)
    spin_until(lambda: len(seen["subscription"]) == 2)
    assert seen["subscription"][1].current_count == 0 and seen["subscription"][1].current_count_change == -1


def test_deadline_and_liveliness(make_node: Callable[..., Any], spin_until: Callable[..., None]) -> None:
    node = make_node("timely")
    profile = QoSProfile(
        depth=1,
        deadline=milliseconds(50),
        liveliness=LivelinessPolicy.MANUAL_BY_TOPIC,
        liveliness_lease_duration=milliseconds(100),
    )
    seen: dict[str, list[Any]] = {name: [] for name in ("offered", "lost", "requested", "changed")}

    async def changed(information: Any) -> None:
        seen["changed"].append(information)

    publisher = node.create_publisher(
        String,
        TOPIC,
        profile,
        event_callbacks=PublisherEventCallbacks(deadline=seen["offered"].append, liveliness=seen["lost"].append),
    )
    node.create_subscription(
        String,
        TOPIC,
        lambda message: None,
        profile,
        event_callbacks=SubscriptionEventCallbacks(deadline=seen["requested"].append, liveliness=changed),
    )
    publisher.publish(String())
    spin_until(lambda: seen["offered"] and seen["requested"] and seen["lost"] and len(seen["changed"]) >= 2)
    assert seen["changed"][0].alive_count == 1
    assert seen["changed"][1].not_alive_count == 1
    lost = len(seen["changed"])
    publisher.publish(String())
    # On a busy machine it may be lost again before anybody looks.
    spin_until(lambda: any(event.alive_count == 1 for event in seen["changed"][lost:]))


def test_lifespan_drops_old_messages(make_node: Callable[..., Any], spin_until: Callable[..., None]) -> None:
    node = make_node("mortal")
    latched = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    short_lived = latched.copy()
    short_lived.lifespan = milliseconds(100)
    publisher = node.create_publisher(String, TOPIC, short_lived)
    publisher.publish(String(data="old"))
    time.sleep(0.15)
    publisher.publish(String(data="new"))
    received: list[str] = []
    node.create_subscription(String, TOPIC, lambda message: received.append(message.data), latched)

    def heard() -> bool:
        # Again and again: on a busy machine one may outlive its 0.1 s before it is taken.
        publisher.publish(String(data="new"))
        return bool(received)

    spin_until(heard)
    assert set(received) == {"new"}


def test_incompatible_qos_callbacks(make_node: Callable[..., Any], spin_until: Callable[..., None]) -> None:
    node = make_node("mismatched")
    seen: dict[str, list[Any]] = {"offered": [], "requested": []}
    node.create_publisher(
        String,
        TOPIC,
        QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
        event_callbacks=PublisherEventCallbacks(incompatible_qos=seen["offered"].append),
    )
    node.create_subscription(
        String, TOPIC, print, 1, event_callbacks=SubscriptionEventCallbacks(incompatible_qos=seen["requested"].append)
    )
    spin_until(lambda: seen["offered"] and seen["requested"])
    assert seen["offered"][0].last_policy_kind is seen["requested"][0].last_policy_kind is QoSPolicyKind.RELIABILITY


def test_incompatible_qos_is_said_once_and_names_both_sides(
    make_node: Callable[..., Any], context: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    one, other = make_node("careless"), make_node("strict")
    one.create_publisher(String, TOPIC, QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    other.create_subscription(String, TOPIC, print, 1)
    silent = SubscriptionEventCallbacks(use_default_callbacks=False)
    other.create_subscription(String, TOPIC, print, 1, event_callbacks=silent)
    for _ in range(3):
        context.maintain()
    logged = [line for line in capfd.readouterr().err.splitlines() if "Incompatible QoS" in line]
    # The publisher warns of the silent subscription as well.
    assert len(logged) == 2
    assert "/careless (best_effort, volatile)" in logged[0] and "/strict (reliable, volatile)" in logged[0]


def test_different_types_on_a_topic(
    make_node: Callable[..., Any],
    context: Any,
    spin_until: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    sender, receiver = make_node("sender"), make_node("receiver")
    seen: list[Any] = []
    sender.create_publisher(Bool, TOPIC, 1, event_callbacks=PublisherEventCallbacks(incompatible_type=seen.append))
    context.maintain()
    receiver.create_subscription(String, TOPIC, print, 1)
    for _ in range(2):
        context.maintain()
    spin_until(lambda: seen)
    assert seen == [IncompatibleTypeInfo(1, 1)]
    logged = capfd.readouterr().err
    kinds = "std_msgs/msg/Bool (publisher of /sender), std_msgs/msg/String (subscription of /receiver)"
    assert logged.count(f"Topic '/{TOPIC}' has different types, between which no messages pass: {kinds}.") == 1


def test_nodes_on_fast_dds_are_named_once(
    make_node: Callable[..., Any], context: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    make_node("ours")
    # There is no Fast DDS in a plain environment: the participants are only said to be there.
    stranger = bytes.fromhex("010f0102030405060708090a000001c1")
    monkeypatch.setattr(context.graph, "_participants", lambda: {stranger})
    context.graph._remote[stranger] = (NodeInfo("/robot", "driver", frozenset(), frozenset()),)
    for _ in range(2):
        context.maintain()
    assert (
        capfd.readouterr().err.count(
            "eProsima Fast DDS (rmw_fastrtps_cpp, the default of ROS 2) are in the graph: /robot/driver"
        )
        == 1
    )
