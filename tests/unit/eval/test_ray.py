"""On a real cluster of this machine: runs that lose a worker or their policy end like those of processes, and jobs of
every kind come out as they do without a cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from magma_eval.episodes import Episode, canonical_json, write_suite_file
from magma_eval.policies.choice import PolicyChoice
from magma_eval.pools import ray_cluster
from magma_eval.pools.ray_cluster import FOLDER_PREFIX
from magma_eval.pools.ray_jobs import on_cluster
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.run_folder import load, read_lines, read_run
from magma_eval.run.plan import RunConfig
from magma_eval.run.runner import Runner

pytest.importorskip("ray", reason="the extra `ray` of magma-eval is not installed")

from .fake_serve import executable

HERE = str(Path(__file__).parent)
EPISODES = 12


@pytest.fixture(scope="module", autouse=True)
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every process finds the tests' own task, work and policy server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAGMA_SERVE", str(executable(tmp_path_factory.mktemp("serve"))))
        patch.setenv("PYTHONPATH", os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")]))
        patch.syspath_prepend(HERE)
        yield


@pytest.fixture(scope="module")
def one_cluster(fakes: None) -> Iterator[list[str]]:
    """Starting one takes seconds: commands find it there instead of starting their own. What it told."""
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        try:
            stack.enter_context(ray_cluster.cluster(None, 3, told.append))
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


def config(folder: Path, out: str, policy: str = "random", **changes: Any) -> RunConfig:
    values: dict[str, Any] = {"factory": "evaluation_fakes:make_task", "workers": 2, **changes}
    return RunConfig(PolicyChoice(policy), str(suite(folder)), folder / out, **values)


def check_same(plain: Path, other: Path) -> None:
    """Equal results but for times, each once, and equal actions."""
    one, two = load(plain).results, load(other).results
    assert len(list(read_lines(other / "results.jsonl"))) == len(one) == EPISODES
    assert [canonical_json(r.outcome()) for r in one] == [canonical_json(r.outcome()) for r in two]
    for a, b in zip(one, two, strict=True):
        records = [EpisodeRecord.read(folder / r.record) for folder, r in ((plain, a), (other, b))]
        assert records[0].actions.tobytes() == records[1].actions.tobytes()


def own_process(sign: bytes) -> int | None:
    """A process below an actor of this process' cluster."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if sign in path.read_bytes():
                opened = {os.readlink(file) for file in (path.parent / "fd").iterdir()}
                if any(f"{FOLDER_PREFIX}{os.getpid()}-" in name for name in opened):
                    return int(path.parent.name)
    return None


@contextlib.contextmanager
def killed(sign: bytes, lines: Path) -> Iterator[list[int]]:
    """Within, the first such process that is there once a run has results is killed; its number, once it was."""
    found: list[int] = []
    done = threading.Event()

    def kill_one() -> None:
        while not done.wait(0.05):
            process = own_process(sign) if lines.exists() else None
            if process is not None:
                os.kill(process, signal.SIGKILL)
                found.append(process)
                return

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    try:
        yield found
    finally:
        done.set()
        killer.join()


def test_a_run_on_a_cluster_loses_a_worker_and_ends_like_one_of_processes(
    one_cluster: list[str], tmp_path: Path
) -> None:
    assert "gcs_server *:" in one_cluster[0] and "needs the cluster's token" in one_cluster[1]
    Runner(config(tmp_path, "processes")).run()
    with killed(b"magma_eval.pools.worker_process", tmp_path / "ray" / "results.jsonl") as dead:
        summary = Runner(config(tmp_path, "ray", ray="")).run()
    assert (summary.played, summary.errors, summary.contradictions, len(dead)) == (EPISODES, 0, 0, 1)
    check_same(tmp_path / "processes", tmp_path / "ray")
    facts = read_run(tmp_path / "ray")["machine_facts"]
    assert facts["policy"] == "random" and {"code", "factory", "version of numpy"} <= set(facts)


