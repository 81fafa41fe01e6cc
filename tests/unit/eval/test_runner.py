"""Real worker processes with a task that hangs, crashes, raises and dawdles on demand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from magma_eval.episodes import Episode, canonical_json, write_suite_file
from magma_eval.policies.choice import PolicyChoice
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.episode_result import ResultsError
from magma_eval.results.run_folder import load, read_lines
from magma_eval.run import runner
from magma_eval.run.coordinator import RunError
from magma_eval.run.plan import DEFAULT_FACTORY, RunConfig
from magma_eval.run.runner import Runner
from magma_eval.suites import Shard

FACTORY = "evaluation_fakes:make_task"
HERE = str(Path(__file__).parent)


@pytest.fixture(autouse=True)
def workers_find_the_fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")]))
    yield


def suite(folder: Path, count: int = 4, task: str = "reach", **options: Any) -> str:
    path = folder / f"suite-{task}.json"
    write_suite_file(
        path, [Episode("fake", task, "eval", n, make=task, layout=n, options=options) for n in range(count)]
    )
    return str(path)


def config(folder: Path, suite_file: str, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "policy": PolicyChoice("hold"),
        "suite": suite_file,
        "out": folder / "out",
        "factory": FACTORY,
        "step_timeout_s": 1.5,
        "start_timeout_s": 30.0,
        **changes,
    }
    return RunConfig(**values)


def outcomes(folder: Path) -> list[str]:
    return [canonical_json(result.outcome()) for result in load(folder).results]


def test_plays_a_suite_stores_all_verdicts_and_goes_on_where_it_was(tmp_path: Path) -> None:
    file = suite(tmp_path)
    summary = Runner(config(tmp_path, file, workers=2), "magma-eval run").run()
    assert (summary.played, summary.errors, summary.interrupted) == (4, 0, False)
    results = load(tmp_path / "out").results
    assert [r.success.last for r in results if r.success] == [False, False, False, True]
    assert [r.success.ever for r in results if r.success] == [True, False, True, True]
    record = EpisodeRecord.read(tmp_path / "out" / results[0].record)
    assert record.actions.shape == (8, 7) and results[0].stages["simulator"].count == 8
    assert results[0].training == "none (scripted)"
    lines = (tmp_path / "out" / "results.jsonl").read_bytes()
    again = Runner(config(tmp_path, file, workers=2), "magma-eval run").run()
    assert (again.played, again.resumed) == (0, 4)
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == lines


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    file = suite(tmp_path, count=1)
    Runner(config(tmp_path, file)).run()
    with pytest.raises(ResultsError, match="policy was 'hold' and is 'random'"):
        Runner(config(tmp_path, file, policy=PolicyChoice("random"))).run()
    with pytest.raises(ResultsError, match="training"):
        Runner(config(tmp_path, file, training="zero-shot")).run()
    with pytest.raises(ResultsError, match="clock"):
        Runner(config(tmp_path, file, clock="realtime")).run()


@pytest.mark.parametrize("fault", ["hang", "crash", "exception", "hang in reset"])
def test_a_fault_of_the_simulator_is_retried(tmp_path: Path, fault: str) -> None:
    file = suite(tmp_path, fault=fault, layout=1, times=1, marker=str(tmp_path / "marker"))
    started = 3.0 if fault == "hang in reset" else 30.0
    summary = Runner(config(tmp_path, file, start_timeout_s=started)).run()
    results = load(tmp_path / "out").results
    assert (summary.played, summary.errors) == (4, 0)
    assert [r.attempts for r in results] == [1, 2, 1, 1]
    assert {r.status for r in results} == {"ok"}


@pytest.mark.parametrize(
    ("fault", "words"), [("hang", "hung while step 2"), ("crash", "signal 6"), ("exception", "raised")]
)
def test_a_fault_that_stays_is_an_error_and_no_failure_of_the_policy(tmp_path: Path, fault: str, words: str) -> None:
    file = suite(tmp_path, count=3, fault=fault, layout=1)
    run = config(tmp_path, file, attempts=2)
    summary = Runner(run).run()
    assert (summary.played, summary.errors) == (2, 1)
    errors = [r for r in load(tmp_path / "out").results if r.status == "error"]
    assert [r.key.episode_id for r in errors] == [1]
    assert errors[0].success is None and errors[0].attempts == 2 and words in errors[0].error
    assert Runner(run).run().resumed == 3


def test_errors_are_played_again_when_asked(tmp_path: Path) -> None:
    file = suite(tmp_path, count=2, fault="exception", layout=1, times=1, marker=str(tmp_path / "marker"))
    assert Runner(config(tmp_path, file, attempts=1)).run().errors == 1
    summary = Runner(config(tmp_path, file, attempts=1, retry_errors=True)).run()
    assert (summary.played, summary.errors) == (1, 0)
    assert [r.status for r in load(tmp_path / "out").results] == ["ok", "ok"]


def test_a_slow_simulator_is_left_alone(tmp_path: Path) -> None:
    summary = Runner(config(tmp_path, suite(tmp_path, count=1, slow_s=0.4))).run()
    assert (summary.played, summary.errors) == (1, 0)


def test_what_cannot_be_played_at_all_stops_the_run_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"environment 'broken' cannot be made.*assets of this task are missing"):
        Runner(config(tmp_path, suite(tmp_path, task="broken"))).run()
    with pytest.raises(RunError, match=r"worker processes do not start.*no task factory"):
        Runner(config(tmp_path / "b", suite(tmp_path), factory="evaluation_fakes:nothing")).run()


def test_shards_make_the_same_lines_as_one_run(tmp_path: Path) -> None:
    file = suite(tmp_path, count=5)
    Runner(config(tmp_path, file, out=tmp_path / "whole")).run()
    for index in range(2):
        Runner(config(tmp_path, file, shard=Shard(index, 2))).run()
    names = {path.name for path in (tmp_path / "out").glob("*.jsonl")}
    assert names == {"results-0-of-2.jsonl", "results-1-of-2.jsonl"}
    assert outcomes(tmp_path / "out") == outcomes(tmp_path / "whole")


def test_latencies_and_seeds_multiply_the_episodes(tmp_path: Path) -> None:
    run = config(
        tmp_path, suite(tmp_path, count=2), clock="realtime", latencies_ms=(0.0, 400.0), seeds=(0, 1),
        policy=PolicyChoice("random"),
    )  # fmt: skip
    assert Runner(run).run().played == 8
    results = load(tmp_path / "out").results
    assert (
        sorted((r.latency_ms, r.key.seed) for r in results)
        == [(0.0, 0)] * 2 + [(0.0, 1)] * 2 + [(400.0, 0)] * 2 + [(400.0, 1)] * 2
    )
    assert all((r.held_steps > 0) == (r.latency_ms == 400.0) for r in results)
    assert len({r.key.configuration for r in results}) == 4  # two layouts at two latencies


def command(folder: Path, file: str, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "magma_eval.command", "run", "--policy", "random", "--suite", file),
        *("--out", str(folder), "--task-factory", FACTORY, "--workers", "2", *more),
    ]


def children(process: subprocess.Popen) -> list[int]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in path.read_text().split()] if path.exists() else []


def test_ctrl_c_lets_running_episodes_end_and_says_how_to_go_on(tmp_path: Path) -> None:
    file = suite(tmp_path, count=400, slow_s=0.05)
    process = subprocess.Popen(
        command(tmp_path / "out", file), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    results = tmp_path / "out" / "results.jsonl"
    while not results.exists() or results.stat().st_size == 0:
        assert process.poll() is None
        time.sleep(0.05)
    workers = children(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "to go on: magma-eval run" in out, err
    assert workers and not any(Path(f"/proc/{number}").exists() for number in workers)
    done = list(read_lines(results))
    assert 0 < len(done) < 400 and results.read_bytes().endswith(b"\n")


def test_kill_9_loses_no_finished_episode_and_changes_nothing(tmp_path: Path) -> None:
    """A few kills; tests/benchmarks/evaluation_kills.py does it fifty times on the real simulator."""
    file = suite(tmp_path, count=20, slow_s=0.02)
    subprocess.run(command(tmp_path / "whole", file), check=True, capture_output=True)
    kept: set[str] = set()
    orphans: list[int] = []
    for round_number in range(2):
        process = subprocess.Popen(
            command(tmp_path / "out", file), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        results = tmp_path / "out" / "results.jsonl"
        target = len(kept) + 3
        while process.poll() is None and (not results.exists() or results.read_bytes().count(b"\n") < target):
            time.sleep(0.02)
        workers = children(process)
        if round_number % 2:
            for number in workers[:1]:
                os.kill(number, signal.SIGKILL)
            time.sleep(0.1)
        process.kill()
        process.wait()
        orphans += workers
        now = {json.dumps(r.as_json(), sort_keys=True) for r in read_lines(results)}
        assert kept <= now
        kept = now
    subprocess.run(command(tmp_path / "out", file), check=True, capture_output=True)
    assert outcomes(tmp_path / "out") == outcomes(tmp_path / "whole")
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{number}").exists() for number in orphans):
        assert time.monotonic() < deadline, "workers outlived their evaluator"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 0}, "at least 1"),
        ({"rule": "best"}, "unknown success rule"),
        ({"seeds": (1, 1)}, "seeds"),
        ({"latencies_ms": (5.0,)}, "lock-step"),
        ({"latencies_ms": (5.0, 5.0), "clock": "realtime"}, "twice"),
        ({"policy": PolicyChoice("ws://localhost:1"), "step_timeout_s": 5.0}, "deadline"),
        ({"image_size": (0, 5)}, "row"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(tmp_path, "tabletop", **changes)


@pytest.mark.parametrize("text", ["", "gpt", "expert:x", "replay:/nothing/there", "magma"])
def test_unknown_policies_are_refused(text: str) -> None:
    if text == "magma":
        with pytest.raises(ValueError, match="checkpoint"):
            PolicyChoice("magma:")
        return
    with pytest.raises(ValueError, match=r"polic|recorded|takes no"):
        PolicyChoice(text)


def test_a_run_that_fails_before_its_first_result_claims_no_folder(tmp_path: Path) -> None:
    broken = suite(tmp_path, count=2, fault="no such fault", layout=0)
    run = config(tmp_path, broken, factory="evaluation_fakes:no_such_factory")
    with pytest.raises(RunError, match="do not start"):
        Runner(run, "magma-eval run").run()
    assert not (tmp_path / "out" / "run.json").exists()
    # Another policy, in the same folder.
    assert Runner(config(tmp_path, suite(tmp_path, count=1), policy=PolicyChoice("random"))).run().played == 1
    assert json.loads((tmp_path / "out" / "run.json").read_text())["identity"]["policy"] == "random"


def test_what_is_known_to_be_missing_is_told_before_a_policy_is_loaded(tmp_path: Path, monkeypatch) -> None:
    def lacks(task: str) -> None:
        raise RuntimeError("its data are not here; get them")

    def loaded(*_: object) -> None:
        pytest.fail("a policy was loaded")

    monkeypatch.setattr(runner, "start_server", loaded)
    monkeypatch.setattr(runner, "check_task", lacks)
    policy = PolicyChoice("magma-tiny")
    run = config(
        tmp_path, "tabletop", policy=policy, factory=DEFAULT_FACTORY, limit=1, start_timeout_s=60.0, step_timeout_s=90.0
    )
    with pytest.raises(RunError, match="cannot be made: its data are not here; get them"):
        Runner(run).run()
    assert not (tmp_path / "out").exists()

    # So is a folder of another run, by whatever is known without the policy.
    monkeypatch.setattr(runner, "check_task", lambda task: None)
    assert Runner(config(tmp_path, suite(tmp_path, count=1))).run().played == 1
    with pytest.raises(ResultsError, match=r"another run.*policy was 'hold' and is 'magma:magma-tiny'"):
        Runner(run).run()


def test_an_out_that_is_a_file_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(RunError, match="is a file; give a folder"):
        Runner(config(tmp_path, suite(tmp_path, count=1))).run()
    assert (tmp_path / "out").read_text() == "mine"
