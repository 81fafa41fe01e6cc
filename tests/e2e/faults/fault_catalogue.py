"""Every fault: how it is brought about, how it ends, and what the robot must do meanwhile and afterwards."""

from __future__ import annotations

import copy
import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fault_graph import (
    HERE,
    STATE_TIMEOUT_S,
    STEP_PERIOD_S,
    TELEOP_TIMEOUT_S,
    TICK_S,
    WATCHDOG_S,
    FaultGraph,
    GraphError,
    wait_until,
)
from lifecycle_msgs.msg import Transition
from magma_interfaces.msg import ActionChunk
from sensor_msgs.msg import JointState
from shuttle_policy import SPEC

from magma_common.conversions import action_spec_to_msg, ns_to_stamp, stamp_to_ns

OPERATOR_STEP = (0.0, 0.0, 0.01, 0.0, 0.0, 0.0, 1.0)
BY_ITSELF, REARM, HAND_BACK, UNDISTURBED = "by itself", "re-arm", "hand back", "goes on"
ACTIVATION = "activation"
MAX_FRAME_AGE_S = 0.5
LOOKED_AT_S = 0.8
"""How long it is made sure that nothing moves."""

Act = Callable[[FaultGraph], None]


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    name: str
    inject: Act
    end: Act = FaultGraph.clear
    phases: tuple[str, ...] = ("HOLD",)
    """in which the arm stands afterwards"""
    reason: str = ""
    """that the controller must give, or count"""
    recovery: str = BY_ITSELF
    """what it takes until the arm moves again: nothing but the end of the fault; re-arm; hand back; activation of the
    controller; or it never stopped"""
    limit_s: float = WATCHDOG_S + TICK_S
    """the last command comes no later than this after the fault"""
    before: Act = field(default=lambda graph: None)
    """what has to be so when the fault happens"""
    every_run: bool = False
    """part of the tests that always run"""


@dataclass(frozen=True)
class Row:
    """What a fault did."""

    fault: str
    phase: str
    reason: str
    last_command_s: float | None
    """after the fault; None when there was none"""
    limit_s: float | None
    commands: int
    way_m: float
    recovery: str
    problems: tuple[str, ...]
    late: tuple[str, ...] = ()
    """what came later than it must on a machine with nothing else to do; a busy one explains it"""

    @property
    def ok(self) -> bool:
        return not self.problems and not self.late


# Bringing about.


def _change(path: str, change: Callable[[Any], list[Any]]) -> Act:
    def act(graph: FaultGraph) -> None:
        graph.change[path] = change

    return act


def _edited(edit: Callable[[Any], None]) -> Callable[[Any], list[Any]]:
    def change(message: Any) -> list[Any]:
        changed = copy.deepcopy(message)
        edit(changed)
        return [changed]

    return change


def _chunk(edit: Callable[[ActionChunk], None]) -> Act:
    """Every chunk is changed."""
    return _change("chunk", _edited(edit))


def _stamp(message: Any, seconds: float) -> None:
    message.header.stamp = ns_to_stamp(stamp_to_ns(message.header.stamp) + round(seconds * 1e9))


def _set_first(field_name: str, axis: str, value: float) -> Callable[[ActionChunk], None]:
    return lambda chunk: setattr(getattr(chunk.steps[0], field_name), axis, value)


def _nothing(message: Any) -> list[Any]:
    return []


class _Same:
    """The first message, again and again, under new stamps if wanted."""

    def __init__(self, new_stamps: bool) -> None:
        self.first: Any = None
        self.new_stamps = new_stamps

    def __call__(self, message: Any) -> list[Any]:
        if self.first is None:
            self.first = message
        same = copy.deepcopy(self.first)
        if self.new_stamps:
            same.header.stamp = message.header.stamp
        return [same]


def _repeat_first(path: str, new_stamps: bool) -> Act:
    def act(graph: FaultGraph) -> None:
        graph.change[path] = _Same(new_stamps)

    return act


def _reorder_chunks(graph: FaultGraph) -> None:
    """Each chunk is followed by the one before it."""
    last: list[ActionChunk] = []

    def change(chunk: ActionChunk) -> list[ActionChunk]:
        before, last[:] = list(last), [chunk]
        return [chunk, *before]

    graph.change["chunk"] = change


