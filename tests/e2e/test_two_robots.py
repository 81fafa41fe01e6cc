"""Two robots in one graph, started as a person starts them: a simulated one, and an arm that is told joint by joint."""

from __future__ import annotations

import numpy as np
import pytest
from controller_peers import HOME, Arm
from magma_interfaces.msg import ControllerState, EndEffectorDelta, EpisodeStatus
from rcl_interfaces.srv import GetParameters
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from magma_common import qos
from magma_common.conversions import delta_to_msg
from magma_recorder.recordings.recording import Recording
from magma_recorder.replay import replay

pytestmark = pytest.mark.render
STARTING_S = 300.0
"""SAPIEN and the scene take long on a busy machine without a GPU."""
BOX = [0.21, -0.5, 0.0]


@pytest.fixture
def left(launch, tmp_path):
    """A simulated robot with its policy, in a namespace."""
    place = tmp_path / "place.yaml"
    place.write_text(f"controller:\n  ros__parameters:\n    workspace_min_m: {BOX}\n")
    return launch("namespace:=left", "policy:=expert", f"config:={place}", f"record:={tmp_path / 'recordings'}")


@pytest.fixture
def right(start_node, peer):
    """Another one beside it, whose arm and policy are the test's."""
    settings = {"arm": "joint_trajectory", "robot": "panda", "executor_timeout_s": 20.0, "teleop_timeout_s": 2.0}
    start_node("magma_control.controller_node", settings, "-r", "__ns:=/right")
    arm = Arm(peer, namespace="/right")
    yield arm
    arm.close()


class World:
    """How far the simulated robot is."""

    def __init__(self, peer):
        self.statuses = peer.collect(EpisodeStatus, "/left/magma/episode_status", qos.STATE, matched=0)
        self.states = peer.collect(ControllerState, "/left/magma/controller_state", qos.STATE, matched=0)

    def goes_on(self, timeout_s=STARTING_S):
        step = self.statuses.last.step if self.statuses.last is not None else 0
        self.statuses.clear()
        self.statuses.wait_for(lambda status: status.step >= step + 2, timeout_s)

    def is_stopped(self):
        self.states.clear()
        state = self.states.wait_for(lambda state: state.phase == ControllerState.ESTOP)
        # What was under way when the stop came may still arrive, and take a busy simulator a while.
        step = None
        while step != self.statuses.last.step:
            step = self.statuses.last.step
            for _ in range(5):
                self.states.clear()
                self.states.wait_for()
        return state.reason, step


def rearm(peer, namespace):
    peer.send_until(
        lambda: peer.call(Trigger, f"{namespace}/magma/rearm"),
        lambda answer: answer.success or pytest.fail(answer.message),
    )


def parameter(peer, node, name):
    return peer.call(GetParameters, f"{node}/get_parameters", GetParameters.Request(names=[name])).values[0]


def test_two_robots_share_a_graph_and_nothing_but_the_stop(left, right, peer, tmp_path):
    world = World(peer)
    transforms = peer.collect(TFMessage, "/tf", qos.TRANSFORMS, matched=0)
    world.goes_on()
    np.testing.assert_array_equal(right.positions, HOME)
    assert not right.commands.messages, "the one policy moves the one arm"
    assert list(parameter(peer, "/left/controller", "workspace_min_m").double_array_value) == BOX
    assert parameter(peer, "/left/simulator", "republish_s").double_value == 2.0
    frames = {
        (item.header.frame_id, item.child_frame_id) for message in transforms.messages for item in message.transforms
    }
    assert ("left/base", "left/ee") in frames and all(name.startswith("left/") for pair in frames for name in pair)

    right.moves()
    assert peer.call(Trigger, "/left/magma/estop").success
    reason, step = world.is_stopped()
    assert "re-arm with /left/magma/rearm" in reason
    right.moves()
    assert world.statuses.last.step == step, "nothing moves the stopped one"
    rearm(peer, "/left")
    world.goes_on()

    operator = peer.publisher(EndEffectorDelta, "/right/teleop/command", qos.COMMAND)
    peer.send_until(
        lambda: operator.publish(delta_to_msg((0.0, 0.01, 0.0, 0.0, 0.0, 0.0, 1.0), peer.now_ns(), source="test")),
        lambda _: right.states.wait_for(lambda state: state.phase == ControllerState.TELEOP, timeout_s=2.0),
    )
    world.goes_on()
    assert peer.call(Trigger, "/right/magma/hand_back").success
    right.moves()

    publisher, pressed = peer.publisher(Bool, "/magma/estop_button", qos.SAFETY_INPUT, matched=2), [True]
    peer.node.create_timer(0.1, lambda: publisher.publish(Bool(data=pressed[0])))
    right.is_in(ControllerState.ESTOP, "the shared button is pressed")
    reason, step = world.is_stopped()
    assert "the shared button is pressed" in reason
    assert not peer.call(Trigger, "/left/magma/rearm").success
    pressed[0] = False
    rearm(peer, "/right")
    right.moves()
    assert world.is_stopped()[1] == step, "a re-arm is for one arm"
    rearm(peer, "/left")
    world.goes_on()

    assert left.interrupt() == 0
    (folder,) = (tmp_path / "recordings").iterdir()
    assert folder.name.endswith("_left")
    recording = Recording(folder)
    names = {item.topic for item in recording}
    assert recording.namespaces == {"/left"} and not any(name.startswith(("/right/", "/magma/")) for name in names)
    again = replay(folder)
    assert again.exact and again.equal > 5, again.text()
