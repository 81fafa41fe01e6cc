"""`ros2 action`, `ros2 lifecycle`, `ros2 topic delay` and `ros2 doctor` against a node in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from rclpy_dds._dds import config, matching
from rclpy_dds.cli import doctor

_NODE = """
import os, sys, threading
import rclpy
from example_interfaces.action import Fibonacci
from geometry_msgs.msg import PointStamped
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.lifecycle import Node, TransitionCallbackReturn
from rclpy.qos import qos_profile_sensor_data

class Arm(Node):
    def __init__(self):
        super().__init__("arm", namespace="lab")
        self.points = self.create_publisher(PointStamped, "points", qos_profile_sensor_data)
        self.create_timer(0.05, self.tick)
        self.server = ActionServer(
            self, Fibonacci, "count", self.execute, callback_group=ReentrantCallbackGroup(),
            goal_callback=lambda goal: GoalResponse.REJECT if goal.order < 0 else GoalResponse.ACCEPT,
            cancel_callback=lambda goal: CancelResponse.ACCEPT)

    def tick(self):
        message = PointStamped()
        message.header.stamp = self.get_clock().now().to_msg()
        self.points.publish(message)

    def execute(self, goal):
        goal.publish_feedback(Fibonacci.Feedback(sequence=[0, 1]))
        if goal.request.order > 100:
            while not goal.is_cancel_requested:
                threading.Event().wait(0.02)
            goal.canceled()
            print("cancelled", flush=True)
        else:
            goal.succeed()
        return Fibonacci.Result(sequence=[0, 1, 1])

    def on_configure(self, state):
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state):
        return TransitionCallbackReturn.FAILURE

# It ends with the test, even when the test is killed.
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
rclpy.init()
node = Arm()
executor = MultiThreadedExecutor(3)
executor.add_node(node)
print("ready", flush=True)
try:
    executor.spin()
except (KeyboardInterrupt, ExternalShutdownException):
    pass
