#!/usr/bin/env python3
"""Latency, throughput and CPU time of rclpy's transport, in one process and between two.

Runs unchanged on rclpy_dds and on a sourced ROS 2, because it uses rclpy's API and standard messages only::

    python ros2_ws/rclpy_dds/benchmarks/transport.py --json ours.json
    (source /opt/ros/jazzy/setup.bash
     export RMW_IMPLEMENTATION=rmw_cyclonedds_cpp ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
     python3 ros2_ws/rclpy_dds/benchmarks/transport.py --json stock.json)
    python ros2_ws/rclpy_dds/benchmarks/transport.py --table ours.json stock.json

What is measured:

* latency: from before ``publish`` of a finished message object to the beginning of the callback, in which the received
  image is a numpy array. A timer publishes at 30 Hz, reliable, keep last 10.
* throughput: messages per second from the first ``publish`` to the last callback, reliable, keep all, sent as fast as
  ``publish`` returns. Every message must arrive, else the result says so.
* round trips: ``std_srvs/Trigger``, and ``example_interfaces/Fibonacci`` from ``send_goal_async`` to the result.
* CPU: user and system time of all threads of a process, per message at 30 Hz, and of a node with 20 subscriptions with
  nothing to do, as a share of one core.
"""

import argparse
import array
import contextlib
import json
import os
import platform
import random
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

SIZES = {"100 B": 0, "640x480 rgb8": (480, 640), "1280x720 rgb8": (720, 1280)}
THROUGHPUT_COUNTS = {"100 B": 10_000, "640x480 rgb8": 300, "1280x720 rgb8": 100}
LATENCY_RATE_HZ = 30.0
WARM_UP_MESSAGES = 15
IDLE_SUBSCRIPTIONS = 20
DISCOVERY_TIMEOUT_S = 20.0
LOSSLESS_TIMEOUT_S = 60.0
QUIET_S = 2.0
TOPIC, SERVICE, ACTION = "/transport_benchmark", "/transport_benchmark_service", "/transport_benchmark_action"


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def make_message(size: str):
    """Return a message of a size, and the function that puts the time of sending into it."""
    from sensor_msgs.msg import Image
    from std_msgs.msg import String

    shape = SIZES[size]
    if shape == 0:
        message = String()

        def stamp_text() -> None:
            message.data = f"{time.monotonic_ns():020d}".ljust(100, ".")

        return message, stamp_text
    height, width = shape
    message = Image(height=height, width=width, encoding="rgb8", step=width * 3)
    message.data = array.array("B", os.urandom(height * width * 3))

    def stamp_image() -> None:
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.monotonic_ns(), 1_000_000_000)

    return message, stamp_image


def sent_at(message) -> int:
    """Return the time of sending in nanoseconds; looks at the pixels as a node would."""
    if hasattr(message, "encoding"):
        import numpy as np

        pixels = np.frombuffer(message.data, dtype=np.uint8).reshape(message.height, message.width, 3)
        if pixels.nbytes != message.step * message.height:
            raise RuntimeError("an image of the wrong size arrived")
        return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
    return int(message.data[:20])


