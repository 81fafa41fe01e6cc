"""The end of every node, and what a wrong request does to it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import pytest
from lifecycle_msgs.srv import ChangeState, GetState
from magma_interfaces.msg import ControllerState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_msgs.msg import String
from std_srvs.srv import Trigger

from magma_common import qos

NODE = """
import sys, time
from rclpy.duration import Duration
from rclpy.node import Node
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_msgs.msg import String
from std_srvs.srv import Trigger
from magma_common.process.node_main import run_node
from magma_common.qos import STATE

class Speaker(Node):
    def __init__(self):
        super().__init__("speaker")
        self.publisher = self.create_publisher(String, "/speech", STATE)
        self.create_service(Trigger, "/fail", self.fail)
        self.publisher.publish(String(data="here"))
        if "busy" in sys.argv:
            self.create_timer(0.0005, lambda: self.publisher.publish(String(data="busy")))

    def fail(self, request, response):
        response.success = True
        raise ValueError("this request is wrong")

    def close(self):
        self.publisher.publish(String(data="the last word"))
        self.publisher.wait_for_all_acked(Duration(seconds=30))
        time.sleep(0.3)  # the second signal comes meanwhile

sys.exit(run_node(Speaker))
"""


@pytest.fixture
def speaker(ros_domain):
    """Starts the node; the processes are ended after the test."""
    started = []

    def start(*words):
        process = subprocess.Popen([sys.executable, "-c", NODE, *words], stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize("words", [(), ("busy",)], ids=["that only waits", "in the midst of its callbacks"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_node_ends_in_good_order_with_its_last_word_said(speaker, peer, number, words):
    heard = peer.collect(String, "/speech", qos.STATE, matched=0)
    process = speaker(*words)
    heard.wait_for()
    process.send_signal(number)
    # Impatient people and launch files repeat themselves.
    heard.wait_for(lambda message: message.data == "the last word")
    process.send_signal(number)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert process.stderr.read() == ""


def test_a_signal_at_any_moment_of_the_start_leaves_no_traceback(speaker):
    for number in range(8):
        process = speaker()
        time.sleep(random.Random(number).uniform(0.3, 1.5))
        process.terminate()
        status = process.wait(30)
        said = process.stderr.read()
        # Before the interpreter has come to the node's own `main` the signal is the system's.
        assert status in (0, -signal.SIGTERM) and "Traceback" not in said, said


def test_a_request_that_fails_is_refused_and_the_node_goes_on(speaker, peer):
    process = speaker()
    for _ in range(2):
        answer = peer.call(Trigger, "/fail")
        assert not answer.success and answer.message == ""
    process.terminate()
    assert process.wait(30) == 0
    assert process.stderr.read().count("a request of /fail is refused: ValueError: this request is wrong") == 2


def test_requests_for_what_does_not_exist_are_refused_and_the_controller_stays_active(start_node, peer):
    node = start_node("magma_control.controller_node")
    states = peer.collect(ControllerState, "/magma/controller_state", qos.STATE)
    for number in (0, 1, 42, 255):
        request = ChangeState.Request()
        request.transition.id = number
        assert not peer.call(ChangeState, "/controller/change_state", request).success
    wrong = Parameter(name="watchdog_s", value=ParameterValue(type=42))
    peer.call(SetParameters, "/controller/set_parameters", SetParameters.Request(parameters=[wrong]))
    assert peer.call(GetState, "/controller/get_state").current_state.label == "active"
    states.clear()
    states.wait_for()
    assert node.stop() == 0 and "Traceback" not in node.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_episodes_that_wait_for_their_graph_are_interrupted(start_node, tmp_path, number):
    runner = start_node("magma_bringup.episode_runner", {"out": str(tmp_path / "run")})
    runner.wait_for_output("waiting for the controller")
    runner.send_signal(number)
    assert runner.wait() == 130
    assert runner.output.endswith("interrupted\n") and "Traceback" not in runner.output
