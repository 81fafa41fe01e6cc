"""One thread that runs the model for many robots: what waits is answered together, what is late is dropped and said so.

Nothing here knows of sockets; answers are `concurrent.futures.Future`s that any thread or event loop may wait for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

LIVE_S = 1.0
"""A robot that asked this recently is expected to ask again, so a batch may wait a moment for it."""


class LateError(Exception):
    """The deadline passed, or a newer request of the same robot took the place of this one."""


class OverloadedError(Exception):
    """Too many requests wait already."""


class StoppingError(Exception):
    """The server ends."""


class BatchedModel(Protocol):
    """What the scheduler needs of a policy: one call for several observations, rows independent of each other."""

    def act_batch(self, requests: Sequence[Any]) -> list[Any]: ...


@dataclass(frozen=True)
class Answer:
    """The policy's result, how long the request waited, and with how many others it was answered."""

    result: Any
    queue_ms: float
    batch_size: int


@dataclass
class _Waiting:
    key: Hashable
    request: Any
    deadline_s: float
    arrived_s: float
    future: Future[Answer] = field(default_factory=Future)


@dataclass(frozen=True)
class BatchRun:
    """One call of the model, for whoever keeps statistics."""

    size: int
    seconds: float
    waiting: int


class Batcher:
    """Schedules requests of several robots on one model.

    A batch starts when it is full, when every robot that asked lately is in it, when its first request has waited
    `window_s`, or when a deadline leaves no more time to wait. A single robot therefore never waits for anybody.
    """

    def __init__(
        self,
        model: BatchedModel,
        max_batch: int,
        window_s: float,
        max_waiting: int,
        on_batch: Callable[[BatchRun], None] = lambda run: None,
    ) -> None:
        if max_batch < 1 or max_waiting < 1 or window_s < 0:
            raise ValueError(
                f"max_batch {max_batch} and max_waiting {max_waiting} >= 1, window_s {window_s} >= 0 needed"
            )
        self._model = model
        self._max_batch = max_batch
        self._window_s = window_s
        self._max_waiting = max_waiting
        self._on_batch = on_batch
        self._changed = threading.Condition()
        self._queue: list[_Waiting] = []
        self._last_asked: dict[Hashable, float] = {}
        self._typical_s = 0.0
        self._running_since: float | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def submit(self, key: Hashable, request: Any, deadline_s: float) -> Future[Answer]:
        """Asks for an action.

        Args:
            key: the robot; a newer request of the same one replaces an older one that still waits.
            request: what `act_batch` takes.
            deadline_s: time (`time.monotonic`) after which nobody wants the answer.

        Returns:
            A future with the Answer, LateError, StoppingError, or whatever the model raised.

        Raises:
            OverloadedError, StoppingError: not taken at all.
        """
        item = _Waiting(key, request, deadline_s, time.monotonic())
        replaced: list[_Waiting] = []
        with self._changed:
            if self._stopping:
                raise StoppingError("the server ends")
            replaced = [old for old in self._queue if old.key == key]
            if replaced:
                self._queue = [old for old in self._queue if old.key != key]
            if len(self._queue) >= self._max_waiting:
                raise OverloadedError(f"{len(self._queue)} requests wait already")
            self._queue.append(item)
            self._last_asked[key] = item.arrived_s
            self._changed.notify_all()
        for old in replaced:
            _fail(old, LateError("a newer request of the same session took its place"))
        return item.future

    def forget(self, key: Hashable) -> None:
        """The robot is gone: nobody waits for it any more."""
        with self._changed:
            self._last_asked.pop(key, None)
            gone = [item for item in self._queue if item.key == key]
            self._queue = [item for item in self._queue if item.key != key]
            self._changed.notify_all()
        for item in gone:
            item.future.cancel()

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        with self._changed:
            return len(self._queue)

    @property
    def running_s(self) -> float:
        """How long the present call of the model has been running; 0 when none is."""
        with self._changed:
            return 0.0 if self._running_since is None else time.monotonic() - self._running_since

    def stop(self, timeout_s: float) -> bool:
        """Refuses what waits and what comes; returns whether the model had ended its call within `timeout_s`."""
        with self._changed:
            self._stopping = True
            refused, self._queue = self._queue, []
            self._changed.notify_all()
        for item in refused:
            _fail(item, StoppingError("the server ends"))
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # The inference thread.

    def _run(self) -> None:
        while True:
            batch, late = self._take()
            for item in late:
                waited_ms = (time.monotonic() - item.arrived_s) * 1e3
                _fail(item, LateError(f"dropped: its deadline passed after it had waited {waited_ms:.0f} ms"))
            if batch is None:
                return
            if batch:
                self._answer(batch)

    def _take(self) -> tuple[list[_Waiting] | None, list[_Waiting]]:
        with self._changed:
            while not self._stopping:
                now_s = time.monotonic()
                late = [item for item in self._queue if item.deadline_s <= now_s]
                if late:
                    self._queue = [item for item in self._queue if item.deadline_s > now_s]
                    return [], late
                if not self._queue:
                    self._changed.wait()
                    continue
                start_s = self._start_s(now_s)
                if start_s <= now_s:
                    batch, self._queue = self._queue[: self._max_batch], self._queue[self._max_batch :]
                    self._running_since = now_s
                    return batch, []
                self._changed.wait(start_s - now_s)
            return None, []

    def _start_s(self, now_s: float) -> float:
        """When the batch that waits should start."""
        live = sum(now_s - asked_s < LIVE_S for asked_s in self._last_asked.values())
        if len(self._queue) >= min(self._max_batch, live):
            return now_s
        # Past its deadline an answer is worthless, however full the batch: at most half of the time goes into waiting.
        return min(
            min(
                item.arrived_s + min(self._window_s, 0.5 * (item.deadline_s - item.arrived_s)),
                item.deadline_s - 2.0 * self._typical_s,
            )
            for item in self._queue
        )

    def _answer(self, batch: list[_Waiting]) -> None:
        batch = [item for item in batch if item.future.set_running_or_notify_cancel()]
        if not batch:
            self._ended()
            return
        started_s = time.monotonic()
        outcomes: list[Any]
        try:
            outcomes = list(self._model.act_batch([item.request for item in batch]))
        except Exception as error:  # whatever a model raises: the caller gets it, the thread lives on
            outcomes = [error] if len(batch) == 1 else [self._alone(item) for item in batch]
        seconds = time.monotonic() - started_s
        self._typical_s = seconds if not self._typical_s else 0.8 * self._typical_s + 0.2 * seconds
        self._ended()
        for item, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):
                item.future.set_exception(outcome)
            else:
                item.future.set_result(Answer(outcome, (started_s - item.arrived_s) * 1e3, len(batch)))
        self._on_batch(BatchRun(len(batch), seconds, self.waiting))

    def _alone(self, item: _Waiting) -> Any:
        """What failed together is tried one by one, so that one robot's trouble stays its own."""
        try:
            return self._model.act_batch([item.request])[0]
        except Exception as error:
            return error

    def _ended(self) -> None:
        with self._changed:
            self._running_since = None


def _fail(item: _Waiting, error: Exception) -> None:
    if item.future.set_running_or_notify_cancel():
        item.future.set_exception(error)
