"""How long the emergency stop takes, from the press to the brake on the driver's topic, while other inputs are flooded.

    python tests/benchmarks/emergency_stop.py --presses 100

The controller drives a simulated Panda by joint_trajectory at 100 Hz; an operator moves it, so that no flood of a
policy's topics stops it before the press does. Each command carries the brake that would follow it, down to the place
where the arm would rest. From the press on every command is kept; the brake begins with the first one from which on
that place does not change any more. An arm that happened to stand at the press has nothing to brake: such a press is
counted apart and repeated. A press is lost when the controller does not say ESTOP, or commands go on: that ends the
benchmark. A flood is a process that publishes as fast as it can.

Printed are the times until the brake reached a subscriber, until the controller wrote it, and until the core had the
stop; beside them the longest that one thread of the controller stood in the queue for a core between press and brake,
and the part of all cores that was in use: on a machine that is busy with other things the times mean little.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

GRAPH = Path(__file__).parents[1] / "graph"
sys.path.insert(0, str(GRAPH))
GIANT_STEPS = 60_000
PATIENCE_S = 20.0
PERIOD_NS = 10_000_000
"""Of the controller's commands."""


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
    from magma_contracts.actions import ActionChunk

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


@dataclass(frozen=True)
class Seen:
    """One command on the driver's topic."""

    heard_ns: int
    sent_ns: int
    rest: tuple[float, ...]
    """where the arm comes to rest if nothing follows"""
    moving: bool


@dataclass(frozen=True)
class Press:
    """What one press led to; milliseconds from the moment before it was published."""

    heard_ms: float
    sent_ms: float
    core_ms: float
    queued_ms: float
    """the longest that one thread of the controller stood in the queue for a core"""
    busy: float
    """part of all cores that was in use"""


class LostPressError(Exception):
    """The arm was not stopped."""


class Cores:
    """How long the threads of a process have waited for a core, and how busy all cores are."""

    def __init__(self, pid: int) -> None:
        self._tasks = Path(f"/proc/{pid}/task")
        self._waited = self._waits()
        self._times = self._all_times()

    def _waits(self) -> dict[str, int]:
        waits = {}
        for task in self._tasks.iterdir():
            with contextlib.suppress(OSError):  # it ended
                waits[task.name] = int((task / "schedstat").read_text().split()[1])
        return waits

    @staticmethod
    def _all_times() -> tuple[int, int]:
        user, nice, system, idle, io, *others = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
        return user + nice + system + sum(others), idle + io

    def since(self) -> tuple[float, float]:
        """Since it was made: the longest wait of one thread in ms, and the part of all cores that was in use."""
        waits = self._waits()
        (worked, idled), (worked_before, idled_before) = self._all_times(), self._times
        longest_ns = max((waited_ns - self._waited.get(name, 0) for name, waited_ns in waits.items()), default=0)
        total = worked - worked_before + idled - idled_before
        return longest_ns * 1e-6, (worked - worked_before) / total if total else 0.0