def _delay(path: str, seconds: float) -> Act:
    """Messages arrive in order, but late."""

    def act(graph: FaultGraph) -> None:
        waiting: list[tuple[float, Any]] = []

        def change(message: Any) -> list[Any]:
            now_s = time.monotonic()
            waiting.append((now_s, message))
            due = [item for at_s, item in waiting if now_s - at_s >= seconds]
            del waiting[: len(due)]
            return due

        graph.change[path] = change

    return act


def _signal(name: str, number: int) -> Act:
    return lambda graph: graph.nodes[name].send_signal(number)


def _kill(name: str) -> Act:
    return lambda graph: graph.nodes[name].kill()


def _service(name: str) -> Act:
    def act(graph: FaultGraph) -> None:
        answer = graph.call(name)
        if not answer.success:
            raise GraphError(f"{name} was refused: {answer.message}")

    return act


class _Flood:
    """A process that publishes as fast as it can."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, graph: FaultGraph) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "flood.py"), self._what], stdin=subprocess.DEVNULL, start_new_session=True
        )
        graph.flood = self  # type: ignore[attr-defined]

    def stop(self, graph: FaultGraph) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        graph.instruct("go to and fro")
        graph.clear()


class Operator:
    """Somebody at a device who moves the arm at 10 Hz until let go."""

    def __init__(self, graph: FaultGraph, device: str = "gamepad", step: Any = OPERATOR_STEP) -> None:
        self._stopped = threading.Event()
        self.longest_pause_s = 0.0
        """between two commands: a busy machine holds this thread up too"""

        def work() -> None:
            up = True
            count = 0
            said_s = time.monotonic()
            while not self._stopped.wait(0.1):
                self.longest_pause_s = max(self.longest_pause_s, time.monotonic() - said_s)
                said_s = time.monotonic()
                count += 1
                if count % 10 == 0:
                    up = not up
                delta = [value if up or index > 5 else -value for index, value in enumerate(step)]
                graph.operate(delta, device)

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def let_go(self) -> None:
        """The device falls silent."""
        self._stopped.set()
        self._thread.join()


def _operator_takes_over(graph: FaultGraph) -> None:
    since_s = time.monotonic()
    graph.operator = Operator(graph)  # type: ignore[attr-defined]
    graph.wait_for_phase("TELEOP", since_s=since_s)
    graph.wait_for_commands(2, "gamepad")


def _operator_lost(graph: FaultGraph) -> None:
    graph.operator.let_go()  # type: ignore[attr-defined]


def _second_operator(graph: FaultGraph) -> None:
    """Pulls the other way, at the same time."""
    graph.operator_changes = graph.count("operator changed")  # type: ignore[attr-defined]
    graph.second = Operator(graph, "spacemouse", (0.03, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))  # type: ignore[attr-defined]


def _second_operator_goes(graph: FaultGraph) -> None:
    graph.second.let_go()  # type: ignore[attr-defined]


def _operators_go(graph: FaultGraph) -> None:
    for name in ("operator", "second"):
        operator = getattr(graph, name, None)
        if operator is not None:
            operator.let_go()


def _operator_says(values: Any, age_s: float = 0.0) -> Act:
    """Instead of going on, the operator's device says something senseless, three times."""

    def act(graph: FaultGraph) -> None:
        _operator_lost(graph)
        for _ in range(3):
            graph.operate(values, stamp_ns=graph.now_ns() - round(age_s * 1e9))
            time.sleep(0.05)

    return act


def _foreign_spec(graph: FaultGraph) -> None:
    spec = action_spec_to_msg(SPEC)
    spec.step_period_s = 0.1
    graph.specs.publish(spec)


def _right_spec(graph: FaultGraph) -> None:
    graph.specs.publish(action_spec_to_msg(SPEC))


def _estop(graph: FaultGraph) -> None:
    _service("/magma/estop")(graph)


def _fault_phase(graph: FaultGraph) -> None:
    since_s = time.monotonic()
    graph.change["state"] = _edited(lambda state: setattr(state.pose.position, "x", float("nan")))
    graph.wait_for_phase("FAULT", since_s=since_s)
    graph.clear()


