"""Two processes: images, services, the graph, signals, logs."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rcl_interfaces.msg import Log
from rclpy.duration import Duration
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_rosout_default
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import SetBool

PATIENCE_S = 60.0
"""For what must come; a busy machine may take long."""

IMAGES = """
import sys, zlib
import numpy as np
import rclpy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("camera")
publisher = node.create_publisher(Image, "image", int(sys.argv[1]) if len(sys.argv) > 1 else 10)
print("READY")
for line in sys.stdin:
    height, width, seed = map(int, line.split())
    pixels = np.random.default_rng(seed).integers(0, 256, height * width * 3, dtype=np.uint8)
    image = Image(height=height, width=width, encoding="rgb8", step=width * 3, data=pixels)
    image.header.frame_id = "camera"
    image.header.stamp.sec = seed
    publisher.publish(image)
    print("CRC", zlib.crc32(pixels))
"""


@pytest.mark.parametrize("reliability", [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
def test_images_arrive_byte_equal(
    reliability: ReliabilityPolicy,
    make_node: Callable[..., Any],
    spin_until: Callable[..., None],
    start_peer: Callable[..., Any],
) -> None:
    import zlib

    peer = start_peer(IMAGES)
    peer.wait_for("READY")
    images: list[Any] = []
    node = make_node("viewer")
    profile = QoSProfile(depth=1, reliability=reliability)
    subscription = node.create_subscription(Image, "image", images.append, profile)
    spin_until(lambda: subscription.get_publisher_count() == 1)
    while not images:  # the first may be lost: the other side may match later
        peer.tell("1 1 1")
        crc = peer.wait_for("CRC")
        spin_until(lambda: True)
        node.executor.spin_once(timeout_sec=0.1)
    images.clear()
    for height, width, seed in ((1, 1, 2), (128, 128, 3), (480, 640, 4), (719, 1281, 5)):
        peer.tell(f"{height} {width} {seed}")
        crc = peer.wait_for("CRC")
        spin_until(lambda: images, f"an image of {width}x{height}")
        image = images.pop()
        assert (image.height, image.width, image.header.stamp.sec) == (height, width, seed)
        assert zlib.crc32(np.frombuffer(image.data, dtype=np.uint8)) == int(crc)
        if image.step * height > 100_000:
            assert isinstance(image.data, np.ndarray) and not image.data.flags.owndata
    assert subscription.malformed_count == 0


SERVER = """
import rclpy
from rclpy.executors import ExternalShutdownException
from std_srvs.srv import SetBool
rclpy.init()
node = rclpy.create_node("server", namespace="/far")
def answer(request, response):
    response.success = request.data
    response.message = "far"
    node.get_logger().warning("asked")
    return response
node.create_service(SetBool, "~/switch", answer)
node.declare_parameter("speed", 1.5)
print("READY")
try:
    rclpy.spin(node)
except ExternalShutdownException:
    print("EXTERNAL", flush=True)
except KeyboardInterrupt:
    print("KEYBOARD", flush=True)
