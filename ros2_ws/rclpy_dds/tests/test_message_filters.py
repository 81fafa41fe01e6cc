"""Message filters: exact and approximate synchronisation, and the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from message_filters import ApproximateTimeSynchronizer, Cache, SimpleFilter, Subscriber, TimeSynchronizer
from rclpy.duration import Duration
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import String


def image(stamp_ms: int) -> Any:
    message = Image()
    message.header.stamp = Time(nanoseconds=stamp_ms * 1_000_000).to_msg()
    return message


def milliseconds(message: Any) -> int:
    return round(Time.from_msg(message.header.stamp).nanoseconds / 1e6)


@pytest.fixture
def collect() -> Callable[..., Any]:
    """Make inputs, a synchronizer of them, and the list of sets that it passes on."""

    def make(kind: type, *arguments: Any, inputs: int = 2, **options: Any) -> tuple[list[SimpleFilter], list, Any]:
        filters = [SimpleFilter() for _ in range(inputs)]
        sets: list[tuple[int, ...]] = []
        synchronizer = kind(filters, *arguments, **options)
        synchronizer.registerCallback(lambda *messages: sets.append(tuple(map(milliseconds, messages))))
        return filters, sets, synchronizer

    return make


def test_exact_sets_in_order(collect: Callable[..., Any]) -> None:
    (left, right), sets, synchronizer = collect(TimeSynchronizer, 3)
    for stamp in (10, 20, 30):
        left.signalMessage(image(stamp))
    right.signalMessage(image(20))
    right.signalMessage(image(10))  # older than a set that was passed on
    right.signalMessage(image(30))
    assert sets == [(20, 20), (30, 30)]
    assert all(len(queue) <= 1 for queue in synchronizer.queues)


def test_queues_are_bounded(collect: Callable[..., Any]) -> None:
    (left, right), sets, synchronizer = collect(TimeSynchronizer, 3)
    for stamp in range(100):
        left.signalMessage(image(stamp))
    assert len(synchronizer.queues[0]) == 3
    right.signalMessage(image(10))
    right.signalMessage(image(98))
    assert sets == [(98, 98)]


def test_approximate_sets(collect: Callable[..., Any]) -> None:
    """Three cameras at 30 Hz that are out of step by some milliseconds; one loses a frame."""
    filters, sets, _ = collect(ApproximateTimeSynchronizer, 5, 0.015, inputs=3)
    for index in range(6):
        for camera, offset in ((0, 0), (1, 6), (2, 11)):
            if (index, camera) != (2, 1):
                filters[camera].signalMessage(image(100 + 33 * index + offset))
    assert sets == [(stamp, stamp + 6, stamp + 11) for stamp in (100, 133, 199, 232, 265)]


def test_approximate_takes_the_closest_and_minds_all_pairs(collect: Callable[..., Any]) -> None:
    (left, right), sets, _ = collect(ApproximateTimeSynchronizer, 5, Duration(nanoseconds=10_000_000))
    for stamp in (90, 97, 105):
        left.signalMessage(image(stamp))
    right.signalMessage(image(99))
    assert sets == [(97, 99)]
    filters, sets, _ = collect(ApproximateTimeSynchronizer, 5, 0.01, inputs=3)
    filters[0].signalMessage(image(92))
    filters[1].signalMessage(image(108))
    filters[2].signalMessage(image(100))  # near both, but these are 16 ms apart
    assert sets == []


def test_messages_without_header(collect: Callable[..., Any]) -> None:
    (left, _), _, _ = collect(ApproximateTimeSynchronizer, 5, 0.1)
    with pytest.raises(TypeError, match="allow_headerless"):
        left.signalMessage(String())
    filters = [SimpleFilter(), SimpleFilter()]
    sets: list[Any] = []
    ApproximateTimeSynchronizer(filters, 5, 10.0, allow_headerless=True).registerCallback(
        lambda *messages: sets.append(messages)
    )
    filters[0].signalMessage(String(data="a"))
    filters[1].signalMessage(String(data="b"))
    assert [[message.data for message in group] for group in sets] == [["a", "b"]]


def test_cache() -> None:
    source = SimpleFilter()
    cache = Cache(source, 3)
    passed: list[Any] = []
    cache.registerCallback(lambda message, extra: passed.append(extra), "extra")
    assert cache.getLast() is None and cache.getLatestTime() is None and cache.getOldestTime() is None
    for stamp in (10, 40, 20, 30):
        source.signalMessage(image(stamp))

    def at(stamp_ms: int) -> Time:
        return Time(nanoseconds=stamp_ms * 1_000_000)

    assert passed == ["extra"] * 4
    assert [milliseconds(message) for message in cache.getInterval(at(20), at(30))] == [20, 30]
    assert milliseconds(cache.getElemAfterTime(at(25))) == 30 and cache.getElemAfterTime(at(41)) is None
    assert milliseconds(cache.getElemBeforeTime(at(25))) == 20 and cache.getElemBeforeTime(at(19)) is None
    assert milliseconds(cache.getLast()) == 40
    assert cache.getLatestTime().nanoseconds == at(40).nanoseconds
    assert cache.getOldestTime().nanoseconds == at(20).nanoseconds


def test_subscribers_of_a_node(make_node: Callable[..., Any], spin_until: Callable[..., None]) -> None:
    node = make_node("rig")
    subscribers = [Subscriber(node, Image, f"camera{index}", qos_profile=5) for index in range(2)]
    pairs: list[Any] = []
    TimeSynchronizer(subscribers, 5).registerCallback(lambda *messages: pairs.append(messages))
    publishers = [node.create_publisher(Image, f"camera{index}", 5) for index in range(2)]
    for publisher in publishers:
        publisher.publish(image(7))
    spin_until(lambda: pairs)
    assert subscribers[0].getTopic() == "camera0" and subscribers[0].topic_name == "/camera0"