def _hold_phase(graph: FaultGraph) -> None:
    since_s = time.monotonic()
    graph.change["chunk"] = _nothing
    graph.wait_for_phase("HOLD", since_s=since_s)


def _rearm_while_moving(graph: FaultGraph) -> None:
    """The stop and the re-arm come so close together that the arm is still under way."""
    _service("/magma/estop")(graph)
    graph.change["chunk"] = _nothing
    graph.call("/magma/rearm")


def _stop_and_go(seconds: float) -> Act:
    """The controller's process is not run for a while."""

    def act(graph: FaultGraph) -> None:
        graph.nodes["controller"].send_signal(signal.SIGSTOP)
        time.sleep(seconds)

    return act


def _restart_controller(graph: FaultGraph) -> None:
    graph.nodes["controller"].kill()


def _controller_again(graph: FaultGraph) -> None:
    graph.start_controller()


def _deactivate(graph: FaultGraph) -> None:
    if not graph.change_controller(Transition.TRANSITION_DEACTIVATE).success:
        raise GraphError("the controller was not deactivated")


def _take_down(graph: FaultGraph) -> None:
    """Down to nothing while the arm is under way, and ready to be activated again."""
    _deactivate(graph)
    for transition in (Transition.TRANSITION_CLEANUP, Transition.TRANSITION_CONFIGURE):
        if not graph.change_controller(transition).success:
            raise GraphError(f"the controller refused transition {transition}")


def _jumps(graph: FaultGraph) -> None:
    """Every fifth report says that the arm is 0.3 m higher."""
    count = itertools.count()

    def change(message: Any) -> list[Any]:
        if next(count) % 5:
            return [message]
        elsewhere = copy.deepcopy(message)
        elsewhere.pose.position.z += 0.3
        elsewhere.target_pose.position.z += 0.3
        return [elsewhere]

    graph.change["state"] = change


def _wrong_size(message: Any) -> None:
    message.height, message.width, message.step = 48, 64, 64 * 3
    # The data stays as long as it was: header and picture contradict each other.


def _clock(offset_s: float | None) -> Act:
    def act(graph: FaultGraph) -> None:
        graph.clock_offset_ns = None if offset_s is None else round(offset_s * 1e9)

    return act


def _record(graph: FaultGraph, **parameters: Any) -> None:
    graph.start_node("recorder", "magma_recorder.recorder_node", {"min_free_mb": 0.0, **parameters})
    log = graph.nodes["recorder"].log
    wait_until(lambda: "recording 1" in log.read_text() or "recording 2" in log.read_text(), "the recorder")


def _recording(graph: FaultGraph) -> None:
    _record(graph, directory=str(graph.nodes["controller"].log.parent / f"recordings-{time.monotonic_ns()}"))


def _recorder_goes(graph: FaultGraph) -> None:
    graph.nodes.pop("recorder").stop()
    graph.clear()


def _tiny_disk(graph: FaultGraph) -> None:
    """A recording on a disk of 300 kB, which is full within seconds."""
    folder = graph.nodes["controller"].log.parent / "tiny"
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], check=False)
    if mounted.returncode != 0:
        raise GraphError("cannot mount a small disk here")
    _record(graph, directory=str(folder), name=f"bag-{time.monotonic_ns()}")


def _disk_full(graph: FaultGraph) -> None:
    log = graph.nodes["recorder"].log
    wait_until(lambda: "No space left" in log.read_text(), "a full disk")


def _disk_goes(graph: FaultGraph) -> None:
    _recorder_goes(graph)
    subprocess.run(["umount", "-l", str(graph.nodes["controller"].log.parent / "tiny")], check=False)


def _gone(graph: FaultGraph) -> None:
    graph.clear()
    graph.start_policy()


def _continued(name: str) -> Act:
    def act(graph: FaultGraph) -> None:
        graph.nodes[name].send_signal(signal.SIGCONT)
        graph.clear()

    return act


_instructions, _chunks_flood = _Flood("instruction"), _Flood("chunk")

