"""Delivery within a process: immutable data by reference, the rest as if it had gone over the network."""

from __future__ import annotations

import array
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.wait_for_message import wait_for_message
from sensor_msgs.msg import Image, LaserScan
from std_msgs.msg import Float64MultiArray, MultiArrayDimension, MultiArrayLayout
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rclpy_dds.interfaces.cdr import SharedPayload, decode, encode, join
from rclpy_dds.rclpy.intra_process import is_immutable

SIZE = 100_000


def pixels(writeable: bool = False) -> np.ndarray:
    data = np.arange(SIZE, dtype=np.uint8)
    data.flags.writeable = writeable
    return data


def address(data: Any) -> int:
    return np.frombuffer(data, dtype=np.uint8).__array_interface__["data"][0]


@pytest.fixture
def exchange(make_node: Callable[..., Any], spin_until: Callable[..., None]) -> Callable[..., list[Any]]:
    """Publish messages in a process with some subscriptions; return what each of these got."""

    def run(messages: list[Any], qos: Any = 10, subscriptions: int = 1, raw: bool = False) -> list[list[Any]]:
        node = make_node("node")
        received: list[list[Any]] = [[] for _ in range(subscriptions)]
        for one in received:
            node.create_subscription(type(messages[0]), "topic", one.append, qos, raw=raw)
        publisher = node.create_publisher(type(messages[0]), "topic", qos)
        spin_until(lambda: publisher.get_subscription_count() == subscriptions)
        for message in messages:
            publisher.publish(message)
        spin_until(lambda: all(len(one) == len(messages) for one in received))
        return received

    return run


@pytest.mark.parametrize("make", [pixels, lambda: bytes(SIZE), lambda: memoryview(bytes(SIZE)), lambda: pixels()[10:]])
def test_immutable_data_is_handed_on_by_reference(exchange: Callable[..., Any], make: Callable[[], Any]) -> None:
    data = make()
    message = Image(width=SIZE, height=1, encoding="mono8", data=data)
    for (received,) in exchange([message], subscriptions=3):
        assert received is not message
        assert (received.encoding, received.width) == ("mono8", SIZE)
        assert address(received.data) == address(data)
        assert len(received.data) == len(data)
        assert not received.data.flags.writeable
        with pytest.raises(ValueError, match="WRITEABLE"):
            received.data.flags.writeable = True


def test_each_subscription_has_a_message_of_its_own(exchange: Callable[..., Any]) -> None:
    (first,), (second,) = exchange([Image(data=pixels())], subscriptions=2)
    assert first.data is not second.data
    first.header.frame_id = "changed"
    assert second.header.frame_id == ""


def _read_only_view_of_writable_memory() -> np.ndarray:
    view = pixels(writeable=True)[:]
    view.flags.writeable = False
    return view


@pytest.mark.parametrize(
    "make",
    [
        lambda: pixels(writeable=True),
        lambda: array.array("B", bytes(SIZE)),
        lambda: bytearray(SIZE),
        lambda: memoryview(bytearray(SIZE)),
        lambda: memoryview(bytearray(SIZE)).toreadonly(),
        _read_only_view_of_writable_memory,
    ],
)
def test_mutable_data_is_not_affected_by_later_writes(
    make_node: Callable[..., Any], spin_until: Callable[..., None], make: Callable[[], Any]
) -> None:
    data = make()
    node = make_node("node")
    received: list[Image] = []
    node.create_subscription(Image, "topic", received.append, 10)
    publisher = node.create_publisher(Image, "topic", 10)
    spin_until(lambda: publisher.get_subscription_count() == 1)
    before = bytes(data)
    publisher.publish(Image(data=data))
    owner = data
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    np.frombuffer(owner, dtype=np.uint8)[:] = 77
    spin_until(lambda: received)
    assert bytes(received[0].data) == before
    assert not received[0].data.flags.writeable


