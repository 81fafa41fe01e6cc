"""The tests' own runner: what may be played once more, and that a test which fails twice is red."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.run import MOST, may_be_repeated

ROOT = Path(__file__).resolve().parents[3]


def of_processes(root, head, body):
    """A project with the runner and one test of running processes."""
    folder = root / "tests" / "graph"
    folder.mkdir(parents=True)
    (folder / "test_it.py").write_text(f"{head}def test_it():\n    {body}\n")
    (root / "tests" / "run.py").write_text((ROOT / "tests" / "run.py").read_text())
    (root / "pytest.ini").write_text("[pytest]\ntestpaths = tests\n")


def run(root, *arguments):
    command = [sys.executable, "-m", "tests.run", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_only_a_few_tests_of_running_processes_are_played_again():
    graph = "tests/graph/test_two_arms.py::test_each_arm_has_its_own_stop"
    assert may_be_repeated([graph])
    assert not may_be_repeated([])
    assert not may_be_repeated([graph, "tests/unit/control/test_brake.py::test_brakes"])
    assert not may_be_repeated([f"{graph}[{index}]" for index in range(MOST + 1)])


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("assert seen.exists() or seen.touch()", 0, "1 passed"),  # fails once
        ("assert seen.exists() and seen.unlink()", 1, "1 failed"),
        ("pass", 0, "1 passed"),
    ],
)
def test_what_fails_alone_as_well_is_red(tmp_path, body, status, said):
    of_processes(tmp_path, f"from pathlib import Path\nseen = Path({str(tmp_path / 'seen')!r})\n", body)
    result = run(tmp_path, "tests/graph/test_it.py", "-p", "no:cacheprovider")
    assert result.returncode == status, result.stdout + result.stderr
    assert said in result.stdout.splitlines()[-1]
    assert ("Once more, alone" in result.stdout) == (body != "pass")


@pytest.mark.parametrize(
    ("unit", "process", "status"), [("pass", "pass", 0), ("assert 0", "pass", 1), ("pass", "1 / 0", 1)]
)
def test_every_test_is_unit_tests_side_by_side_and_then_the_others(tmp_path, unit, process, status):
    of_processes(tmp_path, "", process)
    folder = tmp_path / "tests" / "unit"
    folder.mkdir()
    worker = "import os\ndef test_worker():\n    assert os.environ['PYTEST_XDIST_WORKER']\n"
    (folder / "test_units.py").write_text(f"{worker}def test_unit():\n    {unit}\n")
    result = run(tmp_path)
    assert result.returncode == status, result.stdout + result.stderr
    assert ("2 passed" in result.stdout) == (unit == "pass") and ("1 passed" in result.stdout) == (process == "pass")
    assert ("Once more, alone" in result.stdout) == (process != "pass"), "unit tests get no second chance"
