"""Who plays what next."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_eval.episodes import Episode
from magma_eval.results.episode_result import Key
from magma_eval.rollout.settings import RolloutSettings
from magma_eval.run.scheduler import Job, Scheduler


def job(environment: str, number: int) -> Job:
    episode = Episode("fake", environment, "eval", number, make=environment, layout=number)
    return Job(Key("fake", environment, "eval", number, 0, "hold", "c", "v"), episode, RolloutSettings(), 0)


def jobs(**counts: int) -> list[Job]:
    return [job(environment, number) for environment, count in counts.items() for number in range(count)]


def test_a_worker_stays_with_its_environment_and_another_takes_another() -> None:
    scheduler = Scheduler(jobs(a=3, b=5, c=4), attempts=1)
    order: list[list[str]] = [[], []]
    while not scheduler.finished:
        for worker in (0, 1):
            next_job = scheduler.next(worker)
            if next_job is not None:
                order[worker].append(next_job.episode.make)
        for worker in list(scheduler.running):
            scheduler.done(worker)
    assert order[0][:5] == ["b"] * 5 and order[1][:4] == ["c"] * 4
    changes = sum(a != b for names in order for a, b in itertools.pairwise(names))
    assert changes <= 3 and sum(map(len, order)) == 12


def test_a_failed_job_is_tried_again_and_given_up_at_last() -> None:
    scheduler = Scheduler(jobs(a=2), attempts=2)
    first = scheduler.next(0)
    assert first is not None and scheduler.failed(0) == (first, True)
    second = scheduler.next(0)
    assert second is not None and second.key.episode_id == 1  # the failed one waits behind the others
    scheduler.done(0)
    assert scheduler.next(0) == first and scheduler.attempts(first) == 2
    assert scheduler.failed(0) == (first, False) and scheduler.finished


def test_an_abandoned_job_counts_as_never_begun() -> None:
    scheduler = Scheduler(jobs(a=1), attempts=1)
    begun = scheduler.next(0)
    assert begun is not None
    scheduler.abandoned(0)
    assert scheduler.waiting == 1 and scheduler.attempts(begun) == 0


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one attempt"):
        Scheduler([], attempts=0)
    scheduler = Scheduler(jobs(a=2), attempts=1)
    scheduler.next(0)
    with pytest.raises(ValueError, match="busy"):
        scheduler.next(0)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.data())
def test_whatever_happens_every_job_ends_once(counts: list[int], data: st.DataObject) -> None:
    everything = [job(f"e{place}", number) for place, count in enumerate(counts) for number in range(count)]
    scheduler = Scheduler(everything, attempts=3)
    ended = []
    while not scheduler.finished:
        for worker in range(3):
            if worker not in scheduler.running:
                scheduler.next(worker)
        worker = data.draw(st.sampled_from(sorted(scheduler.running)))
        what = data.draw(st.sampled_from(["done", "failed", "abandoned", "died"]))
        if what == "done":
            ended.append(scheduler.done(worker).key)
        elif what == "abandoned":
            scheduler.abandoned(worker)
        else:
            failed, again = scheduler.failed(worker)
            if what == "died":
                scheduler.forget(worker)
            if not again:
                ended.append(failed.key)
    assert sorted(ended) == sorted(item.key for item in everything)
    assert all(1 <= scheduler.attempts(item) <= 3 for item in everything)
