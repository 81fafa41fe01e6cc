"""The tests' own runner: what may be played once more, and that a test which fails twice is red."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.run import MOST, may_be_repeated

ROOT = Path(__file__).resolve().parents[3]


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
    folder = tmp_path / "tests" / "graph"
    folder.mkdir(parents=True)
    (folder / "test_it.py").write_text(
        f"from pathlib import Path\nseen = Path({str(tmp_path / 'seen')!r})\ndef test_it():\n    {body}\n"
    )
    (tmp_path / "tests" / "run.py").write_text((ROOT / "tests" / "run.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    result = subprocess.run(
        [sys.executable, "-m", "tests.run", "tests/graph/test_it.py", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == status, result.stdout + result.stderr
    assert said in result.stdout.splitlines()[-1]
    assert ("Once more, alone" in result.stdout) == (body != "pass")
