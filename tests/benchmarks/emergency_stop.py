"""How long the emergency stop takes, from the press to the brake on the driver's topic, while other inputs are flooded.

    python tests/benchmarks/emergency_stop.py --presses 100

The controller drives a simulated Panda by joint_trajectory at 100 Hz; an operator moves it, so that no flood of a
policy's topics stops it before the press does. Each command carries the brake that would follow it; the first command
that is such a brake ends the measurement. A flood is a process that publishes as fast as it can.
The machine's load is printed beside the times: they mean something on an idle one only.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

GRAPH = Path(__file__).parents[1] / "graph"
sys.path.insert(0, str(GRAPH))
GIANT_STEPS = 60_000
PATIENCE_S = 20.0


def flood(topic: str) -> None:
    """Publishes on a topic until it is ended."""
    import rclpy
    from magma_interfaces.msg import ActionChunk as ActionChunkMsg
    from magma_interfaces.msg import ActionSpec as ActionSpecMsg
    from magma_interfaces.msg import EndEffectorDelta
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Header, String

    from magma_common import qos
    from magma_common.conversions import chunk_to_msg, delta_to_msg
    from magma_common.data import ActionChunk

    rclpy.init()
    node = rclpy.create_node("flood")

    def chunk(steps: int) -> Any:
        return chunk_to_msg(ActionChunk(np.zeros((steps, 7)), time.time_ns(), 0.2, "nobody", "go", 1))

    made = {
        "giant chunks": (ActionChunkMsg, "/magma/action_chunk", qos.COMMAND, lambda: chunk(GIANT_STEPS)),
        "chunks": (ActionChunkMsg, "/magma/action_chunk", qos.COMMAND, lambda: chunk(2)),
        "specs": (ActionSpecMsg, "/magma/action_spec", qos.STATE, lambda: ActionSpecMsg(policy=str(time.time_ns()))),
        "instructions": (String, "/magma/instruction", qos.STATE, lambda: String(data=str(time.time_ns()))),
        "long instructions": (String, "/magma/instruction", qos.STATE, lambda: String(data="x" * 5_000_000)),
        "operators": (
            EndEffectorDelta,
            "/teleop/command",
            qos.COMMAND,
            lambda: delta_to_msg(np.zeros(7), time.time_ns() - 10**10, source="flood"),
        ),
        "joint states": (JointState, "/joint_states", qos.ROBOT_STATE, lambda: JointState(name=["x"], position=[0.0])),
        "huge joint states": (
            JointState,
            "/joint_states",
            qos.ROBOT_STATE,
            lambda: JointState(name=["x"] * 50_000, position=[0.0] * 50_000),
        ),
        "heartbeats": (Header, "/magma/teleop_heartbeat", qos.ROBOT_STATE, lambda: Header(frame_id="flood")),
    }
    kind, name, profile, make = made[topic]
    publisher = node.create_publisher(kind, name, profile)
    giant = make() if "giant" in topic or "huge" in topic or "long" in topic else None
    while True:
        publisher.publish(giant if giant is not None else make())


FLOODS = (
    "giant chunks",
    "chunks",
    "specs",
    "instructions",
    "long instructions",
    "operators",
    "joint states",
    "huge joint states",
    "heartbeats",
)


class Bench:
    """An arm that moves, and the times of its commands."""

    def __init__(self, peer: Any) -> None:
        from controller_peers import Arm
        from magma_interfaces.msg import EndEffectorDelta
        from std_msgs.msg import Bool
        from trajectory_msgs.msg import JointTrajectory

        from magma_common import qos

        self._peer = peer
        self._bool = Bool
        self._braked = threading.Event()
        self._braked_s = 0.0
        self._brake: np.ndarray | None = None
        self._pressed = False
        self.arm = Arm(peer)
        self._operator = peer.publisher(EndEffectorDelta, "/teleop/command", qos.COMMAND)
        self._drives = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._drive, daemon=True)
        self._thread.start()
        topic = "/joint_trajectory_controller/joint_trajectory"
        peer.node.create_subscription(JointTrajectory, topic, self._look, qos.JOINT_COMMAND)

    def _look(self, message: Any) -> None:
        now_s = time.monotonic()
        position = np.array(message.points[0].positions)
        moving = np.abs(np.array(message.points[0].velocities)).max() > 1e-6
        if self._pressed and self._brake is not None and np.allclose(position, self._brake, atol=1e-9):
            self._braked_s = now_s
            self._braked.set()
        self._brake = np.array(message.points[1].positions) if moving and len(message.points) > 1 else None

    def _drive(self) -> None:
        """The operator: to and fro."""
        from magma_common.conversions import delta_to_msg

        count = 0
        while not self._ended.wait(0.2):
            if self._drives:
                count += 1
                way_m = 0.02 if count // 5 % 2 else -0.02
                self._operator.publish(delta_to_msg((0, way_m, 0, 0, 0, 0, 1), self._peer.now_ns(), source="bench"))

    def close(self) -> None:
        """Ends the arm and its operator."""
        self._ended.set()
        self._thread.join()
        self.arm.close()

    def press(self) -> float:
        """Waits until the arm moves, presses, and returns the milliseconds until the brake."""
        self._drives = True
        began_s = time.monotonic()
        while self._brake is None and time.monotonic() - began_s < PATIENCE_S:
            time.sleep(0.001)
        time.sleep(float(np.random.default_rng().uniform(0.0, 0.2)))
        began_s = time.monotonic()
        while self._brake is None and time.monotonic() - began_s < PATIENCE_S:
            time.sleep(0.001)
        self._braked.clear()
        pressed_s, self._pressed = time.monotonic(), True
        self.arm.button.publish(self._bool(data=True))
        came = self._braked.wait(PATIENCE_S)
        self._pressed = self._drives = False
        self.arm.button.publish(self._bool(data=False))
        return (self._braked_s - pressed_s) * 1e3 if came else float("inf")

    def rearm(self) -> None:
        """Until it is armed again."""
        from std_srvs.srv import Trigger

        for _ in range(100):
            time.sleep(0.1)
            if self._peer.call(Trigger, "/magma/rearm").success:
                return
        raise SystemExit("the controller was not re-armed")


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--presses", type=int, default=100, help="per flood")
    parser.add_argument("--floods", nargs="*", default=list(FLOODS), choices=FLOODS, help="default: all")
    parser.add_argument("--flood", choices=FLOODS, help=argparse.SUPPRESS)
    parser.add_argument("--domain", type=int, default=77)
    given = parser.parse_args()
    os.environ["ROS_DOMAIN_ID"] = str(given.domain)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if given.flood:
        flood(given.flood)
    spec = importlib.util.spec_from_file_location("graph_conftest", GRAPH / "conftest.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{GRAPH} has no conftest.py")
    graph = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(graph)
    peer = graph.Peer(given.domain)
    settings = {
        "arm": "joint_trajectory",
        "robot": "panda",
        "watchdog_s": 2.0,
        "executor_timeout_s": 20.0,
        "teleop_timeout_s": 2.0,
    }
    command = [sys.executable, "-m", "magma_control.controller_node", "--ros-args"]
    for name, value in {**settings, "max_frame_age_s": 2.0, "state_timeout_s": 2.0}.items():
        command += ["-p", f"{name}:={value}"]
    controller = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    bench = Bench(peer)
    try:
        print("| flood | presses | p50 ms | p99 ms | longest ms | load |\n|---|---|---|---|---|---|", flush=True)
        for what in ("none", *given.floods):
            times = []
            for _ in range(given.presses):
                flooding = None
                if what != "none":
                    flooding = subprocess.Popen(
                        [sys.executable, __file__, "--flood", what, "--domain", str(given.domain)]
                    )
                    time.sleep(2.0)
                times.append(bench.press())
                if flooding is not None:
                    flooding.kill()
                    flooding.wait()
                bench.rearm()
            p50, p99 = np.percentile(times, [50, 99])
            load = os.getloadavg()[0]
            print(f"| {what} | {len(times)} | {p50:.1f} | {p99:.1f} | {max(times):.1f} | {load:.1f} |", flush=True)
    finally:
        bench.close()
        controller.terminate()
        controller.wait()
        peer.close()


if __name__ == "__main__":
    main()
