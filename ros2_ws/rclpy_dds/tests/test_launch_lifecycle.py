"""Launch files with lifecycle nodes, ROS time and the less common actions. The same file runs on ROS 2's launch."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

LAUNCH_FILE = Path(__file__).with_name("data") / "lifecycle.launch.py"
EXPECTED = (
    "arm is inactive",
    "arm is active",
    "wrist is active",
    "the timer by ROS time has elapsed",
    "a coroutine with an argument",
    "included by an event",
    "the gripper is 0.5 of unknown",
    "/below\n",
    "the variable is unset",
)


def test_lifecycle_launch_file(domain, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "rclpy_dds.cli.main", "launch", str(LAUNCH_FILE)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "ROS_LOG_DIR": str(tmp_path), "RCUTILS_COLORIZED_OUTPUT": "1", "OMP_NUM_THREADS": "1"},
    )
    try:
        output = process.communicate(timeout=120)[0]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    for text in EXPECTED:
        assert text in output, output
    assert "Traceback" not in output
    # Every process has a colour of its own.
    colours = dict(re.findall(r"(\033\[\d+m)\[(arm|wrist)-\d\]\033\[0m", output))
    assert sorted(colours.values()) == ["arm", "wrist"]
    assert process.returncode == 0
    log = next(tmp_path.glob("*/launch.log")).read_text()
    assert "arm is active" in log and "\033" not in log
