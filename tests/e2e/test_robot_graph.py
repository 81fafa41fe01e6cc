"""The whole graph as a person starts it: launch file, simulator, expert, controller, camera."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import psutil
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from magma_interfaces.msg import ActionChunk, ControllerState, EndEffectorState, EpisodeStatus
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from magma_bringup.episodes.suite_run import film_name
from magma_common import qos
from magma_common.conversions import pose_to_arrays
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.run_folder import load

pytestmark = pytest.mark.render
STARTING_S = 150.0
"""SAPIEN and the scene take long on a busy machine without a GPU."""


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def run_demo(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "magma_bringup.demo", "--out", str(out), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def nodes_left(domain: int) -> list[str]:
    """Command lines of processes of this test's domain that are still there."""
    left = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            if process.pid != os.getpid() and process.environ().get("ROS_DOMAIN_ID") == str(domain):
                left.append(" ".join(process.info["cmdline"] or []))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [line for line in left if "magma" in line]


def test_demo_plays_an_episode_through_the_graph_and_leaves_nothing_behind(ros_domain, out):
    demo = run_demo(out, "--policy", "expert", "--episodes", "1", "--task", "carrot_on_plate", "--hold", "3")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "1/1" in demo.stdout and "capture → command" in demo.stdout
    (result,) = load(out).results
    assert result.key.policy == "expert" and result.key.task == "carrot_on_plate" and result.key.suite == "tabletop"
    assert result.success is not None and result.success.last
    assert 0 < result.steps < result.max_steps and result.settings["ends when the goal held"] == "3 steps"
    assert result.stages["capture → command"].median > 0
    assert EpisodeRecord.read(out / result.record).actions.shape == (result.steps, 7)
    video = film_name(result.episode, success=True)
    count, seconds = imageio_ffmpeg.count_frames_and_secs(str(out / video))
    assert result.steps <= count <= result.steps + 10, "one picture per step, and a last one that stands"
    width, height = cv2.VideoCapture(str(out / video)).read()[1].shape[1::-1]
    assert width == 512 and height > 512, "larger than what the policy sees, under a band with words"
    assert video in (out / "index.html").read_text(encoding="utf-8")
    assert "index.html" in demo.stdout and seconds > 1.0
    assert nodes_left(ros_domain) == []


def node_process(domain: int, name: str) -> psutil.Process:
    """The process of a launched node."""
    for process in psutil.process_iter(["cmdline"]):
        try:
            words = process.info["cmdline"] or []
            if f"__node:={name}" in words and process.environ().get("ROS_DOMAIN_ID") == str(domain):
                return process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    raise AssertionError(f"no process of node {name}")


def set_bool(peer, node, name, value):
    """`ros2 param set`."""
    parameter = Parameter(name=name, value=ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=value))
    answer = peer.call(SetParameters, f"{node}/set_parameters", SetParameters.Request(parameters=[parameter]))
    assert answer.results[0].successful, answer.results[0].reason


def test_launched_robot_obeys_survives_its_policy_and_ends_at_once(launch, start_node, peer, ros_domain, wait):
    launched = launch("policy:=expert", "task:=carrot_on_plate")
    status = peer.collect(EpisodeStatus, "/magma/episode_status", qos.STATE, matched=0)
    controller = peer.collect(ControllerState, "/magma/controller_state", qos.STATE, matched=0)
    chunks = peer.collect(ActionChunk, "/magma/action_chunk", qos.COMMAND, matched=0)
    arm = peer.collect(EndEffectorState, "/magma/end_effector_state", qos.ROBOT_STATE, matched=0)
    transforms = peer.collect(TFMessage, "/tf", qos.TRANSFORMS, matched=0)

    # It starts on its own with what the task asks for.
    status.wait_for(lambda message: message.step >= 2, timeout_s=STARTING_S)
    assert chunks.last.instruction == "put the carrot on the plate"

    # Another instruction: it goes to another object (this layout has the blocks as distractors).
    instruction = peer.publisher(String, "/magma/instruction", qos.STATE)
    instruction.publish(String(data="stack the green block on the yellow block"))
    chunks.wait_for(lambda message: message.instruction == "stack the green block on the yellow block")
    poses = {item.child_frame_id: item.transform.translation for item in transforms.last.transforms}
    block = np.array([poses["green_block"].x, poses["green_block"].y])
    arm.wait_for(lambda message: np.linalg.norm(pose_to_arrays(message.pose)[0][:2] - block) < 0.03)

    # The policy dies: the arm holds and says why. It comes back, learns the instruction in force, and goes on.
    controller.clear()
    node_process(ros_domain, "scripted_policy").kill()
    controller.wait_for(lambda message: message.phase == ControllerState.HOLD and "policy silent" in message.reason)

    def stands_still():
        before = status.last.step
        time.sleep(1.2)
        return status.last.step == before

    # The last command may take a busy simulator a while.
    wait(stands_still, "the world to stand still without a policy")
    step = status.last.step
    chunks.clear()
    again = start_node("magma_sim_ros.scripted_policy_node", {"kind": "expert"})
    status.wait_for(lambda message: message.step >= step + 2)
    assert chunks.last.instruction == "stack the green block on the yellow block"

    # The camera freezes while the arm moves: no frames, no actions, and somebody says why. Then it recovers.
    diagnostics = peer.collect(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
    freeze = functools.partial(set_bool, peer, "/simulator", "freeze_camera")
    instruction.publish(String(data="put the carrot on the plate"))
    freeze(True)
    diagnostics.wait_for(lambda message: any("refused (frozen)" in item.message for item in message.status))
    controller.clear()
    controller.wait_for(lambda message: message.phase == ControllerState.HOLD)
    step = status.last.step
    freeze(False)
    status.wait_for(lambda message: message.step >= step + 2)
    again.stop()

    launched.interrupt()
    # Every node ends by itself: the launch has to kill none.
    assert "escalating" not in launched.log.read_text(errors="replace")
    assert nodes_left(ros_domain) == []
