"""The scripted operator corrects a policy that stands still, through the controller, and gives the arm back."""

from __future__ import annotations

import pytest
from magma_interfaces.msg import ControllerState, EpisodeStatus, TeleopStatus
from magma_interfaces.srv import ResetEpisode
from std_msgs.msg import String

from magma_common import qos

pytestmark = pytest.mark.render
CORRECTION_STEPS = 5


def test_a_policy_that_does_nothing_is_corrected_and_left_to_itself_in_turns(start_node, peer, wait):
    start_node("magma_sim_ros.simulator_node", {"clock": "lockstep", "after_episode": "stop", "republish_s": 0.5})
    start_node("magma_camera.camera_subscriber", {"frozen_after_s": 0.0})
    start_node(
        "magma_control.controller_node",
        {"min_command_interval_s": 0.0, "max_frame_age_s": 30.0, "watchdog_s": 5.0, "state_timeout_s": 10.0},
    )
    start_node("magma_sim_ros.scripted_policy_node", {"kind": "hold"})
    start_node("magma_sim_ros.scripted_operator_node", {"correction_steps": CORRECTION_STEPS, "late_after_steps": 1000})
    states = peer.collect(ControllerState, "/magma/controller_state", qos.STATE)
    episode = peer.collect(EpisodeStatus, "/magma/episode_status", qos.STATE)
    teleop = peer.collect(TeleopStatus, "/teleop/status", qos.ROBOT_STATE)
    instruction = peer.publisher(String, "/magma/instruction", qos.STATE)
    start = ResetEpisode.Request(task="carrot_on_plate", variant="random", layout=5)
    assert peer.call(ResetEpisode, "/magma/reset_episode", start).success
    instruction.publish(String(data="put the carrot on the plate"))

    def changes():
        phases = [state.phase for state in states.messages]
        return [phase for phase, before in zip(phases, [None, *phases], strict=False) if phase != before]

    wait(lambda: changes().count(ControllerState.TELEOP) >= 2, lambda: f"two corrections; {changes()}")
    assert ControllerState.AUTONOMOUS in changes()[changes().index(ControllerState.TELEOP) :]
    # With a policy that does nothing, what is done is the operator's doing.
    wait(lambda: episode.last.done, lambda: f"the end of the episode; {episode.last.step}")
    assert any(status.engaged for status in teleop.messages) and not all(status.engaged for status in teleop.messages)
    instruction.publish(String(data=""))
    wait(lambda: states.last.phase == ControllerState.HOLD, "the operator to give the arm back")
