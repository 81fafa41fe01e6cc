"""How quick the operator's console is, and what it costs.

    python tests/benchmarks/console.py latency              # keys, emergency stop, pictures, viewers
    python tests/benchmarks/console.py loop                 # the control loop without and with it, in turns
    python tests/benchmarks/console.py memory --minutes 60  # page and server at 8 times the usual rate of messages

A real browser (Debian's Chromium), the real controller and console; the arm and the camera are played by this process
(`tests/browser/conftest.py`). Keys are timed from the browser's own time of the event to the message in this process.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

_path = Path(__file__).resolve().parents[1] / "browser" / "conftest.py"
_spec = importlib.util.spec_from_file_location("browser_fixtures", _path)
if _spec is None or _spec.loader is None:
    sys.exit(f"{_path} is missing")
_browser: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_browser)

CAMERA = (480, 640)
CAMERA_S = 1.0 / 30.0
LOOK_S = 10.0
TURN_S = 40.0
RATE = 8
"""Times the usual rate of messages."""
USUAL_HZ = {"state": 10.0, "chunk": 5.0, "command": 5.0, "pose": 20.0, "picture": 15.0, "device": 10.0}


def percentiles(values: list[float]) -> str:
    """For a person; milliseconds."""
    found = np.percentile(values, [50, 95, 99])
    return f"p50 {found[0]:.0f}, p95 {found[1]:.0f}, p99 {found[2]:.0f}, max {max(values):.0f} ms (n = {len(values)})"


def load() -> str:
    """Of the machine, for whoever reads the figures."""
    return f"load of the machine {', '.join(f'{one:.1f}' for one in os.getloadavg())}, {os.cpu_count()} cores"


@contextmanager
def browser() -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, _browser.BROWSERS)), None)
    if found is None:
        sys.exit(f"there is no browser: install one of {', '.join(_browser.BROWSERS)}")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=_browser.ARGUMENTS)
        yield started
        started.close()


@contextmanager
def domain() -> Iterator[int]:
    """A ROS domain of its own, and this machine only."""
    with _browser.free_domain() as number:
        os.environ.update(ROS_DOMAIN_ID=str(number), ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST")
        os.environ.pop("MAGMA_CONSOLE_TOKEN", None)
        yield number


class Clock:
    """When messages came, on the clock of the browser's events."""

    def __init__(self, graph: Any) -> None:
        from magma_interfaces.msg import ControllerState, EndEffectorDelta

        from magma_common import qos

        self.moved_s: float | None = None
        self.stopped_s: float | None = None
        node = graph.peer.node
        node.create_subscription(EndEffectorDelta, "/magma/command", self._on_command, qos.COMMAND)
        node.create_subscription(ControllerState, "/magma/controller_state", self._on_state, qos.STATE)
        self._estop = ControllerState.ESTOP

    def _on_command(self, message: Any) -> None:
        if self.moved_s is None and message.source.startswith("console") and message.translation.x > 0.0:
            self.moved_s = time.time()

    def _on_state(self, message: Any) -> None:
        if self.stopped_s is None and message.phase == self._estop:
            self.stopped_s = time.time()


def latency(presses: int, stops: int) -> None:
    """Keys to commands, Esc to ESTOP, capture to pixel, pictures per second."""
    with domain() as number, tempfile.TemporaryDirectory() as folder, browser() as chromium:
        graph = _browser.Graph(Path(folder), number, camera=CAMERA, camera_s=CAMERA_S)
        try:
            graph.begin()
            tab = _browser.Tab(chromium, graph.console.address)
            clock = Clock(graph)
            tab.page.evaluate(
                "addEventListener('keydown', (event) => { if (!event.repeat)"
                " window.pressedAt = (performance.timeOrigin + event.timeStamp) / 1000; }, { capture: true })"
            )
            print(f"key to /magma/command: {percentiles(_keys(graph, tab, clock, presses))}")
            print(f"Esc to ESTOP in the controller's state: {percentiles(_stops(graph, tab, clock, stops))}")
            _viewers(chromium, graph, tab)
            print(load())
        finally:
            graph.close()


def _keys(graph: Any, tab: Any, clock: Clock, presses: int) -> list[float]:
    found: list[float] = []
    while len(found) < presses:
        tab.let_go("KeyW")
        time.sleep(0.15)
        tab.page.keyboard.down("Space")
        tab.page.wait_for_function("document.getElementById('take').classList.contains('on')")
        time.sleep(random.uniform(0.3, 0.6))
        clock.moved_s = None
        tab.page.keyboard.down("KeyW")
        deadline_s = time.time() + 2.0
        while clock.moved_s is None and time.time() < deadline_s:
            time.sleep(0.002)
        if clock.moved_s is not None:  # else it let go: the machine was too busy to be a steady hand
            found.append(1e3 * (clock.moved_s - tab.page.evaluate("pressedAt")))
    tab.let_go("KeyW")
    return found


