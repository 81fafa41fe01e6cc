"""Executors: wait for work of their nodes and call callbacks.

An executor waits on a DDS waitset for its nodes' readers and on a guard condition that anybody may trigger. Each ready
entity then gets one turn (one sample) before the executor waits again, so that a busy topic cannot starve the rest.
"""

import inspect
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future as _PoolFuture
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rclpy_dds._dds.libddsc import DDSError
from rclpy_dds._dds.waitset import GuardCondition as _Guard
from rclpy_dds._dds.waitset import WaitSet

from .context import Context
from .task import Future, Task
from .utilities import get_default_context

# A function and its arguments.
_Work = tuple[Callable[..., None], tuple]


class ShutdownException(Exception):
    """The executor was shut down."""

    def __init__(self, *args: Any) -> None:
        super().__init__("Executor has been shutdown", *args)


class ExternalShutdownException(Exception):
    """The context was shut down while the executor was spinning."""

    def __init__(self, *args: Any) -> None:
        super().__init__("Context has been shutdown", *args)


class TimeoutException(Exception):
    """The time was over."""


class ConditionReachedException(Exception):
    """A condition was reached."""


class TimeoutObject:
    """A time by which something must be done."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout


class Executor:
    """Base class of executors."""

    _has_workers = False  # whether callbacks run in other threads

    def __init__(self, *, context: Context | None = None) -> None:
        self._context = context or get_default_context()
        participant = self._context.participant.entity
        self._waitset = WaitSet(participant)
        self._guard = _Guard(participant)
        self._lock = threading.RLock()
        self._nodes: list[Any] = []
        self._ready: deque[Any] = deque()
        self._tasks: deque[Task] = deque()
        self._task_turns = 0
        self._waiting_tasks: set[Task] = set()
        self._is_shutdown = False
        self._maintained_at = time.monotonic_ns()
        self._spinning = threading.Lock()
        self._context.add_wakeup(self.wake)

    # --- nodes ---

    @property
    def context(self) -> Context:
        """The context."""
        return self._context

    def add_node(self, node: Any) -> bool:
        """Add a node; return False when it is here already. A node has one executor at most."""
        with self._lock:
            if node in self._nodes:
                return False
            self._nodes.append(node)
        node.executor = self
        self.wake()
        return True

    def remove_node(self, node: Any) -> None:
        """Remove a node."""
        with self._lock:
            if node not in self._nodes:
                return
            self._nodes.remove(node)
        node._dds_forget_executor(self)
        self.wake()

    def get_nodes(self) -> list[Any]:
        """Return the nodes."""
        with self._lock:
            return list(self._nodes)

    def can_execute(self, entity: Any) -> bool:
        """Return whether the callback group of an entity lets its callback begin."""
        return entity.callback_group is None or entity.callback_group.can_execute(entity)

    # --- life ---

    def wake(self) -> None:
        """Make the executor look for work again; from any thread."""
        self._guard.trigger()

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Stop; return whether all work had ended in time."""
        with self._lock:
            if self._is_shutdown:
                return True
            self._is_shutdown = True
        self.wake()
        finished = self._finish(timeout_sec)
        for node in self.get_nodes():
            self.remove_node(node)
        if self._spinning.acquire(timeout=5.0 if timeout_sec is None else max(timeout_sec, 0)):
            self._spinning.release()
            self._waitset.close()
            self._guard.close()
        return finished

    def _finish(self, timeout_sec: float | None) -> bool:
        """Wait for work in other threads."""
        return True

    def __enter__(self) -> "Executor":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.shutdown()

    # --- tasks ---

    def create_task(self, callback: Any, *args: Any, **kwargs: Any) -> Task:
        """Run a function or coroutine in this executor; the task is the future of its result."""
        task = Task(callback, args, kwargs, executor=self)
        self._schedule(task)
        return task

    def _schedule(self, task: Task) -> None:
        self._waiting_tasks.discard(task)
        self._tasks.append(task)
        self.wake()

    def _run_task(self, task: Task) -> None:
        if task.done():
            return
        task()
        if task.done():
            self._raise_exception_of(task)
        elif isinstance(task.waiting_for, Future):
            self._waiting_tasks.add(task)
            _call_when_done(task.waiting_for, lambda _: self._schedule(task))
        else:
            self._schedule(task)

    @staticmethod
    def _raise_exception_of(task: Task) -> None:
        exception = task.exception()
        if exception is not None:
            raise exception

    # --- spinning ---

    def spin(self) -> None:
        """Run callbacks until the executor or its context is shut down."""
        while self._context.ok() and not self._is_shutdown:
            self.spin_once()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Run one callback, or wait for one at most ``timeout_sec`` seconds (None or negative: without a limit).

        Raises:
            ExternalShutdownException: the context was shut down.
        """
        raise NotImplementedError("Executor is abstract: use SingleThreadedExecutor or MultiThreadedExecutor")

    def spin_until_future_complete(self, future: Future, timeout_sec: float | None = None) -> None:
        """Run callbacks until a future is done, the time is over, or the executor or context is shut down."""
        future.add_done_callback(lambda _: self.wake())
        deadline = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
        while self._context.ok() and not future.done() and not self._is_shutdown:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            self._spin_once(left, future.done)
            if deadline is not None and time.monotonic() >= deadline:
                return

    def spin_once_until_future_complete(self, future: Future, timeout_sec: float | None = None) -> None:
        """Run one callback, unless the future is done meanwhile."""
        future.add_done_callback(lambda _: self.wake())
        self._spin_once(timeout_sec, future.done)

    def _spin_once(self, timeout_sec: float | None, stop: Callable[[], bool] | None = None) -> None:
        raise NotImplementedError("Executor is abstract: use SingleThreadedExecutor or MultiThreadedExecutor")

    def _next_work(self, timeout_sec: float | None, stop: Callable[[], bool] | None) -> _Work | None:
        """Return the next thing to do, or None when the time is over or ``stop`` says so.

        What follows the wait decides about the latency: after some idle milliseconds every function and object that is
        touched costs a few microseconds of memory access.
        """
        if not self._spinning.acquire(blocking=False):
            raise ValueError("Executor is already spinning")
        try:
            deadline = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
            waited = False
            context = self._context
            while True:
                if self._is_shutdown or context._leaving:
                    return None
                if not context._ok:
                    raise ExternalShutdownException()
                if self._has_workers:
                    self._check_workers()
                # As many tasks as there were at the last look at the entities: a coroutine that goes on and on must not
                # keep them waiting.
                if self._tasks and self._task_turns > 0:
                    self._task_turns -= 1
                    return self._run_task, (self._tasks.popleft(),)
                while self._ready:
                    entity = self._ready.popleft()
                    arguments = self._begin(entity)
                    if arguments is not None:
                        return self._run_entity, (entity, arguments)
                if stop is not None and stop():
                    return None
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0 and waited:
                    return None
                waited = True
                self._wait(left)
                self._task_turns = len(self._tasks)
        finally:
            self._spinning.release()

    def _check_workers(self) -> None:
        """Raise what a callback in another thread raised."""

    def _begin(self, entity: Any) -> tuple | None:
        """Return the arguments of the entity's callback; None when there is nothing to call or its group is busy."""
        group = entity.callback_group
        if group is not None and not group.beginning_execution(entity):
            return None
        arguments = None
        try:
            arguments = entity.take()
        finally:
            if arguments is None and group is not None:
                group.ending_execution(entity)
        return arguments

    def _run_entity(self, entity: Any, arguments: tuple) -> None:
        group = entity.callback_group
        keep = False
        try:
            result = entity.run(*arguments)
            if result is not None and inspect.iscoroutine(result):
                keep = True
                task = Task(result, executor=self)
                _call_when_done(task, lambda _: self._end(group, entity))
                self._run_task(task)
        finally:
            if not keep:
                self._end(group, entity)

    def _end(self, group: Any, entity: Any) -> None:
        if group is not None:
            group.ending_execution(entity)

    def _wait(self, left: float | None) -> None:
        """Wait until something is ready, and note what."""
        now_ns = time.monotonic_ns()
        if now_ns - self._maintained_at > _MAINTENANCE_PERIOD_NS:
            self._maintained_at = now_ns
            self._context.maintain()
        limit_ns = None if left is None else max(int(left * 1e9), 0)
        conditions: dict[int, Any] = {}
        timers = []
        pending = []  # subscriptions with messages that came past the transport
        timer_ns: int | None = None  # until the next timer
        for node in self.get_nodes():
            for timer in node.timers:
                group = timer.callback_group
                until = timer.time_until_next_call()
                if until is None or (group is not None and not group.can_execute(timer)):
                    continue
                if until <= 0:
                    timers.append(timer)
                elif timer.clock._is_simulated():
                    continue  # looked at again when /clock comes in
                if timer_ns is None or until < timer_ns:
                    timer_ns = until
            for entity in node._dds_waited_entities():
                group = entity.callback_group
                if group is None or group.can_execute(entity):
                    conditions[entity.condition] = entity
                    if getattr(entity, "pending", False):
                        pending.append(entity)
        if self._tasks or pending:
            limit_ns = 0
        elif timer_ns is not None and (limit_ns is None or timer_ns < limit_ns):
            limit_ns = max(timer_ns, 0)
        guard = self._guard.condition
        handles = {*conditions, guard}
        # A limit even without a timer: outside the main thread there may be no wake-up by signals.
        limit_ns = _LONGEST_WAIT_NS if limit_ns is None else min(limit_ns, _LONGEST_WAIT_NS)
        try:
            triggered = self._waitset.wait(handles, limit_ns)
        except DDSError:
            if not self._context.ok():
                return  # deleted while waiting; the caller sees that the context is shut down
            raise
        if not timers and timer_ns is not None and time.monotonic_ns() >= now_ns + timer_ns:
            timers = [
                timer
                for node in self.get_nodes()
                for timer in node.timers
                if timer.is_ready() and (timer.callback_group is None or timer.callback_group.can_execute(timer))
            ]
        self._ready.extend(timers)
        self._ready.extend(pending)
        if len(triggered) == 1 and triggered[0] in conditions and not pending:
            self._ready.append(conditions[triggered[0]])
            return
        if guard in triggered:
            self._guard.reset()
        self._ready.extend(
            entity for condition, entity in conditions.items() if condition in triggered and entity not in pending
        )


