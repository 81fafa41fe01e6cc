"""A first look at damaged files of every kind; `tests/benchmarks/file_mutations.py` looks at a hundred thousand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
MUTANTS = os.environ.get("MAGMA_PROPERTY_CASES", "60")
AREAS = sorted(path.stem for path in (BENCHMARKS / "mutation_targets").glob("*.py"))


# In a process of its own: what it forks must not have this one's threads, and an area may need what is not installed.
@pytest.mark.parametrize("area", AREAS)
def test_damaged_files_are_read_alike_or_refused_in_one_sentence(area: str, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "file_mutations.py"), "--areas", area, "--mutants", MUTANTS]
    found = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stdout + found.stderr


HARNESS = """
import json, os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from file_mutations import Reading, Target, run

def seed(folder):
    (folder / "seed.txt").write_text("whole")
    return folder / "seed.txt"

ENDS = [b"whole", b"refused", b"two lines", b"uncaught", b"other", b"other and shown", b"hang", b"die", b"greedy"]

def read(path):
    text = path.read_text()
    if text == "refused":
        raise ValueError("this is no such file")
    if text == "two lines":
        raise ValueError("this\\nthat")
    if text == "uncaught":
        raise KeyError("a")
    if text == "hang":
        time.sleep(60)
    if text == "die":
        os.abort()
    if text == "greedy":
        bytearray(1 << 30)
    return Reading(text, "b" if text == "other and shown" else "a")

for number in range(len(ENDS)):
    target = Target("t", seed, read, (ValueError,), (lambda data, rng: ENDS[number],), seconds=2.0, memory_mib=256)
    tally = run(target, [7], out=Path(sys.argv[2], str(number)))
    print(json.dumps([ENDS[number].decode(), dict(tally.counts), [text for _, text in tally.faults]]))
"""


def test_the_harness_tells_every_end_from_the_others(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", HARNESS, str(BENCHMARKS), str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 0, found.stderr
    ends = {name: (counts, faults) for name, counts, faults in map(json.loads, found.stdout.splitlines())}
    assert [ends[name][0] for name in ("whole", "refused", "other and shown")] == [
        {"identical": 1},
        {"error": 1},
        {"other content": 1},
    ]
    faults = {name: text[0] for name, (_, text) in ends.items() if text}
    assert set(faults) == {"two lines", "uncaught", "other", "hang", "die", "greedy"}
    assert "KeyError" in faults["uncaught"] and "MemoryError" in faults["greedy"]
    assert "longer than 2 s" in faults["hang"] and "-6" in faults["die"]
    assert (tmp_path / "7" / "t" / "7.txt").read_text() == "die"


def test_processes_side_by_side_run_the_same_mutants() -> None:
    command = [sys.executable, str(BENCHMARKS / "file_mutations.py"), "--targets", "picture-png", "--mutants", "30"]
    alone, together = (
        subprocess.run([*command, "--jobs", jobs], capture_output=True, text=True, timeout=600).stdout.split("}")[0]
        for jobs in ("1", "3")
    )
    counts = [sorted(text.partition("{")[2].split(", ")) for text in (alone, together)]
    assert counts[0] == counts[1] and len(counts[0]) > 1


def test_a_run_goes_on_where_it_ended(tmp_path: Path) -> None:
    def run(mutants: int, *options: str) -> str:
        command = [sys.executable, str(BENCHMARKS / "file_mutations.py"), "--areas", "settings"]
        command += ["--targets", "token-file", "--mutants", str(mutants), "--out", str(tmp_path), *options]
        found = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout.split("}")[0]

    whole = run(70)
    (tmp_path / "counts.json").unlink()
    run(30, "--resume")
    assert sorted(run(70, "--resume").partition("{")[2].split(", ")) == sorted(whole.partition("{")[2].split(", "))
    (row,) = json.loads((tmp_path / "counts.json").read_text())
    assert row["mutants"] == 70
    (tmp_path / "counts.json").write_text(json.dumps([{**row, "fault": 1}]))
    with pytest.raises(AssertionError, match="'fault': 1"):
        run(70, "--resume")  # nothing is left to do, and what was found is not mended
