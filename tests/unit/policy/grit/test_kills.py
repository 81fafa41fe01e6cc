"""`magma-grit` ended by SIGKILL at random moments: what is given again at last is what an undisturbed run gives.

Processes are forked off one that has read spaCy, which takes seconds; each is one of its own, as the command's is.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from magma_policy.commands.grit import GritConfig, make
from magma_policy.grit.run import COUNTS, RECORDS, GritRun, run
from magma_policy.grounding.expressions import Thing
from tests.unit.policy.grit.test_pipeline import scenes_of, written

pytest.importorskip("spacy")
FILES = 40
PATIENCE_S = 600.0
"""Nothing here takes so long, on whatever machine."""


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["magma_policy.grit.run", "spacy.lang.en", __name__])
    return context


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A set of rendered scenes in forty files, a shard each."""
    boxes = [(0.1, 0.1, 0.4, 0.4), (0.5, 0.5, 0.9, 0.9)]
    things = (Thing("block", "green", boxes[0]), Thing("block", "red", boxes[1]))
    return scenes_of(tmp_path_factory.mktemp("grit") / "scenes", [things, things[:1]] * 3, FILES)


@pytest.fixture(scope="module")
def undisturbed(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("grit") / "undisturbed"
    counts = run(GritRun((scenes,), out, tars=True, samples=5), 1)
    assert counts["records"] == 6 * FILES
    return written(out)


def played(scenes: Path, out: Path, count: int) -> None:
    """What a process does."""
    make(GritConfig((scenes,), out, tars=True, sequences=False, samples=5, processes=count))


def started(processes, scenes: Path, out: Path, count: int) -> BaseProcess:
    process = processes.Process(target=played, args=(scenes, out, count))
    process.start()
    return process


def ends(process: BaseProcess) -> int | None:
    process.join(PATIENCE_S)
    return process.exitcode


def shards_done(out: Path) -> int:
    return len(list((out / COUNTS).glob("*.json")))


def wait(condition: Callable[[], bool]) -> None:
    """Until it holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def in_work(process: BaseProcess, out: Path, shards: int) -> None:
    """Waits until a run has so many shards, and is still at work."""
    wait(lambda: shards_done(out) >= shards or not process.is_alive())
    assert process.is_alive(), process.exitcode


def workers_of(process: BaseProcess) -> list[int]:
    """Those of --processes."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def ended(pid: int) -> bool:
    """Whether there is no such process; one that nobody waits for counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def all_ended(pids: list[int]) -> bool:
    return all(map(ended, pids))


def check_promises(out: Path) -> None:
    """What a shard's counts say is all there, whenever the run was ended."""
    for counts in (out / COUNTS).glob("*.json"):
        lines = (out / RECORDS / f"{counts.stem}.jsonl").read_text().splitlines()
        assert len([json.loads(line) for line in lines]) == json.loads(counts.read_text())["records"]


def test_a_run_that_is_killed_again_and_again_ends_as_an_undisturbed_one(processes, scenes, undisturbed, tmp_path):
    out, rng = tmp_path / "out", np.random.default_rng(1)
    for count in (1, 2, 1):
        process = started(processes, scenes, out, count)
        in_work(process, out, shards_done(out) + int(rng.integers(1, 9)))
        time.sleep(rng.uniform(0.0, 0.03))  # anywhere within a shard
        workers = workers_of(process)
        process.kill()
        assert ends(process) == -signal.SIGKILL and shards_done(out) < FILES
        # Else the next run would write the same shards beside them.
        assert len(workers) == (count if count > 1 else 0)
        wait(partial(all_ended, workers))
        check_promises(out)
    assert ends(started(processes, scenes, out, 1)) == 0
    assert written(out) == undisturbed