print("OK?", rclpy.ok(), flush=True)
rclpy.try_shutdown()
"""


def test_services_graph_and_log_of_another_process(
    make_node: Callable[..., Any],
    executor: Any,
    spin_until: Callable[..., None],
    wait_until: Callable[..., None],
    start_peer: Callable[..., Any],
) -> None:
    peer = start_peer(SERVER)
    peer.wait_for("READY")
    node = make_node("local")
    logs: list[Any] = []
    node.create_subscription(Log, "/rosout", logs.append, qos_profile_rosout_default)
    client = node.create_client(SetBool, "/far/server/switch")
    assert client.wait_for_service(20.0)
    for value in (True, False):
        future = client.call_async(SetBool.Request(data=value))
        executor.spin_until_future_complete(future, 20.0)
        assert future.result() == SetBool.Response(success=value, message="far")
    spin_until(lambda: any(log.name == "far.server" and log.msg == "asked" for log in logs))
    assert next(log.level for log in logs if log.msg == "asked") == Log.WARN

    assert node.wait_for_node("/far/server", PATIENCE_S)
    assert ("server", "/far") in node.get_node_names_and_namespaces()
    services = dict(node.get_service_names_and_types_by_node("server", "/far"))
    assert services["/far/server/switch"] == ["std_srvs/srv/SetBool"]
    assert len(services) == 8  # with the six of parameters and get_type_description
    assert "/rosout" in dict(node.get_publisher_names_and_types_by_node("server", "/far"))
    assert node.get_client_names_and_types_by_node("local", "/") == [("/far/server/switch", ["std_srvs/srv/SetBool"])]
    assert node.count_services("/far/server/switch") == node.count_clients("/far/server/switch") == 1
    assert dict(node.get_service_names_and_types())["/far/server/get_parameters"] == [
        "rcl_interfaces/srv/GetParameters"
    ]

    peer.signal(signal.SIGTERM)
    assert peer.end() == 0
    wait_until(lambda: "/far/server" not in node.get_fully_qualified_node_names(), "the node to disappear")
    assert not client.service_is_ready()


@pytest.mark.parametrize(
    ("number", "says"), [(signal.SIGINT, "KEYBOARD"), (signal.SIGTERM, "EXTERNAL")], ids=["SIGINT", "SIGTERM"]
)
def test_signals_end_spin(domain: int, start_peer: Callable[..., Any], number: int, says: str) -> None:
    peer = start_peer(SERVER)
    peer.wait_for("READY")
    time.sleep(0.3)
    peer.signal(number)
    assert peer.end() == 0
    assert says in peer.output and "OK? False" in peer.output


def test_an_event_loop_goes_on_hearing_signals_that_rclpy_leaves_alone(
    domain: int, start_peer: Callable[..., Any]
) -> None:
    code = """
    import asyncio, signal
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    async def main():
        heard = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, heard.set)
        context = rclpy.context.Context()
        rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
        rclpy.shutdown(context=context)
        print("READY", flush=True)
        await heard.wait()
        print("HEARD", flush=True)
    asyncio.run(main())
    """
    peer = start_peer(code)
    peer.wait_for("READY")
    peer.signal(signal.SIGTERM)
    peer.wait_for("HEARD")
    assert peer.end() == 0


def test_signal_reaches_a_process_that_spins_in_a_thread(domain: int, start_peer: Callable[..., Any]) -> None:
    code = """
    import threading
    import rclpy
    from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
    rclpy.init()
    node = rclpy.create_node("node")
    executor = MultiThreadedExecutor()
    executor.add_node(node)
    def spin():
        try:
            executor.spin()
        except ExternalShutdownException:
            pass
        print("THREAD ENDED", flush=True)
    thread = threading.Thread(target=spin)
    thread.start()
    print("READY", flush=True)
    thread.join()
    """
    peer = start_peer(code)
    peer.wait_for("READY")
    time.sleep(0.2)
    peer.signal(signal.SIGTERM)
    peer.wait_for("THREAD ENDED")
    assert peer.end() == 0


def test_exit_with_live_views_and_without_shutdown(domain: int, start_peer: Callable[..., Any]) -> None:
    code = """
    import numpy as np
    import rclpy
    from sensor_msgs.msg import Image
    rclpy.init()
    node = rclpy.create_node("node")
    images = []
    node.create_subscription(Image, "image", images.append, 10)
    publisher = node.create_publisher(Image, "image", 10)
    while publisher.get_subscription_count() == 0:
        pass
    publisher.publish(Image(data=np.ones(500_000, np.uint8)))
    while not images:
        rclpy.spin_once(node, timeout_sec=0.1)
    print("SUM", int(images[0].data.sum()))
    view = images[0].data
    """
    peer = start_peer(code)
    assert peer.wait_for("SUM") == "500000"
    assert peer.end() == 0, peer.output


def test_exit_with_a_spinning_daemon_thread(domain: int, start_peer: Callable[..., Any]) -> None:
    code = """
    import threading, time
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    rclpy.init()
    node = rclpy.create_node("node")
    node.create_timer(0.01, lambda: None)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    threading.Thread(target=executor.spin, daemon=True).start()
    time.sleep(0.2)
    """
    peer = start_peer(code)
    assert peer.end() == 0 and peer.output == []


def test_init_in_a_forked_child(domain: int, start_peer: Callable[..., Any]) -> None:
    """A child of a fork may initialise for itself; using the parent's context says what is wrong."""
    code = """
    import os, sys, warnings
    warnings.simplefilter("ignore")
    import rclpy
    from rclpy.context import Context
    from rclpy.node import Node
    early = Context()
    early.init([])
    child = os.fork()
    if child == 0:
        try:
            Node("a", context=early)
        except RuntimeError as error:
            print("CHILD", error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    Node("a", context=early)
    print("PARENT fine", flush=True)
    """
    peer = start_peer(code)
    assert "fork" in peer.wait_for("CHILD")
    peer.wait_for("PARENT")
    assert peer.end() == 0


def test_console_format(domain: int, start_peer: Callable[..., Any]) -> None:
    code = """
    import sys
    import rclpy
    from rclpy.clock import Clock
    rclpy.init(args=sys.argv)
    node = rclpy.create_node("talker", namespace="/a")
    logger = node.get_logger()
    for number in range(3):
        logger.info(f"once {number}", once=True)
        logger.info(f"later {number}", skip_first=True)
        logger.info(f"rare {number}", throttle_duration_sec=100.0)
    logger.debug("hidden")
    logger.get_child("inner").error("bad")
    print("LEVEL", logger.get_effective_level().name)
    """
    peer = start_peer(code, "--ros-args", "--log-level", "a.talker:=info", RCUTILS_COLORIZED_OUTPUT="0")
    assert peer.wait_for("LEVEL") == "INFO"
    assert peer.end() == 0
    import re

    lines = [line for line in peer.output if line.startswith("[")]
    assert all(re.match(r"^\[(INFO|ERROR)\] \[\d{10}\.\d{9}\] \[a\.talker(\.inner)?\]: ", line) for line in lines)
    assert [line.split(": ", 1)[1] for line in lines] == ["once 0", "rare 0", "later 1", "later 2", "bad"]


