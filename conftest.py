"""What all tests share: nothing that they start outlives a test run, not even one that is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

# In the environment of everything that a run starts, also of grandchildren and of what has a session of its own.
MARK = "MAGMA_TEST_RUN"

_WATCH = """
import os, signal, sys, time

parent, mark = int(sys.argv[1]), sys.argv[2].encode()
while os.getppid() == parent:
    time.sleep(0.5)
for entry in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{entry}/environ", "rb") as file:
            if mark in file.read().split(b"\\0"):
                os.kill(int(entry), signal.SIGKILL)
    except OSError:
        pass  # gone, or somebody else's
"""


def pytest_configure(config: pytest.Config) -> None:
    if not Path("/proc/self/environ").exists():
        return
    run = f"{os.getpid()}-{time.time_ns()}"
    # Before the variable is set, so that it does not find itself.
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    subprocess.Popen(
        [sys.executable, "-S", "-c", _WATCH, str(os.getpid()), f"{MARK}={run}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=environment,
    )
    os.environ[MARK] = run
