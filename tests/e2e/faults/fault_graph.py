"""The real graph in simulation with somebody in the middle: every message between camera, policy, arm and controller
passes this process, which can hold it up, change it, or say something in another's name.

    simulator -> [camera] -> camera_subscriber -> policy -> [chunk] -> controller -> simulator
    simulator -> [state or joint states] -> controller
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from lifecycle_msgs.srv import ChangeState
from magma_interfaces.msg import ActionChunk, ActionSpec, ControllerState, EndEffectorDelta, EndEffectorState
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from magma_common import qos
from magma_common.conversions import delta_to_msg, ns_to_stamp, pose_to_arrays, stamp_to_ns

HERE = Path(__file__).resolve().parent
STARTING_S = 150.0
"""SAPIEN and the scene take long on a busy machine without a GPU."""
PATIENCE_S = float(os.environ.get("MAGMA_TEST_PATIENCE_S", "60"))
WATCHDOG_S = 0.5
TICK_S = 0.02
STATE_TIMEOUT_S = 1.0
STEP_PERIOD_S = 0.2
TELEOP_TIMEOUT_S = 0.3
PHASES = ("HOLD", "AUTONOMOUS", "TELEOP", "ESTOP", "FAULT")
AT_REST_M = 0.0005
"""Between two reports of an arm at rest."""


class GraphError(AssertionError):
    """The graph did not do what it was waited for."""


def wait_until(condition: Callable[[], Any], what: str | Callable[[], str], timeout_s: float = PATIENCE_S) -> Any:
    """Waits until `condition()` is true and returns its value; GraphError naming `what` otherwise."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline_s:
            raise GraphError(f"waited {timeout_s:g} s in vain for {what() if callable(what) else what}")
        time.sleep(0.005)


class NodeProcess:
    """A node as a process of its own, in a session of its own."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ctrl-C, and kill -9 if that does not help."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


@dataclass(frozen=True)
class Sent:
    """A command of the controller."""

    at_s: float
    """when it was published, by this process's monotonic clock"""
    stamp_ns: int
    age_s: float
    """since its stamp: the frame's capture, or the operator's"""
    delta: np.ndarray
    source: str


@dataclass(frozen=True)
class Pose:
    """Where the simulated arm really was."""

    at_s: float
    position: np.ndarray
    """(3,) m"""


Change = Callable[[Any], list[Any]]
"""Turns a message into those that are passed on instead of it."""


def passed_on(message: Any) -> list[Any]:
    """No change."""
    return [message]


