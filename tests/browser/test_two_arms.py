"""Two arms in two namespaces, each with a console of its own: what one page does is one arm's."""

from __future__ import annotations

import pytest
from controller_peers import INSTRUCTION, Robot
from magma_interfaces.msg import ControllerState
from std_msgs.msg import String

PATIENT = {"teleop_timeout_s": 1.0, "max_frame_age_s": 5.0, "watchdog_s": 3.0}


@pytest.fixture
def left(graph):
    """The arm in the namespace /left, whose policy acts too, and its console."""
    controller = graph.start("magma_control.controller_node", PATIENT, "/left")
    keeper = graph.start("magma_bringup.instruction_keeper", {"instruction": "none"}, "/left")
    robot = Robot(graph.peer, namespace="/left")
    robot.console = graph.start_console({"port": 0}, "/left")
    robot.policy_runs = True
    robot.instruction.publish(String(data=INSTRUCTION))
    robot.states.wait_for(lambda state: state.phase == ControllerState.AUTONOMOUS)
    yield robot
    robot.close()
    for node in (robot.console, keeper, controller):
        node.stop()


def test_a_page_drives_and_stops_its_own_arm_alone(graph, left, open_tab):
    page, other = open_tab(left.console.address), open_tab()
    assert page.page.text_content("#robot-name") == "Magma · left" and page.page.title().endswith("left")
    assert other.page.text_content("#robot-name") == "Magma"
    page.page.keyboard.down("Space")
    page.page.keyboard.down("KeyW")
    moved = left.commands.wait_for(lambda command: command.source.startswith("console"))
    assert moved.header.frame_id.endswith("base")
    graph.robot.states.clear()
    assert graph.robot.states.wait_for().phase == ControllerState.AUTONOMOUS
    assert not any(command.source == moved.source for command in graph.robot.commands.messages)
    page.page.keyboard.press("Escape")
    left.states.clear()
    left.states.wait_for(lambda state: state.phase == ControllerState.ESTOP)
    page.shows("phase", "ESTOP")
    graph.robot.states.clear()
    assert graph.robot.states.wait_for().phase == ControllerState.AUTONOMOUS
    other.shows("phase", "AUTONOMOUS")
