"""Stock ROS 2 and rclpy_dds in one graph, both ways: nodes with nodes, and each one's tools on the other's nodes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from interop_capture import CONVERSATION
from interop_domains import free_domain
from interop_stock import stock_command, stock_environment
from interop_tools import PATIENCE_S, ours, own_environment, running, stock

pytestmark = pytest.mark.ros2
TEST_DATA = Path(__file__).resolve().parents[1] / "data"
OURS, STOCK = "rclpy_dds", "ROS 2"
FIBONACCI = ("/golden/count", "example_interfaces/action/Fibonacci", "{order: 3}", "--feedback")


@pytest.fixture
def domain() -> int:
    return free_domain()


@contextmanager
def side(stack: str, domain: int, *arguments: str) -> Iterator[subprocess.Popen]:
    """One side of the conversation on a stack; it is ready, and ends with the block."""
    if stack == STOCK:
        command, environment = stock_command("python3", str(CONVERSATION), *arguments), stock_environment(domain)
    else:
        command = [sys.executable, str(CONVERSATION), *arguments]
        environment = own_environment(domain)
    with running(command, environment) as process:
        yield process
        process.stdin.write("\n\n")
        process.stdin.close()
        status = process.wait(PATIENCE_S)
        # Stock rclpy now and then aborts while its executor's threads end; ours must not.
        assert status == 0 or stack == STOCK


@pytest.mark.parametrize(("robot", "operator"), [(OURS, STOCK), (STOCK, OURS)], ids=lambda stack: stack)
def test_nodes_with_nodes(robot: str, operator: str, domain: int) -> None:
    """Topics (also latched, and images), services, parameters, actions with cancelling, life cycle."""
    with side(robot, domain, "robot") as serving:
        serving.stdin.write("\n")
        serving.stdin.flush()
        with side(operator, domain, "operator") as asking:
            asking.stdin.write("\n")
            asking.stdin.flush()
            assert asking.stdout.readline() == "done\n"


LOOK = ("--no-daemon", "--spin-time", "2")
# Words of a command and what its output must hold; in this order, because some change what others show.
COMMANDS = [
    (("node", "list", *LOOK), ["/golden/arm", "/golden/operator", "/golden/robot"]),
    (("topic", "list", "-t", *LOOK), ["/golden/frames [sensor_msgs/msg/Image]", "/golden/task [std_msgs/msg/String]"]),
    (
        ("topic", "info", "-v", "/golden/task", *LOOK),
        ["Node name: robot", "Node namespace: /golden", "Durability: TRANSIENT_LOCAL", "RIHS01_df668c740482bbd4"],
    ),
    (("topic", "echo", "--once", "/golden/task"), ["data: ''"]),
    (("service", "list", "-t", *LOOK), ["/golden/add [example_interfaces/srv/AddTwoInts]"]),
    (("service", "call", "/golden/add", "example_interfaces/srv/AddTwoInts", "{a: 2, b: 40}"), ["sum=42"]),
    (("param", "list", "/golden/robot", *LOOK), ["joints", "speed"]),
    (("param", "set", "/golden/robot", "speed", "0.25", *LOOK), ["Set parameter successful"]),
    (("param", "get", "/golden/robot", "speed", *LOOK), ["Double value is: 0.25"]),
    (
        ("param", "dump", "/golden/robot", *LOOK),
        ["/golden/robot:\n  ros__parameters:\n    joints:\n    - a\n    - b\n"],
    ),
    (("action", "list", "-t"), ["/golden/count [example_interfaces/action/Fibonacci]"]),
    # The names of the nodes are not compared: the stock tool joins the letters of a namespace with slashes.
    (("action", "info", "/golden/count"), ["Action clients: 1\n", "Action servers: 1\n"]),
    (("action", "send_goal", *FIBONACCI), ["Feedback:\n    sequence:\n- 0\n- 1\n- 1\n- 2", "status: SUCCEEDED"]),
    (("lifecycle", "nodes", *LOOK), ["/golden/arm"]),
    (("lifecycle", "set", "/golden/arm", "configure", *LOOK), ["Transitioning successful"]),
    (("lifecycle", "get", "/golden/arm", *LOOK), ["inactive [2]"]),
    (("lifecycle", "list", "/golden/arm", *LOOK), ["- activate [3]\n\tStart: inactive\n\tGoal: activating"]),
]


@pytest.mark.parametrize(("nodes", "tool"), [(OURS, STOCK), (STOCK, OURS)], ids=lambda stack: stack)
def test_tools_on_nodes(nodes: str, tool: str, domain: int) -> None:
    """The ros2 command of one stack on the nodes of the other."""
    run = stock if tool == STOCK else ours
    with side(nodes, domain) as process:
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        # The conversation has left the arm inactive.
        assert run("lifecycle", "set", "/golden/arm", "cleanup", *LOOK, domain=domain).returncode == 0
        try:
            for words, expected in COMMANDS:
                result = run(*words, domain=domain)
                for text in expected:
                    assert text in result.stdout, f"ros2 {' '.join(words)}:\n{result.stdout}{result.stderr}"
        finally:
            if tool == STOCK:
                stock("daemon", "stop", domain=domain)  # some verbs start one and have no option against it
        process.stdin.write("\n")
        process.stdin.flush()


def test_lifecycle_launch_file_on_stock_launch(domain: int) -> None:
    """The launch file that rclpy_dds' own tests run."""
    file = TEST_DATA / "lifecycle.launch.py"
    # ros2 launch needs SIGINT not to be ignored, which it is under a shell's job control.
    result = stock("launch", str(file), domain=domain)
    for text in ("arm is inactive", "arm is active", "wrist is active", "the timer by ROS time has elapsed"):
        assert text in result.stdout, result.stdout + result.stderr
