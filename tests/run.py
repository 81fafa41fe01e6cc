"""Runs pytest: unit tests side by side on all cores, then those of running processes, two at a time.

What failed among the tests of running processes is played once more, alone, before it counts as failed.
In those tests a simulator, a policy and a controller share the cores in real time, and a busy machine may hold one of
them up past a watchdog: then the robot rightly does something else than the test asked for. A test that fails alone as
well is red. No other test gets a second chance.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

UNITS = "tests/unit"
MOST_WORKERS = 4
"""Each takes about a GB."""

OF_PROCESSES = ("tests/graph/", "tests/e2e/", "tests/browser/", "ros2_ws/rclpy_dds/tests/")
WORKERS_OF_PROCESSES = 2
"""They wait more than they work: one after another they keep less than one core busy."""

MOST = 6
"""More failures than these are no accident of a busy machine."""


class Failures:
    """A pytest plugin that keeps the node ids of what failed."""

    def __init__(self) -> None:
        self.nodes: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and report.nodeid not in self.nodes:
            self.nodes.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.nodes.append(report.nodeid)


def may_be_repeated(failed: list[str]) -> bool:
    """Whether all failures (node ids) are of running processes, and few."""
    return 0 < len(failed) <= MOST and all(node.startswith(OF_PROCESSES) for node in failed)


def side_by_side(workers: int) -> list[str]:
    """pytest's options; a file's tests stay together for their fixtures."""
    return ["-n", str(min(workers, len(os.sched_getaffinity(0)))), "--dist", "loadfile"]


def run_units() -> int:
    """pytest's exit status of the unit tests on all cores."""
    command = [sys.executable, "-m", "pytest", UNITS, *side_by_side(MOST_WORKERS)]
    return subprocess.run(command, check=False).returncode


def main(arguments: list[str]) -> int:
    """pytest's exit status; does not return when tests are repeated.

    Args:
        arguments: for pytest; none = every test.
    """
    units = 0
    if not arguments:
        # Libraries that took every core in each worker would only wait for each other.
        os.environ["OMP_NUM_THREADS"] = "1"
        units = run_units()
        if units not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return units
        arguments = ["--ignore", UNITS, *side_by_side(WORKERS_OF_PROCESSES)]
    failures = Failures()
    status = int(pytest.main(arguments, plugins=[failures]))
    if units:
        print("\nUnit tests failed: see above.")
        return units
    if status != pytest.ExitCode.TESTS_FAILED or not may_be_repeated(failures.nodes):
        return status
    print("\nOnce more, alone. What passes now is unsteady on a busy machine, not broken:", *failures.nodes, sep="\n  ")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *failures.nodes])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
