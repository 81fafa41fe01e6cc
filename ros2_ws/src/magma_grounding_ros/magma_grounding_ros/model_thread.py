"""Where the model works: one question at a time, each with a deadline, and nobody waits for longer."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

ModelT = TypeVar("ModelT")
AnswerT = TypeVar("AnswerT")


class BusyError(RuntimeError):
    """Another question is being answered."""


class LateError(RuntimeError):
    """No answer within the deadline."""


class CannotLoadError(RuntimeError):
    """There is no model to ask."""


class ModelThread(Generic[ModelT]):
    """Loads a model when it is asked for the first time, and keeps it.

    `ask` may be called from any thread. What takes longer than its deadline is not waited for; until it has ended
    nothing else is asked, and its answer is dropped.
    """

    def __init__(
        self, load: Callable[[], ModelT], load_s: float, gone: Callable[[Exception], bool] = lambda error: False
    ) -> None:
        """
        Args:
            load: what it raises is told to whoever asks, and the next one tries again.
            load_s: how many seconds loading may take beyond the deadline of the question.
            gone: whether an error of the model means that it is not there any more, so that the next question loads it
                again.
        """
        self._gone = gone
        self._load = load
        self._load_s = load_s
        self._model: ModelT | None = None
        self._free = threading.Lock()
        self._late = False
        self._closed = False

    @property
    def model(self) -> ModelT | None:
        """None until it is loaded."""
        return self._model

    def ask(self, question: Callable[[ModelT], AnswerT], deadline_s: float) -> AnswerT:
        """What `question` returns, called with the model.

        Raises:
            BusyError, LateError, CannotLoadError: see there.
            Exception: what the question raised.
        """
        if self._closed:
            raise BusyError("the node is ending")
        if not self._free.acquire(blocking=False):
            what = (
                "the last question, which came to no answer in time, is still" if self._late else "another question is"
            )
            raise BusyError(f"{what} being worked on; ask again in a moment")
        self._late = False
        loading = self._model is None
        answer: concurrent.futures.Future[AnswerT] = concurrent.futures.Future()
        threading.Thread(target=self._work, args=(question, answer), name="model", daemon=True).start()
        patience_s = deadline_s + (self._load_s if loading else 0.0)
        try:
            return answer.result(patience_s)
        except (concurrent.futures.TimeoutError, TimeoutError):
            if answer.done():
                raise
            self._late = True
            raise LateError(f"no answer within {patience_s:g} s") from None

    def close(self) -> None:
        """Nothing is asked any more. What the model works on is not waited for."""
        self._closed = True

    def _work(self, question: Callable[[ModelT], AnswerT], answer: concurrent.futures.Future[AnswerT]) -> None:
        try:
            try:
                found = question(self._loaded())
            except Exception as error:
                if self._gone(error):
                    self._model = None
                raise
            finally:
                self._late = False
                # Whoever hears the answer may ask the next question at once.
                self._free.release()
        except BaseException as error:
            answer.set_exception(error)
        else:
            answer.set_result(found)

    def _loaded(self) -> ModelT:
        if self._model is None:
            try:
                self._model = self._load()
            except Exception as error:
                raise CannotLoadError(f"the model cannot be loaded: {error}") from error
        return self._model