FAULTS: tuple[Fault, ...] = (
    # The policy.
    Fault("policy killed, started again", _kill("policy"), _gone, reason="policy silent", every_run=True),
    Fault("policy hung (SIGSTOP)", _signal("policy", signal.SIGSTOP), _continued("policy"), reason="policy silent"),
    Fault("policy slow: chunks 1.2 s late", _delay("chunk", 1.2), reason="old"),
    Fault("policy of another arm: step period 0.1 s", _foreign_spec, _right_spec, reason="step_period_s is 0.1"),
    # The camera.
    Fault("camera dead", _change("camera", _nothing), reason="policy silent"),
    Fault(
        "camera frozen: same picture, new stamps",
        _repeat_first("camera", True),
        reason="policy silent",
        limit_s=3 * STEP_PERIOD_S + WATCHDOG_S + TICK_S,
    ),
    Fault("camera frozen: same picture, same stamp", _repeat_first("camera", False), reason="policy silent"),
    Fault("camera steps back in time by 10 s", _change("camera", _edited(lambda m: _stamp(m, -10.0))), reason=""),
    Fault("camera from the future by 10 s", _change("camera", _edited(lambda m: _stamp(m, 10.0))), reason=""),
    Fault(
        "camera of wrong size: data contradict header", _change("camera", _edited(_wrong_size)), reason="policy silent"
    ),
    # Chunks.
    Fault("chunk with NaN", _chunk(_set_first("translation", "y", float("nan"))), reason="not finite"),
    Fault("chunk with infinity", _chunk(_set_first("rotation", "z", float("inf"))), reason="not finite"),
    Fault("chunk huge: 10 m", _chunk(_set_first("translation", "y", 10.0)), reason="absurd"),
    Fault("chunk huge: 3 rad", _chunk(_set_first("rotation", "z", 3.0)), reason="absurd"),
    Fault("chunk empty", _chunk(lambda chunk: setattr(chunk, "steps", [])), reason="no steps"),
    Fault("chunk too long", _chunk(lambda chunk: setattr(chunk, "steps", list(chunk.steps) * 8)), reason="too long"),
    Fault("chunk in a wrong frame", _chunk(lambda chunk: setattr(chunk.header, "frame_id", "camera")), reason="frame"),
    Fault(
        "chunk with a step in a wrong frame",
        _chunk(lambda chunk: setattr(chunk.steps[1].header, "frame_id", "tool")),
        reason="frame",
    ),
    Fault(
        "chunk with gripper opening 7", _chunk(lambda chunk: setattr(chunk.steps[0], "gripper", 7.0)), reason="gripper"
    ),
    Fault(
        "chunk of another policy", _chunk(lambda chunk: setattr(chunk, "policy", "impostor")), reason="another policy"
    ),
    Fault(
        "chunk with another step period",
        _chunk(lambda chunk: setattr(chunk, "step_period_s", 0.01)),
        reason="step period",
    ),
    Fault("chunk from the future by 10 s", _chunk(lambda chunk: _stamp(chunk, 10.0)), reason="future"),
    Fault("chunk from the past by 10 s", _chunk(lambda chunk: _stamp(chunk, -10.0)), reason="old"),
    Fault(
        "chunk without a stamp", _chunk(lambda chunk: setattr(chunk.header, "stamp", ns_to_stamp(0))), reason="stamp"
    ),
    Fault(
        "chunks duplicated three times",
        _change("chunk", lambda chunk: [chunk] * 3),
        phases=("AUTONOMOUS",),
        reason="repeated",
        recovery=UNDISTURBED,
    ),
    Fault(
        "chunks reordered: each followed by the one before",
        _reorder_chunks,
        phases=("AUTONOMOUS",),
        reason="out of order",
        recovery=UNDISTURBED,
    ),
    # Floods.
    Fault(
        "instruction flood",
        _instructions.start,
        _instructions.stop,
        phases=("AUTONOMOUS", "HOLD"),
        recovery=UNDISTURBED,
    ),
    Fault(
        "DDS writer flood: chunks, as fast as possible",
        _chunks_flood.start,
        _chunks_flood.stop,
        phases=("AUTONOMOUS", "HOLD"),
        recovery=UNDISTURBED,
    ),
    Fault(
        "no instruction any more",
        lambda graph: graph.instruct(""),
        lambda graph: graph.instruct("go to and fro"),
        reason="no instruction",
        limit_s=TICK_S,
    ),
    # Operators.
    Fault(
        "operator's device lost while it moves the arm",
        _operator_lost,
        phases=("TELEOP",),
        reason="operator silent",
        recovery=HAND_BACK,
        limit_s=TELEOP_TIMEOUT_S + TICK_S,
        before=_operator_takes_over,
        every_run=True,
    ),
    Fault(
        "two operators at once",
        _second_operator,
        _second_operator_goes,
        phases=("TELEOP",),
        reason="another operator",
        recovery=UNDISTURBED,
        before=_operator_takes_over,
        every_run=True,
    ),
    Fault(
        "operator says NaN",
        _operator_says((float("nan"), 0, 0, 0, 0, 0, 1)),
        phases=("TELEOP",),
        reason="not finite",
        recovery=HAND_BACK,
        limit_s=TELEOP_TIMEOUT_S + TICK_S,
        before=_operator_takes_over,
    ),
    Fault(
        "operator says 5 m",
        _operator_says((5.0, 0, 0, 0, 0, 0, 1)),
        phases=("TELEOP",),
        reason="absurd",
        recovery=HAND_BACK,
        limit_s=TELEOP_TIMEOUT_S + TICK_S,
        before=_operator_takes_over,
    ),
    Fault(
        "operator's commands 2 s late",
        _operator_says((0.02, 0, 0, 0, 0, 0, 1), 2.0),
        phases=("TELEOP",),
        reason="old",
        recovery=HAND_BACK,
        limit_s=TELEOP_TIMEOUT_S + TICK_S,
        before=_operator_takes_over,
    ),
    # The arm.
    Fault(
        "driver dead: no reports of the arm",
        _change("state", _nothing),
        reason="arm driver silent",
        limit_s=STATE_TIMEOUT_S + TICK_S,
        every_run=True,
    ),
    Fault(
        "driver hung (SIGSTOP of the simulator)",
        _signal("simulator", signal.SIGSTOP),
        _continued("simulator"),
        reason="",
        limit_s=STATE_TIMEOUT_S + TICK_S,
    ),
    Fault(
        "arm state stale: same stamp again and again",
        _repeat_first("state", False),
        reason="",
        limit_s=STEP_PERIOD_S + STATE_TIMEOUT_S + TICK_S,
    ),
    Fault(
        "arm state 5 s old",
        _change("state", _edited(lambda m: _stamp(m, -5.0))),
        reason="",
        limit_s=STATE_TIMEOUT_S + TICK_S,
    ),
    Fault(
        "arm state NaN",
        _change("state", _edited(lambda m: setattr(m.pose.position, "x", float("nan")))),
        phases=("FAULT",),
        reason="makes no sense",
        recovery=REARM,
        limit_s=STEP_PERIOD_S + TICK_S,
    ),
    Fault(
        "arm state jumps by 30 m",
        _change("state", _edited(lambda m: setattr(m.pose.position, "x", 30.0))),
        phases=("FAULT",),
        reason="makes no sense",
        recovery=REARM,
        limit_s=STEP_PERIOD_S + TICK_S,
    ),
    Fault(
        "arm state jumps by 0.3 m and back, again and again",
        _jumps,
        reason="contradict",
        limit_s=3 * STEP_PERIOD_S + TICK_S,
    ),
    Fault(
        "arm state in a wrong frame",
        _change("state", _edited(lambda m: setattr(m.header, "frame_id", "map"))),
        reason="frame",
        limit_s=STATE_TIMEOUT_S + TICK_S,
    ),
    # The controller.
    Fault(
        "controller stopped for 2 s (SIGSTOP, SIGCONT)",
        _stop_and_go(2.0),
        _continued("controller"),
        phases=("HOLD", "AUTONOMOUS"),
        limit_s=TICK_S,
    ),
    Fault(
        "controller killed and started again",
        _restart_controller,
        _controller_again,
        phases=("HOLD", "AUTONOMOUS"),
        limit_s=TICK_S,
    ),
    Fault("controller deactivated", _deactivate, reason="inactive", recovery=ACTIVATION, limit_s=TICK_S),
    Fault(
        "controller deactivated, cleaned up, configured",
        _take_down,
        reason="inactive",
        recovery=ACTIVATION,
        limit_s=TICK_S,
    ),
    # The emergency stop.
    Fault(
        "emergency stop in AUTONOMOUS",
        _estop,
        phases=("ESTOP",),
        reason="emergency stop",
        recovery=REARM,
        limit_s=TICK_S,
        every_run=True,
    ),
    Fault(
        "emergency stop in TELEOP",
        _estop,
        phases=("ESTOP",),
        reason="emergency stop",
        recovery=REARM,
        limit_s=TICK_S,
        before=_operator_takes_over,
    ),
    Fault(
        "emergency stop in HOLD",
        _estop,
        phases=("ESTOP",),
        reason="emergency stop",
        recovery=REARM,
        limit_s=TICK_S,
        before=_hold_phase,
    ),
    Fault(
        "emergency stop in FAULT",
        _estop,
        phases=("ESTOP",),
        reason="emergency stop",
        recovery=REARM,
        limit_s=TICK_S,
        before=_fault_phase,
    ),
    Fault("re-arm while the arm still moves", _rearm_while_moving, phases=("HOLD",), limit_s=TICK_S),
    # The recorder.
    Fault(
        "recorder's disk full", _disk_full, _disk_goes, phases=("AUTONOMOUS",), recovery=UNDISTURBED, before=_tiny_disk
    ),
    Fault(
        "recorder hung (SIGSTOP)",
        _signal("recorder", signal.SIGSTOP),
        _recorder_goes,
        phases=("AUTONOMOUS",),
        recovery=UNDISTURBED,
        before=_recording,
    ),
    Fault(
        "recorder killed",
        _kill("recorder"),
        _recorder_goes,
        phases=("AUTONOMOUS",),
        recovery=UNDISTURBED,
        before=_recording,
    ),
)
"""In the graph of an arm that takes deltas."""