def test_other_fields_may_change_after_publish(make_node: Callable[..., Any], spin_until: Callable[..., None]) -> None:
    node = make_node("node")
    received: list[LaserScan] = []
    node.create_subscription(LaserScan, "topic", received.append, 10)
    publisher = node.create_publisher(LaserScan, "topic", 10)
    spin_until(lambda: publisher.get_subscription_count() == 1)
    fixed = np.arange(20_000, dtype=np.float32)
    fixed.flags.writeable = False
    changing = np.arange(20_000, dtype=np.float32)
    small = array.array("f", [1.0])
    message = LaserScan(ranges=fixed, intensities=changing)
    message.header.frame_id = "first"
    publisher.publish(message)
    # The same object once more, with other contents.
    message.header.frame_id = "second"
    message.header.stamp.sec = 7
    changing[:] = 0
    message.ranges = small
    small[0] = 5.0
    message.intensities = fixed
    publisher.publish(message)
    spin_until(lambda: len(received) == 2)
    first, second = received
    assert first.header.frame_id == "first"
    assert first.header.stamp.sec == 0
    assert address(first.ranges) == address(fixed)
    assert first.intensities[19_999] == 19_999.0
    assert not first.intensities.flags.writeable
    assert second.header.frame_id == "second"
    assert list(second.ranges) == [5.0]
    assert address(second.intensities) == address(fixed)


def test_a_received_image_is_handed_on_by_reference(
    make_node: Callable[..., Any], spin_until: Callable[..., None]
) -> None:
    node = make_node("node")
    received: dict[str, Image] = {}
    relayed = node.create_publisher(Image, "relayed", 10)

    def relay(message: Image) -> None:
        received["original"] = message
        relayed.publish(Image(data=message.data))

    node.create_subscription(Image, "original", relay, 10)
    node.create_subscription(Image, "relayed", lambda message: received.update(relayed=message), 10)
    publisher = node.create_publisher(Image, "original", 10)
    spin_until(lambda: publisher.get_subscription_count() == relayed.get_subscription_count() == 1)
    publisher.publish(Image(data=pixels(writeable=True)))
    spin_until(lambda: "relayed" in received)
    assert address(received["relayed"].data) == address(received["original"].data)


def test_raw_subscriptions_get_the_bytes_of_the_wire(exchange: Callable[..., Any]) -> None:
    message = Image(encoding="mono8", data=pixels())
    ((received,),) = exchange([message], raw=True)
    assert (received == join(encode(message, "sensor_msgs/msg/Image"))) is True
    assert deserialize_message(received, Image) == message


def test_order_is_kept_when_ways_change(exchange: Callable[..., Any]) -> None:
    messages = [Image(height=number, data=pixels(writeable=number % 3 == 0)) for number in range(30)]
    (received,) = exchange(messages, QoSProfile(depth=100))
    assert [message.height for message in received] == list(range(30))


def test_history_keeps_the_newest(make_node: Callable[..., Any], spin_until: Callable[..., None]) -> None:
    node = make_node("node")
    newest: list[int] = []
    every: list[int] = []
    keep_all = QoSProfile(history=HistoryPolicy.KEEP_ALL)
    node.create_subscription(Image, "topic", lambda message: newest.append(message.height), 3)
    node.create_subscription(Image, "topic", lambda message: every.append(message.height), keep_all)
    publisher = node.create_publisher(Image, "topic", keep_all)
    spin_until(lambda: publisher.get_subscription_count() == 2)
    for number in range(50):
        publisher.publish(Image(height=number, data=pixels()))
    spin_until(lambda: len(every) == 50)
    assert newest == [47, 48, 49]
    assert every == list(range(50))


@pytest.mark.parametrize("writeable", [False, True])
def test_a_late_subscription_gets_transient_local_data(
    make_node: Callable[..., Any], spin_until: Callable[..., None], writeable: bool
) -> None:
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node = make_node("node")
    received: list[list[Image]] = [[], []]
    node.create_subscription(Image, "topic", received[0].append, latched)
    publisher = node.create_publisher(Image, "topic", latched)
    spin_until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(Image(data=pixels(writeable)))
    spin_until(lambda: received[0])
    node.create_subscription(Image, "topic", received[1].append, latched)
    spin_until(lambda: received[1])
    assert bytes(received[0][0].data) == bytes(received[1][0].data)


def test_another_process_gets_it_too(
    make_node: Callable[..., Any], spin_until: Callable[..., None], start_peer: Callable[..., Any]
) -> None:
    node = make_node("node")
    received: list[Image] = []
    node.create_subscription(Image, "topic", received.append, 10)
    publisher = node.create_publisher(Image, "topic", 10)
    spin_until(lambda: publisher.get_subscription_count() == 1)
    peer = start_peer(
        """
        import rclpy
        from sensor_msgs.msg import Image
        rclpy.init()
        node = rclpy.create_node("peer")
        def receive(message):
            print("got", message.height, sum(bytes(message.data[:256])), flush=True)
        node.create_subscription(Image, "topic", receive, 10)
        rclpy.spin(node)
        """
    )
    spin_until(lambda: publisher.get_subscription_count() == 2)
    publisher.publish(Image(height=5, data=pixels()))
    assert peer.wait_for("got") == f"5 {sum(range(256))}"
    spin_until(lambda: received)
    assert received[0].height == 5


