"""Each side's ``ros2`` command, and its nodes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from interop_stock import run_stock

PATIENCE_S = 60.0


def own_environment(domain: int) -> dict[str, str]:
    """Return our own side's environment in a domain."""
    return {**os.environ, "ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1"}


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    """Run a program that says ``ready`` and heeds lines of standard input; whatever it does, it ends with the block."""
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def ours(*words: str, domain: int) -> subprocess.CompletedProcess:
    """Run our ros2 command."""
    return subprocess.run(
        [sys.executable, "-m", "rclpy_dds.cli.main", *words],
        env=own_environment(domain),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def stock(*words: str, domain: int) -> subprocess.CompletedProcess:
    """Run the stock ros2 command."""
    return run_stock("ros2", *words, domain=domain, timeout_s=PATIENCE_S)
