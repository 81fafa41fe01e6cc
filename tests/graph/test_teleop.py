"""The keyboard node behind a real pseudo-terminal, with the real controller."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import threading

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from magma_interfaces.msg import ControllerState, EndEffectorDelta, TeleopStatus
from magma_interfaces.msg import EndEffectorState as EndEffectorStateMsg
from sensor_msgs.msg import Joy
from std_msgs.msg import Header, String
from tf2_msgs.msg import TFMessage

from magma_common import qos
from magma_common.conversions import state_to_msg
from magma_contracts.arm_state import EndEffectorState

MODULE = "magma_teleop.keyboard_teleop_node"


class Keyboard:
    """A person at a terminal in which keyboard_teleop runs."""

    def __init__(self):
        self.fd, self._terminal = pty.openpty()
        self.before = termios.tcgetattr(self._terminal)
        self.process = subprocess.Popen(
            [sys.executable, "-m", MODULE, "--ros-args", "-p", "key_hold_s:=1.0"],
            stdin=self._terminal,
            stdout=self._terminal,
            stderr=self._terminal,
            start_new_session=True,
            env={**os.environ, "COLUMNS": "200"},
        )
        self.screen = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                self.screen += os.read(self.fd, 4096).decode(errors="replace")
            except OSError:
                return

    def press(self, keys: bytes):
        os.write(self.fd, keys)

    @property
    def restored(self):
        return termios.tcgetattr(self._terminal)[3] == self.before[3]

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._terminal)
        os.close(self.fd)


@pytest.fixture
def keyboard(ros_domain):
    keyboard = Keyboard()
    yield keyboard
    keyboard.close()
    print(f"--- screen\n{keyboard.screen}")


@pytest.fixture
def robot(start_node, peer):
    """The controller, and an arm that reports its state."""
    # A machine busy with other tests may hold up a single message for longer than an operator would tolerate.
    start_node("magma_control.controller_node", {"teleop_timeout_s": 2.0})
    arm = peer.publisher(EndEffectorStateMsg, "/magma/end_effector_state", qos.ROBOT_STATE)
    position, down = np.array([0.5, 0.0, 0.3]), np.array([1.0, 0.0, 0.0, 0.0])

    def report():
        arm.publish(state_to_msg(EndEffectorState(peer.now_ns(), position, down, position, down, 0.3, 0.25)))

    peer.node.create_timer(0.05, report)
    return peer


def test_an_operator_moves_stops_re_arms_and_instructs(robot, keyboard, wait):
    states = robot.collect(ControllerState, "/magma/controller_state", qos.STATE)
    commands = robot.collect(EndEffectorDelta, "/magma/command", qos.COMMAND)
    instructions = robot.collect(String, "/magma/instruction", qos.STATE)

    def shown(text):
        wait(lambda: text in keyboard.screen, lambda: f"{text!r} on the screen:\n{keyboard.screen}")

    shown("emergency stop (also Ctrl-X)")
    shown("HOLD")
    shown("gripper closed")
    keyboard.press(b"r")
    command = commands.wait_for()
    assert (command.translation.z, command.gripper) == (pytest.approx(0.02), 0.25)
    states.wait_for(lambda state: state.phase == ControllerState.TELEOP)
    shown("TELEOP")
    keyboard.press(b" ")
    assert commands.wait_for(lambda command: command.gripper == 1.0).translation.z == 0.0
    keyboard.press(b"\x1b[D")
    commands.wait_for(lambda command: command.translation.y > 0.0)

    keyboard.press(b"x")
    states.wait_for(lambda state: state.phase == ControllerState.ESTOP)
    shown("ESTOP")
    states.clear()
    keyboard.press(b"c")
    states.wait_for(lambda state: state.phase == ControllerState.HOLD)
    keyboard.press(b"w")
    states.wait_for(lambda state: state.phase == ControllerState.TELEOP)
    states.clear()
    keyboard.press(b"h")
    states.wait_for(lambda state: state.phase == ControllerState.HOLD)

    keyboard.press(b"iopen the drawer\r")
    assert instructions.wait_for().data == "open the drawer"
    states.wait_for(lambda state: state.instruction == "open the drawer" and state.phase == ControllerState.HOLD)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_terminal_is_put_back(keyboard, number, wait):
    wait(lambda: "no controller heard" in keyboard.screen, lambda: f"the status line:\n{keyboard.screen}")
    assert not keyboard.restored
    keyboard.process.send_signal(number)
    keyboard.process.wait(60.0)
    assert keyboard.restored


def test_without_a_terminal_it_says_so(start_node):
    node = start_node(MODULE)
    assert node.wait() == 2
    assert "its standard input is none" in node.output


class Gamepad:
    """What game_controller_node publishes at 20 Hz while a pad is plugged in."""

    def __init__(self, peer):
        self.publisher = peer.publisher(Joy, "/joy", qos.JOY)
        self.axes, self.held, self.plugged = [0.0] * 6, set(), True
        peer.node.create_timer(0.05, self.publish)

    def publish(self):
        if self.plugged:
            buttons = [int(index in self.held) for index in range(21)]
            self.publisher.publish(Joy(axes=self.axes, buttons=buttons))


def test_a_gamepad_takes_over_moves_is_lost_and_hands_back(robot, start_node):
    teleop = start_node("magma_teleop.joy_teleop_node")
    states = robot.collect(ControllerState, "/magma/controller_state", qos.STATE)
    asked = robot.collect(EndEffectorDelta, "/teleop/command", qos.COMMAND)
    statuses = robot.collect(TeleopStatus, "/teleop/status", qos.ROBOT_STATE)
    heartbeats = robot.collect(Header, "/magma/teleop_heartbeat", qos.ROBOT_STATE)
    pad = Gamepad(robot)
    statuses.wait_for(lambda status: status.connected and status.text == "ready")
    assert heartbeats.wait_for().frame_id.startswith("gamepad@")
    pad.held, pad.axes = {10}, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    command = asked.wait_for(lambda command: command.translation.x > 0.0)
    assert (command.source, command.header.frame_id, command.gripper) == (heartbeats.last.frame_id, "base", 0.25)
    assert command.translation.x == pytest.approx(0.15 * 0.2)
    states.wait_for(lambda state: state.phase == ControllerState.TELEOP)
    statuses.wait_for(lambda status: status.engaged)

    # Unplugged while it moves the arm: the arm holds, and stays the operator's.
    pad.plugged = False
    statuses.clear()
    statuses.wait_for(lambda status: not status.connected)
    states.clear()
    state = states.wait_for(lambda state: "silent" in state.reason or "lost" in state.reason)
    assert state.phase == ControllerState.TELEOP
    asked.clear()
    # What is far larger than any pad's report is not read, and is no sign of life.
    pad.publisher.publish(Joy(axes=[1.0] * 300_000, buttons=[1] * 21))
    teleop.wait_for_output("a message on /joy has 1200")
    assert not statuses.last.connected
    pad.plugged = True
    statuses.wait_for(lambda status: "let go" in status.text)
    assert asked.messages == [], "back with the dead-man switch held: nothing is sent"

    pad.held, pad.axes = set(), [0.0] * 6
    statuses.clear()
    statuses.wait_for(lambda status: status.text == "ready")
    states.clear()
    pad.held = {6}
    states.wait_for(lambda state: state.phase == ControllerState.HOLD)
    pad.held = {1}
    states.wait_for(lambda state: state.phase == ControllerState.ESTOP)


def told(parent, child, quaternion_xyzw):
    transform = TransformStamped(child_frame_id=child)
    transform.header.frame_id = parent
    rotation = transform.transform.rotation
    rotation.x, rotation.y, rotation.z, rotation.w = (float(value) for value in quaternion_xyzw)
    return TFMessage(transforms=[transform])


def test_a_stick_pushed_along_the_view_of_a_camera_whose_place_many_publishers_tell(robot, start_node, tmp_path):
    """base -> mount (turned about) -> camera -> optical frame, one latched publisher each, among others."""
    (tmp_path / "pad.yaml").write_text(
        "kind: joy\nname: pad\nactivation: dead_man\nframe: camera\naxes: {x: {axis: 1}}\nbuttons: {dead_man: 10}\n"
    )
    start_node("magma_teleop.joy_teleop_node", {"profile": str(tmp_path / "pad.yaml"), "camera_frame": "cam_optical"})
    asked = robot.collect(EndEffectorDelta, "/teleop/command", qos.COMMAND)
    statuses = robot.collect(TeleopStatus, "/teleop/status", qos.ROBOT_STATE)
    pad = Gamepad(robot)
    statuses.wait_for(lambda status: "/tf says no way from 'base' to 'cam_optical'" in status.text)
    links = [
        told("base", "mount", (0, 0, 1, 0)),
        *(told("base", f"shelf_{number}", (0, 0, 0, 1)) for number in range(4)),
        told("mount", "cam", (0, 0, 0, 1)),
        told("cam", "cam_optical", (-0.5, 0.5, -0.5, 0.5)),
    ]
    for link in links:
        robot.publisher(TFMessage, "/tf_static", qos.TRANSFORMS_STATIC).publish(link)
    statuses.wait_for(lambda status: status.text == "ready")
    pad.held, pad.axes = {10}, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    step = asked.wait_for(lambda command: abs(command.translation.x) > 0.0).translation
    assert (step.y, step.z) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.0, abs=1e-9)) and step.x < 0.0


def test_a_profile_that_does_not_exist_is_named(start_node):
    node = start_node("magma_teleop.joy_teleop_node", {"profile": "joystick"})
    assert node.wait() == 2 and "there are gamepad" in node.output
    node = start_node("magma_teleop.leader_teleop_node", {"profile": "gamepad"})
    assert node.wait() == 2 and "not of kind leader" in node.output
