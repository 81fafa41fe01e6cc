"""The `ros2` command against a small node in a process of its own."""

import re
import signal
import subprocess
import sys
import time

import pytest
from interop_domains import free_domain

from rclpy_dds.cli.graph import not_there
from rclpy_dds.cli.main import main

_TIMEOUT_S = 120.0  # only a failing test, or a very busy machine, waits that long
_NODE = """
import rclpy
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import SetBool

class Robot(Node):
    def __init__(self):
        super().__init__("robot", namespace="lab")
        limits = ParameterDescriptor(description="top speed in m/s", floating_point_range=[
            FloatingPointRange(from_value=0.0, to_value=2.0, step=0.0)])
        self.declare_parameter("speed", 0.5, limits)
        self.declare_parameter("arm.joints", ["a", "b"])
        self.words = self.create_publisher(String, "words", 10)
        self.frames = self.create_publisher(Image, "/frames", qos_profile_sensor_data)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.task = self.create_publisher(String, "/task", latched)
        self.task.publish(String(data="pick"))
        # It asks for the last message, so that it hears only publishers that offer it.
        standing = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, "/orders", lambda message: print("heard", message.data, flush=True), standing)
        self.create_service(SetBool, "/enable", self.enable)
        self.create_timer(0.05, self.tick)
        self.count = 0

    def enable(self, request, response):
        response.success = request.data
        response.message = "as you wish"
        return response

    def tick(self):
        self.count += 1
        self.words.publish(String(data=f"word {self.count}"))
        self.frames.publish(Image(height=2, width=100, encoding="mono8", step=100, data=bytes(200)))

rclpy.init()
node = Robot()
print("ready", flush=True)
try:
    rclpy.spin(node)
except KeyboardInterrupt:
    pass
"""


