"""What all tests share: what they start heeds signals, and does not outlive a test run, not even one that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# What a test says must not depend on how busy the machine is: examples have no deadline and may take long to make.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

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


HEEDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def heed_signals() -> None:
    """Lets what the tests start be ended by signals, even in a run that ignores them (under nohup, or in the background
    of a script). Processes inherit that a signal is ignored or blocked, but no handler: so one that does nothing keeps
    the run itself as deaf as it was asked to be."""
    for number in HEEDED:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*HEEDED, signal.SIGCHLD})


def pytest_configure(config: pytest.Config) -> None:
    heed_signals()
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