class FaultGraph:
    """Starts the nodes, stands in the middle, and watches. One at a time per ROS domain."""

    def __init__(
        self, folder: Path, domain: int, joint_level: bool = False, with_clock: bool = False, late_s: float = 0.0
    ) -> None:
        """
        Args:
            folder: for logs.
            domain: ROS_DOMAIN_ID; set in the environment too.
            joint_level: an arm behind ros2_control's topics instead of one that takes deltas.
            with_clock: the controller's clock is /clock, which this process publishes: it can be set.
            late_s: every answer of the policy is under way for so long.
        """
        self._folder = folder
        self.joint_level = joint_level
        self.with_clock = with_clock
        self.late_s = late_s
        self._under_way: deque[tuple[float, ActionChunk]] = deque()
        self._environment = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        os.environ.update(self._environment)
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = Node("fault_injector", context=self._context)
        self.nodes: dict[str, NodeProcess] = {}
        self._started = itertools.count()
        self.commands: list[Sent] = []
        self.poses: list[Pose] = []
        self.states: list[tuple[float, ControllerState]] = []
        self.chunks_seen: list[ActionChunk] = []
        self.change: dict[str, Change] = {"camera": passed_on, "chunk": passed_on, "state": passed_on}
        self.clock_offset_ns: int | None = 0
        """added to /clock; None = it stands still"""
        self._clients: dict[str, Any] = {}
        self._wire()
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    # Starting and ending.

    def start(self) -> None:
        """Starts every node and waits until the arm moves."""
        self._client("/magma/estop", Trigger)
        self._client("/controller/change_state", ChangeState)
        self.start_simulator()
        self.start_node(
            "camera", "magma_camera.camera_subscriber", {"frozen_after_s": 0.0, "frozen_after_motion_m": 0.02}
        )
        self.start_controller()
        self.start_policy()
        wait_until(lambda: len(self.commands) >= 3, self._why_not_moving, STARTING_S)

    def start_simulator(self) -> None:
        program = "joint_simulator_node" if self.joint_level else "simulator_node"
        state = "/joint_states" if self.joint_level else "/magma/end_effector_state"
        self.start_node(
            "simulator",
            f"magma_sim_ros.{program}",
            {"clock": "realtime", "task": "carrot_on_plate"},
            {"/camera/image_raw": "/sim/image_raw", state: "/sim/state"},
        )

    def start_controller(self) -> None:
        parameters: dict[str, Any] = {"watchdog_s": WATCHDOG_S, "state_timeout_s": STATE_TIMEOUT_S}
        if self.joint_level:
            parameters |= {"arm": "joint_trajectory", "robot": "panda"}
        if self.with_clock:
            parameters["use_sim_time"] = True
        self.start_node("controller", "magma_control.controller_node", parameters)

    def start_policy(self) -> None:
        self.start_node("policy", str(HERE / "shuttle_policy.py"), {}, {"/magma/action_chunk": "/policy/action_chunk"})

    def start_node(
        self, name: str, program: str, parameters: Mapping[str, Any], remappings: Mapping[str, str] | None = None
    ) -> NodeProcess:
        """Starts a node by module or file."""
        command = [sys.executable, *([program] if program.endswith(".py") else ["-m", program]), "--ros-args"]
        for key, value in parameters.items():
            command += ["-p", f"{key}:={value if isinstance(value, str) else json.dumps(value)}"]
        for key, value in (remappings or {}).items():
            command += ["-r", f"{key}:={value}"]
        process = NodeProcess(command, self._folder / f"{name}-{next(self._started)}.log")
        self.nodes[name] = process
        return process

    def close(self) -> None:
        """Ends everything."""
        for process in reversed(list(self.nodes.values())):
            process.stop()
        self._context.try_shutdown()
        self._thread.join(10.0)
        self._executor.shutdown()
        self.node.destroy_node()

    def logs(self) -> str:
        """What the nodes have said."""
        return "\n".join(
            f"--- {name}\n{process.log.read_text(errors='replace')[-6000:]}" for name, process in self.nodes.items()
        )

    # Watching.

    @property
    def phase(self) -> str:
        return PHASES[self.states[-1][1].phase] if self.states else "?"

    @property
    def reason(self) -> str:
        return str(self.states[-1][1].reason) if self.states else "nothing heard of the controller"

    def count(self, reason: str) -> int:
        """How often the controller has counted a reason."""
        if not self.states:
            return 0
        state = self.states[-1][1]
        counts = dict(zip(state.rejection_reasons, state.rejection_counts, strict=True))
        return sum(count for name, count in counts.items() if reason in name)

    def wait_for_phase(self, *phases: str, since_s: float, timeout_s: float = PATIENCE_S) -> ControllerState:
        """The first report since then in one of the phases."""

        def found() -> list[ControllerState]:
            return [state for at_s, state in list(self.states) if at_s >= since_s and PHASES[state.phase] in phases][:1]

        return wait_until(found, lambda: f"{' or '.join(phases)}; it is {self.phase}: {self.reason}", timeout_s)[0]

    def wait_for_commands(self, count: int, source: str = "", timeout_s: float = PATIENCE_S) -> None:
        """That many new ones."""
        start_s = time.monotonic()

        def new() -> list[Sent]:
            return [item for item in list(self.commands) if item.at_s >= start_s and item.source.startswith(source)]

        wait_until(lambda: len(new()) >= count, self._why_not_moving, timeout_s)

    def commands_since(self, since_s: float) -> list[Sent]:
        return [item for item in list(self.commands) if item.at_s >= since_s]

    def way_since(self, since_s: float) -> float:
        """Metres that the arm has gone since then."""
        poses = list(self.poses)
        before = [pose for pose in poses if pose.at_s < since_s][-1:]
        positions = [pose.position for pose in before + [pose for pose in poses if pose.at_s >= since_s]]
        return float(sum(np.linalg.norm(b - a) for a, b in itertools.pairwise(positions)))

    def quiet_for(self, seconds: float) -> bool:
        """Whether no command came for so long."""
        return not self.commands or time.monotonic() - self.commands[-1].at_s > seconds

    def at_rest(self) -> bool:
        """Whether the arm stood still between its last reports."""
        recent = [pose.position for pose in self.poses[-3:]]
        return len(recent) == 3 and all(np.linalg.norm(item - recent[-1]) < AT_REST_M for item in recent)

    def _why_not_moving(self) -> str:
        return f"commands; the phase is {self.phase}: {self.reason}\n{self.logs()}"

    # Acting.

    def now_ns(self) -> int:
        return time.time_ns()

    def change_controller(self, transition: int) -> Any:
        """Leads the controller from one state of its life to another; a number of lifecycle_msgs/Transition."""
        request = ChangeState.Request()
        request.transition.id = transition
        return self.call("/controller/change_state", ChangeState, request)

    def call(self, name: str, kind: Any = Trigger, request: Any = None) -> Any:
        """Calls a service and returns the response."""
        client = self._client(name, kind)
        wait_until(client.service_is_ready, f"service {name}")
        future = client.call_async(request if request is not None else kind.Request())
        wait_until(future.done, f"an answer of {name}")
        return future.result()

    def _client(self, name: str, kind: Any) -> Any:
        """Made once, so that no fault's time is that of a discovery."""
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        return self._clients[name]

    def instruct(self, text: str) -> None:
        self._instruction.publish(String(data=text))

    def operate(self, delta: Any, device: str = "gamepad", stamp_ns: int | None = None) -> None:
        """One command of an operator."""
        self._teleop.publish(delta_to_msg(delta, stamp_ns or self.now_ns(), source=device))

    def say_chunk(self, chunk: ActionChunk) -> None:
        """In the policy's name."""
        self._chunks.publish(chunk)

    def clear(self) -> None:
        """Nothing is changed on its way any more."""
        for name in self.change:
            self.change[name] = passed_on
        self.clock_offset_ns = 0

    def _wire(self) -> None:
        node = self.node
        self._chunks = node.create_publisher(ActionChunk, "/magma/action_chunk", qos.COMMAND)
        self._images = node.create_publisher(Image, "/camera/image_raw", qos.SENSOR)
        self._teleop = node.create_publisher(EndEffectorDelta, "/teleop/command", qos.COMMAND)
        self._instruction = node.create_publisher(String, "/magma/instruction", qos.STATE)
        self.specs = node.create_publisher(ActionSpec, "/magma/action_spec", qos.STATE)
        self._clock = node.create_publisher(Clock, "/clock", qos.SENSOR)
        node.create_subscription(ActionChunk, "/policy/action_chunk", self._on_chunk, qos.COMMAND)
        node.create_subscription(Image, "/sim/image_raw", self._on_image, qos.SENSOR)
        node.create_subscription(EndEffectorDelta, "/magma/command", self._on_command, qos.COMMAND)
        node.create_subscription(ControllerState, "/magma/controller_state", self._on_controller, qos.STATE)
        if self.joint_level:
            self._arm_states = node.create_publisher(JointState, "/joint_states", qos.SENSOR)
            node.create_subscription(JointState, "/sim/state", self._on_arm_state, qos.SENSOR)
            node.create_subscription(EndEffectorState, "/magma/end_effector_state", self._on_pose, qos.ROBOT_STATE)
        else:
            self._arm_states = node.create_publisher(EndEffectorState, "/magma/end_effector_state", qos.ROBOT_STATE)
            node.create_subscription(EndEffectorState, "/sim/state", self._on_arm_state, qos.ROBOT_STATE)
        if self.with_clock:
            node.create_timer(0.01, self._publish_clock)
        if self.late_s:
            node.create_timer(0.005, self._deliver)
        self.instruct("go to and fro")

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def _on_image(self, message: Image) -> None:
        for changed in self.change["camera"](message):
            self._images.publish(changed)

    def _on_chunk(self, message: ActionChunk) -> None:
        if self.late_s:
            self._under_way.append((time.monotonic() + self.late_s, message))
        else:
            self._pass_on(message)

    def _deliver(self) -> None:
        while self._under_way and self._under_way[0][0] <= time.monotonic():
            self._pass_on(self._under_way.popleft()[1])

    def _pass_on(self, message: ActionChunk) -> None:
        self.chunks_seen.append(message)
        for changed in self.change["chunk"](message):
            self._chunks.publish(changed)

    def _on_arm_state(self, message: Any) -> None:
        if not self.joint_level:
            self._on_pose(message)
        for changed in self.change["state"](message):
            self._arm_states.publish(changed)

    def _on_pose(self, message: EndEffectorState) -> None:
        position, _ = pose_to_arrays(message.pose)
        if np.isfinite(position).all():
            self.poses.append(Pose(time.monotonic(), position))

    def _on_command(self, message: EndEffectorDelta, info: Any) -> None:
        translation = message.translation
        stamp_ns = stamp_to_ns(message.header.stamp)
        # When the controller said it: a busy machine may hold up this process for longer than what is measured.
        sent_ns = info["source_timestamp"]
        self.commands.append(
            Sent(
                time.monotonic() - (self.now_ns() - sent_ns) * 1e-9,
                stamp_ns,
                (sent_ns - stamp_ns) * 1e-9,
                np.array([translation.x, translation.y, translation.z]),
                message.source,
            )
        )

    def _on_controller(self, message: ControllerState) -> None:
        self.states.append((time.monotonic(), message))

    def _publish_clock(self) -> None:
        if self.clock_offset_ns is not None:
            self._clock.publish(Clock(clock=ns_to_stamp(self.now_ns() + self.clock_offset_ns)))
