"""Futures and tasks."""

import inspect
import threading
import warnings
import weakref
from collections.abc import Callable, Coroutine, Generator
from typing import Any


class Future:
    """A result that will be there later."""

    def __init__(self, *, executor: Any = None) -> None:
        self._done = False
        self._cancelled = False
        self._result: Any = None
        self._exception: BaseException | None = None
        self._exception_fetched = False
        self._callbacks: list[Callable[[Future], None]] = []
        self._direct_callbacks: list[Callable[[Future], None]] = []
        self._lock = threading.Lock()
        self._executor: Any = None
        self._set_executor(executor)

    def __del__(self) -> None:
        if self._exception is not None and not self._exception_fetched:
            warnings.warn(f"The following exception was never retrieved: {self._exception!r}", stacklevel=2)

    def __await__(self) -> Generator["Future", None, Any]:
        while not self._done and not self._cancelled:
            yield self
        return self.result()

    def cancel(self) -> None:
        """Cancel, unless there is a result already."""
        with self._lock:
            if self._done or self._cancelled:
                return
            self._cancelled = True
        self._call_callbacks()

    def cancelled(self) -> bool:
        """Return whether the future was cancelled."""
        return self._cancelled

    def done(self) -> bool:
        """Return whether there is a result or an exception, or the future was cancelled."""
        return self._done or self._cancelled

    def result(self) -> Any:
        """Return the result (None as long as there is none), or raise the exception that was set."""
        exception = self.exception()
        if exception is not None:
            raise exception
        return self._result

    def exception(self) -> BaseException | None:
        """Return the exception that was set, if any."""
        self._exception_fetched = True
        return self._exception

    def set_result(self, result: Any) -> None:
        """Set the result."""
        with self._lock:
            self._result = result
            self._done = True
            self._cancelled = False
        self._call_callbacks()

    def set_exception(self, exception: BaseException) -> None:
        """Set an exception instead of a result."""
        with self._lock:
            self._exception = exception
            self._exception_fetched = False
            self._done = True
            self._cancelled = False
        self._call_callbacks()

    def _call_callbacks(self) -> None:
        with self._lock:
            callbacks, self._callbacks = self._callbacks, []
            direct, self._direct_callbacks = self._direct_callbacks, []
        for callback in direct:
            callback(self)
        executor = self._executor() if self._executor is not None else None
        for callback in callbacks:
            if executor is not None:
                executor.create_task(callback, self)
            else:
                callback(self)

    def _set_executor(self, executor: Any) -> None:
        self._executor = None if executor is None else weakref.ref(executor)

    def add_done_callback(self, callback: Callable[["Future"], None]) -> None:
        """Call a function with this future when it is done: in its executor if it has one, else at once."""
        with self._lock:
            if not self.done():
                self._callbacks.append(callback)
                return
        executor = self._executor() if self._executor is not None else None
        if executor is not None:
            executor.create_task(callback, self)
        else:
            callback(self)


class Task(Future):
    """Runs a function or coroutine in an executor; its result is the future's."""

    def __init__(
        self,
        handler: Callable[..., Any] | Coroutine[Any, Any, Any],
        args: Any = None,
        kwargs: Any = None,
        executor: Any = None,
    ) -> None:
        super().__init__(executor=executor)
        self._handler: Any = handler
        self._is_coroutine = inspect.iscoroutine(handler)
        self._args = args or ()
        self._kwargs = kwargs or {}
        self._running = threading.Lock()
        self.waiting_for: Any = None

    def __call__(self) -> None:
        """Run the function, or the coroutine up to its next ``await`` that has to wait."""
        if self.done() or not self._running.acquire(blocking=False):
            return
        self.waiting_for = None
        try:
            if not self._is_coroutine:
                result = self._handler(*self._args, **self._kwargs)
                if not inspect.iscoroutine(result):
                    self.set_result(result)
                    return
                self._handler = result
                self._is_coroutine = True
            self.waiting_for = self._handler.send(None)
        except StopIteration as stop:
            self.set_result(stop.value)
        except Exception as error:
            self.set_exception(error)
        finally:
            if self.done():
                self._handler = None
                self._args = ()
            self._running.release()

    def executing(self) -> bool:
        """Return whether the task is running at this moment."""
        return self._running.locked()

    def cancel(self) -> None:
        """Cancel; a coroutine that waits is closed."""
        super().cancel()
        if self._is_coroutine and self._handler is not None and self._running.acquire(blocking=False):
            try:
                self._handler.close()
            finally:
                self._running.release()
