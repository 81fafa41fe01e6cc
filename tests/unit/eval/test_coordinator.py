"""A run with a pool that only answers: leases, losses, errors and interruptions, without processes or clocks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from magma_eval.episodes import Episode
from magma_eval.policies.choice import PolicyChoice
from magma_eval.pools.protocol import Event, Failed, Finished, Lease, Lost, Ready, Refused, WorkerSetup, Working
from magma_eval.results.episode_result import EpisodeResult, Key, ResultsError, Success
from magma_eval.results.run_folder import contradictions_remark
from magma_eval.rollout.settings import RolloutSettings
from magma_eval.run.coordinator import Coordinator, Limits, RunError
from magma_eval.run.progress import Progress
from magma_eval.run.recorder import Recorder, RunDescription
from magma_eval.run.scheduler import Job, Scheduler

Answer = Callable[[int, Lease], Event]


class Pool:
    """Answers each lease at the next call of `events`; a worker that is started is ready then, or lost."""

    def __init__(self, answer: Answer, starts: Iterator[bool] | None = None) -> None:
        self._answer, self._starts = answer, starts
        self._coming: list[Event] = []
        self.workers: dict[int, str] = {}
        self.leased: list[tuple[int, int]] = []
        self.dropped: list[int] = []
        self.patience_s: float | None = None
        self.late: Event | None = None

    def start(self, worker: int, setup: WorkerSetup) -> None:
        assert setup.url == "ws://here"
        self.workers[worker] = "starting"
        well = self._starts is None or next(self._starts)
        self._coming.append(Ready(worker) if well else Lost(worker, "it ended", started=False))

    def lease(self, worker: int, lease: Lease) -> None:
        self.workers[worker] = "playing"
        self.leased.append((worker, lease.episode.episode_id))
        self._coming.append(self._answer(worker, lease))

    def drop(self, worker: int) -> None:
        self.dropped.append(worker)
        self.workers.pop(worker, None)

    def events(self, timeout_s: float) -> list[Event]:
        assert timeout_s > 0
        found, self._coming = self._coming, []
        for event in found:
            if isinstance(event, Lost):
                self.workers.pop(event.worker, None)
        return found

    def close(self, patience_s: float) -> None:
        self.patience_s = patience_s


def success(worker: int, lease: Lease) -> Finished:
    verdict = lease.episode.episode_id % 2 == 0
    fields: dict[str, Any] = {"success": asdict(Success(verdict, verdict, verdict)), "stages": {}, "notes": []}
    return Finished(worker, {**fields, "steps": 8, "max_steps": 8, "seconds": 0.1})


def job(number: int, environment: str = "reach") -> Job:
    episode = Episode("fake", "reach", "eval", number, make=environment, layout=number)
    return Job(Key("fake", "reach", "eval", number, 0, "hold", "c", "code"), episode, RolloutSettings(), 0)


def described(**identity: Any) -> RunDescription:
    return RunDescription(
        {"policy": "hold", **identity}, {"given": "hold"}, "fake", "last", {}, command="magma-eval run"
    )


def run(
    folder: Path, pool: Pool, count: int = 4, workers: int = 2, interrupts: Callable[[], int] = lambda: 0
) -> tuple[Coordinator, list[EpisodeResult]]:
    setup = WorkerSetup(PolicyChoice("hold"), "ws://here", "", "", "a:b", 1, folder)
    with Recorder(folder, "results.jsonl", described()) as recorder, Progress(count, [], "last") as progress:
        coordinator = Coordinator(
            Scheduler([job(n) for n in range(count)], 2),
            pool,
            lambda: setup,
            recorder,
            progress,
            Limits(workers, 2),
            rule="last",
            settings={"picture": "480x640"},
        )
        coordinator.run(interrupts)
        return coordinator, list(recorder.results)


def test_every_episode_is_leased_once_and_kept_with_what_the_run_knows(tmp_path: Path) -> None:
    pool = Pool(success)
    coordinator, results = run(tmp_path, pool)
    assert sorted(number for _, number in pool.leased) == [0, 1, 2, 3] and {w for w, _ in pool.leased} == {0, 1}
    assert (coordinator.summary.played, coordinator.summary.errors, coordinator.summary.left) == (4, 0, 0)
    assert [r.success.last for r in sorted(results, key=lambda r: r.key) if r.success] == [True, False, True, False]
    assert {(r.training, r.settings["picture"], r.attempts) for r in results} == {("not stated", "480x640", 1)}
    assert results[0].record == f"episodes/{results[0].key.name}.npz" and pool.patience_s == 5.0


def test_an_episode_of_a_lost_worker_goes_to_another_and_is_an_error_when_it_is_lost_again(tmp_path: Path) -> None:
    def answer(worker: int, lease: Lease) -> Event:
        number = lease.episode.episode_id
        if number == 1 or (number == 2 and len([n for _, n in pool.leased if n == 2]) == 1):
            return Lost(worker, "the simulator hung; it was killed", started=True)
        return success(worker, lease)

    pool = Pool(answer)
    coordinator, results = run(tmp_path, pool)
    by_number = {r.key.episode_id: r for r in results}
    assert by_number[1].status == "error" and "hung" in by_number[1].error and by_number[1].attempts == 2
    assert by_number[2].status == "ok" and by_number[2].attempts == 2
    assert (coordinator.summary.played, coordinator.summary.errors) == (3, 1) and pool.dropped == []


def test_a_worker_whose_simulator_raised_is_dropped_with_its_process(tmp_path: Path) -> None:
    def answer(worker: int, lease: Lease) -> Event:
        first = len(pool.leased) == 1
        return Failed(worker, "simulator", "RuntimeError: broken") if first else success(worker, lease)

    pool = Pool(answer)
    coordinator, _ = run(tmp_path, pool, workers=1)
    assert pool.dropped == [0] and coordinator.summary.played == 4


@pytest.mark.parametrize(
    ("cause", "says"),
    [("mismatch", "it does not fit"), ("setup", "the environment 'reach' cannot be made: it does not fit")],
)
def test_what_no_other_try_would_mend_ends_the_run(tmp_path: Path, cause: str, says: str) -> None:
    pool = Pool(lambda worker, lease: Failed(worker, cause, "it does not fit"))
    with pytest.raises(RunError, match=says):
        run(tmp_path, pool)
    assert pool.patience_s == 0.0 and not (tmp_path / "run.json").exists()


def test_workers_that_never_start_end_the_run_and_one_that_does_not_is_replaced(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="worker processes do not start: it ended"):
        run(tmp_path / "a", Pool(success, iter([False] * 9)), workers=1)
    coordinator, _ = run(tmp_path / "b", Pool(success, iter([False, True])), workers=1)
    assert coordinator.summary.played == 4


def test_one_interrupt_lets_the_running_episodes_end(tmp_path: Path) -> None:
    pool = Pool(success)
    coordinator, results = run(tmp_path, pool, interrupts=lambda: min(1, len(pool.leased)))
    assert (coordinator.summary.played, coordinator.summary.left, len(results)) == (2, 2, 2)


def test_two_interrupts_end_them_at_once_and_they_count_as_never_begun(tmp_path: Path) -> None:
    pool = Pool(lambda worker, lease: Working(worker, "step 1"))
    coordinator, results = run(tmp_path, pool, interrupts=lambda: len(pool.leased))
    assert (coordinator.summary.played, coordinator.summary.left, results) == (0, 4, []) and pool.patience_s == 0.0


def test_the_recorder_refuses_a_folder_of_another_run_before_anything_is_played(tmp_path: Path) -> None:
    run(tmp_path, Pool(success))
    with pytest.raises(ResultsError, match="clock was None and is 'wall'"):
        Recorder(tmp_path, "results.jsonl", described(clock="wall"))


def test_a_late_answer_that_differs_is_reported_as_not_reproducible_and_the_first_counts(tmp_path: Path) -> None:
    """The first worker is lost, and answers after the one that took its episode over, otherwise than that."""
    acknowledged: list[int] = []

    def answer(worker: int, lease: Lease) -> Event:
        if len(pool.leased) == 1:
            late = success(-1, lease)
            differs = {**late.result, "steps": 7}
            pool.late = Finished(-1, differs, lease.number, acknowledge=lambda: acknowledged.append(lease.number))
            return Lost(worker, "nothing was heard of its machine", started=True, outside=True)
        if len(pool.leased) == 4:
            pool._coming.append(pool.late)
        return success(worker, lease)

    pool = Pool(answer)
    coordinator, results = run(tmp_path, pool, count=4, workers=1)
    assert (coordinator.summary.played, coordinator.summary.contradictions) == (4, 1) and acknowledged == [1]
    assert {result.steps for result in results} == {8} and {result.attempts for result in results} == {1}
    (line,) = (tmp_path / "not_reproducible.jsonl").read_text().splitlines()
    assert [json.loads(line)[which]["steps"] for which in ("kept", "other")] == [8, 7]
    assert "1 episodes are not reproducible" in contradictions_remark(tmp_path)


def test_a_record_from_another_machine_is_on_the_disk_before_its_line_is_acknowledged(tmp_path: Path) -> None:
    def answer(worker: int, lease: Lease) -> Event:
        there = tmp_path / lease.record

        def acknowledge() -> None:
            assert there.read_bytes() == b"record" and lease.record in (tmp_path / "results.jsonl").read_text()
            told.append(lease.number)

        return Finished(worker, success(worker, lease).result, lease.number, b"record", acknowledge)

    told: list[int] = []
    run(tmp_path, Pool(answer))
    assert sorted(told) == [1, 2, 3, 4]


def test_a_refused_worker_ends_no_run_that_others_go_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = Pool(success)
    start = pool.start

    def start_or_refuse(worker: int, setup: WorkerSetup) -> None:
        if worker == 0:
            pool.workers[worker] = "starting"
            pool.drop(worker)
            pool._coming.append(Refused(worker, "node 2 would play episodes in another way"))
        else:
            start(worker, setup)

    pool.start = start_or_refuse  # type: ignore[method-assign]
    coordinator, _ = run(tmp_path, pool)
    # More often than workers may fail to start: each place is tried once only, so it is no failure.
    assert coordinator.summary.played == 4 and capsys.readouterr().err.count("a worker was refused: node 2") > 2
