"""Stress of rclpy_dds: memory over many nodes, many nodes at once, readers that cannot keep up.

    python ros2_ws/rclpy_dds/benchmarks/stress.py cycles --count 10000   # nodes one after another; memory must be flat
    python ros2_ws/rclpy_dds/benchmarks/stress.py nodes --count 50      # one process for each node, all connected
    python ros2_ws/rclpy_dds/benchmarks/stress.py fast                   # a publisher that is faster than its reader
    python ros2_ws/rclpy_dds/benchmarks/stress.py stalled                # a reader process that is stopped for 5 s

Choose a ROS_DOMAIN_ID of your own. Each command prints what it measured; "stalled" fails if a write takes over 50 ms.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger


def resident_mb() -> float:
    """Return the resident memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def cycles(count: int) -> None:
    """Create and destroy nodes with everything a node may have."""
    rclpy.init(args=[])
    readings = []
    started = time.perf_counter()
    for index in range(count):
        node = Node("passing", namespace=f"/n{index % 7}")
        node.declare_parameter("value", 1.0)
        node.create_publisher(String, "chatter", 10)
        node.create_subscription(String, "chatter", print, 10)
        node.create_service(Trigger, "~/trigger", lambda request, response: response)
        node.create_client(Trigger, "trigger")
        node.create_timer(1.0, print)
        rclpy.spin_once(node, timeout_sec=0)
        node.destroy_node()
        if index % max(count // 10, 1) == 0:
            gc.collect()
            readings.append(resident_mb())
    gc.collect()
    readings.append(resident_mb())
    took = time.perf_counter() - started
    threads = len(os.listdir("/proc/self/task"))
    files = len(os.listdir("/proc/self/fd"))
    print(
        f"{count} nodes in {took:.0f} s ({1e3 * took / count:.1f} ms each); memory in MB at each tenth: "
        f"{' '.join(f'{value:.1f}' for value in readings)}; {threads} threads and {files} files open at the end"
    )
    rclpy.shutdown()


_MEMBER = """
import rclpy, sys
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from std_msgs.msg import String
rclpy.init(args=[])
index, count = int(sys.argv[1]), int(sys.argv[2])
node = Node(f"member{index}")
publisher = node.create_publisher(String, "roll_call", count)
heard = set()
def hear(message):
    heard.add(message.data)
    if len(heard) == count and "done" not in heard:
        heard.add("done")
        print("complete", flush=True)
node.create_subscription(String, "roll_call", hear, count)
node.create_timer(0.5, lambda: publisher.publish(String(data=str(index))))
try:
    rclpy.spin(node)
except (KeyboardInterrupt, ExternalShutdownException):
    pass
"""


def nodes(count: int) -> None:
    """Start a process for each node, wait until every node has heard every other, and look at the graph."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _MEMBER, str(index), str(count)], stdout=subprocess.PIPE, text=True, env=environment
        )
        for index in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "complete":
                raise SystemExit(f"a member ended with {process.wait()}")
        complete = time.perf_counter() - started
        rclpy.init(args=[])
        observer = Node("observer")
        appeared = time.perf_counter()
        while len([name for name in observer.get_node_names() if name.startswith("member")]) < count:
            if time.perf_counter() - appeared > 60:
                raise SystemExit("the observer does not see all nodes")
            time.sleep(0.01)
        seen = time.perf_counter() - appeared
        memory = [
            int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
            for process in processes
        ]
        before = [_cpu_s(process.pid) for process in processes]
        time.sleep(5.0)
        busy = sum(_cpu_s(process.pid) - then for process, then in zip(processes, before, strict=True)) / 5.0
        print(
            f"{count} processes heard each other {complete:.1f} s after the start of the first; a newcomer sees all "
            f"nodes after {seen:.2f} s; memory of a process {statistics.median(memory):.0f} MB; all together use "
            f"{busy:.2f} cores at {2 * count} messages/s to {count} readers each"
        )
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
    if rclpy.ok():
        rclpy.shutdown()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fast(seconds: float) -> None:
    """Publish without a pause while the subscription's callback needs 5 ms for each message."""
    rclpy.init(args=[])
    node = Node("hasty")
    received: list[int] = []

    def slow(message: Any) -> None:
        received.append(int(message.data))
        time.sleep(0.005)

    publisher = node.create_publisher(String, "flood", QoSProfile(depth=10))
    node.create_subscription(String, "flood", slow, QoSProfile(depth=10))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)

    thread = threading.Thread(target=spin)
    thread.start()
    time.sleep(0.5)
    sent, longest, memory = 0, 0.0, 0.0
    end = time.perf_counter() + seconds
    while (now := time.perf_counter()) < end:
        publisher.publish(String(data=str(sent)))
        longest = max(longest, time.perf_counter() - now)
        sent += 1
        if memory == 0.0 and now > end - seconds / 2:
            memory = resident_mb()
    time.sleep(0.5)
    stop.set()
    thread.join()
    print(
        f"sent {sent} in {seconds:g} s, longest publish {1e3 * longest:.1f} ms; received {len(received)} in order: "
        f"{received == sorted(received)}, the last one: {received[-1] == sent - 1}; memory {memory:.1f} MB half way, "
        f"{resident_mb():.1f} MB at the end"
    )
    executor.shutdown()
    rclpy.shutdown()


