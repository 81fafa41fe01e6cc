"""A real browser, and one graph for all of its tests: controller, instruction keeper and console, around a played arm.

The arm, the policy and the camera are the test's own (`tests/graph/controller_peers.py`), so that nothing renders and
the machine is the browser's.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from magma_interfaces.msg import ControllerState, EndEffectorDelta
from playwright.sync_api import Browser, Page, sync_playwright
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from magma_common import qos
from magma_common.conversions import image_to_msg

_path = Path(__file__).resolve().parents[1] / "graph" / "conftest.py"
_spec = importlib.util.spec_from_file_location("graph_fixtures", _path)
_graph = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_graph)
free_domain = _graph.free_domain

from controller_peers import INSTRUCTION, Robot  # noqa: E402 (on the path by the file above)

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",  # which the browser needs for root, as tests in a container are
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
)
PATIENCE_MS = 1000.0 * _graph.PATIENCE_S
EXPIRY_S = 1.0
"""Stalls of a busy machine are no stalls of the operator, so the tests' console and controller wait longer."""
CAMERA_S = 0.1
OPEN = re.compile(r"console: open (http://\S+)")


class Graph:
    """The processes, and what the test plays around them."""

    def __init__(
        self,
        folder: Path,
        domain: int,
        *,
        camera: tuple[int, int] = (120, 160),
        camera_s: float = CAMERA_S,
        arm: Any = Robot,
        controller: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            camera: height and width of its pictures.
            camera_s: time between two.
            arm: makes the arm and the policy of a peer, see `controller_peers`.
            controller: further parameters of the controller.
        """
        self._folder, self._nodes = folder, []
        self.wait = _graph.wait_until
        self._size, self._camera_s = camera, camera_s
        patient = {"teleop_timeout_s": 1.0, "max_frame_age_s": 5.0, "watchdog_s": 3.0}
        self.controller = self.start("magma_control.controller_node", {**patient, **(controller or {})})
        self.keeper = self.start("magma_bringup.instruction_keeper", {"instruction": "none"})
        self.console = self.start_console({"port": 0})
        self.peer = _graph.Peer(domain)
        self.robot = arm(self.peer)
        self.asked = self.peer.collect(EndEffectorDelta, "/teleop/command", qos.COMMAND)
        self._camera = self.peer.publisher(Image, "/camera/image_raw", qos.SENSOR)
        self._frames = self.peer.publisher(Image, "/magma/frame", qos.FRAME)
        self.camera_works = True
        self.frame: np.ndarray | None = None
        """what the model sees, if anything"""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._film, daemon=True)
        self._thread.start()

    def start(self, module: str, parameters: dict[str, Any], namespace: str = "", **environment: str) -> Any:
        """A node process; ended with the graph."""
        command = [sys.executable, "-m", module, "--ros-args", *(["-r", f"__ns:={namespace}"] if namespace else [])]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value if isinstance(value, str) else json.dumps(value)}"]
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            node = _graph.NodeProcess(command, self._folder / f"{len(self._nodes)}-{module}.log")
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        self._nodes.append((module, node))
        return node

    def start_console(self, parameters: dict[str, Any], namespace: str = "", **environment: str) -> Any:
        """A console; its `address` is where the page is."""
        quick = {"expiry_s": EXPIRY_S, "rearm_hold_s": 0.5}
        node = self.start("magma_console.console_node", {**quick, **parameters}, namespace, **environment)
        self.wait(lambda: OPEN.search(node.output), lambda: f"a console's address in:\n{node.output}")
        node.address = OPEN.search(node.output)[1]
        return node

    def _film(self) -> None:
        shade = 0
        while not self._ended.wait(self._camera_s):
            if self.camera_works:
                shade = (shade + 8) % 200
                pixels = np.full((*self._size, 3), shade, np.uint8)
                self._camera.publish(image_to_msg(pixels, self.peer.now_ns(), "camera_optical"))
            if self.frame is not None:
                self._frames.publish(image_to_msg(self.frame, self.peer.now_ns(), "camera_optical"))

    def phase(self, phase: int, reason: str = "") -> ControllerState:
        """Waits for a report from now on."""
        self.robot.states.clear()
        return self.robot.states.wait_for(lambda state: state.phase == phase and reason in state.reason)

    def rests(self) -> None:
        """Waits until no operator is heard, and makes sure that nothing moves from then on."""
        self.phase(ControllerState.TELEOP, "operator silent")
        self.robot.nothing_moves()

    def begin(self) -> None:
        """As after a start: nobody has the arm, the policy acts."""
        self.camera_works = self.robot.policy_runs = True
        self.robot.instruction.publish(String(data=INSTRUCTION))
        state = self.robot.states.wait_for()
        if state.phase in (ControllerState.ESTOP, ControllerState.FAULT):
            self.peer.call(Trigger, "/magma/rearm")
        self.peer.call(Trigger, "/magma/hand_back")
        self.phase(ControllerState.AUTONOMOUS)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self.robot.close()
        for _, node in reversed(self._nodes):
            node.stop()
        self.peer.close()
        for module, node in self._nodes:
            print(f"--- output of {module}\n{node.output}")


@pytest.fixture(scope="module")
def shared_graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    with _graph.free_domain() as domain, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        patch.delenv("MAGMA_CONSOLE_TOKEN", raising=False)
        graph = Graph(tmp_path_factory.mktemp("graph"), domain)
        yield graph
        graph.close()


@pytest.fixture
def graph(shared_graph: Graph) -> Graph:
    """The one graph, in which nobody has the arm and the policy acts."""
    shared_graph.begin()
    return shared_graph


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"there is no browser: install one of {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield started
        started.close()


class Tab:
    """One open page of the console."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900})
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.ready()

    def ready(self) -> None:
        """Waits until the page shows what the controller is doing."""
        self.page.wait_for_selector("#phase")
        self.shows("phase", "[A-Z]+")
        self.page.wait_for_function("document.getElementById('link').classList.contains('up')")

    def shows(self, element: str, pattern: str) -> str:
        """Waits until an element's text matches, whole, and returns it."""
        self.page.wait_for_function(
            "([id, pattern]) => new RegExp(`^(?:${pattern})$`, 's').test(document.getElementById(id).textContent)",
            arg=[element, pattern],
        )
        return self.page.text_content(f"#{element}") or ""

    def drives(self, graph: Graph, key: str = "KeyW") -> str:
        """Holds the dead-man key and a motion key until the arm follows; returns the operator's name.

        A machine that is too busy to be a steady hand lets go now and then; then the keys are pressed anew.
        """
        for _ in range(20):
            self.let_go(key)
            graph.robot.commands.clear()
            self.page.keyboard.down("Space")
            self.page.keyboard.down(key)
            try:
                moved = graph.robot.commands.wait_for(lambda command: command.source.startswith("console"), 3.0)
            except pytest.fail.Exception:
                continue
            return moved.source
        pytest.fail(f"the arm does not follow the keys; the page says {self.page.text_content('#notice')!r}")

    def let_go(self, *keys: str) -> None:
        """Lets keys go, the dead-man key last."""
        for key in (*keys, "Space"):
            self.page.keyboard.up(key)

    def close(self) -> None:
        self.context.close()
        assert not self.errors


@pytest.fixture
def open_tab(browser: Browser, graph: Graph) -> Iterator[Any]:
    """Opens a page of the console in a browser context of its own."""
    tabs: list[Tab] = []

    def start(address: str = "") -> Tab:
        tabs.append(Tab(browser, address or graph.console.address))
        return tabs[-1]

    yield start
    for tab in tabs:
        tab.close()
