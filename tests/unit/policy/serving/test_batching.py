"""The scheduler behind magma-serve, with models that are slow, fail, or count what they are given."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import pytest

from magma_policy.serving.batching import Batcher, LateError, OverloadedError, StoppingError

LONG_S = 30.0


@dataclass
class Model:
    """Returns its requests; may be held, and fails on what says so."""

    batches: list = field(default_factory=list)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go: threading.Event = field(default_factory=threading.Event)

    def act_batch(self, requests):
        self.batches.append(list(requests))
        self.entered.release()
        assert self.go.wait(LONG_S)
        if "bad" in requests:
            raise RuntimeError("bad row")
        return [f"did {request}" for request in requests]


@pytest.fixture
def make():
    made = []

    def batcher(model, max_batch=8, window_s=0.0, max_waiting=8, **rest):
        made.append((model, Batcher(model, max_batch, window_s, max_waiting, **rest)))
        return made[-1][1]

    yield batcher
    for model, item in made:
        model.go.set()
        assert item.stop(LONG_S)


def soon():
    return time.monotonic() + LONG_S


def hold(model, batcher, key="holder"):
    """The model is busy from here until `model.go`."""
    future = batcher.submit(key, "held", soon())
    assert model.entered.acquire(timeout=LONG_S)
    return future


def test_what_waits_is_answered_together_and_each_gets_its_own(make):
    model = Model()
    runs = []
    batcher = make(model, max_batch=3, on_batch=runs.append)
    held = hold(model, batcher)
    futures = [batcher.submit(robot, f"task {robot}", soon()) for robot in range(4)]
    assert batcher.waiting == 4 and batcher.running_s > 0
    model.go.set()
    assert held.result(LONG_S).result == "did held"
    answers = [future.result(LONG_S) for future in futures]
    assert [answer.result for answer in answers] == [f"did task {robot}" for robot in range(4)]
    assert [answer.batch_size for answer in answers] == [3, 3, 3, 1] and all(a.queue_ms >= 0 for a in answers)
    assert [len(batch) for batch in model.batches] == [1, 3, 1]
    assert batcher.stop(LONG_S) and [run.size for run in runs] == [1, 3, 1]


def test_late_questions_are_dropped_without_a_call_of_the_model(make):
    model = Model()
    batcher = make(model)
    hold(model, batcher)
    late = batcher.submit("a", "late", time.monotonic() + 0.02)
    good = batcher.submit("b", "good", soon())
    time.sleep(0.05)
    model.go.set()
    with pytest.raises(LateError, match="deadline passed"):
        late.result(LONG_S)
    assert good.result(LONG_S).result == "did good"
    assert ["late"] not in model.batches and all("late" not in batch for batch in model.batches)


def test_the_newest_question_of_a_robot_replaces_the_one_that_waits(make):
    model = Model()
    batcher = make(model)
    hold(model, batcher)
    old = batcher.submit("a", "old", soon())
    new = batcher.submit("a", "new", soon())
    with pytest.raises(LateError, match="newer"):
        old.result(LONG_S)
    model.go.set()
    assert new.result(LONG_S).result == "did new"
    assert model.batches == [["held"], ["new"]]


def test_one_failing_row_is_its_own_trouble(make):
    model = Model()
    batcher = make(model)
    hold(model, batcher)
    futures = {name: batcher.submit(name, name, soon()) for name in ("good", "bad", "fine")}
    model.go.set()
    assert futures["good"].result(LONG_S).result == "did good" and futures["fine"].result(LONG_S).result == "did fine"
    with pytest.raises(RuntimeError, match="bad row"):
        futures["bad"].result(LONG_S)
    assert batcher.submit("good", "again", soon()).result(LONG_S).result == "did again"


def test_limits_and_the_end(make):
    model = Model()
    batcher = make(model, max_waiting=2)
    held = hold(model, batcher)
    waiting = [batcher.submit(robot, "x", soon()) for robot in range(2)]
    with pytest.raises(OverloadedError, match="2 requests wait"):
        batcher.submit("third", "x", soon())
    gone = waiting.pop()
    batcher.forget(1)
    assert gone.cancelled()
    assert not batcher.stop(0.05), "the model is still at work"
    for future in waiting:
        with pytest.raises(StoppingError):
            future.result(LONG_S)
    with pytest.raises(StoppingError):
        batcher.submit("late comer", "x", soon())
    model.go.set()
    assert held.result(LONG_S).result == "did held"


def test_a_batch_waits_for_robots_that_asked_lately_and_never_past_a_deadline(make):
    model = Model()
    model.go.set()
    batcher = make(model, window_s=20.0)
    assert batcher.submit("a", 1, soon()).result(LONG_S).batch_size == 1, "a single robot waits for nobody"
    first = batcher.submit("a", 2, soon())
    # b is new; a and b are both expected from now on, so the next two questions go together.
    assert batcher.submit("b", 2, soon()).result(LONG_S).batch_size + first.result(LONG_S).batch_size in (2, 3, 4)
    one = batcher.submit("a", 3, soon())
    two = batcher.submit("b", 3, soon())
    assert one.result(LONG_S).batch_size == two.result(LONG_S).batch_size == 2
    alone = batcher.submit("a", 4, time.monotonic() + 1.0)
    assert alone.result(LONG_S).batch_size == 1, "answered before its deadline though b has not asked"
    waiting = batcher.submit("a", 5, soon())
    batcher.forget("b")
    assert waiting.result(LONG_S).batch_size == 1, "nobody waits for a robot that is gone"