"""
_FIBONACCI = ("/lab/count", "example_interfaces/action/Fibonacci")


@pytest.fixture
def arm(domain, start_peer):
    peer = start_peer(_NODE)
    peer.wait_for("ready")
    return peer


def test_actions(arm, ros2):
    assert ros2("action", "list", "-t", "--spin-time", "2")[1] == f"{_FIBONACCI[0]} [{_FIBONACCI[1]}]\n"
    assert ros2("action", "type", "/lab/count")[1] == "example_interfaces/action/Fibonacci\n"
    assert ros2("action", "info", "/lab/count")[1] == (
        "Action: /lab/count\nAction clients: 0\nAction servers: 1\n    /lab/arm\n"
    )
    status, output, errors = ros2("action", "send_goal", *_FIBONACCI, "{order: 3}", "--feedback")
    assert (status, errors) == (0, "")
    assert "Feedback:\n    sequence:\n- 0\n- 1\n\n" in output
    assert output.endswith("Result:\n    sequence:\n- 0\n- 1\n- 1\n\nGoal finished with status: SUCCEEDED\n")
    assert ros2("action", "send_goal", *_FIBONACCI, "{order: -1}")[1].endswith("Goal was rejected.\n")
    status, _, errors = ros2("action", "send_goal", *_FIBONACCI, "{ordr: 1}")
    assert status == 1 and "did you mean 'order'" in errors
    assert "did you mean /lab/count" in ros2("action", "type", "/lab/cont")[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_command_cancels_its_goal(arm, number):
    command = [
        sys.executable,
        "-u",
        "-m",
        "rclpy_dds.cli.main",
        "action",
        "send_goal",
        *_FIBONACCI,
        "{order: 1000}",
        "-f",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in process.stdout:
            if line.startswith("Feedback:"):
                break
        process.send_signal(number)
        rest = process.stdout.read()
        assert "Canceling goal...\nGoal canceled.\n" in rest and "Traceback" not in rest
        assert process.wait(60) == signal.SIGINT
        arm.wait_for("cancelled")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_lifecycle(arm, ros2):
    assert ros2("lifecycle", "nodes", "--spin-time", "2")[1] == "/lab/arm\n"
    assert ros2("lifecycle", "get", "/lab/arm")[1] == "unconfigured [1]\n"
    assert ros2("lifecycle", "list", "/lab/arm")[1].startswith(
        "- configure [1]\n\tStart: unconfigured\n\tGoal: configuring\n"
    )
    status, _, errors = ros2("lifecycle", "set", "/lab/arm", "activate")
    assert status == 1 and "- configure [1]" in errors
    assert ros2("lifecycle", "set", "/lab/arm", "configure")[:2] == (0, "Transitioning successful\n")
    assert ros2("lifecycle", "get", "lab/arm")[1] == "inactive [2]\n"
    assert ros2("lifecycle", "set", "/lab/arm", "activate")[::2] == (1, "Transitioning failed\n")
    assert "did you mean /lab/arm" in ros2("lifecycle", "get", "/lab/am")[2]


def test_delay_and_doctor(arm, ros2, make_node):
    command = [sys.executable, "-u", "-m", "rclpy_dds.cli.main", "topic", "delay", "/lab/points"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert re.fullmatch(r"average delay: \d\.\d{3}\n", process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    status, _, errors = ros2("topic", "delay", "/rosout")
    assert status == 1 and "no header" in errors

    status, output, errors = ros2("doctor", "--report", "--spin-time", "1")
    assert status == 0 and "ok: peers: " in output and "/lab/points" not in errors
    from geometry_msgs.msg import PointStamped
    from std_msgs.msg import String

    other = make_node("other")
    other.create_subscription(PointStamped, "/lab/points", print, 10)
    other.create_subscription(String, "/lab/count/_action/feedback", print, 10)
    status, _, errors = ros2("doctor", "--spin-time", "1")
    assert status == 1
    assert "ERROR: quality of service: on /lab/points, other asks for more than arm offers" in errors
    assert "ERROR: types: topic /lab/count/_action/feedback has more than one type" in errors


def test_doctor_names_a_peer_that_cannot_be_resolved(ros2, domain, monkeypatch):
    monkeypatch.setenv("ROS_STATIC_PEERS", "127.0.0.1;no such host")
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    status, output, errors = ros2("doctor")
    assert status == 1 and "1 of " in output
    assert "ERROR: reach: ROS_STATIC_PEERS names 'no such host'" in errors and "WARNING: middleware: " in errors
    status, _, errors = ros2("node", "list")
    assert status == 1 and "'no such host'" in errors


def test_vendors(context):
    assert doctor.vendor(bytes([1, 15, *range(14)])) == "Fast DDS"
    assert doctor.vendor(bytes([9, 9, *range(14)])) == "vendor 09.09"
    assert doctor.vendor(context.participant.guid) == "Cyclone DDS"


# As stock ROS 2 with no settings: multicast on the network's interface, nothing on loopback.
STOCK_DEFAULT = (
    '<CycloneDDS><Domain><General><Interfaces><NetworkInterface autodetermine="true"/></Interfaces></General></Domain>'
    "</CycloneDDS>"
)


def test_doctor_finds_nodes_whose_settings_do_not_meet_ours(ros2, domain, monkeypatch, tmp_path):
    code = "import rclpy; rclpy.init(); rclpy.spin(rclpy.create_node('stock'))"
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "CYCLONEDDS_URI": STOCK_DEFAULT}) as stock:
        try:
            monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
            deadline = time.monotonic() + 20
            while "/stock" not in ros2("node", "list", "--spin-time", "1")[1]:
                if time.monotonic() > deadline:
                    pytest.skip("this machine's network does not pass multicast on")
            monkeypatch.delenv("ROS_AUTOMATIC_DISCOVERY_RANGE")
            assert ros2("node", "list")[1] == ""
            errors = ros2("doctor")[2]
            assert "WARNING: reach: /stock: in reach with ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET only" in errors
        finally:
            stock.kill()


def test_a_start_without_settings_says_what_to_set_for_stock_nodes(monkeypatch):
    for name in ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", "CYCLONEDDS_URI"):
        monkeypatch.delenv(name, raising=False)
    assert "set ROS_AUTOMATIC_DISCOVERY_RANGE on both sides" in config.reach_hint()
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    assert config.reach_hint() is None


def test_what_fast_dds_needs_for_pictures_is_said(monkeypatch, tmp_path):
    setting = tmp_path / "rmem_default"
    monkeypatch.setattr(config, "_RMEM_DEFAULT", setting)
    assert config.fast_dds_buffer_advice() is None, "a kernel that does not tell"
    setting.write_text("212992\n")
    assert "sudo sysctl -w net.core.rmem_default=4194304" in config.fast_dds_buffer_advice()
    setting.write_text("8388608\n")
    assert config.fast_dds_buffer_advice() is None


def test_a_service_of_another_vendor_is_never_ready(make_node, monkeypatch):
    # Its endpoints match, but it never answers.
    from std_srvs.srv import Trigger

    node = make_node("node")
    node.create_service(Trigger, "/trigger", lambda request, response: response)
    client = node.create_client(Trigger, "/trigger")
    assert client.wait_for_service(timeout_sec=20.0)
    monkeypatch.setattr(matching, "has_our_services", lambda guid: False)
    assert not client.service_is_ready() and not client.wait_for_service(timeout_sec=0.1)


STOCK_TOOLS = {
    # Run by its own Python: this one needs none of this environment.
    "installed": {"share/ros2cli/package.xml": "", "bin/ros2": "#!/bin/sh\necho stock $*\nexit 3\n"},
    "from wheels": {
        "site-packages/ros2cli/__init__.py": "",
        "site-packages/ros2cli/cli.py": "def main(*, argv):\n    print('stock', *argv)\n    return 3\n",
    },
    "none": {"bin/ros2": "#!/bin/sh\necho of something else\n"},
}


@pytest.mark.parametrize("kind", STOCK_TOOLS)
def test_a_sourced_ros_2_brings_its_own_tool(tmp_path, kind):
    for name, text in {"site-packages/rclpy/__init__.py": "", **STOCK_TOOLS[kind]}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "site-packages"),
        "AMENT_PREFIX_PATH": f"{tmp_path / 'overlay'}:{tmp_path}",
        "ROS_DISTRO": "jazzy",
    }
    command = [sys.executable, "-m", "rclpy_dds.cli.main", "topic", "list", "--no-daemon"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    if kind == "none":
        assert done.returncode == 1 and "install ros-jazzy-ros2cli-common-extensions" in done.stderr
    else:
        assert (done.returncode, done.stdout) == (3, "stock topic list --no-daemon\n")