class Bench:
    """An arm that moves, and its commands."""

    def __init__(self, peer: Any, controller: int) -> None:
        """
        Args:
            controller: its process id.
        """
        from controller_peers import Arm
        from magma_interfaces.msg import ControllerState, EndEffectorDelta
        from rclpy.qos import QoSProfile
        from std_msgs.msg import Bool
        from trajectory_msgs.msg import JointTrajectory

        from magma_common import qos

        self._peer = peer
        self._controller = controller
        self._bool = Bool
        self._seen: deque[Seen] = deque(maxlen=5000)
        self._stopped_ns: deque[int] = deque()
        self._estop = int(ControllerState.ESTOP)
        self.arm = Arm(peer)
        self._operator = peer.publisher(EndEffectorDelta, "/teleop/command", qos.COMMAND)
        self._drives = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._drive, daemon=True)
        self._thread.start()
        topic = "/joint_trajectory_controller/joint_trajectory"
        # Deep: none may be lost because this process was not run for a while.
        peer.node.create_subscription(JointTrajectory, topic, self._look, QoSProfile(depth=1000))
        peer.node.create_subscription(ControllerState, "/magma/controller_state", self._on_state, qos.EVERY_STATE)

    def _look(self, message: Any, info: Any) -> None:
        moving = np.abs(np.array(message.points[0].velocities)).max() > 0.0
        rest = tuple(message.points[-1].positions)
        self._seen.append(Seen(time.time_ns(), info["source_timestamp"], rest, bool(moving)))

    def _on_state(self, message: Any, info: Any) -> None:
        if message.phase == self._estop:
            self._stopped_ns.append(info["source_timestamp"])

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

    @property
    def _moving(self) -> bool:
        return bool(self._seen) and self._seen[-1].moving

    def press(self) -> Press | None:
        """Waits until the arm moves and presses; None when the arm stood just then.

        Raises:
            LostPressError: the arm was not stopped.
        """
        self._drives = True
        _wait(lambda: self._moving, "the arm does not move")
        time.sleep(float(np.random.default_rng().uniform(0.0, 0.2)))
        _wait(lambda: self._moving, "the arm does not move")
        self._stopped_ns.clear()
        cores = Cores(self._controller)
        pressed_ns = time.time_ns()
        self.arm.button.publish(self._bool(data=True))
        _wait(lambda: self._stopped_ns, "no ESTOP was reported")
        queued_ms, busy = cores.since()
        # Who asks on through the stop and the re-arm is not followed before it has let go.
        self._drives = False
        _wait(self._quiet, "commands go on after the stop")
        self.arm.button.publish(self._bool(data=False))
        return self._judge(pressed_ns, (self._stopped_ns[0] - pressed_ns) * 1e-6, queued_ms, busy)

    def _quiet(self) -> bool:
        return time.time_ns() - self._seen[-1].heard_ns > 500_000_000

    def _judge(self, pressed_ns: int, core_ms: float, queued_ms: float, busy: float) -> Press | None:
        seen = list(self._seen)
        first = len(seen) - 1
        while first > 0 and seen[first - 1].rest == seen[-1].rest:
            first -= 1
        # The one that named the place first was no brake yet: those after it follow its brake.
        first += 1
        if first >= len(seen):
            # It stood, or the controller fell silent: then the arm's own controller follows the last one's brake.
            if not seen[-1].moving:
                return None
            last = seen[-1]
            begun_ns = last.sent_ns + PERIOD_NS, last.heard_ns + PERIOD_NS
        else:
            begun_ns = seen[first].sent_ns, seen[first].heard_ns
        if begun_ns[0] < pressed_ns:
            return None  # it was coming to rest by itself
        sent_ms, heard_ms = ((moment_ns - pressed_ns) * 1e-6 for moment_ns in begun_ns)
        return Press(heard_ms, sent_ms, core_ms, queued_ms, busy)

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
    parser.add_argument("--domain", type=int, default=8, help="ROS_DOMAIN_ID; tests take those from 10 on")
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
    bench = Bench(peer, controller.pid)
    try:
        print(
            "| flood | presses | arm stood | p50 ms | p99 ms | longest ms "
            "| written p99 ms | core p99 ms | queued p99 ms | cores in use |\n"
            "|---|---|---|---|---|---|---|---|---|---|",
            flush=True,
        )
        for what in ("none", *given.floods):
            presses: list[Press] = []
            stood = 0
            while len(presses) < given.presses:
                flooding = None
                if what != "none":
                    flooding = subprocess.Popen(
                        [sys.executable, __file__, "--flood", what, "--domain", str(given.domain)]
                    )
                    time.sleep(2.0)
                try:
                    press = bench.press()
                finally:
                    if flooding is not None:
                        flooding.kill()
                        flooding.wait()
                if press is None:
                    stood += 1
                else:
                    presses.append(press)
                bench.rearm()
            print(_row(what, presses, stood), flush=True)
    except LostPressError as error:
        said = bench.arm.states.last
        phase = f"phase {said.phase}, {said.reason!r}" if said is not None else "nothing"
        raise SystemExit(f"not measured: {error}; the controller says {phase}") from None
    finally:
        bench.close()
        controller.terminate()
        controller.wait()
        peer.close()


def _row(what: str, presses: list[Press], stood: int) -> str:
    heard = [press.heard_ms for press in presses]
    p99 = [
        np.percentile(values, 99)
        for values in (
            heard,
            [press.sent_ms for press in presses],
            [press.core_ms for press in presses],
            [press.queued_ms for press in presses],
        )
    ]
    busy = np.mean([press.busy for press in presses])
    return (
        f"| {what} | {len(presses)} | {stood} | {np.percentile(heard, 50):.1f} | {p99[0]:.1f} | {max(heard):.1f} "
        f"| {p99[1]:.1f} | {p99[2]:.1f} | {p99[3]:.1f} | {100 * busy:.0f} % |"
    )


def _wait(condition: Any, what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise LostPressError(f"{what} within {PATIENCE_S:g} s")
        time.sleep(0.001)


if __name__ == "__main__":
    main()