CLOCK_FAULTS: tuple[Fault, ...] = (
    Fault("controller's clock jumps ahead by 10 s", _clock(10.0), reason="", limit_s=WATCHDOG_S + TICK_S),
    Fault("controller's clock jumps back by 10 s", _clock(-10.0), reason="", limit_s=WATCHDOG_S + TICK_S),
    Fault("controller's clock stands still", _clock(None), phases=("HOLD", "AUTONOMOUS"), limit_s=WATCHDOG_S + TICK_S),
)
"""With the controller's clock from /clock, as if somebody had set the clock of its machine."""


def _joint(edit: Callable[[Any], None]) -> Act:
    return _change("state", _edited(edit))


def _jump(message: Any) -> None:
    positions = list(message.position)
    positions[1] += 0.5
    message.position = positions


def _not_a_number(message: Any) -> None:
    message.position = [float("nan")] * len(message.position)


def _second_publisher(message: Any) -> list[Any]:
    """Another node shows another posture on the same topic."""
    other = copy.deepcopy(message)
    other.position = [message.position[0] + 0.6, *message.position[1:]]
    _stamp(other, 1e-6)
    return [message, other]


def _twice(message: Any) -> None:
    message.name = [*message.name, message.name[2]]
    message.position = [*message.position, message.position[2] + 1.0]