def _stops(graph: Any, tab: Any, clock: Clock, stops: int) -> list[float]:
    from std_srvs.srv import Trigger

    found = []
    for _ in range(stops):
        graph.peer.call(Trigger, "/magma/rearm")
        tab.page.wait_for_function("document.getElementById('phase').textContent !== 'ESTOP'")
        time.sleep(random.uniform(0.1, 0.3))
        clock.stopped_s = None
        tab.page.keyboard.press("Escape")
        graph.wait(lambda: clock.stopped_s is not None, "ESTOP")
        found.append(1e3 * ((clock.stopped_s or 0.0) - tab.page.evaluate("pressedAt")))
        tab.page.wait_for_function("document.getElementById('phase').textContent === 'ESTOP'")
    graph.peer.call(Trigger, "/magma/rearm")
    return found


def _viewers(chromium: Any, graph: Any, tab: Any) -> None:
    tabs = [tab]
    for count in (1, 5):
        while len(tabs) < count:
            tabs.append(_browser.Tab(chromium, graph.console.address))
        time.sleep(2.0)
        for one in tabs:
            one.page.evaluate("consoleTimes.lags.length = 0; window.shownBefore = consoleTimes.shown")
        time.sleep(LOOK_S)
        told = [one.page.evaluate("[consoleTimes.shown - shownBefore, consoleTimes.lags]") for one in tabs]
        rates = ", ".join(f"{shown / LOOK_S:.1f}" for shown, _ in told)
        lags = [lag for _, lags in told for lag in lags]
        print(f"{count} viewers, camera {CAMERA[1]} x {CAMERA[0]} at {1 / CAMERA_S:.0f} Hz: {rates} pictures/s")
        print(f"  capture to drawn: {percentiles(lags)}")


def loop(turns: int) -> None:
    """Periods that the controller's 100 Hz loop missed, without a console, with one, and with one that is looked at."""
    from controller_peers import Arm
    from diagnostic_msgs.msg import DiagnosticArray

    from magma_common import qos

    with domain() as number, tempfile.TemporaryDirectory() as folder, browser() as chromium:
        at_joints = {"arm": "joint_trajectory", "robot": "panda"}
        graph = _browser.Graph(Path(folder), number, camera=CAMERA, camera_s=CAMERA_S, arm=Arm, controller=at_joints)
        latest: dict[str, str] = {}

        def on_diagnostics(array: DiagnosticArray) -> None:
            for status in array.status:
                if status.name.endswith("controller"):
                    latest.update({value.key: value.value for value in status.values})

        graph.peer.node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, qos.DIAGNOSTICS)
        try:
            graph.robot.moves()
            for _ in range(turns):
                for name in ("without a console", "a console", "a console and one viewer"):
                    tab = _browser.Tab(chromium, graph.console.address) if "viewer" in name else None
                    if name == "without a console":
                        graph.console.stop()
                    print(f"{name:<26} {_misses(latest)}; {load()}")
                    if name == "without a console":
                        graph.console = graph.start_console({"port": 0})
                    if tab is not None:
                        tab.context.close()
        finally:
            graph.close()


def _misses(latest: dict[str, str]) -> str:
    time.sleep(3.0)
    before, began_s = dict(latest), time.monotonic()
    time.sleep(TURN_S)
    ticks, missed = (
        int(latest[name]) - int(before.get(name, "0")) for name in ("control_ticks", "control_ticks_missed")
    )
    share = 100.0 * missed / max(1, ticks + missed)
    return f"{time.monotonic() - began_s:.0f} s: {missed} of {ticks + missed} periods missed ({share:.2f} %)"


