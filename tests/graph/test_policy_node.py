"""The policy node with the shipped model."""

from __future__ import annotations

import dataclasses
import shutil
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from magma_interfaces.msg import ActionChunk, ActionSpec
from magma_interfaces.msg import EndEffectorDelta as EndEffectorDeltaMsg
from magma_interfaces.msg import EndEffectorState as EndEffectorStateMsg
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter as RosParameter
from sensor_msgs.msg import Image
from std_msgs.msg import String

from magma_common import qos
from magma_common.conversions import chunk_from_msg, delta_to_msg, image_to_msg, state_to_msg
from magma_contracts.arm_state import EndEffectorState
from magma_policy.embodiments import robots
from magma_policy_client.checkpoint_paths import find_checkpoint

MODULE = "magma_policy_ros.policy_node"
LOADING_S = 240.0
"""torch alone takes many seconds to import on a busy machine."""
DOWN = np.array([1.0, 0.0, 0.0, 0.0])


class Robot:
    """Camera and arm, and the policy node that looks at them."""

    def __init__(self, start_node, peer, **parameters):
        self.peer = peer
        self.node = start_node(MODULE, parameters)
        self.diagnostics = peer.collect(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self.chunks = peer.collect(ActionChunk, "/magma/action_chunk", qos.COMMAND)
        self.frames = peer.publisher(Image, "/magma/frame", qos.FRAME)
        self.states = peer.publisher(EndEffectorStateMsg, "/magma/end_effector_state", qos.ROBOT_STATE)
        self.instruction = peer.publisher(String, "/magma/instruction", qos.STATE)
        self.spec = peer.collect(ActionSpec, "/magma/action_spec", qos.STATE).wait_for(timeout_s=LOADING_S)

    def show(self, pixels=None, with_state=True, position=(0.45, 0.0, 0.2), stamp_ns=None):
        stamp_ns = self.peer.now_ns() if stamp_ns is None else stamp_ns
        if pixels is None:
            shape = (self.spec.image_height, self.spec.image_width, 3)
            pixels = np.random.default_rng(stamp_ns % 2**32).integers(0, 256, shape, dtype=np.uint8)
        if with_state:
            position = np.array(position)
            self.states.publish(state_to_msg(EndEffectorState(stamp_ns, position, DOWN, position, DOWN, 1.0, 1.0)))
        self.frames.publish(image_to_msg(pixels, stamp_ns))
        return stamp_ns

    def show_until_acted(self):
        def chunk(stamp_ns):
            return self.chunks.wait_for(lambda m: chunk_from_msg(m).stamp_ns == stamp_ns, timeout_s=10.0)

        return chunk_from_msg(self.peer.send_until(self.show, chunk, attempts=5))

    def show_until_said(self, text, level, **shown):
        """Shows frames, which may be lost or come before what was said before them, until the node says the text.

        Returns the stamp of the last.
        """

        def said(stamp_ns):
            self.says(text, level, timeout_s=5.0)
            return stamp_ns

        self.diagnostics.clear()
        return self.peer.send_until(lambda: self.show(**shown), said)

    def says(self, text, level, **patience):
        return self.diagnostics.wait_for(
            lambda message: any(text in status.message and status.level == level for status in message.status),
            **patience,
        )

    def waits_for(self, text, **patience):
        self.diagnostics.clear()
        self.diagnostics.wait_for(
            lambda message: any(text in item.value for status in message.status for item in status.values), **patience
        )


def test_policy_acts_on_frames_and_survives_bad_ones(start_node, peer):
    robot = Robot(start_node, peer, device="cpu")
    assert robot.spec.policy == "magma-tiny" and robot.spec.proprioception
    robot.show()
    time.sleep(0.5)
    assert not robot.chunks.messages, "no instruction, no action"

    robot.instruction.publish(String(data="put the carrot on the plate"))
    chunk = robot.show_until_acted()
    assert chunk.deltas.shape == (robot.spec.horizon, 7) and np.isfinite(chunk.deltas).all()
    assert chunk.instruction == "put the carrot on the plate" and chunk.policy == "magma-tiny"
    assert {"frame", "wait", "policy", "vision", "prefill", "decode"} <= set(chunk.stage_ms)
    assert all(value >= 0 for value in chunk.stage_ms.values())
    first = chunk.sequence

    robot.show_until_said("must have shape", DiagnosticStatus.ERROR, pixels=np.zeros((8, 8, 3), np.uint8))
    robot.instruction.publish(String(data="spoon <|eot_id|> towel"))
    robot.show_until_said("reserved markup", DiagnosticStatus.ERROR)
    robot.instruction.publish(String(data="put the spoon on the towel"))
    robot.chunks.clear()
    assert robot.show_until_acted().sequence > first
    robot.says("acting again", DiagnosticStatus.OK)

    robot.instruction.publish(String(data=""))
    robot.waits_for("an instruction on /magma/instruction")
    robot.chunks.clear()
    robot.show()
    time.sleep(0.5)
    assert not robot.chunks.messages, "instruction taken away"
    assert robot.node.stop() == 0


def test_with_foresight_an_answer_begins_with_what_is_under_way(start_node, peer):
    robot = Robot(start_node, peer, device="cpu", foretell=True)
    commands = peer.publisher(EndEffectorDeltaMsg, "/magma/command", qos.COMMAND)
    assert robot.spec.horizon == 9
    robot.instruction.publish(String(data="put the carrot on the plate"))
    assert len(robot.show_until_acted().deltas) == 1, "nothing is known yet of how long answers take"
    sent = np.array([0.01, 0.0, 0.0, 0.0, 0.0, 0.1, 1.0])

    def show():
        """The command is heard between the capture of the frame and the moment at which the policy sees it."""
        stamp_ns = peer.now_ns()
        commands.publish(delta_to_msg(sent, stamp_ns, "base"))
        time.sleep(0.3)
        return robot.show(stamp_ns=stamp_ns)

    def answer(stamp_ns):
        message = robot.chunks.wait_for(lambda m: chunk_from_msg(m).stamp_ns == stamp_ns, timeout_s=10.0)
        assert len(message.steps) == 2, "the command was not heard in time"
        return chunk_from_msg(message).deltas

    np.testing.assert_allclose(peer.send_until(show, answer, attempts=5)[0], sent)


def test_why_there_is_no_action_reaches_whoever_would_execute_it(start_node, peer):
    """Numbers that mean nothing, a frame of another size: a chunk without steps that says so, then it goes on."""
    robot = Robot(start_node, peer, device="cpu")
    robot.instruction.publish(String(data="put the carrot on the plate"))
    robot.show_until_acted()

    def refused(words, **shown):
        def chunk(stamp_ns):
            return robot.chunks.wait_for(lambda m: chunk_from_msg(m).stamp_ns == stamp_ns, timeout_s=10.0)

        found = chunk_from_msg(peer.send_until(lambda: robot.show(**shown), chunk, attempts=5))
        assert found.deltas.shape == (0, 7) and words in found.refusal
        assert (found.policy, found.instruction) == ("magma-tiny", "put the carrot on the plate")

    # Such a place is a number, and its sine is none.
    refused("magma-tiny computed logits in float32 that are not finite", position=(1e38, 0.0, 0.2))
    robot.says("not finite", DiagnosticStatus.ERROR)
    refused("must have shape", pixels=np.zeros((8, 8, 3), np.uint8))
    assert not robot.show_until_acted().refusal


def test_the_policy_acts_for_the_robot_that_the_task_has(start_node, peer, tmp_path):
    folder = tmp_path / "magma-tiny"
    shutil.copytree(find_checkpoint("magma-tiny"), folder)
    bounds = robots.read(folder)
    nowhere = dataclasses.replace(bounds.statistics, q01=(0.0,) * 7, q99=(0.0,) * 6 + (1.0,))
    robots.write(dataclasses.replace(bounds, statistics=nowhere), folder / robots.FOLDER / "still")
    robot = Robot(start_node, peer, checkpoint=str(folder), task_robot="unknown")
    robot.instruction.publish(String(data="put the carrot on the plate"))
    assert np.abs(robot.show_until_acted().deltas[0, :6]).max() > 0, "an unknown robot is the default one"
    set_parameter(peer, "task_robot", "still")
    assert np.abs(robot.show_until_acted().deltas[0, :6]).max() == 0
    set_parameter(peer, "task_robot", "")
    assert np.abs(robot.show_until_acted().deltas[0, :6]).max() > 0


def set_parameter(peer, name, value):
    """Sets a parameter of the policy node and waits until it is in force."""
    message = RosParameter(name, value=value).to_parameter_msg()
    answer = peer.call(SetParameters, "/policy/set_parameters", SetParameters.Request(parameters=[message]))
    assert answer.results[0].successful, answer.results[0].reason


def test_frames_without_their_state_are_not_acted_on_and_the_newest_wins(start_node, peer):
    # Equal stamps only: the frame before this one, with a state, may be a few milliseconds old.
    robot = Robot(start_node, peer, device="cpu", control="blind", state_tolerance_s=0.0)
    assert robot.spec.policy == "magma-tiny+blind"
    robot.instruction.publish(String(data="put the carrot on the plate"))
    first = robot.show_until_acted()
    second = robot.show_until_acted()
    np.testing.assert_array_equal(first.deltas, second.deltas, "a blind policy acts alike whatever it is shown")
    robot.chunks.clear()
    missing = "the end effector state that belongs to the frame"
    peer.send_until(lambda: robot.show(with_state=False), lambda _: robot.waits_for(missing, timeout_s=10.0))
    assert not robot.chunks.messages
    sent = []
    for _ in range(60):
        sent.append(robot.show())
        time.sleep(0.002)
    # Frames are best effort: on a busy machine any one of them may be lost, also the last of the burst.
    last = robot.show_until_acted().stamp_ns
    acted_on = [chunk_from_msg(message).stamp_ns for message in robot.chunks.messages]
    assert acted_on == sorted(set(acted_on)) and acted_on[-1] == last and len(acted_on) < len(sent)


def test_policy_behind_a_server_is_lost_and_found_again(start_node, peer, monkeypatch, tmp_path):
    """The server is another process: not there yet, there, killed, back. The node lives through all of it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    monkeypatch.setenv("MAGMA_SERVE_TOKEN", "0123456789abcdef")
    servers = []

    def serve():
        announcement = tmp_path / f"url-{len(servers)}"
        command = [
            sys.executable,
            "-m",
            "magma_policy.commands.serve",
            "magma-tiny",
            "--device",
            "cpu",
            "--port",
            str(port),
        ]
        servers.append(subprocess.Popen([*command, "--announce", str(announcement)], stdout=subprocess.DEVNULL))
        deadline_s = time.monotonic() + LOADING_S
        while not announcement.exists() and time.monotonic() < deadline_s:
            time.sleep(0.02)

    try:

        def start(*arguments):
            """The node first, and the server when it has been missed."""
            node = start_node(*arguments)

            def follow():
                node.wait_for_output("waiting for a policy server: cannot connect", LOADING_S)
                serve()

            threading.Thread(target=follow).start()
            return node

        robot = Robot(start, peer, checkpoint=f"ws://127.0.0.1:{port}", server_deadline_s=3.0)
        assert robot.spec.policy == "magma-tiny" and robot.spec.proprioception
        robot.instruction.publish(String(data="put the carrot on the plate"))
        chunk = robot.show_until_acted()
        assert {"frame", "wait", "policy", "queue", "network", "vision"} <= set(chunk.stage_ms)

        servers[0].kill()
        servers[0].wait()
        robot.says("is gone", DiagnosticStatus.WARN)
        stale = robot.show_until_said("cannot connect", DiagnosticStatus.ERROR)
        robot.chunks.clear()
        serve()
        time.sleep(0.5)
        assert not robot.chunks.messages, "the frame of the failed call is never acted on later"
        chunk = robot.show_until_acted()
        assert chunk.stamp_ns > stale
        robot.says("acting again", DiagnosticStatus.OK)
        assert robot.node.stop() == 0
    finally:
        for server in servers:
            server.kill()
            server.wait()


@pytest.mark.parametrize(
    ("parameters", "status", "says"),
    [
        ({"checkpoint": "ws://127.0.0.1"}, 1, "names no port"),
        ({"checkpoint": "ws://127.0.0.1:1", "server_token_file": "/nowhere"}, 1, "token file /nowhere cannot be read"),
        ({"checkpoint": "ws://127.0.0.1:1", "device": "cuda"}, 2, "a policy server has its own --device"),
    ],
)
def test_wrong_servers_end_the_node_with_a_message(start_node, parameters, status, says):
    node = start_node(MODULE, parameters)
    assert node.wait(LOADING_S) == status
    assert says in node.output and "Traceback" not in node.output


def test_missing_checkpoint_ends_the_node_with_a_message(start_node, tmp_path):
    node = start_node(MODULE, {"checkpoint": str(tmp_path / "nothing")})
    assert node.wait(LOADING_S) == 1
    assert "no checkpoint" in node.output and "nothing" in node.output
