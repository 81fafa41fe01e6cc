"""The simulator as a process: what it publishes, and what moves it."""

from __future__ import annotations

import time

import numpy as np
import pytest
from magma_interfaces.msg import ActionSpec as ActionSpecMsg
from magma_interfaces.msg import EndEffectorDelta, EndEffectorState, EpisodeStatus
from magma_interfaces.srv import ResetEpisode
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import CameraInfo, Image, JointState
from tf2_msgs.msg import TFMessage

from magma_common import qos
from magma_common.conversions import action_spec_to_msg, delta_to_msg, image_from_msg, pose_to_arrays, stamp_to_ns
from magma_contracts.action_spec import ActionSpec

pytestmark = pytest.mark.render
STARTING_S = 120.0
"""SAPIEN and the scene take long on a busy machine without a GPU."""
UP = np.array([0.0, 0.0, 0.02, 0.0, 0.0, 0.0, 1.0])


class Arm:
    """The simulator, and whoever commands it."""

    def __init__(self, start_node, peer, **parameters):
        self.peer = peer
        self.node = start_node("magma_sim_ros.simulator_node", parameters)
        self.status = peer.collect(EpisodeStatus, "/magma/episode_status", qos.STATE, matched=0)
        self.states = peer.collect(EndEffectorState, "/magma/end_effector_state", qos.ROBOT_STATE, matched=0)
        self.images = peer.collect(Image, "/camera/image_raw", qos.SENSOR, matched=0)
        self.info = peer.collect(CameraInfo, "/camera/camera_info", qos.SENSOR, matched=0)
        self.transforms = peer.collect(TFMessage, "/tf", qos.TRANSFORMS, matched=0)
        self.joints = peer.collect(JointState, "/joint_states", qos.ROBOT_STATE, matched=0)
        self.static = peer.collect(TFMessage, "/tf_static", qos.TRANSFORMS_STATIC, matched=0)
        self.status.wait_for(timeout_s=STARTING_S)
        self.states.wait_for()
        self.commands = peer.publisher(EndEffectorDelta, "/magma/command", qos.COMMAND)

    def stamp(self):
        return stamp_to_ns(self.states.last.header.stamp)

    def command(self, delta, stamp_ns=None):
        self.commands.publish(delta_to_msg(delta, self.stamp() if stamp_ns is None else stamp_ns))

    def step_is(self, step):
        return self.status.wait_for(lambda message: message.step == step)

    def reset(self, task, variant, layout):
        return self.peer.call(
            ResetEpisode, "/magma/reset_episode", ResetEpisode.Request(task=task, variant=variant, layout=layout)
        )


def test_lockstep_moves_on_commands_only(start_node, peer):
    arm = Arm(start_node, peer, clock="lockstep", republish_s=0.2)
    # One instant, one stamp, everything about it.
    frame = arm.images.wait_for()
    stamp_ns = stamp_to_ns(frame.header.stamp)
    arm.transforms.wait_for(lambda message: stamp_to_ns(message.transforms[0].header.stamp) == stamp_ns)
    names = {item.child_frame_id for item in arm.transforms.last.transforms}
    assert {"ee", "carrot", "plate"} <= names
    info = arm.info.wait_for()
    assert (info.height, info.width) == (frame.height, frame.width) == image_from_msg(frame).shape[:2]
    assert arm.static.wait_for().transforms[0].child_frame_id == "camera_optical"
    joints = arm.joints.wait_for()
    assert len(joints.name) == len(joints.position) >= 7

    # Without commands the world is shown again, unchanged.
    before = arm.status.wait_for()
    arm.states.wait_for(lambda _: len({stamp_to_ns(message.header.stamp) for message in arm.states.messages}) >= 3)
    assert arm.status.last.step == before.step == 0

    # Each command is one step; it takes the arm's target up.
    height = pose_to_arrays(arm.states.last.target_pose)[0][2]
    for step in (1, 2):
        arm.command(UP)
        arm.step_is(step)
        arm.states.wait_for(
            lambda message, z=height + 0.02 * step: abs(pose_to_arrays(message.target_pose)[0][2] - z) < 1e-3
        )
    # What answers a world that has gone, what is not a number, and what is too large moves nothing.
    arm.command(UP, stamp_ns=arm.stamp() - 60_000_000_000)
    arm.command(np.full(7, np.nan))
    time.sleep(0.5)
    assert arm.status.last.step == 2 and arm.node.running

    # A new episode; and one that does not exist leaves things as they are.
    answer = arm.reset("spoon_on_towel", "eval", 3)
    assert answer.success and answer.instruction == "put the spoon on the towel" and answer.max_steps > 0
    arm.status.wait_for(lambda message: (message.task, message.layout, message.step) == ("spoon_on_towel", 3, 0))
    for wrong in [("juggle", "eval", 0), ("", "training", 0), ("", "eval", 10_000)]:
        refused = arm.reset(*wrong)
        assert not refused.success and refused.message
    arm.command(UP)
    arm.step_is(1)

    # A policy that means something else by its actions is refused by name of the field.
    specs = peer.publisher(ActionSpecMsg, "/magma/action_spec", qos.STATE)
    slow = ActionSpec("slow", 1, 0.5, "base", "axis_angle", "absolute_open_1", "x", "third_person", 128, 128, False)
    specs.publish(action_spec_to_msg(slow))
    arm.node.wait_for_output("step_period_s")
    assert "step_period_s" in arm.reset("", "eval", 0).message
    assert arm.node.stop() == 0


def test_real_time_goes_on_by_itself_and_the_camera_can_be_frozen(start_node, peer):
    arm = Arm(start_node, peer, clock="realtime", task="stack_blocks", layout=1)
    before = arm.states.wait_for()
    arm.status.wait_for(lambda message: message.step >= 3)
    after = arm.states.last
    np.testing.assert_allclose(pose_to_arrays(after.target_pose)[0], pose_to_arrays(before.target_pose)[0], atol=1e-6)
    height = pose_to_arrays(after.target_pose)[0][2]
    arm.command(UP)
    arm.states.wait_for(lambda message: pose_to_arrays(message.target_pose)[0][2] > height + 0.015)
    # Two commands that come within one step move the target by both.
    arm.command(UP)
    arm.command(UP)
    arm.states.wait_for(lambda message: pose_to_arrays(message.target_pose)[0][2] > height + 0.055)

    freeze = Parameter(name="freeze_camera", value=ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=True))
    answer = peer.call(SetParameters, "/simulator/set_parameters", SetParameters.Request(parameters=[freeze]))
    assert answer.results[0].successful
    arm.command(UP)
    # Pictures that were on their way before the answer have come by then.
    frozen_at = arm.status.last.step
    arm.status.wait_for(lambda message: message.step >= frozen_at + 3)
    arm.images.clear()
    arm.images.wait_for(lambda _: len(arm.images.messages) >= 3)
    pictures = [bytes(image_from_msg(message)) for message in arm.images.messages]
    assert len(set(pictures)) == 1 and len({stamp_to_ns(m.header.stamp) for m in arm.images.messages}) >= 3
    assert arm.node.stop() == 0