class Chatter:
    """A robot that says everything RATE times as often as usual; nothing else runs."""

    def __init__(self, peer: Any, rate: int) -> None:
        from magma_interfaces.msg import ActionChunk as ActionChunkMsg
        from magma_interfaces.msg import ControllerState, EndEffectorDelta, EndEffectorState, TeleopStatus
        from sensor_msgs.msg import Image

        from magma_common import qos
        from magma_common.conversions import chunk_to_msg, delta_to_msg, image_to_msg, ns_to_stamp
        from magma_contracts.actions import ActionChunk

        self.sent = dict.fromkeys(USUAL_HZ, 0)
        node = peer.node
        publishers = {
            "state": node.create_publisher(ControllerState, "/magma/controller_state", qos.STATE),
            "chunk": node.create_publisher(ActionChunkMsg, "/magma/action_chunk", qos.COMMAND),
            "command": node.create_publisher(EndEffectorDelta, "/magma/command", qos.COMMAND),
            "pose": node.create_publisher(EndEffectorState, "/magma/end_effector_state", qos.ROBOT_STATE),
            "picture": node.create_publisher(Image, "/camera/image_raw", qos.SENSOR),
            "device": node.create_publisher(TeleopStatus, "/teleop/status", qos.ROBOT_STATE),
        }
        pose = EndEffectorState(gripper=1.0, gripper_target=1.0)
        for one in (pose.pose, pose.target_pose):
            one.orientation.w = 1.0

        def message(name: str, count: int) -> Any:
            now_ns = peer.now_ns()
            step = np.array([0.01 * np.sin(count / 30.0), 0.005, 0.0, 0.0, 0.0, 0.02, 1.0])
            if name == "state":
                # A new reason twice a second: each is an event on the page.
                return ControllerState(
                    phase=ControllerState.TELEOP if count // 4000 % 2 else ControllerState.AUTONOMOUS,
                    reason=f"reason {'abcdefghij'[count // 40 % 10]}",
                    rejection_reasons=["stale", "clipped: speed"],
                    rejection_counts=[count // 100, count // 70],
                )
            if name == "chunk":
                return chunk_to_msg(ActionChunk(step[None], now_ns, 0.2, "chatter", "go", count))
            if name == "command":
                return delta_to_msg(step, now_ns, "base", "chatter")
            if name == "picture":
                return image_to_msg(np.full((48, 64, 3), count % 255, np.uint8), now_ns, "camera_optical")
            if name == "device":
                return TeleopStatus(device=f"pad{count // 500}@host:1", connected=True, engaged=False, text="ready")
            pose.header.stamp = ns_to_stamp(now_ns)
            return pose

        self._ended = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._say, args=(name, publishers[name], message, 1.0 / (rate * USUAL_HZ[name])), daemon=True
            )
            for name in USUAL_HZ
        ]
        for thread in self._threads:
            thread.start()

    def _say(self, name: str, publisher: Any, message: Callable[[str, int], Any], period_s: float) -> None:
        due_s = time.monotonic()
        while not self._ended.wait(max(0.0, due_s - time.monotonic())):
            publisher.publish(message(name, self.sent[name]))
            self.sent[name] += 1
            due_s = max(due_s + period_s, time.monotonic() - 1.0)

    def close(self) -> None:
        """Says no more."""
        self._ended.set()
        for thread in self._threads:
            thread.join()


def memory(minutes: float, rate: int) -> None:
    """The page's heap after a collection and the server's own memory, once a minute."""
    with domain() as number, tempfile.TemporaryDirectory() as folder, browser() as chromium:
        peer = _browser._graph.Peer(number)
        command = [sys.executable, "-m", "magma_console.console_node", "--ros-args", "-p", "picture_rate_hz:=10.0"]
        node = _browser._graph.NodeProcess(command, Path(folder) / "console.log")
        chatter = None
        try:
            _browser._graph.wait_until(lambda: _browser.OPEN.search(node.output), "the console's address")
            chatter = Chatter(peer, rate)
            page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.goto(_browser.OPEN.search(node.output)[1])
            page.wait_for_function("consoleTimes.shown > 5")
            session = page.context.new_cdp_session(page)
            began_s, rows, sent = time.monotonic(), [], dict(chatter.sent)
            while time.monotonic() - began_s < 60.0 * minutes:
                time.sleep(60.0)
                session.send("HeapProfiler.collectGarbage")
                heap = session.send("Runtime.getHeapUsage")["usedSize"]
                rows.append(((time.monotonic() - began_s) / 60.0, heap / 1e6, _own_mb(node._process.pid)))
                print("minute {:5.1f}: page {:6.2f} MB, server {:7.2f} MB".format(*rows[-1]), flush=True)
            seconds = time.monotonic() - began_s
            rates = {name: (chatter.sent[name] - sent[name]) / seconds for name in sent}
            print("messages per second: " + ", ".join(f"{name} {value:.0f}" for name, value in rates.items()))
            half = [row for row in rows if row[0] >= rows[-1][0] / 2.0]
            for column, name in ((1, "page"), (2, "server")):
                third = max(1, len(half) // 3)
                first, last = (
                    float(np.median([row[column] for row in part])) for part in (half[:third], half[-third:])
                )
                print(f"{name}: {first:.2f} to {last:.2f} MB over the last half: {100 * (last / first - 1):+.1f} %")
            print(f"pictures shown {page.evaluate('consoleTimes.shown')}; {load()}")
        finally:
            if chatter is not None:
                chatter.close()
            node.stop()
            peer.close()


def _own_mb(pid: int) -> float:
    """Memory that belongs to a process alone."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    values = dict(line.split()[:2] for line in text.splitlines() if line.endswith("kB"))
    return int(values["Anonymous:"]) / 1e3


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    of_latency = commands.add_parser("latency")
    of_latency.add_argument("--presses", type=int, default=60)
    of_latency.add_argument("--stops", type=int, default=100)
    commands.add_parser("loop").add_argument("--turns", type=int, default=2)
    of_memory = commands.add_parser("memory")
    of_memory.add_argument("--minutes", type=float, default=60.0)
    of_memory.add_argument("--rate", type=int, default=RATE)
    options = parser.parse_args()
    if options.command == "latency":
        latency(options.presses, options.stops)
    elif options.command == "loop":
        loop(options.turns)
    else:
        memory(options.minutes, options.rate)


if __name__ == "__main__":
    main()