def test_wait_for_message_and_destroyed_subscriptions(
    context: Any, make_node: Callable[..., Any], spin_until: Callable[..., None]
) -> None:
    node = make_node("node")
    publisher = node.create_publisher(Image, "topic", 10)
    stop = threading.Event()

    def publish() -> None:
        while not stop.wait(0.01):
            publisher.publish(Image(data=pixels()))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        found, message = wait_for_message(Image, node, "topic", time_to_wait=30.0)
    finally:
        stop.set()
        thread.join()
    assert found
    assert len(message.data) == SIZE
    received: list[Image] = []
    subscription = node.create_subscription(Image, "topic", received.append, 10)
    spin_until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(Image(data=pixels()))
    node.destroy_subscription(subscription)
    assert not subscription.pending
    assert subscription.take() is None


def test_two_executors_and_a_flood(
    context: Any, spin_until: Callable[..., None], wait_until: Callable[..., None]
) -> None:
    """Nodes of one process in executors of their own; a timer beside a flood gets its turns."""
    sender, receiver = (Node(name, context=context) for name in ("sender", "receiver"))
    received: list[int] = []
    ticks: list[int] = []
    qos = QoSProfile(history=HistoryPolicy.KEEP_ALL)
    receiver.create_subscription(Image, "topic", lambda message: received.append(message.height), qos)
    receiver.create_timer(0.001, lambda: ticks.append(len(received)))
    publisher = sender.create_publisher(Image, "topic", qos)
    wait_until(lambda: publisher.get_subscription_count() == 1)
    for number in range(500):
        publisher.publish(Image(height=number, data=pixels()))
    executors = SingleThreadedExecutor(context=context), MultiThreadedExecutor(2, context=context)
    threads = []
    for executor, node in zip(executors, (sender, receiver), strict=True):
        executor.add_node(node)
        threads.append(threading.Thread(target=executor.spin))
        threads[-1].start()
    wait_until(lambda: len(received) == 500)
    publisher.publish(Image(height=500, data=pixels()))
    wait_until(lambda: len(received) == 501)
    for executor, thread in zip(executors, threads, strict=True):
        executor.shutdown()
        thread.join()
    assert received == list(range(501))
    assert any(0 < at < 500 for at in ticks)


def test_what_counts_as_immutable() -> None:
    assert is_immutable(pixels())
    assert is_immutable(np.frombuffer(bytes(8), np.uint8)[2:])
    assert not is_immutable(pixels(writeable=True))
    assert not is_immutable(_read_only_view_of_writable_memory())
    assert not is_immutable(array.array("B"))
    assert not is_immutable(bytearray(3))


# Lengths around the sizes from which arrays travel apart and arrive as views, in elements of 8 bytes.
lengths = st.sampled_from([0, 1, 5, 2047, 2048, 2051, 8191, 8192, 8193])


@settings(max_examples=60, deadline=None)
@given(st.lists(lengths, max_size=4), lengths, lengths, st.text(max_size=9), st.booleans())
def test_shared_payloads_hold_the_same_message(points: list[int], a: int, b: int, text: str, read_only: bool) -> None:
    def numbers(count: int, dtype: str = "float64") -> np.ndarray:
        data = np.arange(count, dtype=dtype)
        data.flags.writeable = not read_only
        return data

    messages = [
        JointTrajectory(
            joint_names=[text],
            points=[JointTrajectoryPoint(positions=numbers(count), effort=numbers(a)) for count in points],
        ),
        LaserScan(angle_min=2.5, ranges=numbers(a * 2 + 1, "float32"), intensities=numbers(b, "float32")),
        Float64MultiArray(layout=MultiArrayLayout(dim=[MultiArrayDimension(label=text)]), data=numbers(b)),
        Image(encoding=text, data=numbers(a * 8 + 3, "uint8"), step=3),
    ]
    for message in messages:
        name = message.interface_name
        parts = encode(message, name)
        arrays = [np.frombuffer(part, part.dtype) for part in parts if isinstance(part, np.ndarray)]
        payload = SharedPayload(parts, arrays)
        wire = join(parts)
        assert bytes(payload) == wire
        assert payload.decode(name) == message == decode(memoryview(wire), name)
