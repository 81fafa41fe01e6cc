"""The samples in the docs, used as a reader would: copied out of the page and run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from magma_interfaces.msg import ControllerState
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from magma_common import qos
from magma_common.conversions import ns_to_stamp
from magma_control.robots.robot_config import RobotConfig, load_robot
from magma_policy.demonstrations.mapping import Mapping
from magma_recorder.marked_points import read_marked_points
from magma_teleop.device_profile import read_profile

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("ros2_ws/src/*/README.md"))]
INERTIA = '<inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/>'
LINK = '<link name="{}"><inertial><mass value="1"/>' + INERTIA + "</inertial></link>"


def samples(page: Path, language: str) -> list[str]:
    """Every fenced sample of a language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_every_yaml_sample_is_known_here():
    """A sample that is added to a page has to be used by a test below."""
    counts = {page.name: len(samples(page, "yaml")) for page in PAGES if samples(page, "yaml")}
    assert counts == {"own_arm.md": 2, "teleop.md": 1, "recording.md": 1, "datasets.md": 1}


def test_samples_of_a_device_and_of_marked_points_are_read(tmp_path):
    (pad,), (points,) = samples(ROOT / "docs/teleop.md", "yaml"), samples(ROOT / "docs/recording.md", "yaml")
    (tmp_path / "pad.yaml").write_text(pad)
    (tmp_path / "points.yaml").write_text(points)
    assert read_profile(tmp_path / "pad.yaml").name == "my pad"
    assert set(read_marked_points(tmp_path / "points.yaml")) == {"put the carrot on the plate"}


def test_the_sample_of_a_mapping_is_read(tmp_path):
    (mapping,) = samples(ROOT / "docs/datasets.md", "yaml")
    (tmp_path / "panda.yaml").write_text(mapping)
    assert Mapping.read(tmp_path / "panda.yaml").robot == "droid"


def urdf(robot: RobotConfig) -> str:
    """A description with the names that the robot's file asks for: joints that turn about z and y by turns."""
    above = [*robot.collision.links_above_table]
    links = [robot.frames.base, *(f"link{i}" for i in range(len(robot.joints.names) - 1 - len(above))), *above]
    links.append(robot.frames.tool)
    joints = [
        f'<joint name="{name}" type="revolute"><parent link="{links[i]}"/><child link="{links[i + 1]}"/>'
        f'<origin xyz="{0.15 * (i > 1)} 0 {0.15 * (i < 2)}"/><axis xyz="0 {i % 2} {1 - i % 2}"/>'
        '<limit lower="-3" upper="3" velocity="2" effort="50"/></joint>'
        for i, name in enumerate(robot.joints.names)
    ]
    finger = (
        f'<joint name="{robot.gripper.joint}" type="prismatic"><parent link="{robot.frames.tool}"/>'
        '<child link="finger"/><axis xyz="0 1 0"/><limit lower="0" upper="0.04" velocity="1" effort="5"/></joint>'
    )
    body = "".join([*(LINK.format(name) for name in [*links, "finger"]), *joints, finger])
    return f'<robot name="{robot.name}">{body}</robot>'


@pytest.fixture
def arm_at_home(peer, tmp_path):
    """An arm whose driver reports that it stands at home, and whose description is published."""
    robot = load_robot(str(tmp_path / "my_arm.yaml"))
    description = peer.node.create_publisher(String, "/robot_description", qos.STATE)
    description.publish(String(data=urdf(robot)))
    joints = peer.node.create_publisher(JointState, robot.driver.joint_states, qos.ROBOT_STATE)
    ended = threading.Event()

    def report():
        names = [*robot.joints.names, robot.gripper.joint]
        while not ended.wait(0.02):
            message = JointState(name=names, position=[*robot.joints.home, robot.gripper.open])
            message.header.stamp = ns_to_stamp(peer.now_ns())
            joints.publish(message)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    yield robot
    ended.set()
    thread.join()


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The files of docs/own_arm.md, in the working directory under the names that its commands use."""
    robot, place = samples(ROOT / "docs/own_arm.md", "yaml")
    (tmp_path / "my_arm.yaml").write_text(robot)
    (tmp_path / "my_place.yaml").write_text(place)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")


def test_own_arm_as_printed_ends_up_holding_not_stopped(copied, arm_at_home, peer, tmp_path):
    start, *steps = samples(ROOT / "docs/own_arm.md", "sh")[0].strip().splitlines()
    log = tmp_path / "launch.log"
    with log.open("wb") as output:
        launched = subprocess.Popen(shlex.split(start, comments=True), stdout=output, stderr=subprocess.STDOUT)
    try:
        states = peer.collect(ControllerState, "/magma/controller_state", qos.STATE)
        for step in steps:
            command = shlex.split(step, comments=True)
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, f"{step}\n{done.stdout}{done.stderr}"
        states.clear()
        state = states.wait_for(lambda message: "inactive" not in message.reason)
        assert state.phase == ControllerState.HOLD, state.reason
        assert "stop" not in state.reason
    finally:
        launched.terminate()
        launched.wait(20.0)
        print(log.read_text(errors="replace"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_launch_commands_in_the_docs_name_arguments_that_exist(page):
    described = {
        name: (ROOT / "launch" / name).read_text(encoding="utf-8")
        for name in ("robot.launch.py", "simpler_eval.launch.py")
    }
    for name, rest in re.findall(r"ros2 launch magma_bringup (\w+\.launch\.py)([^\n`#|]*)", page.read_text("utf-8")):
        for argument in re.findall(r"(\w+):=", rest):
            assert f'"{argument}"' in described[name], f"{page.name}: {name} takes no {argument}"
