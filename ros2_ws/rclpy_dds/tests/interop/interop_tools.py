"""The ``ros2`` command of each side."""

import os
import subprocess
import sys

from interop_stock import run_stock

PATIENCE_S = 60.0


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
