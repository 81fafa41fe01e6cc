"""The import finder: serves what is missing, once, and nothing when there is a real rclpy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run(code: str, *paths: Path) -> str:
    """Run code with folders in front of the import path; return its output."""
    setup = "import sys\n" + "".join(f"sys.path.insert(0, {str(path)!r})\n" for path in paths)
    result = subprocess.run(
        # Away from folders that have a package's name.
        [sys.executable, "-c", setup + code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=sys.prefix,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_modules_exist_once_under_both_names() -> None:
    code = """
import rclpy, rclpy.node, launch.actions
import rclpy_dds.rclpy.node, rclpy_dds.launch.actions
assert rclpy is sys.modules["rclpy"]
assert rclpy.node is rclpy_dds.rclpy.node is sys.modules["rclpy.node"]
assert rclpy.node.Node is rclpy_dds.rclpy.node.Node
assert launch.actions.ExecuteProcess is rclpy_dds.launch.actions.ExecuteProcess
assert rclpy.node.__spec__.name == "rclpy_dds.rclpy.node"
from rclpy.impl.logging_severity import LoggingSeverity
from rclpy_dds.rclpy.impl import logging_severity
assert LoggingSeverity is logging_severity.LoggingSeverity
rclpy.ok = lambda: "patched"
assert rclpy_dds.rclpy.ok() == "patched"
print("done")
"""
    assert run(code) == "done"


def test_start_of_python_stays_light() -> None:
    code = """
heavy = {"numpy", "yaml", "rosbags", "cyclonedds", "ctypes", "rclpy_dds.interfaces", "rclpy_dds.rclpy"}
print(sorted(heavy & set(sys.modules)), sum(name.startswith("rclpy_dds") for name in sys.modules))
"""
    assert run(code) == "[] 2"


def test_a_real_rclpy_wins(tmp_path: Path) -> None:
    (tmp_path / "rclpy").mkdir()
    (tmp_path / "rclpy" / "__init__.py").write_text("MARK = 'real'\n")
    code = """
import rclpy
print(rclpy.MARK)
for name in ("rclpy.node", "launch", "std_msgs.msg", "ament_index_python"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        print("missing")
"""
    assert run(code, tmp_path).split() == ["real", "missing", "missing", "missing", "missing"]


def test_real_message_packages_win(tmp_path: Path) -> None:
    (tmp_path / "std_msgs").mkdir()
    (tmp_path / "std_msgs" / "__init__.py").write_text("MARK = 'mine'\n")
    assert run("import std_msgs; print(std_msgs.MARK)", tmp_path) == "mine"


def test_unknown_names_stay_unknown() -> None:
    code = """
import importlib.util
print([importlib.util.find_spec(name) for name in ("no_such_package_msgs", "rclpyx")])
import std_msgs
for name in ("std_msgs.nothing", "rclpy.nothing"):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        print(error)
"""
    output = run(code)
    assert output.splitlines()[0] == "[None, None]"
    assert "std_msgs.nothing" in output and "rclpy.nothing" in output


def test_folders_without_code_hide_nothing(tmp_path: Path) -> None:
    for name in ("launch", "rclpy", "std_msgs"):
        (tmp_path / name).mkdir()
    code = "import rclpy.node, launch.actions, std_msgs.msg; print(std_msgs.msg.String(data='x').data)"
    assert run(code, tmp_path) == "x"