_READER = """
import rclpy, sys
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
rclpy.init(args=[])
node = Node("reader")
node.create_subscription(Image, "camera", lambda message: None, QoSProfile(depth=int(sys.argv[1])))
print("ready", flush=True)
try:
    rclpy.spin(node)
except (KeyboardInterrupt, ExternalShutdownException):
    pass
"""


def stalled(seconds: float) -> None:
    """Publish 30 reliable images of 640x480 a second to a process that is stopped; every write must return at once."""
    rclpy.init(args=[])
    node = Node("camera")
    worst = 0.0
    for depth in (1, 10):
        profile = QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE)
        publisher = node.create_publisher(Image, "camera", profile)
        reader = subprocess.Popen([sys.executable, "-c", _READER, str(depth)], stdout=subprocess.PIPE, text=True)
        try:
            assert reader.stdout is not None
            reader.stdout.readline()
            while publisher.get_subscription_count() == 0:
                time.sleep(0.01)
            image = Image(height=480, width=640, step=1920, encoding="rgb8", data=np.zeros(921600, dtype=np.uint8))
            times: dict[str, list[float]] = {"running": [], "stopped": [], "running again": []}
            for phase, lasted in (("running", 1.0), ("stopped", seconds), ("running again", 1.0)):
                if phase != "running":
                    reader.send_signal(signal.SIGSTOP if phase == "stopped" else signal.SIGCONT)
                for _ in range(round(lasted * 30)):
                    before = time.perf_counter()
                    publisher.publish(image)
                    times[phase].append(time.perf_counter() - before)
                    time.sleep(1 / 30)
        finally:
            reader.send_signal(signal.SIGCONT)
            reader.send_signal(signal.SIGINT)
            reader.wait(10)
        node.destroy_publisher(publisher)
        print(
            f"keep last {depth}: longest publish in ms: "
            + ", ".join(f"{1e3 * max(values):.1f} while {phase}" for phase, values in times.items())
        )
        worst = max(worst, *(max(values) for values in times.values()))
    rclpy.shutdown()
    if worst > 0.05:
        raise SystemExit(f"a publish took {1e3 * worst:.0f} ms")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("cycles", "nodes", "fast", "stalled"))
    parser.add_argument("--count", type=int, help="of nodes")
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    os.environ.setdefault("ROS_DOMAIN_ID", str(random.randrange(10, 101)))
    if arguments.what == "cycles":
        cycles(arguments.count or 10_000)
    elif arguments.what == "nodes":
        nodes(arguments.count or 50)
    elif arguments.what == "fast":
        fast(arguments.seconds)
    else:
        stalled(arguments.seconds)


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, ExternalShutdownException):
        sys.exit(130)
