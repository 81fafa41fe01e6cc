"""`./run setup --ros2`: what it refuses, before it installs anything."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def set_up(*words: str) -> subprocess.CompletedProcess[str]:
    command = [ROOT / "run", "setup", "--ros2", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_it_wants_an_installation(tmp_path):
    done = set_up()
    assert done.returncode == 1 and "needs the folder of a ROS 2 installation, such as /opt/ros/jazzy" in done.stderr
    done = set_up(str(tmp_path), str(tmp_path / "environment"))
    assert done.returncode == 1 and f"{tmp_path} is no ROS 2 installation: it has no setup.bash" in done.stderr
    assert not (tmp_path / "environment").exists()


@pytest.mark.parametrize("rclpy", [None, "raise ImportError('compiled for another Python')\n"])
def test_it_says_when_no_python_fits_the_installation(tmp_path, rclpy):
    prefix = tmp_path / "ros 2"
    (prefix / "lib" / "rclpy").mkdir(parents=True)
    (prefix / "setup.bash").write_text('export PYTHONPATH="$(dirname "${BASH_SOURCE[0]}")/lib"\n')
    if rclpy is not None:
        (prefix / "lib" / "rclpy" / "__init__.py").write_text(rclpy)
    done = set_up(str(prefix), str(tmp_path / "environment"))
    assert done.returncode == 1 and f"no python3 here can import rclpy of {prefix}" in done.stderr
    log = (tmp_path / "environment" / "setup.log").read_text()
    assert ("No module named 'rclpy.node'" if rclpy is None else "compiled for another Python") in log