def _wheels(message: Any) -> list[Any]:
    """Another driver says how fast its wheels turn, and that it does not know where its caster is."""
    wheels = JointState(header=message.header, name=["wheel_left", "wheel_right"], velocity=[0.1, 0.1])
    caster = JointState(header=message.header, name=["caster"], position=[float("nan")])
    return [message, wheels, caster, JointState(header=message.header)]


def _in_parts(message: Any) -> list[Any]:
    """The arm in two messages, and the gripper in one of its own."""
    parts = []
    for first, last in ((0, 3), (3, 7), (7, None)):
        names, positions = list(message.name)[first:last], list(message.position)[first:last]
        parts.append(JointState(header=message.header, name=names, position=positions))
    return parts


JOINT_FAULTS: tuple[Fault, ...] = (
    Fault("joints: policy killed", _kill("policy"), _gone, reason="policy silent"),
    Fault("joints: joint states stop", _change("state", _nothing), reason="", limit_s=STATE_TIMEOUT_S + TICK_S),
    Fault(
        "joints: joint states 5 s old", _joint(lambda m: _stamp(m, -5.0)), reason="", limit_s=STATE_TIMEOUT_S + TICK_S
    ),
    Fault(
        "joints: a joint jumps by 0.5 rad",
        _joint(_jump),
        phases=("FAULT", "HOLD", "AUTONOMOUS"),
        recovery=REARM,
        limit_s=STEP_PERIOD_S + TICK_S,
    ),
    Fault(
        "joints: joint states NaN",
        _joint(_not_a_number),
        phases=("FAULT",),
        recovery=REARM,
        limit_s=STEP_PERIOD_S + TICK_S,
    ),
    Fault(
        "joints: a second publisher of joint states, 0.6 rad apart",
        _change("state", _second_publisher),
        phases=("FAULT",),
        reason="two publishers",
        recovery=REARM,
        limit_s=STEP_PERIOD_S + TICK_S,
    ),
    Fault(
        "joints: a joint named twice",
        _joint(_twice),
        phases=("FAULT",),
        reason="twice",
        recovery=REARM,
        limit_s=STEP_PERIOD_S + TICK_S,
    ),
    Fault(
        "joints: wheels and casters among the joint states",
        _change("state", _wheels),
        phases=("AUTONOMOUS",),
        recovery=UNDISTURBED,
    ),
    Fault(
        "joints: joint states in three messages",
        _change("state", _in_parts),
        phases=("AUTONOMOUS",),
        recovery=UNDISTURBED,
    ),
    Fault(
        "joints: driver hung (SIGSTOP of the simulator)",
        _signal("simulator", signal.SIGSTOP),
        _continued("simulator"),
        phases=("HOLD", "FAULT"),
        limit_s=STATE_TIMEOUT_S + TICK_S,
    ),
    Fault(
        "joints: controller stopped for 2 s (SIGSTOP, SIGCONT)",
        _stop_and_go(2.0),
        _continued("controller"),
        phases=("HOLD", "AUTONOMOUS", "FAULT"),
        limit_s=TICK_S,
    ),
    Fault("joints: controller deactivated", _deactivate, reason="inactive", recovery=ACTIVATION, limit_s=TICK_S),
    Fault("joints: emergency stop", _estop, phases=("ESTOP",), reason="emergency stop", recovery=REARM, limit_s=TICK_S),
    Fault("joints: chunk with NaN", _chunk(_set_first("translation", "y", float("nan"))), reason="not finite"),
)
"""In the graph of an arm behind ros2_control's topics."""


