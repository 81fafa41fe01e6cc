"""Profiles, and which publishers match which subscriptions."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from rclpy.duration import Duration
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    InvalidQoSProfileException,
    LivelinessPolicy,
    QoSCompatibility,
    QoSPresetProfiles,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_profile_sensor_data,
)
from std_msgs.msg import String


def test_profiles() -> None:
    assert QoSProfile(depth=3).history is HistoryPolicy.KEEP_LAST
    assert QoSProfile(depth=3).reliability is ReliabilityPolicy.RELIABLE
    assert qos_profile_sensor_data.reliability is ReliabilityPolicy.BEST_EFFORT
    assert QoSProfile(depth=3) == QoSProfile(depth=3) != QoSProfile(depth=4)
    assert QoSPresetProfiles.get_from_short_key("sensor_data") == qos_profile_sensor_data
    assert ReliabilityPolicy.get_from_short_key("best_effort") == ReliabilityPolicy.BEST_EFFORT
    with pytest.raises(InvalidQoSProfileException):
        QoSProfile()
    with pytest.raises(InvalidQoSProfileException):
        QoSProfile(history=HistoryPolicy.KEEP_LAST)
    with pytest.raises(ValueError, match="depth"):
        QoSProfile(depth=-1)
    with pytest.raises(AssertionError, match="deadline"):
        QoSProfile(depth=1, deadline=1.0)
    with pytest.raises(AssertionError, match="nonsense"):
        QoSProfile(depth=1, nonsense=1)


def test_compatibility() -> None:
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    assert qos_check_compatible(QoSProfile(depth=1), best_effort)[0] is QoSCompatibility.OK
    result = qos_check_compatible(best_effort, QoSProfile(depth=1))
    assert result.compatibility is QoSCompatibility.ERROR and "Best effort" in result.reason


REMOTE = """
import sys
import rclpy
from rclpy.qos import QoSProfile
from std_msgs.msg import String
rclpy.init()
node = rclpy.create_node("remote")
publishers = []
for reliability in (1, 2):
    for durability in (1, 2):
        profile = QoSProfile(depth=1, reliability=reliability, durability=durability)
        publisher = node.create_publisher(String, f"t_{reliability}_{durability}", profile)
        publisher.publish(String(data="first"))
        publishers.append(publisher)
print("READY")
for line in sys.stdin:
    for publisher in publishers:
        publisher.publish(String(data=line.strip()))
"""


def test_all_combinations_with_another_process(
    make_node: Callable[..., Any], spin_until: Callable[..., None], start_peer: Callable[..., Any]
) -> None:
    """A subscription matches unless it asks for more than is offered; only latched pairs get the earlier sample."""
    peer = start_peer(REMOTE)
    peer.wait_for("READY")
    node = make_node("local")
    received: dict[tuple[int, ...], list[str]] = {}
    subscriptions = {}
    for combination in itertools.product((1, 2), repeat=4):
        offered_reliability, offered_durability, reliability, durability = combination
        received[combination] = []
        subscriptions[combination] = node.create_subscription(
            String,
            f"t_{offered_reliability}_{offered_durability}",
            lambda message, combination=combination: received[combination].append(message.data),
            QoSProfile(depth=5, reliability=ReliabilityPolicy(reliability), durability=DurabilityPolicy(durability)),
        )

    def matches(combination: tuple[int, ...]) -> bool:
        offered_reliability, offered_durability, reliability, durability = combination
        return offered_reliability <= reliability and offered_durability <= durability

    expected = {combination for combination in subscriptions if matches(combination)}
    spin_until(
        lambda: {key for key, entry in subscriptions.items() if entry.get_publisher_count() == 1} == expected,
        "the matches",
    )

    def everywhere() -> bool:
        # Again and again: the other side may match later than this one.
        peer.tell("second")
        return all("second" in received[key] for key in expected)

    spin_until(everywhere, "the second message")
    for key in subscriptions:
        if key not in expected:
            assert received[key] == []
    assert received[1, 1, 1, 1][0] == "first"  # reliable, transient local
    assert "first" not in received[1, 2, 1, 2]  # reliable, volatile publisher


def test_what_the_graph_tells(make_node: Callable[..., Any], wait_until: Callable[..., None]) -> None:
    profile = QoSProfile(
        depth=7,
        reliability=ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
        deadline=Duration(seconds=2),
        lifespan=Duration(seconds=3),
        liveliness=LivelinessPolicy.MANUAL_BY_TOPIC,
        liveliness_lease_duration=Duration(seconds=4),
    )
    node = make_node("local", namespace="/here")
    publisher = node.create_publisher(String, "t", profile)
    publisher.assert_liveliness()
    wait_until(lambda: node.get_publishers_info_by_topic("t"))
    (info,) = node.get_publishers_info_by_topic("t")
    assert (info.node_name, info.node_namespace, info.topic_type) == ("local", "/here", "std_msgs/msg/String")
    assert str(info.topic_type_hash).startswith("RIHS01_df668c74")
    found = info.qos_profile
    assert (found.reliability, found.durability) == (profile.reliability, profile.durability)
    assert (found.deadline, found.lifespan) == (profile.deadline, profile.lifespan)
    assert (found.liveliness, found.liveliness_lease_duration) == (profile.liveliness, Duration(seconds=4))


def test_lifespan_drops_old_messages(
    make_node: Callable[..., Any], spin_until: Callable[..., None], wait_until: Callable[..., None]
) -> None:
    node = make_node("local")
    received: list[str] = []
    lifespan = QoSProfile(depth=5, lifespan=Duration(seconds=0.2))
    publisher = node.create_publisher(String, "t", lifespan)
    node.create_subscription(String, "t", lambda message: received.append(message.data), 5)
    wait_until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(String(data="old"))
    time.sleep(0.5)

    def heard() -> bool:
        # Again and again: on a busy machine one may outlive its 0.2 s before it is taken.
        publisher.publish(String(data="new"))
        return bool(received)

    spin_until(heard)
    assert set(received) == {"new"}


def test_best_available_takes_what_is_offered(make_node: Callable[..., Any], wait_until: Callable[..., None]) -> None:
    node = make_node("local")
    publisher = node.create_publisher(String, "t", qos_profile_sensor_data)
    wait_until(lambda: node.count_publishers("t") == 1)
    node.create_subscription(String, "t", print, QoSPresetProfiles.BEST_AVAILABLE.value)
    wait_until(lambda: publisher.get_subscription_count() == 1, "a match")
