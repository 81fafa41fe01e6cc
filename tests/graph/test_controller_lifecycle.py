"""The controller's life: unconfigured, inactive, active. Only an active one moves the arm; every one hears the stop."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from controller_peers import HOME, Arm, Robot
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from magma_interfaces.msg import ControllerState, EndEffectorDelta
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from magma_common import qos
from magma_common.conversions import delta_to_msg
from magma_common.settings.config import LOWER, parameter_info
from magma_control.config import ControllerConfig

CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
NODE = "magma_control.controller_node"
JOINTS = {
    "arm": "joint_trajectory",
    "robot": "panda",
    "control_rate_hz": 50.0,
    "executor_timeout_s": 20.0,
    "state_timeout_s": 2.0,
    "watchdog_s": 2.0,
}


class Life:
    """Asks the controller to change its state."""

    def __init__(self, peer):
        self.peer = peer

    def change(self, transition):
        request = ChangeState.Request()
        request.transition.id = transition
        return self.peer.call(ChangeState, "/controller/change_state", request).success

    @property
    def state(self):
        return self.peer.call(GetState, "/controller/get_state").current_state.id


@pytest.fixture
def life(peer):
    return Life(peer)


@pytest.fixture
def robot(start_node, peer):
    """A controller that waits to be configured, and a policy that wants to move the arm from the start."""
    start_node(NODE, {"autostart": False, "teleop_timeout_s": 1.0})
    made = Robot(peer, configured=False)
    made.policy_runs = True
    yield made
    made.close()


def reason(robot, text):
    robot.states.clear()
    return robot.states.wait_for(lambda state: text in state.reason)


def test_only_an_active_controller_commands(robot, life, wait):
    teleop = robot.peer.publisher(EndEffectorDelta, "/teleop/command", qos.COMMAND, 0)

    # Unconfigured: it has no ears but for the emergency stop, and nothing to command with.
    assert life.state == State.PRIMARY_STATE_UNCONFIGURED
    reason(robot, "unconfigured: ros2 lifecycle set /controller configure")
    assert robot.peer.node.count_publishers("/magma/command") == 0
    assert robot.peer.node.count_subscribers("/magma/action_chunk") == 0
    assert not life.change(ACTIVATE)

    # Inactive: it hears everybody and refuses them, with the reason and in numbers.
    assert life.change(CONFIGURE)
    assert life.state == State.PRIMARY_STATE_INACTIVE
    wait(lambda: robot.peer.node.count_publishers("/magma/command"), "the publisher of commands")
    state = robot.states.wait_for(lambda state: state.chunks_rejected > 3)
    assert state.phase == ControllerState.HOLD and "inactive: ros2 lifecycle set /controller activate" in state.reason
    counts = dict(zip(state.rejection_reasons, state.rejection_counts, strict=True))
    assert counts == {"inactive": state.chunks_rejected}
    wait(lambda: teleop.get_subscription_count(), "the controller to hear the operator")
    teleop.publish(delta_to_msg((0, 0.01, 0, 0, 0, 0, 0), robot.peer.now_ns()))
    robot.states.wait_for(lambda state: sum(state.rejection_counts) > state.chunks_rejected)
    robot.nothing_moves()
    assert robot.states.last.phase == ControllerState.HOLD and not robot.commands.messages

    # Active: it moves, on a frame from after the activation.
    before_ns = robot.peer.now_ns()
    assert life.change(ACTIVATE)
    command = robot.commands.wait_for()
    assert command.header.stamp.sec * 10**9 + command.header.stamp.nanosec > before_ns

    # Inactive again, whoever has the arm; and active again, whatever was said in between.
    robot.operated(teleop, (0, 0.015, 0, 0, 0, 0, 0))
    assert life.change(DEACTIVATE)
    assert reason(robot, "inactive").phase == ControllerState.HOLD
    robot.nothing_moves()
    assert life.change(ACTIVATE)
    robot.moves_again()

    # Cleaned up, it is as at the start; and it can begin again.
    assert life.change(DEACTIVATE) and life.change(CLEANUP)
    reason(robot, "unconfigured")
    wait(lambda: robot.peer.node.count_publishers("/magma/command") == 0, "the publisher to go")
    wait(lambda: robot.peer.node.count_subscribers("/magma/action_chunk") == 0, "the subscription to go")
    robot.nothing_moves()
    assert life.change(CONFIGURE) and life.change(ACTIVATE)
    robot.moves_again()

    # Shut down while it moves the arm: the end of its life, from any state.
    assert life.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert life.state == State.PRIMARY_STATE_FINALIZED
    reason(robot, "was shut down: start it again")
    robot.nothing_moves()
    assert robot.peer.node.count_publishers("/magma/command") == 0


def test_the_emergency_stop_is_heard_and_latched_in_every_state(robot, life):
    call = robot.peer.call
    button = robot.peer.publisher(Bool, "/magma/estop_button", qos.SAFETY_INPUT)

    # Pressed before there is anything to stop, and let go: still stopped when the arm could move.
    button.publish(Bool(data=True))
    robot.states.wait_for(lambda state: state.phase == ControllerState.ESTOP)
    button.publish(Bool(data=False))
    answer = call(Trigger, "/magma/rearm")
    assert not answer.success and "the controller is unconfigured" in answer.message
    assert life.change(CONFIGURE)
    assert not call(Trigger, "/magma/rearm").success
    assert life.change(ACTIVATE)
    robot.nothing_moves()
    assert robot.states.last.phase == ControllerState.ESTOP
    assert call(Trigger, "/magma/rearm").success
    robot.moves_again()

    # Stopped by the service, taken down and up again: stopped.
    assert call(Trigger, "/magma/estop").success
    assert life.change(DEACTIVATE) and life.change(CLEANUP) and life.change(CONFIGURE) and life.change(ACTIVATE)
    robot.nothing_moves()
    assert robot.states.last.phase == ControllerState.ESTOP
    assert call(Trigger, "/magma/rearm").success
    robot.moves_again()

    # Stopped while inactive, and at the end.
    assert life.change(DEACTIVATE)
    assert call(Trigger, "/magma/estop").success
    assert life.change(ACTIVATE)
    robot.nothing_moves()
    assert robot.states.last.phase == ControllerState.ESTOP
    assert life.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert call(Trigger, "/magma/estop").success


def test_the_command_line_tool_leads_it_through_its_life(start_node, peer):
    start_node(NODE, {"autostart": False})

    # Of the ROS 2 that is sourced, or else of this environment.
    ros2 = shutil.which("ros2") or str(Path(sys.executable).with_name("ros2"))

    def lifecycle(*words):
        command = [ros2, "lifecycle", *words, "--no-daemon", "--spin-time", "3"]
        return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout

    peer.collect(ControllerState, "/magma/controller_state", qos.STATE).wait_for()
    assert "/controller" in lifecycle("nodes")
    assert "unconfigured [1]" in lifecycle("get", "/controller")
    assert "Transitioning successful" in lifecycle("set", "/controller", "configure")
    assert "activate [3]" in lifecycle("list", "/controller")
    assert "Transitioning successful" in lifecycle("set", "/controller", "activate")
    assert "active [3]" in lifecycle("get", "/controller")


def test_it_starts_by_itself_unless_told_otherwise(start_node, peer, life):
    start_node(NODE)
    states = peer.collect(ControllerState, "/magma/controller_state", qos.STATE)
    states.wait_for(lambda state: "no action spec received" in state.reason)
    assert life.state == State.PRIMARY_STATE_ACTIVE


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"robot": "r2d2"}, "no robot 'r2d2'"),
        ({"robot": "FILE"}, "there is no file /nowhere.urdf"),
        ({"robot": "panda", "arm": "position", "tick_source": "joint_states"}, "needs arm joint_trajectory"),
    ],
)
@pytest.mark.parametrize("autostart", [True, False])
def test_a_robot_that_cannot_be_had_fails_the_configuration_with_the_reason(
    start_node, peer, life, tmp_path, parameters, message, autostart
):
    file = tmp_path / "robot.yaml"
    panda = (robots() / "panda.yaml").read_text()
    file.write_text(panda.replace("module://mani_skill/assets/robots/panda/panda_v2.urdf", "/nowhere.urdf"))
    if parameters["robot"] == "FILE":
        parameters = {**parameters, "robot": str(file)}
    node = start_node(NODE, {**JOINTS, "autostart": autostart, **parameters})
    states = peer.collect(ControllerState, "/magma/controller_state", qos.STATE)
    states.wait_for()
    if not autostart:
        assert not life.change(CONFIGURE)
    state = states.wait_for(lambda state: "could not be configured" in state.reason)
    assert message in state.reason and state.phase == ControllerState.HOLD
    assert message in node.output
    assert life.state == State.PRIMARY_STATE_UNCONFIGURED
    assert node.running and peer.call(Trigger, "/magma/estop").success

    # The file is put right; the node need not be started again.
    if parameters["robot"] == str(file):
        file.write_text(panda)
        assert life.change(CONFIGURE)


def robots():
    from pathlib import Path

    import magma_control.robots.robot_config

    return Path(magma_control.robots.robot_config.__file__).parent


def test_a_description_that_is_late_is_waited_for(start_node, peer, life, tmp_path):
    file = tmp_path / "robot.yaml"
    panda = (robots() / "panda.yaml").read_text()
    source = "module://mani_skill/assets/robots/panda/panda_v2.urdf"
    file.write_text(panda.replace(source, "topic:///robot_description"))
    start_node(NODE, {**JOINTS, "robot": str(file)})
    states = peer.collect(ControllerState, "/magma/controller_state", qos.STATE)
    states.wait_for(lambda state: "waiting for the robot description on /robot_description" in state.reason)
    assert life.state == State.PRIMARY_STATE_UNCONFIGURED
    from mani_skill import PACKAGE_ASSET_DIR

    description = peer.publisher(String, "/robot_description", qos.STATE)
    urdf = PACKAGE_ASSET_DIR / "robots/panda/panda_v2.urdf"
    # The meshes' paths are relative to the file; a message has no place of its own.
    text = urdf.read_text().replace('filename="', f'filename="{urdf.parent}/')
    description.publish(String(data=text))
    states.wait_for(lambda state: "no action spec received" in state.reason)
    assert life.state == State.PRIMARY_STATE_ACTIVE


def test_a_joint_level_arm_that_is_deactivated_in_motion_brakes_and_gets_nothing_more(start_node, peer, life, wait):
    start_node(NODE, {**JOINTS, "autostart": False})
    arm = Arm(peer, configured=False)
    try:
        assert life.change(CONFIGURE)
        # Inactive, it shows where the arm is and sends nothing, whoever pushes the arm about.
        arm.acts = True
        start = arm.poses.wait_for()
        arm.offset[0] = 0.3
        arm.poses.wait_for(lambda pose: abs(pose.pose.position.y - start.pose.position.y) > 0.1)
        arm.offset[0] = 0.0
        assert not arm.trajectories.messages

        assert life.change(ACTIVATE)
        arm.moves()
        assert life.change(DEACTIVATE)
        sent = arm.trajectories.last
        assert not any(sent.points[-1].velocities), "what it had last ends at rest"
        # As its own controller would go on: along the brake.
        arm.positions = np.array(sent.points[-1].positions)
        place, count = arm.positions.copy(), len(arm.trajectories.messages)
        state = arm.is_in(ControllerState.HOLD, "inactive")
        arm.is_in(ControllerState.HOLD, "inactive")
        assert len(arm.trajectories.messages) == count and np.array_equal(arm.positions, place)
        assert "watchdog" not in " ".join(state.rejection_reasons)

        # Somebody moved it meanwhile: it goes on from there.
        arm.positions = HOME.copy()
        arm.acts = False
        assert life.change(ACTIVATE)
        arm.is_in(ControllerState.HOLD)
        arm.rests(wait)
        assert np.array_equal(arm.positions, HOME)
        arm.moves()
        assert np.abs(arm.positions - HOME).max() < 0.2

        # Taken down to nothing, and up again.
        assert life.change(DEACTIVATE) and life.change(CLEANUP)
        for topic in ("/joint_trajectory_controller/joint_trajectory", "/magma/end_effector_state"):
            wait(lambda topic=topic: peer.node.count_publishers(topic) == 0, f"{topic} to go")
        arm.positions = HOME.copy()
        assert life.change(CONFIGURE) and life.change(ACTIVATE)
        arm.moves()
    finally:
        arm.close()


class Settings:
    """Any peer of the graph, who sets parameters of the controller."""

    def __init__(self, peer):
        self.peer = peer

    def set(self, name, value):
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        (result,) = self.peer.call(SetParameters, "/controller/set_parameters", request).results
        return result.reason if not result.successful else ""


OTHERS = {"overlap": "replace", "blend_steps": 5, "ensemble_decay": 1.0, "gripper_mode": "binary"}
OTHERS |= {"gripper_close_below": 0.1, "gripper_open_above": 0.9, "gripper_sticky_steps": 3}
OTHERS |= {"min_command_interval_s": 0.0, "keep_references": False}
"""What has no tighter direction, with a value other than its default; a new parameter has one or stands here."""
GIVEN = {"teleop_timeout_s": 1.0}
"""What the fixture sets otherwise than by default."""


def moved(item, outwards):
    """A value a little looser (outwards) or tighter than the one in force."""
    info, value = parameter_info(item), GIVEN.get(item.name, item.default)
    if isinstance(value, bool):
        return not value
    sign = 1 if (info.tighter == LOWER) is outwards else -1
    if isinstance(value, tuple):
        return [member + 0.01 * sign for member in value]
    if isinstance(value, int):
        return value + sign
    return value * (1.0 + 0.1 * sign) if value else 0.01 * sign


def test_no_peer_lifts_a_limit_of_an_active_controller(robot, life):
    assert life.change(CONFIGURE) and life.change(ACTIVATE)
    settings = Settings(robot.peer)
    robot.moves_again()
    walked = {"limits": 0, "others": 0, "fixed": 0}
    for item in dataclasses.fields(ControllerConfig):
        info = parameter_info(item)
        if info.read_only:
            walked["fixed"] += 1
            assert settings.set(item.name, item.default) != ""
        elif not info.tighter:
            walked["others"] += 1
            refusal = settings.set(item.name, OTHERS[item.name])
            assert "stays as it is" in refusal and "deactivate" in refusal
        else:
            walked["limits"] += 1
            # Towards 1, off, and -2 there is nothing looser than these defaults.
            if item.name not in ("bring_up_scale", "estop_button_timeout_s", "table_clearance_m") and not isinstance(
                item.default, bool
            ):
                refusal = settings.set(item.name, moved(item, outwards=True))
                assert "now it may only be" in refusal and "deactivate" in refusal, item.name
    assert walked["limits"] > 25 and walked["others"] == len(OTHERS) and walked["fixed"] > 10
    assert "use_sim_time stays" in settings.set("use_sim_time", True)
    robot.moves_again()

    # Tighter it becomes at once, also in motion, and that is shown.
    for item in dataclasses.fields(ControllerConfig):
        if parameter_info(item).tighter and item.name != "estop_button_timeout_s":
            # A step that is allowed must never be absurd, so these two stay as wide as the longest step was.
            if item.name.startswith("reject_"):
                continue
            assert settings.set(item.name, moved(item, outwards=False)) == "", item.name
    shown = robot.states.wait_for(lambda state: "parameter changed: executor_timeout_s" in state.rejection_reasons)
    assert "parameter changed: max_speed_m_s" in shown.rejection_reasons

    # At rest everything may change.
    assert life.change(DEACTIVATE)
    assert settings.set("max_speed_m_s", 1.0) == "" and settings.set("overlap", "replace") == ""
    assert life.change(ACTIVATE)
    assert settings.set("max_speed_m_s", 1.1) != ""


def test_a_policy_that_no_longer_fits_a_tightened_limit_moves_nothing(robot, life):
    assert life.change(CONFIGURE) and life.change(ACTIVATE)
    robot.moves_again()
    assert Settings(robot.peer).set("max_horizon", 1) == ""
    robot.holds("horizon is 2")