def run_fault(graph: FaultGraph, fault: Fault) -> Row:
    """Lets one fault happen in a running graph and leaves it running.

    Raises:
        GraphError: the arm did not move before, or not again afterwards.
    """
    graph.wait_for_commands(2)
    fault.before(graph)
    since_s = time.monotonic()
    fault.inject(graph)
    if fault.recovery is UNDISTURBED:
        return _goes_on(graph, fault, time.monotonic())
    problems: list[str] = []
    stopped_itself = fault.recovery is BY_ITSELF and "controller" in fault.name
    if not stopped_itself:
        try:
            graph.wait_for_phase(*fault.phases, since_s=since_s, timeout_s=15.0)
        except GraphError as error:
            problems.append(str(error).splitlines()[0])
    if fault.reason and not _said(graph, fault.reason, since_s):
        problems.append(f"nobody said {fault.reason!r}: {graph.reason}")
    _stands(graph, problems)
    after = graph.commands_since(since_s)
    last_s = after[-1].at_s - since_s if after else None
    row_phase, row_reason = graph.phase, graph.reason
    way_m = graph.way_since(since_s)
    recovery = _recover(graph, fault, problems)
    late: tuple[str, ...] = ()
    # What a policy said before it fell silent still comes, and is carried out.
    limit_s = fault.limit_s + (graph.late_s if fault.limit_s >= WATCHDOG_S else 0.0)
    if last_s is not None and last_s > limit_s:
        late = (f"the last command came {last_s:.3f} s after the fault, allowed are {limit_s:.2f} s",)
    return Row(fault.name, row_phase, row_reason, last_s, limit_s, len(after), way_m, recovery, tuple(problems), late)


def _said(graph: FaultGraph, reason: str, since_s: float) -> bool:
    """Whether the controller gave or counted the reason, waiting a little for it."""
    deadline_s = time.monotonic() + 5.0
    while time.monotonic() < deadline_s:
        if any(reason in state.reason for at_s, state in list(graph.states) if at_s >= since_s) or graph.count(reason):
            return True
        time.sleep(0.02)
    return False


