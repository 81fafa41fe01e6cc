"""Two arms in one graph, each in a namespace of its own."""

from __future__ import annotations

import pytest
from controller_peers import Robot
from magma_interfaces.msg import ControllerState, EndEffectorDelta
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from magma_common import qos
from magma_recorder.recording_command import describe
from magma_recorder.recordings.recording import Recording
from magma_recorder.replay import replay

NODE = "magma_control.controller_node"
LEFT, RIGHT = "/left", "/right"


@pytest.fixture
def arms(start_node, peer):
    for namespace in (LEFT, RIGHT):
        start_node(NODE, {"teleop_timeout_s": 1.0}, "-r", f"__ns:={namespace}")
    made = [Robot(peer, namespace=namespace) for namespace in (LEFT, RIGHT)]
    yield made
    for robot in made:
        robot.close()


def stopped(robot, why):
    state = robot.states.wait_for(lambda state: state.phase == ControllerState.ESTOP)
    assert why in state.reason
    robot.nothing_moves()
    return state


class Button:
    """A button that says what it is several times a second, as a real one does."""

    def __init__(self, peer, topic):
        publisher = peer.publisher(Bool, topic, qos.SAFETY_INPUT)
        self.pressed = False
        self.timer = peer.node.create_timer(0.1, lambda: publisher.publish(Bool(data=self.pressed)))


def rearmed(robot, namespace):
    robot.peer.send_until(
        lambda: robot.peer.call(Trigger, f"{namespace}/magma/rearm"),
        lambda answer: answer.success or pytest.fail(answer.message),
    )
    robot.moves_again()


def test_a_policy_moves_its_own_arm_only(arms):
    left, right = arms
    left.acts()
    right.nothing_moves()
    right.acts()
    left.policy_runs = False
    left.holds("policy silent")
    right.moves_again()


def test_a_stop_of_one_arm_stops_that_arm_and_says_what_to_call(arms):
    left, right = arms
    left.acts()
    right.acts()
    answer = left.peer.call(Trigger, "/left/magma/estop")
    assert answer.success and "/left/magma/rearm" in answer.message
    state = stopped(left, "service /left/magma/estop was called")
    assert "re-arm with /left/magma/rearm" in state.reason
    right.moves_again()
    assert not right.peer.call(Trigger, "/right/magma/rearm").success
    rearmed(left, LEFT)
    Button(right.peer, "/right/magma/estop_button").pressed = True
    stopped(right, "the button is pressed")
    left.moves_again()


def test_the_shared_button_stops_both_and_each_is_rearmed_by_itself(arms):
    left, right = arms
    left.acts()
    right.acts()
    shared, own = Button(left.peer, "/magma/estop_button"), Button(left.peer, "/left/magma/estop_button")
    shared.pressed = True
    for robot in arms:
        stopped(robot, "the shared button is pressed")
    refused = left.peer.call(Trigger, "/left/magma/rearm")
    assert not refused.success and "the shared button is pressed" in refused.message
    own.pressed = True
    shared.pressed = False
    stopped(right, "the shared button is pressed")
    rearmed(right, RIGHT)
    left.peer.send_until(
        lambda: left.peer.call(Trigger, "/left/magma/rearm").message,
        lambda answer: answer == "cannot re-arm: the button is pressed" or pytest.fail(answer),
    )
    own.pressed = False
    rearmed(left, LEFT)


def test_a_call_of_the_shared_service_stops_both(arms, wait):
    left, right = arms
    left.acts()
    right.acts()
    wait(lambda: left.peer.node.count_services("/magma/estop") == 2, "both controllers' shared service")
    assert left.peer.call(Trigger, "/magma/estop").success
    for robot in arms:
        stopped(robot, "service /magma/estop was called")
    assert left.peer.node.count_services("/magma/rearm") == 0
    rearmed(right, RIGHT)
    stopped(left, "service /magma/estop was called")


def test_an_operator_takes_one_arm_and_leaves_the_other(arms):
    left, right = arms
    left.acts()
    right.acts()
    operator = left.peer.publisher(EndEffectorDelta, "/left/teleop/command", qos.COMMAND)
    left.operated(operator, (0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    right.moves_again()
    assert left.peer.call(Trigger, "/left/magma/hand_back").success
    left.moves_again()


def test_a_recording_of_one_arm_holds_that_arm_under_its_names(arms, start_node, tmp_path):
    left, right = arms
    settings = {"directory": str(tmp_path), "name": "bag"}
    recorder = start_node("magma_recorder.recorder_node", settings, "-r", "__ns:=/left")
    recorder.wait_for_output("recording ")
    left.acts()
    right.acts()
    for _ in range(3):
        left.moves_again()
    left.policy_runs = False
    left.holds("policy silent")
    assert recorder.stop() == 0
    recording = Recording(tmp_path / "bag")
    names = {item.topic for item in recording}
    assert "/left/magma/command" in names and not any(name.startswith(("/right", "/magma")) for name in names)
    assert recording.namespaces == {"/left"}
    again = replay(tmp_path / "bag")
    assert again.exact and again.equal >= 3, again.text()
    assert "no interventions of /left" in describe(tmp_path / "bag")


def test_the_silence_of_a_shared_button_is_for_arms_that_share_one(start_node, peer):
    waits = {"shared_estop_button_timeout_s": 0.5}
    start_node(NODE, waits, "-r", "__ns:=/left")
    states = peer.collect(ControllerState, "/left/magma/controller_state", qos.STATE)
    states.wait_for(lambda state: "the shared emergency stop button has sent no heartbeat" in state.reason)
    alone = start_node(NODE, waits)
    assert alone.wait() == 2
    assert "set estop_button_timeout_s" in alone.output