@pytest.fixture(scope="module", autouse=True)
def robot(tmp_path_factory):
    """The node, in a ROS domain that no other test uses. Yields the path of its output."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(free_domain()))
        patch.setenv("ROS_LOG_DIR", str(tmp_path_factory.mktemp("logs")))
        path = tmp_path_factory.mktemp("robot") / "output.txt"
        with open(path, "w") as output:
            process = subprocess.Popen([sys.executable, "-c", _NODE], stdout=output, stderr=subprocess.STDOUT)
        wait_for(lambda: "ready" in path.read_text(), process)
        yield path
        process.send_signal(signal.SIGINT)
        process.wait(_TIMEOUT_S)


def wait_for(condition, process=None):
    deadline = time.monotonic() + _TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        assert process is None or process.poll() is None, "the process has ended"
        time.sleep(0.02)


@pytest.fixture
def sees(ros2):
    """Repeat a command until its output holds a text: on a busy machine discovery may outlast the spin time."""

    def run(expected: str, *words: str) -> str:
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            output = ros2(*words)[1]
            if expected in output or time.monotonic() > deadline:
                assert expected in output
                return output

    return run


def test_nodes(ros2, sees):
    assert sees("/lab/robot", "node", "list") == "/lab/robot\n"
    output = sees("/enable", "node", "info", "/lab/robot")
    assert output.startswith("/lab/robot\n  Subscribers:\n    /orders: std_msgs/msg/String\n  Publishers:\n")
    assert "    /enable: std_srvs/srv/SetBool\n" in output
    assert output.endswith("  Action Servers:\n\n  Action Clients:\n\n")
    assert "/lab/robot has no life cycle" in ros2("lifecycle", "get", "/lab/robot")[2]
    status, _, errors = ros2("node", "info", "/lab/robt", "--spin-time", "2")
    assert status == 1 and errors == "Unable to find node '/lab/robt'; did you mean /lab/robot?\n"


def test_topic_lists(ros2, sees):
    output = sees("/task", "topic", "list", "-t")
    assert output.splitlines() == [
        "/frames [sensor_msgs/msg/Image]",
        "/lab/words [std_msgs/msg/String]",
        "/orders [std_msgs/msg/String]",
        "/parameter_events [rcl_interfaces/msg/ParameterEvent]",
        "/rosout [rcl_interfaces/msg/Log]",
        "/task [std_msgs/msg/String]",
    ]
    assert ros2("topic", "type", "/task") == (0, "std_msgs/msg/String\n", "")
    assert sees("/frames", "topic", "find", "sensor_msgs/msg/Image") == "/frames\n"
    assert sees(" * /orders [std_msgs/msg/String] 1 subscriber\n", "topic", "list", "-v")


def test_topic_info(ros2, sees):
    assert sees("Type: std_msgs/msg/String\nPublisher count: 1\nSubscription count: 0\n", "topic", "info", "/task")
    output = sees("Node name: robot\nNode namespace: /lab\n", "topic", "info", "/task", "--verbose")
    assert "Durability: TRANSIENT_LOCAL" in output
    status, _, errors = ros2("topic", "info", "/tusk")
    assert status == 1 and errors == "Unknown topic '/tusk'; did you mean /task?\n"


def test_echo(ros2):
    # Late joiners get the latched message because echo asks for what the publisher offers.
    assert ros2("topic", "echo", "/task", "--once") == (0, "data: pick\n---\n", "")
    status, output, _ = ros2("topic", "echo", "/frames", "--once", "--truncate-length", "2")
    assert status == 0
    assert output.endswith("step: 100\ndata:\n- 0\n- 0\n- '...'\n---\n")
    assert ros2("topic", "echo", "/frames", "--once", "--field", "height")[1] == "2\n---\n"
    assert ros2("topic", "echo", "/task", "std_msgs/String", "--once", "--csv")[1] == "pick\n"
    word = ros2("topic", "echo", "/lab/words", "--once", "--filter", "m.data.endswith('0')")[1]
    assert re.fullmatch(r"data: word \d*0\n---\n", word)
    info = ros2("topic", "echo", "/lab/words", "--once", "--include-message-info")[1]
    assert info.startswith("source_timestamp: ")
    assert ros2("topic", "echo", "/orders", "--timeout", "0.2")[:2] == (0, "")


def test_echo_explains_mistakes(ros2):
    status, output, errors = ros2("topic", "echo", "/tsk")
    assert status == 1
    assert output == "WARNING: topic [/tsk] does not appear to be published yet\n"
    assert "did you mean /task?" in errors
    assert ros2("topic", "echo", "/task", "--once", "--field", "nothing")[::2] == (
        1,
        "Invalid field 'nothing': 'String' object has no attribute 'nothing'\n",
    )
    assert "std_msgs/msg/String" in ros2("topic", "echo", "/task", "std_msgs/Strng")[2]


def test_publishing(ros2, robot):
    status, output, _ = ros2("topic", "pub", "--once", "/orders", "std_msgs/msg/String", "data: turn left")
    assert status == 0
    # On a busy machine a note that it waits for the subscription comes first.
    assert output.endswith("publisher: beginning loop\npublishing #1: std_msgs.msg.String(data='turn left')\n\n")
    wait_for(lambda: "heard turn left" in robot.read_text())
    assert ros2("topic", "pub", "-t", "3", "-r", "50", "-p", "3", "/orders", "std_msgs/String", "data: go")[0] == 0
    wait_for(lambda: robot.read_text().count("heard go") == 3)
    status, _, errors = ros2("topic", "pub", "/orders", "std_msgs/String", "data:go")
    assert status == 1 and "'data: go'" in errors
    status, _, errors = ros2("topic", "pub", "--once", "--max-wait-time-secs", "0.1", "/nobody", "std_msgs/String")
    assert status == 1 and "Timed out waiting for subscribers" in errors
    status, _, errors = ros2("topic", "pub", "--once", "/orders", "std_msgs/Int32", "data: 3")
    assert status == 1 and errors == "Topic '/orders' has the type std_msgs/msg/String, not std_msgs/msg/Int32\n"


def test_services(ros2, sees):
    sees("/enable [std_srvs/srv/SetBool]\n", "service", "list", "-t")
    assert ros2("service", "type", "/enable") == (0, "std_srvs/srv/SetBool\n", "")
    assert sees("/enable", "service", "find", "std_srvs/srv/SetBool") == "/enable\n"
    status, output, _ = ros2("service", "call", "/enable", "std_srvs/srv/SetBool", "{data: true}")
    assert status == 0
    assert output == (
        "requester: making request: std_srvs.srv.SetBool_Request(data=True)\n\n"
        "response:\nstd_srvs.srv.SetBool_Response(success=True, message='as you wish')\n\n"
    )
    status, _, errors = ros2("service", "call", "/enable", "std_srvs/srv/SetBool", "{dat: true}")
    assert status == 1 and "did you mean 'data'" in errors
    known = [("/enable", ["std_srvs/srv/SetBool", "std_srvs/srv/Trigger"]), ("/enabel", ["std_srvs/srv/Trigger"])]
    assert not_there("service", "enable", "std_srvs/srv/Trigger", known) == (
        "service 'enable' has the type std_srvs/srv/SetBool, not std_srvs/srv/Trigger"
    )
    assert not_there("service", "/enabel", "std_srvs/srv/Trigger", known) == (
        "Unknown service '/enabel'; did you mean /enable?"
    )
    assert ros2("service", "type", "/enabel")[2] == "Unknown service '/enabel'; did you mean /enable?\n"


def test_parameters(ros2, sees):
    assert ros2("param", "list", "/lab/robot", "--filter", "arm|speed")[1] == "  arm.joints\n  speed\n"
    assert sees("/lab/robot:\n", "param", "list").startswith("/lab/robot:\n")
    assert ros2("param", "get", "lab/robot", "speed") == (0, "Double value is: 0.5\n", "")
    assert ros2("param", "get", "/lab/robot", "arm.joints", "--hide-type")[1] == "['a', 'b']\n"
    assert ros2("param", "set", "/lab/robot", "speed", "1.5") == (0, "Set parameter successful\n", "")
    assert ros2("param", "get", "/lab/robot", "speed")[1] == "Double value is: 1.5\n"
    status, _, errors = ros2("param", "set", "/lab/robot", "speed", "5.0")
    assert status == 1 and errors.startswith("Setting parameter failed: ")
    assert ros2("param", "describe", "/lab/robot", "speed")[1] == (
        "Parameter name: speed\n  Type: double\n  Description: top speed in m/s\n  Constraints:\n"
        "    Min value: 0.0\n    Max value: 2.0\n"
    )
    assert ros2("param", "get", "/lab/robot", "sped")[0] == 1
    assert "Node not found" in ros2("param", "get", "/robot", "speed", "--timeout", "0.1")[2]


def test_parameter_files(ros2, tmp_path):
    dumped = ros2("param", "dump", "/lab/robot")[1]
    assert "/lab/robot:\n  ros__parameters:\n    arm:\n      joints:\n      - a\n      - b\n" in dumped
    path = tmp_path / "parameters.yaml"
    path.write_text("/**:\n  ros__parameters:\n    speed: 1.0\n/lab/robot:\n  ros__parameters:\n    speed: 0.25\n")
    assert ros2("param", "load", "/lab/robot", str(path)) == (0, "Set parameter speed successful\n", "")
    assert ros2("param", "get", "/lab/robot", "speed")[1] == "Double value is: 0.25\n"


def test_rates_until_ctrl_c(tmp_path):
    reports = {}
    for verb in ("hz", "bw"):
        path = tmp_path / verb
        with open(path, "w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "rclpy_dds.cli.main", "topic", verb, "/frames"],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_for(lambda path=path: re.search("average rate|/s from", path.read_text()), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(_TIMEOUT_S) in (0, signal.SIGINT)
        reports[verb] = path.read_text()
        assert "Traceback" not in reports[verb]
    assert re.search(
        r"average rate: \d+\.\d{3}\n\tmin: [\d.]+s max: [\d.]+s std dev: [\d.]+s window: \d+", reports["hz"]
    )
    assert reports["bw"].startswith("Subscribed to [/frames]\n")
    assert re.search(r"[\d.]+ K?B/s from \d+ messages\n\tMessage size mean: 0.25 KB", reports["bw"])


def test_interfaces(ros2):
    assert ros2("interface", "show", "std_srvs/srv/SetBool", "--no-comments")[1] == (
        "bool data\n---\nbool success\nstring message\n"
    )
    assert ros2("interface", "show", "geometry_msgs/msg/PoseStamped")[1].startswith(
        "std_msgs/Header header\n\tbuiltin_interfaces/Time stamp\n\t\tint32 sec\n"
    )
    assert "    std_msgs/msg/String\n" in ros2("interface", "list", "--only-msgs")[1]
    services = ["std_srvs/srv/Empty", "std_srvs/srv/SetBool", "std_srvs/srv/Trigger"]
    assert ros2("interface", "package", "std_srvs")[1].split() == services
    assert ros2("interface", "proto", "std_msgs/msg/String", "--no-quotes")[1] == "data: ''\n\n"
    status, _, errors = ros2("interface", "show", "std_msgs/msg/Nothing")
    assert status == 1 and "std_msgs/msg/Nothing" in errors and "Did you mean" not in errors
    assert ros2("interface", "show", "std_msgs/msg/Strin")[2].endswith("Did you mean std_msgs/msg/String?\n")


def test_help_and_what_is_not_covered(ros2, capsys):
    assert "topic" in ros2()[1]
    assert "echo" in ros2("topic")[1]
    status, _, errors = ros2("bag", "record", "-a")
    assert status == 1 and "not covered" in errors
    with pytest.raises(SystemExit):
        main(["topic", "echo", "--help"])
    assert "--once" in capsys.readouterr().out
    for words, meant in ((["topc"], "topic"), (["topic", "ech"], "echo")):
        with pytest.raises(SystemExit):
            main(words)
        assert capsys.readouterr().err.endswith(f"; did you mean {meant}?\n")


def test_packages(ros2, tmp_path, monkeypatch):
    index = tmp_path / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    (index / "some_package").touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert "some_package\n" in ros2("pkg", "list")[1]
    assert ros2("pkg", "prefix", "some_package", "--share")[1] == f"{tmp_path}/share/some_package\n"
    assert ros2("pkg", "prefix", "nothing") == (1, "", "Package not found\n")
    assert ros2("run", "some_package", "go")[::2] == (
        1,
        "executable 'go' not found in package 'some_package', which has: no executables\n",
    )
    (tmp_path / "share/some_package/launch").mkdir(parents=True)
    (tmp_path / "share/some_package/launch/go.launch.py").touch()
    status, _, errors = ros2("launch", "some_package", "og.launch.py")
    assert status == 1 and "launch files there: go.launch.py" in errors
    assert "it has: go.launch.py" in ros2("launch", "some_package")[2]
    assert "Package 'some_packge' not found" in ros2("launch", "some_packge", "go.launch.py")[2]
    assert ros2("launch", "/nowhere/x.launch.py")[2] == "launch file '/nowhere/x.launch.py' does not exist\n"
