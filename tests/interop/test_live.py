"""Stock ROS 2 and rclpy_dds in one graph, both ways: nodes with nodes, and each one's tools on the other's nodes."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from interop_capture import CONVERSATION, free_domain
from interop_stock import SETUP_VARIABLE, run_stock, stock_command, stock_environment

from rclpy_dds.interfaces.type_hash import type_hash

pytestmark = pytest.mark.ros2
REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
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
        environment = {**os.environ, "ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.write("\n\n")
        process.stdin.close()
        status = process.wait(PATIENCE_S)
        # Stock rclpy now and then aborts while its executor's threads end; ours must not.
        assert status == 0 or stack == STOCK
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


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


def ours(*words: str, domain: int) -> subprocess.CompletedProcess:
    """Run our ros2 command."""
    return subprocess.run(
        [sys.executable, "-m", "rclpy_dds.cli.main", *words],
        env={**os.environ, "ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def stock(*words: str, domain: int) -> subprocess.CompletedProcess:
    """Run the stock ros2 command."""
    return run_stock("ros2", *words, domain=domain, timeout_s=PATIENCE_S)


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
    file = REPOSITORY / "ros2_ws/rclpy_dds/tests/data/lifecycle.launch.py"
    # ros2 launch needs SIGINT not to be ignored, which it is under a shell's job control.
    result = stock("launch", str(file), domain=domain)
    for text in ("arm is inactive", "arm is active", "wrist is active", "the timer by ROS time has elapsed"):
        assert text in result.stdout, result.stdout + result.stderr


@pytest.mark.parametrize("file", sorted((REPOSITORY / "launch").glob("*.launch.py")), ids=lambda file: file.stem)
def test_arguments_of_our_launch_files(
    file: Path, stand_ins: Path, domain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stock launch reads our launch files as rclpy_dds does."""
    monkeypatch.setenv(SETUP_VARIABLE, f"{os.environ[SETUP_VARIABLE]}:{stand_ins / 'setup.bash'}")
    results = [run("launch", str(file), "--show-args", domain=domain) for run in (stock, ours)]
    assert results[0].returncode == 0, results[0].stderr
    names = [[line.strip() for line in result.stdout.splitlines() if line.startswith("    '")] for result in results]
    assert names[0] == names[1] and names[0]


# Prints how it was called; files of parameters, whose names differ from start to start, with their content.
_STAND_IN = """#!/usr/bin/env python3
import json, pathlib, sys, yaml
words = sys.argv[1:]
for index, word in enumerate(words[:-1]):
    if word == "--params-file":
        words[index + 1] = yaml.safe_load(pathlib.Path(words[index + 1]).read_text())
print("CALL " + json.dumps([*pathlib.Path(sys.argv[0]).parts[-2:], *words]))
"""


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An install prefix with our packages, in which every program is a stand-in."""
    prefix = tmp_path_factory.mktemp("prefix")
    index = prefix / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    for setup in sorted((REPOSITORY / "ros2_ws/src").glob("*/setup.py")):
        package = setup.parent.name
        (index / package).touch()
        (prefix / "lib" / package).mkdir(parents=True)
        for name in re.findall(r'"([\w-]+) = \w+\.', setup.read_text(encoding="utf-8")):
            program = prefix / "lib" / package / name
            program.write_text(_STAND_IN)
            program.chmod(0o755)
        (prefix / "share" / package).mkdir()
    shutil.copytree(REPOSITORY / "launch", prefix / "share/magma_bringup/launch")
    shutil.copytree(REPOSITORY / "launch", prefix / "share/magma_bringup/config")
    # What the launch files themselves import, as an installed workspace has it.
    sources = ":".join(str(REPOSITORY / "ros2_ws/src" / package) for package in ("magma_bringup", "magma_common"))
    (prefix / "setup.bash").write_text(
        f"export AMENT_PREFIX_PATH={prefix}:$AMENT_PREFIX_PATH PYTHONPATH={sources}:$PYTHONPATH\n"
    )
    return prefix


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("policy:=expert", "instruction:=put the spoon on the towel", "layout:=3", "clock:=realtime"),
        ("sim:=none", "camera:=/dev/video0", "policy:=/data/checkpoint", "device:=cpu"),
        ("teleop:=gamepad", "record:=/data/recordings", "policy:=none", "variant:=random"),
        ("arm:=joint_trajectory", "policy:=hold", "camera_topic:=/front/image"),
    ],
    ids=lambda words: " ".join(words) or "defaults",
)
def test_our_launch_file_starts_the_same_programs(
    arguments: tuple, stand_ins: Path, domain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command lines and parameters on stock launch and on rclpy_dds' own."""
    monkeypatch.setenv("OVERRIDE_LAUNCH_PROCESS_OUTPUT", "screen")
    monkeypatch.setenv(SETUP_VARIABLE, f"{os.environ[SETUP_VARIABLE]}:{stand_ins / 'setup.bash'}")
    file = str(stand_ins / "share/magma_bringup/launch/robot.launch.py")
    on_stock = stock("launch", file, *arguments, domain=domain)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(stand_ins))
    on_ours = ours("launch", file, *arguments, domain=domain)
    calls = [sorted(re.findall(r"CALL (.*)", result.stdout)) for result in (on_stock, on_ours)]
    assert calls[0], on_stock.stdout + on_stock.stderr
    assert calls[0] == calls[1]


def test_type_hashes_of_our_messages(domain: int, tmp_path: Path) -> None:
    """Hashes of the messages and services that this repository defines, as rosidl computes them."""
    package = REPOSITORY / "ros2_ws/src/magma_interfaces"
    script = Path(__file__).with_name("interop_stock_hashes.py")
    answer = run_stock("python3", str(script), str(package), str(tmp_path), domain=domain)
    assert answer.returncode == 0, answer.stderr
    expected = json.loads(answer.stdout.splitlines()[-1])
    # Of a service only its halves are announced; events of services are not covered.
    announced = [name for name in expected if "/msg/" in name or name.endswith(("_Request", "_Response"))]
    own = {name: type_hash(name) for name in announced if name.startswith("magma_interfaces/")}
    assert "magma_interfaces/msg/EndEffectorDelta" in own and "magma_interfaces/srv/ResetEpisode_Request" in own
    assert own == {name: expected[name] for name in own}
