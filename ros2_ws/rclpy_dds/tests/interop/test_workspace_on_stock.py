"""The launch files and messages of the workspace around this package, on stock ROS 2 and here alike."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from interop_domains import free_domain
from interop_stock import SETUP_VARIABLE, run_stock
from interop_tools import ours, stock

from rclpy_dds.interfaces.type_hash import type_hash

REPOSITORY = Path(__file__).resolve().parents[4]
pytestmark = [
    pytest.mark.ros2,
    pytest.mark.skipif(not (REPOSITORY / "ros2_ws/src").is_dir(), reason="no workspace lies around this package"),
]


@pytest.fixture
def domain() -> int:
    return free_domain()


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