def _first_was_silent(graph: FaultGraph) -> bool:
    """Whether the controller gave the arm to the second operator, counted it, and had reason to: the first had been
    held up for about as long as an operator may be silent."""
    deadline_s = time.monotonic() + 5.0
    while graph.count("operator changed") == graph.operator_changes:  # type: ignore[attr-defined]
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return bool(graph.operator.longest_pause_s > 0.5 * TELEOP_TIMEOUT_S)  # type: ignore[attr-defined]


def _stands(graph: FaultGraph, problems: list[str]) -> None:
    """Waits until the arm stands, and makes sure that it goes on standing."""
    try:
        wait_until(lambda: graph.quiet_for(LOOKED_AT_S), "the commands to end", 20.0)
    except GraphError as error:
        problems.append(str(error).splitlines()[0])


def _recover(graph: FaultGraph, fault: Fault, problems: list[str]) -> str:
    if fault.recovery in (REARM, HAND_BACK, ACTIVATION):
        _operators_go(graph)
        # The cause goes away. That alone must not move the arm.
        ended_s = time.monotonic()
        fault.end(graph)
        time.sleep(LOOKED_AT_S)
        moved = graph.commands_since(ended_s)
        if moved:
            problems.append(f"{len(moved)} commands without the operator")
        asked_ns = graph.now_ns()
        if fault.recovery is ACTIVATION:
            if not graph.change_controller(Transition.TRANSITION_ACTIVATE).success:
                problems.append("the controller was not activated")
        else:
            answer = graph.call("/magma/rearm" if fault.recovery is REARM else "/magma/hand_back")
            if not answer.success:
                problems.append(answer.message)
        again_s = time.monotonic()
        graph.wait_for_commands(2)
        if graph.commands_since(again_s)[0].stamp_ns <= asked_ns:
            problems.append("the first motion answered a frame from before")
        return f"after {fault.recovery}, on a fresh frame"
    ended_s = time.monotonic()
    fault.end(graph)
    graph.wait_for_commands(2)
    oldest_s = max(command.age_s for command in graph.commands_since(ended_s))
    if oldest_s > MAX_FRAME_AGE_S + 2 * STEP_PERIOD_S:
        problems.append(f"a frame {oldest_s:.2f} s old was acted on")
    return "by itself, on a fresh frame"


def _goes_on(graph: FaultGraph, fault: Fault, since_s: float) -> Row:
    """The fault concerns others: the robot goes on at its pace, and the emergency stop still works."""
    problems: list[str] = []
    late: tuple[str, ...] = ()
    time.sleep(2.0)
    after = [command for command in graph.commands_since(since_s) if command.at_s < since_s + 2.0]
    if "HOLD" not in fault.phases and len(after) < 4:
        late = (f"only {len(after)} commands in 2 s",)
        graph.wait_for_commands(4)
    gaps = [b.at_s - a.at_s for a, b in itertools.pairwise(after)]
    if len(after) > 2.0 / (0.9 * STEP_PERIOD_S) + 2:
        problems.append(f"{len(after)} commands in 2 s are more than one per step period")
    if graph.phase not in fault.phases:
        problems.append(f"the phase is {graph.phase}: {graph.reason}")
    if fault.reason and not _said(graph, fault.reason, since_s):
        problems.append(f"nobody said {fault.reason!r}")
    if any(command.source == "spacemouse" for command in after) and not _first_was_silent(graph):
        problems.append("the second operator moved the arm beside the first")
    phase, reason = graph.phase, graph.reason
    stop_s = time.monotonic()
    graph.call("/magma/estop")
    answered_s = time.monotonic()
    _operators_go(graph)
    time.sleep(0.7)
    beyond = graph.commands_since(answered_s + TICK_S)
    if beyond:
        problems.append(f"{len(beyond)} commands after the emergency stop")
    fault.end(graph)
    graph.call("/magma/rearm")
    graph.wait_for_commands(2)
    longest = f", longest gap {max(gaps):.2f} s" if gaps else ""
    return Row(
        fault.name,
        phase,
        f"{reason}; emergency stop answered in {answered_s - stop_s:.3f} s{longest}",
        None,
        None,
        len(after),
        graph.way_since(since_s),
        UNDISTURBED,
        tuple(problems),
        late,
    )