def percentiles(values_ns: list) -> dict:
    """Milliseconds."""
    ordered = sorted(values_ns)

    def at(share: float) -> float:
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] / 1e6

    return {"p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "count": len(ordered)}


def reliable(keep_all: bool):
    from rclpy.qos import HistoryPolicy, QoSProfile

    if keep_all:
        return QoSProfile(history=HistoryPolicy.KEEP_ALL)
    return QoSProfile(depth=10)


class Receiver:
    """Subscribes and notes the latency of each message."""

    def __init__(self, node, size: str, keep_all: bool) -> None:
        self.latencies_ns: list = []
        self.last_at_ns = 0
        self.cpu_at_first = cpu_seconds()
        message, _ = make_message(size)
        node.create_subscription(type(message), TOPIC, self._receive, reliable(keep_all))

    def _receive(self, message) -> None:
        sent = sent_at(message)
        self.last_at_ns = time.monotonic_ns()
        self.latencies_ns.append(self.last_at_ns - sent)
        if len(self.latencies_ns) == WARM_UP_MESSAGES:
            self.cpu_at_first = cpu_seconds()

    def result(self) -> dict:
        counted = max(len(self.latencies_ns) - WARM_UP_MESSAGES, 1)
        return {
            "latencies_ns": self.latencies_ns,
            "last_at_ns": self.last_at_ns,
            "cpu_ms_per_message": 1e3 * (cpu_seconds() - self.cpu_at_first) / counted,
        }


def wait_until(condition, executor=None, timeout_s: float = DISCOVERY_TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("the other side did not appear")
        if executor is not None:
            executor.spin_once(timeout_sec=0.02)
        else:
            time.sleep(0.02)


def wait_for_messages(executor, result, expected: int) -> None:
    """Spin until a receiver has the expected number of messages, or nothing has come for some time."""
    count, quiet_since = -1, time.monotonic()
    while True:
        received = len(result().get("latencies_ns", ()))
        if received >= expected or time.monotonic() > quiet_since + QUIET_S:
            return
        if received != count:
            count, quiet_since = received, time.monotonic()
        executor.spin_once(timeout_sec=0.1)


# --- the second process ---


def child_main(role: str, size: str, keep_all: bool) -> None:
    """Run one role until standard input says how many messages were sent and they are there; print the result."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    rclpy.init(args=[])
    node = rclpy.create_node("transport_benchmark_child")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    keep, result = create_role(node, role, size, keep_all)
    expected: list = []
    threading.Thread(target=lambda: expected.append(int(sys.stdin.readline() or 0)), daemon=True).start()
    print("ready", flush=True)
    while not expected:
        executor.spin_once(timeout_sec=0.1)
    wait_for_messages(executor, result, expected[0])
    print(json.dumps(result()), flush=True)
    del keep
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown()


def create_role(node, role: str, size: str, keep_all: bool):
    """Create receiver, service or action server on a node; return it and the function that gives its result."""
    if role == "receiver":
        receiver = Receiver(node, size, keep_all)
        return receiver, receiver.result
    if role == "service":
        from std_srvs.srv import Trigger

        def answer(_, response):
            response.success = True
            return response

        return node.create_service(Trigger, SERVICE, answer), dict
    from example_interfaces.action import Fibonacci
    from rclpy.action import ActionServer

    def execute(goal):
        goal.succeed()
        return Fibonacci.Result(sequence=[0, 1])

    return ActionServer(node, Fibonacci, ACTION, execute), dict


@contextlib.contextmanager
def other_side(node, role: str, size: str, keep_all: bool, two_processes: bool):
    """The other side of a measurement, in this process or a second one; yields a function that ends it."""
    if not two_processes:
        keep, result = create_role(node, role, size, keep_all)

        def finish_here(expected: int, executor) -> dict:
            wait_for_messages(executor, result, expected)
            return result()

        yield finish_here
        if hasattr(keep, "destroy"):
            keep.destroy()
        return
    command = [sys.executable, str(Path(__file__).resolve()), "--child", role, "--size", size]
    process = subprocess.Popen(
        [*command, *(["--keep-all"] if keep_all else [])], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("the second process did not start")

        def finish(expected: int, _) -> dict:
            process.stdin.write(f"{expected}\n")
            process.stdin.close()
            return json.loads(process.stdout.readline())

        yield finish
    finally:
        if not process.stdin.closed:
            process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stdout.close()


@contextlib.contextmanager
def session():
    """A fresh context, node and executor."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    rclpy.init(args=[])
    node = rclpy.create_node("transport_benchmark")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        yield node, executor
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown()


# --- measurements ---


def measure_latency(size: str, two_processes: bool, seconds: float) -> dict:
    message, stamp = make_message(size)
    count = int(seconds * LATENCY_RATE_HZ) + WARM_UP_MESSAGES
    sent = 0
    with session() as (node, executor), other_side(node, "receiver", size, False, two_processes) as finish:
        publisher = node.create_publisher(type(message), TOPIC, reliable(False))
        wait_until(lambda: publisher.get_subscription_count() > 0, executor)
        time.sleep(0.3)

        def publish() -> None:
            nonlocal sent
            stamp()
            publisher.publish(message)
            sent += 1

        timer = node.create_timer(1.0 / LATENCY_RATE_HZ, publish)
        wait_until(lambda: sent >= WARM_UP_MESSAGES, executor)
        before = cpu_seconds()
        wait_until(lambda: sent >= count, executor, seconds * 3 + 10)
        cpu_ms = 1e3 * (cpu_seconds() - before) / (sent - WARM_UP_MESSAGES)
        timer.cancel()
        received = finish(sent, executor)
    latencies = received["latencies_ns"][WARM_UP_MESSAGES:]
    result = percentiles(latencies)
    result["lost"] = sent - len(received["latencies_ns"])
    result["sender_cpu_ms"] = cpu_ms
    if two_processes:
        result["receiver_cpu_ms"] = received["cpu_ms_per_message"]
    return result


def measure_throughput(size: str, two_processes: bool) -> dict:
    message, stamp = make_message(size)
    count = THROUGHPUT_COUNTS[size]
    with session() as (node, executor), other_side(node, "receiver", size, True, two_processes) as finish:
        publisher = node.create_publisher(type(message), TOPIC, reliable(True))
        wait_until(lambda: publisher.get_subscription_count() > 0, executor)
        time.sleep(0.3)
        begun = 0

        def send() -> None:
            nonlocal begun
            begun = time.monotonic_ns()
            for _ in range(count):
                stamp()
                publisher.publish(message)

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        if two_processes:
            thread.join(LOSSLESS_TIMEOUT_S)
        received = finish(count, executor)
        thread.join()
    elapsed = (received["last_at_ns"] - begun) / 1e9
    arrived = len(received["latencies_ns"])
    shape = SIZES[size]
    bytes_each = 100 if shape == 0 else shape[0] * shape[1] * 3
    return {"per_s": arrived / elapsed, "mb_per_s": arrived * bytes_each / elapsed / 1e6, "lost": count - arrived}


def measure_round_trips(role: str, two_processes: bool, count: int) -> dict:
    """Round trips one after another, 5 ms apart."""
    times = []
    with session() as (node, executor), other_side(node, role, "100 B", False, two_processes):
        if role == "service":
            from std_srvs.srv import Trigger

            client = node.create_client(Trigger, SERVICE)
            wait_until(client.service_is_ready, executor)

            def trip() -> None:
                future = client.call_async(Trigger.Request())
                executor.spin_until_future_complete(future, timeout_sec=10)
                if not future.done() or not future.result().success:
                    raise RuntimeError("the service did not answer")
        else:
            from example_interfaces.action import Fibonacci
            from rclpy.action import ActionClient

            client = ActionClient(node, Fibonacci, ACTION)
            wait_until(client.server_is_ready, executor)

            def trip() -> None:
                goal = client.send_goal_async(Fibonacci.Goal(order=1))
                executor.spin_until_future_complete(goal, timeout_sec=10)
                outcome = goal.result().get_result_async()
                executor.spin_until_future_complete(outcome, timeout_sec=10)
                if list(outcome.result().result.sequence) != [0, 1]:
                    raise RuntimeError("the action did not give its result")

        time.sleep(0.3)
        for index in range(count + WARM_UP_MESSAGES):
            begun = time.monotonic_ns()
            trip()
            if index >= WARM_UP_MESSAGES:
                times.append(time.monotonic_ns() - begun)
            time.sleep(0.005)
        client.destroy()
    return percentiles(times)


def measure_idle(seconds: float) -> dict:
    from std_msgs.msg import String

    with session() as (node, executor):
        for index in range(IDLE_SUBSCRIPTIONS):
            node.create_subscription(String, f"{TOPIC}_idle_{index}", lambda _: None, 10)
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.1)
        before, begun = cpu_seconds(), time.monotonic()
        while time.monotonic() < begun + seconds:
            executor.spin_once(timeout_sec=1.0)
        return {"percent_of_a_core": 100 * (cpu_seconds() - before) / (time.monotonic() - begun)}


def measure(parts: list, sizes: list, modes: list, seconds: float) -> dict:
    import rclpy

    stack = f"{'rclpy_dds' if 'rclpy_dds' in rclpy.__file__ else 'ROS 2 ' + os.environ.get('ROS_DISTRO', '')}"
    results: dict = {"stack": stack, "machine": platform.machine(), "python": platform.python_version(), "cases": {}}
    cases = []
    for two in (mode == "two" for mode in modes):
        where = "two processes" if two else "one process"
        if "latency" in parts:
            cases += [(f"latency, {s}, {where}", lambda s=s, t=two: measure_latency(s, t, seconds)) for s in sizes]
        if "throughput" in parts:
            cases += [(f"throughput, {s}, {where}", lambda s=s, t=two: measure_throughput(s, t)) for s in sizes]
        for role in ("service", "action"):
            if role in parts:
                trips = int(seconds * 30)
                cases.append((f"{role}, {where}", lambda r=role, t=two, n=trips: measure_round_trips(r, t, n)))
    if "idle" in parts:
        cases.append((f"idle, {IDLE_SUBSCRIPTIONS} subscriptions", lambda: measure_idle(seconds)))
    for name, run in cases:
        try:
            results["cases"][name] = run()
        except (RuntimeError, NotImplementedError, ImportError) as error:
            results["cases"][name] = {"error": str(error)}
        shown = {
            key: round(value, 3) for key, value in results["cases"][name].items() if isinstance(value, (int, float))
        }
        print(f"{stack:12} {name:42} {shown or results['cases'][name]}", file=sys.stderr, flush=True)
    return results


# --- table ---

_COLUMNS = (
    ("p50", "p50 ms"),
    ("p95", "p95 ms"),
    ("p99", "p99 ms"),
    ("per_s", "messages/s"),
    ("mb_per_s", "MB/s"),
    ("sender_cpu_ms", "sender CPU ms"),
    ("receiver_cpu_ms", "receiver CPU ms"),
    ("percent_of_a_core", "% of a core"),
    ("lost", "lost"),
)


def table(files: list) -> str:
    """Put results side by side as a Markdown table; the last column is the first file's value by each other's."""
    runs = [json.loads(Path(file).read_text()) for file in files]
    heads = [f"{run['stack']}" for run in runs]
    lines = [
        "| case | figure | " + " | ".join(heads) + " | ratio |",
        "|---|---|" + "---:|" * (len(runs) + 1),
    ]
    names = [name for name in runs[0]["cases"] if all(name in run["cases"] for run in runs)]
    for name in names:
        cases = [run["cases"][name] for run in runs]
        for key, title in _COLUMNS:
            values = [case.get(key) for case in cases]
            if all(value is None for value in values) or (key == "lost" and not any(values)):
                continue
            texts = ["–" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}" for value in values]
            ratio = "" if None in values or not values[-1] else f"{values[0] / values[-1]:.2f}"
            lines.append(f"| {name} | {title} | {' | '.join(texts)} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["latency", "throughput", "service", "action", "idle"])
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--modes", nargs="+", choices=["one", "two"], default=["one", "two"])
    parser.add_argument("--seconds", type=float, default=6.0, help="of each latency measurement (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--table", nargs="+", type=Path, metavar="JSON", help="show results side by side, and stop")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--size", default="100 B", help=argparse.SUPPRESS)
    parser.add_argument("--keep-all", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table:
        print(table(options.table))
        return
    if options.child:
        child_main(options.child, options.size, options.keep_all)
        return
    os.environ.setdefault("ROS_DOMAIN_ID", str(random.randint(10, 90)))
    results = measure(options.parts, options.sizes, options.modes, options.seconds)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
