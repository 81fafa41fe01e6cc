"""Who holds which episode, whatever order answers, losses and repetitions come in."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_eval.episodes import Episode
from magma_eval.results.episode_result import EpisodeResult, Key, Success
from magma_eval.rollout.settings import RolloutSettings
from magma_eval.run.leases import MOST_LOSSES, LeaseBook, Worth
from magma_eval.run.scheduler import Job, Scheduler


def job(number: int) -> Job:
    make = f"scene-{number % 3}"
    episode = Episode("fake", "reach", "eval", number, make=make, layout=number)
    return Job(Key("fake", "reach", "eval", number, 0, "hold", "c", "code"), episode, RolloutSettings(), 0)


def result(job: Job, verdict: bool = True, seconds: float = 0.0, clock: str = "lockstep") -> EpisodeResult:
    success = Success(verdict, verdict, verdict)
    return EpisodeResult(job.key, job.episode, "ok", "last", clock, None, "none", success=success, seconds=seconds)


def error(job: Job) -> EpisodeResult:
    return EpisodeResult(job.key, job.episode, "error", "last", "lockstep", None, "none", error="crashed")


def book_of(count: int, attempts: int = 3) -> tuple[LeaseBook, Scheduler]:
    scheduler = Scheduler([job(n) for n in range(count)], attempts)
    return LeaseBook(scheduler), scheduler


def test_a_lost_worker_s_late_answer_counts_and_the_episode_is_not_begun_again() -> None:
    book, scheduler = book_of(1)
    first = book.lease(0)
    assert first is not None and book.failed(0, outside=True) == (first.job, True)
    assert book.answered(first.number, result(first.job)) is Worth.NEW
    assert scheduler.finished and book.lease(1) is None


@pytest.mark.parametrize(
    ("second", "worth"),
    [
        (result(job(0), True, seconds=9.0), Worth.REPEATED),
        (result(job(0), False), Worth.CONTRADICTION),
    ],
)
def test_two_answers_for_one_episode_must_agree_in_all_but_times(second: EpisodeResult, worth: Worth) -> None:
    book, scheduler = book_of(1)
    first = book.lease(0)
    assert first is not None
    book.failed(0, outside=True)
    again = book.lease(1)
    assert again is not None and again.number != first.number
    assert book.answered(first.number, result(first.job)) is Worth.NEW
    assert book.held(1) == again and not scheduler.finished  # who plays it already may finish
    assert book.answered(again.number, second) is worth and scheduler.finished
    assert book.kept(first.job.key) == result(first.job)


def test_on_the_wall_s_clock_nothing_repeats_so_nothing_contradicts() -> None:
    book, _ = book_of(1)
    first = book.lease(0)
    book.failed(0, outside=True)
    again = book.lease(1)
    assert first is not None and again is not None
    book.answered(again.number, result(first.job, True, clock="wall"))
    assert book.answered(first.number, result(first.job, False, clock="wall")) is Worth.REPEATED


def test_a_lease_is_answered_once() -> None:
    book, _ = book_of(1)
    leased = book.lease(0)
    assert leased is not None
    book.answered(leased.number, result(leased.job))
    assert book.job(leased.number) is None
    with pytest.raises(KeyError):
        book.answered(leased.number, result(leased.job))


def test_a_worker_that_was_taken_away_is_no_try_of_its_episode_up_to_a_limit() -> None:
    book, scheduler = book_of(1, attempts=1)
    for _ in range(MOST_LOSSES - 1):
        leased = book.lease(0)
        assert leased is not None and book.attempts(leased.job) == 1
        assert book.failed(0, outside=True) == (leased.job, True)
    leased = book.lease(0)
    assert leased is not None and book.failed(0, outside=True) == (leased.job, False) and scheduler.finished


def test_an_answer_replaces_an_error_even_when_it_is_late() -> None:
    book, _ = book_of(1, attempts=1)
    leased = book.lease(0)
    assert leased is not None and book.failed(0) == (leased.job, False)
    book.given_up(error(leased.job))
    assert book.answered(leased.number, result(leased.job)) is Worth.NEW


def test_a_worker_lost_with_an_episode_that_has_a_result_changes_nothing() -> None:
    book, scheduler = book_of(1)
    first = book.lease(0)
    book.failed(0, outside=True)
    again = book.lease(1)
    assert first is not None and again is not None
    book.answered(first.number, result(first.job))
    assert book.failed(1) is None and book.failed(1) is None and scheduler.finished


@settings(max_examples=60)
@given(st.data())
def test_whatever_happens_every_episode_ends_with_exactly_one_result(data: st.DataObject) -> None:
    """Random kills, stalls, late and repeated answers, and restarts of the coordinator."""
    count, workers = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 4))
    disk: list[EpisodeResult] = []

    def begin() -> tuple[LeaseBook, Scheduler]:
        there = {one.key for one in disk}
        scheduler = Scheduler([j for j in map(job, range(count)) if j.key not in there], 3)
        return LeaseBook(scheduler, disk), scheduler

    book, scheduler = begin()
    late: list[tuple[int, Job]] = []
    for _ in range(data.draw(st.integers(0, 60))):
        worker = data.draw(st.integers(0, workers - 1))
        what = data.draw(st.sampled_from(["lease", "answer", "kill", "stall", "late answer", "restart"]))
        held = book.held(worker)
        if what == "lease" and held is None:
            book.lease(worker)
        elif what == "answer" and held is not None:
            if book.answered(held.number, result(held.job)) is Worth.NEW:
                disk.append(result(held.job))
        elif what in ("kill", "stall") and held is not None:
            book.failed(worker, outside=True)
            scheduler.forget(worker)
            if what == "stall":
                late.append((held.number, held.job))
        elif what == "late answer" and late:
            number, its_job = late.pop(data.draw(st.integers(0, len(late) - 1)))
            worth = book.answered(number, result(its_job))
            assert worth in (Worth.NEW, Worth.REPEATED)
            if worth is Worth.NEW:
                disk.append(result(its_job))
        elif what == "restart":
            # What was under way is forgotten with the coordinator; its workers end with it.
            book, scheduler = begin()
            late = []
    turn = 0
    while not scheduler.finished:
        worker, turn = turn % workers, turn + 1
        leased = book.held(worker) or book.lease(worker)
        if leased is not None and book.answered(leased.number, result(leased.job)) is Worth.NEW:
            disk.append(result(leased.job))
    assert Counter(one.key for one in disk) == Counter(j.key for j in map(job, range(count)))