_LONGEST_WAIT_NS = 1_000_000_000
_MAINTENANCE_PERIOD_NS = 1_000_000_000


class SingleThreadedExecutor(Executor):
    """Runs callbacks in the thread that spins."""

    def spin_once(self, timeout_sec: float | None = None) -> None:
        self._spin_once(timeout_sec)

    def _spin_once(self, timeout_sec: float | None, stop: Callable[[], bool] | None = None) -> None:
        work = self._next_work(timeout_sec, stop)
        if work is not None:
            function, arguments = work
            function(*arguments)


class MultiThreadedExecutor(Executor):
    """Runs callbacks in a pool of threads, as far as their callback groups allow it at the same time."""

    _has_workers = True

    def __init__(self, num_threads: int | None = None, *, context: Context | None = None) -> None:
        """
        Args:
            num_threads: threads of the pool; the number of processors, at least 2, when None.
            context: the context.
        """
        super().__init__(context=context)
        if num_threads is None:
            num_threads = max(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2, 2)
        if num_threads < 1:
            raise ValueError(f"num_threads must be positive, not {num_threads}")
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="rclpy_executor")
        self._futures: list[_PoolFuture] = []

    def spin_once(self, timeout_sec: float | None = None) -> None:
        self._spin_once(timeout_sec)

    def _spin_once(self, timeout_sec: float | None, stop: Callable[[], bool] | None = None) -> None:
        work = self._next_work(timeout_sec, stop)
        if work is not None:
            function, arguments = work
            future = self._pool.submit(function, *arguments)
            self._futures.append(future)
            future.add_done_callback(lambda _: self.wake())

    def _check_workers(self) -> None:
        finished = [future for future in self._futures if future.done()]
        if finished:
            self._futures = [future for future in self._futures if not future.done()]
            for future in finished:
                future.result()

    def _end(self, group: Any, entity: Any) -> None:
        super()._end(group, entity)
        self.wake()

    def _finish(self, timeout_sec: float | None) -> bool:
        deadline = None if timeout_sec is None else time.monotonic() + timeout_sec
        own = threading.current_thread() in getattr(self._pool, "_threads", ())
        while not own and any(not future.done() for future in self._futures):
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(0.001)
        self._pool.shutdown(wait=False)
        return True


async def await_or_execute(callback: Callable[..., Any], *args: Any) -> Any:
    """Call a function, or await a coroutine function; return its result."""
    result = callback(*args)
    return await result if inspect.isawaitable(result) else result


def _call_when_done(future: Future, callback: Callable[[Future], None]) -> None:
    """Like ``add_done_callback``, but always called at once, never as a task of an executor."""
    with future._lock:
        if not future.done():
            future._direct_callbacks.append(callback)
            return
    callback(future)
