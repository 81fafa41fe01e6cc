"""A run on a real cluster of this machine loses a worker, and ends like one of processes."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from magma_eval.episodes import Episode, canonical_json, write_suite_file
from magma_eval.policies.choice import PolicyChoice
from magma_eval.pools import ray_cluster
from magma_eval.pools.ray_cluster import FOLDER_PREFIX
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.run_folder import load, read_lines, read_run
from magma_eval.run.plan import RunConfig
from magma_eval.run.runner import Runner

pytest.importorskip("ray", reason="the extra `ray` of magma-eval is not installed")
HERE = str(Path(__file__).parent)
EPISODES = 12


@pytest.fixture(scope="module", autouse=True)
def fakes() -> Iterator[None]:
    """Every process finds the tests' own task and work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")]))
        patch.syspath_prepend(HERE)
        yield


@pytest.fixture(scope="module")
def one_cluster(fakes: None) -> Iterator[list[str]]:
    """Starting one takes seconds: commands find it there instead of starting their own. What it told."""
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        try:
            stack.enter_context(ray_cluster.cluster(None, 2, told.append))
        except ray_cluster.RayError as error:
            if "timed out during startup" not in str(error):
                raise
            pytest.skip(f"Ray gives its processes 30 s to start, and this machine is too busy: {error}")
        patch.setattr(ray_cluster, "cluster", lambda *_: contextlib.nullcontext())
        yield told
    assert not list(Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}{os.getpid()}-*"))


def suite(folder: Path) -> Path:
    path, options = folder / "suite.json", {"slow_s": 0.05}
    write_suite_file(
        path, [Episode("fake", "reach", "eval", n, make="reach", layout=n, options=options) for n in range(EPISODES)]
    )
    return path


def config(folder: Path, out: str, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {"factory": "evaluation_fakes:make_task", "workers": 2, **changes}
    return RunConfig(PolicyChoice("random"), str(suite(folder)), folder / out, **values)


def check_same(plain: Path, other: Path) -> None:
    """Equal results but for times, each once, and equal actions."""
    one, two = load(plain).results, load(other).results
    assert len(list(read_lines(other / "results.jsonl"))) == len(one) == EPISODES
    assert [canonical_json(r.outcome()) for r in one] == [canonical_json(r.outcome()) for r in two]
    for a, b in zip(one, two, strict=True):
        records = [EpisodeRecord.read(folder / r.record) for folder, r in ((plain, a), (other, b))]
        assert records[0].actions.tobytes() == records[1].actions.tobytes()


def own_worker() -> int | None:
    """A worker process below an actor of this process' cluster."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"magma_eval.pools.worker_process" in path.read_bytes():
                opened = {os.readlink(file) for file in (path.parent / "fd").iterdir()}
                if any(f"{FOLDER_PREFIX}{os.getpid()}-" in name for name in opened):
                    return int(path.parent.name)
    return None


def test_a_run_on_a_cluster_loses_a_worker_and_ends_like_one_of_processes(
    one_cluster: list[str], tmp_path: Path
) -> None:
    assert "gcs_server *:" in one_cluster[0] and "needs the cluster's token" in one_cluster[1]
    Runner(config(tmp_path, "processes")).run()
    killed, done = [], threading.Event()

    def kill_one() -> None:
        lines = tmp_path / "ray" / "results.jsonl"
        while not done.wait(0.05):
            worker = own_worker() if lines.exists() else None
            if worker is not None:
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)
                return

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    summary = Runner(config(tmp_path, "ray", ray="")).run()
    done.set()
    killer.join()
    assert (summary.played, summary.errors, summary.contradictions, len(killed)) == (EPISODES, 0, 0, 1)
    check_same(tmp_path / "processes", tmp_path / "ray")
    facts = read_run(tmp_path / "ray")["machine_facts"]
    assert facts["policy"] == "random" and {"code", "factory", "version of numpy"} <= set(facts)