def test_a_policy_on_the_cluster_is_lost_and_replaced_and_no_episode_fails(
    one_cluster: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "policy"
    checkpoint.mkdir()
    (checkpoint / "identity").write_text("a1" * 16)
    Runner(config(tmp_path, "processes", str(checkpoint))).run()
    with killed(b"fake_serve.py", tmp_path / "ray" / "results.jsonl") as dead:
        summary = Runner(config(tmp_path, "ray", str(checkpoint), ray="")).run()
    assert (summary.played, summary.errors, summary.contradictions, len(dead)) == (EPISODES, 0, 0, 1)
    assert "is lost, another is started: its server has ended" in capsys.readouterr().err
    check_same(tmp_path / "processes", tmp_path / "ray")
    results = load(tmp_path / "ray").results
    assert {result.key.policy_identity for result in results} == {"a1" * 16} and {r.attempts for r in results} == {1}


def test_every_job_is_done_once_and_lost_workers_and_errors_are_told(one_cluster: list[str], tmp_path: Path) -> None:
    from ray_work import Squares

    told: list[str] = []
    found = list(on_cluster("", 2, Squares(tmp_path / "ended", deadly=3), range(8), told.append))
    assert sorted(found) == [(n, n * n) for n in range(8)] and any("its job goes to another" in text for text in told)
    with pytest.raises(ValueError, match="5 is wrong"):
        list(on_cluster("", 1, Squares(tmp_path / "ended", wrong=5), [5], told.append))
    with pytest.raises(ray_cluster.RayError, match="its renderer is one, the run's is another"):
        list(on_cluster("", 2, Squares(tmp_path / "ended"), range(8), told.append, {"renderer": "another"}))
    assert list(on_cluster("", 2, Squares(tmp_path), [], told.append)) == []


def test_demonstrations_and_their_conversion_are_the_same_as_without(one_cluster: list[str], tmp_path: Path) -> None:
    from magma_data.demonstrations import read_episode
    from magma_data.reader import Dataset
    from magma_policy.commands.data import main as data
    from magma_sim.demonstrations.config import DemonstrationConfig
    from magma_sim.demonstrations.generation import generate

    def made(name: str, **more: object) -> Path:
        config = DemonstrationConfig(
            tmp_path / name,
            ("stack_blocks",),
            2,
            images=False,
            **more,  # type: ignore[arg-type]
        )
        assert generate(config)["stack_blocks"]["episodes"] == 2
        return tmp_path / name

    one, other = made("one"), made("other", ray=(), workers=2)
    assert data(["convert", str(one), str(tmp_path / "again")]) == 0
    assert data(["convert", str(other), str(tmp_path / "new"), "--ray", "--workers", "2"]) == 0
    for before, after in ((one, other), (tmp_path / "again", tmp_path / "new")):
        sets = [Dataset(before), Dataset(after)]
        names = [sorted(episode.name for episode in opened.episodes) for opened in sets]
        assert names[0] == names[1]
        for name in names[0]:
            arrays = [read_episode(s, next(e for e in s.episodes if e.name == name)) for s in sets]
            assert arrays[0].keys() == arrays[1].keys()
            for key, values in arrays[0].items():
                np.testing.assert_array_equal(values, arrays[1][key])


def test_records_of_pictures_are_the_same_files(one_cluster: list[str], tmp_path: Path) -> None:
    from magma_policy.grit.run import GritRun, run

    record = {
        "key": "k", "clip_similarity_vitb32": 0.3, "clip_similarity_vitl14": 0.2, "id": 7, "url": "",
        "caption": "a cup",
        "width": 64, "height": 48, "noun_chunks": [[0, 5, 0.1, 0.1, 0.5, 0.5, 0.9]],
        "ref_exps": [[0, 5, 0.1, 0.1, 0.5, 0.5, 0.9]],
    }  # fmt: skip
    for number in range(3):
        rows = [{**record, "key": f"{number}-{row}"} for row in range(2)]
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / f"coyo_{number}_snappy.parquet")
    sources = tuple(sorted(tmp_path.glob("*.parquet")))
    plain = run(GritRun(sources, tmp_path / "plain", "published"), 1)
    assert run(GritRun(sources, tmp_path / "ray", "published"), 2, ray="") == plain
    files = [
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("plain", "ray")
    ]
    assert files[0] == files[1]