def test_garbage_on_the_wire_is_dropped_and_counted(
    make_node: Callable[..., Any],
    executor: Any,
    spin_until: Callable[..., None],
    wait_until: Callable[..., None],
    context: Any,
    capfd: Any,
) -> None:
    """Bytes that are no message, from a writer that respects nothing, on a topic, a service and a client."""
    from rclpy_dds._dds.qos import EndpointPolicies

    forever = 2**63 - 1
    policies = EndpointPolicies(1, 2, 1, 100, forever, forever, 1, forever)
    node = make_node("node")
    received: list[str] = []
    subscription = node.create_subscription(String, "t", lambda message: received.append(message.data), 100)
    service = node.create_service(SetBool, "s", lambda request, response: response)
    client = node.create_client(SetBool, "s")
    writers = {
        name: context.participant.create_writer(name, f"std_{kind}_", policies)
        for name, kind in (
            ("rt/t", "msgs::msg::dds_::String"),
            ("rq/sRequest", "srvs::srv::dds_::SetBool_Request"),
            ("rr/sReply", "srvs::srv::dds_::SetBool_Response"),
        )
    }
    wait_until(lambda: all(writer.matched_count() for writer in writers.values()))
    header = b"\x00\x01\x00\x00"
    for writer in writers.values():
        for body in (b"\xff" * 4, b"\x00" * 4, b"\x05\x00\x00\x00ab\x00\x00", b"\xff" * 1000):
            writer.write(header + body)
    future = client.call_async(SetBool.Request())
    node.create_publisher(String, "t", 100)
    writers["rt/t"].write(header + b"\x03\x00\x00\x00ok\x00\x00")
    spin_until(lambda: received and future.done())
    assert received[-1] == "ok" and subscription.malformed_count >= 3
    assert service.malformed_count >= 3 and client.malformed_count >= 3
    output = capfd.readouterr().err
    assert output.count("Dropped a malformed message on /t") == 1


def test_no_leak_of_images(make_node: Callable[..., Any], executor: Any, wait_until: Callable[..., None]) -> None:
    """Resident memory stays flat over many images: each received buffer is released with its last view."""
    node = make_node("node")
    count = 0

    def received(message: Any) -> None:
        nonlocal count
        count += int(message.data[0])

    publisher = node.create_publisher(Image, "image", 1)
    node.create_subscription(Image, "image", received, 1)
    wait_until(lambda: publisher.get_subscription_count() == 1)
    image = Image(height=480, width=640, encoding="rgb8", step=1920, data=np.ones(921_600, np.uint8))

    def resident_bytes() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def run(times: int) -> None:
        goal = count + times
        while count < goal:
            publisher.publish(image)
            executor.spin_once(timeout_sec=1.0)

    run(50)
    before = resident_bytes()
    run(300)
    assert resident_bytes() - before < 30 * 921_600


def test_wheel_of_another_version_is_refused(tmp_path: Any, start_peer: Callable[..., Any]) -> None:
    (tmp_path / "cyclonedds").mkdir()
    (tmp_path / "cyclonedds" / "__init__.py").touch()
    (tmp_path / "cyclonedds-0.10.5.dist-info").mkdir()
    code = f"""
    import sys
    sys.path.insert(0, {str(tmp_path)!r})
    import rclpy
    rclpy.init()
    try:
        rclpy.create_node("node")
    except ImportError as error:
        print("ERROR", error)
    """
    peer = start_peer(code)
    message = peer.wait_for("ERROR")
    assert "0.10.5" in message and "pip install cyclonedds==11.0.1" in message


def test_configuration(monkeypatch: Any) -> None:
    from rclpy_dds._dds import config

    for name in ("CYCLONEDDS_URI", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS"):
        monkeypatch.delenv(name, raising=False)
    assert '<NetworkInterface name="lo"/>' in config.domain_xml() and "127.0.0.1" in config.domain_xml()
    monkeypatch.setenv("ROS_STATIC_PEERS", "10.0.0.1;localhost")
    assert '<Peer Address="10.0.0.1"/><Peer Address="localhost"/>' in config.domain_xml()
    monkeypatch.setenv("ROS_STATIC_PEERS", "no such host")
    with pytest.raises(ValueError, match="'no such host', which cannot be resolved"):
        config.domain_xml()
    monkeypatch.delenv("ROS_STATIC_PEERS")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    assert 'autodetermine="true"' in config.domain_xml() and 'name="lo"' in config.domain_xml()
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "1")
    assert "autodetermine" not in config.domain_xml()
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "yes")
    with pytest.raises(ValueError, match="ROS_LOCALHOST_ONLY"):
        config.domain_xml()
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "0")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "NEARBY")
    with pytest.raises(ValueError, match="NEARBY"):
        config.domain_xml()
    assert config.source() == ""
    monkeypatch.setenv("CYCLONEDDS_URI", "<CycloneDDS/>")
    assert config.domain_xml() is None
    assert "CYCLONEDDS_URI='<CycloneDDS/>'" in config.source()
    monkeypatch.setenv("ROS_DOMAIN_ID", "233")
    with pytest.raises(ValueError, match="233"):
        config.domain_id()


def test_small_socket_buffers_are_named_once(monkeypatch: Any, tmp_path: Any) -> None:
    from rclpy_dds._dds import config

    limit = tmp_path / "rmem_max"
    limit.write_text("212992\n")
    monkeypatch.setattr(config, "_RMEM_MAX", limit)
    monkeypatch.setattr(config, "_warned", False)
    assert 'SocketReceiveBufferSize max="4194304B"' in (config.domain_xml() or "")
    with pytest.warns(RuntimeWarning, match=r"sudo sysctl -w net\.core\.rmem_max=4194304") as caught:
        config.warn_about_small_buffers()
        config.warn_about_small_buffers()
    assert len(caught) == 1


@pytest.mark.parametrize("chosen", ["SUBNET", "OFF", "SYSTEM_DEFAULT"])
def test_other_discovery_ranges_work_within_a_process(domain: int, start_peer: Callable[..., Any], chosen: str) -> None:
    code = """
    import rclpy
    from std_msgs.msg import String
    rclpy.init()
    node = rclpy.create_node("node")
    publisher = node.create_publisher(String, "t", 1)
    received = []
    node.create_subscription(String, "t", received.append, 1)
    while publisher.get_subscription_count() == 0:
        rclpy.spin_once(node, timeout_sec=0.01)
    publisher.publish(String(data="x"))
    while not received:
        rclpy.spin_once(node, timeout_sec=0.1)
    print("DONE", flush=True)
    """
    peer = start_peer(code, ROS_AUTOMATIC_DISCOVERY_RANGE=chosen)
    peer.wait_for("DONE")
    assert peer.end() == 0


def test_what_was_published_before_the_end_arrives(
    make_node: Callable[..., Any], spin_until: Callable[..., None], start_peer: Callable[..., Any]
) -> None:
    code = """
    import rclpy
    from std_msgs.msg import String
    rclpy.init()
    node = rclpy.create_node("short")
    publisher = node.create_publisher(String, "t", 100)
    while publisher.get_subscription_count() == 0:
        pass
    for number in range(50):
        publisher.publish(String(data=str(number) * 1000))
    """
    received: list[str] = []
    make_node("node").create_subscription(String, "t", lambda message: received.append(message.data), 100)
    peer = start_peer(code)
    spin_until(lambda: len(received) == 50, "all messages")
    assert peer.end() == 0
    assert [text[:1] for text in received[:10]] == list("0123456789")


def test_a_reader_that_does_not_answer_delays_the_end_only_once(
    make_node: Callable[..., Any], context: Any, wait_until: Callable[..., None], start_peer: Callable[..., Any]
) -> None:
    code = """
    import rclpy
    from std_msgs.msg import String
    rclpy.init()
    node = rclpy.create_node("deaf")
    for number in range(10):
        node.create_subscription(String, f"t{number}", lambda message: print("GOT", message.data, flush=True), 10)
    rclpy.spin(node)
    """
    peer = start_peer(code)
    node = make_node("node")
    publishers = [node.create_publisher(String, f"t{number}", 10) for number in range(10)]
    wait_until(lambda: all(publisher.get_subscription_count() for publisher in publishers))
    heard: set[str] = set()
    while len(heard) < 10:  # the other side may match later
        for number, publisher in enumerate(publishers):
            publisher.publish(String(data=str(number)))
        heard.add(peer.wait_for("GOT"))
    peer.signal(signal.SIGSTOP)
    status = Path(f"/proc/{peer.process.pid}/status")
    wait_until(lambda: "State:\tT" in status.read_text(), "the stop")
    for publisher in publishers:
        publisher.publish(String(data="unheard"))
    assert not publishers[0].wait_for_all_acked(Duration(seconds=0.01))
    ending = threading.Thread(target=context.shutdown, daemon=True)
    ending.start()
    ending.join(PATIENCE_S)
    assert not ending.is_alive()
