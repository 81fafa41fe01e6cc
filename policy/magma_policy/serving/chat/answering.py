"""A request's way to its answer: from the store if it was given before, else from the model step by step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from concurrent.futures import Future

from magma_policy.families.interface import Piece, Talker
from magma_policy.serving.batching import Answer, Batcher, LateError, OverloadedError, StoppingError
from magma_policy.serving.chat.answer_store import AnswerStore, StoredAnswer, key_of
from magma_policy.serving.chat.request import ChatRequest
from magma_policy.serving.chat.stop_words import StopWords
from magma_policy.serving.chat.talking import Step, Talk
from magma_policy.serving.metrics import Metrics

ANSWER_S = 600.0
"""A request that has no whole answer by then gets none."""


class Answering:
    """Answers requests to one model."""

    def __init__(
        self, talker: Talker, batcher: Batcher, metrics: Metrics, identity: str, store: AnswerStore | None
    ) -> None:
        """`batcher` runs a `SharedModel`; `identity` is the model's content (a hash)."""
        self._talker = talker
        self._batcher = batcher
        self._metrics = metrics
        self._identity = identity
        self._store = store
        # One answer after the other: together they would be no faster, and a robot would wait for a step of each.
        self._turn = asyncio.Semaphore(1)

    async def stored_as(self, request: ChatRequest) -> str | None:
        """What its answer is kept as; None where nothing is kept, or another answer might be given each time."""
        if self._store is None or not request.repeatable:
            return None
        # Hashing pictures and looking on the disk is nothing for the event loop.
        return await asyncio.to_thread(key_of, self._identity, request)

    async def kept(self, stored_as: str | None) -> StoredAnswer | None:
        """The answer that was given before; None where there is none."""
        if self._store is None or stored_as is None:
            return None
        return await asyncio.to_thread(self._store.get, stored_as)

    async def parts(self, request: ChatRequest, stored_as: str | None) -> AsyncGenerator[Piece, None]:
        """The model's answer as it comes, kept once it is whole.

        Closing the iterator ends the work. Raises what the model raises, LateError, OverloadedError and StoppingError.
        """
        key, deadline_s = object(), time.monotonic() + ANSWER_S
        talk = Talk(self._talker, request.message, request.settings)
        stops, text, part = StopWords(request.stop), "", None
        try:
            await asyncio.wait_for(self._turn.acquire(), ANSWER_S)
        except (asyncio.TimeoutError, TimeoutError):
            raise LateError(f"others' answers took {ANSWER_S:g} s") from None
        try:
            while part is None or part.finish is None:
                answer = await _until(deadline_s, self._batcher.submit(key, Step(talk), deadline_s))
                for piece in answer.result.pieces:
                    part = _part(piece, stops)
                    text += part.text
                    if part.text or part.finish is not None:
                        yield part
                    if part.finish is not None:
                        break
                if answer.result.error is not None:
                    raise answer.result.error
                self._metrics.answered(answer.queue_ms, {})
                if not answer.result.pieces:
                    raise RuntimeError("the model ended its answer without saying why")
        finally:
            self._turn.release()
            self._batcher.forget(key)
            self._end(key, talk)
        if self._store is not None and stored_as is not None:
            said = StoredAnswer(text, part.finish, part.prompt_tokens, part.tokens)
            await asyncio.to_thread(self._store.put, stored_as, said)

    def _end(self, key: object, talk: Talk) -> None:
        """What the model lent is given back in its own thread."""
        if talk.ended:
            return
        try:
            future = self._batcher.submit(key, Step(talk, ends=True), time.monotonic() + ANSWER_S)
        except (OverloadedError, StoppingError):
            return
        future.add_done_callback(lambda done: self._batcher.forget(key))


async def _until(deadline_s: float, future: Future[Answer]) -> Answer:
    """A step's outcome. Raises LateError when the model works on it for too long, and what the future raises."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(future), max(0.0, deadline_s - time.monotonic()))
    except (asyncio.TimeoutError, TimeoutError):
        raise LateError(f"the answer was not whole after {ANSWER_S:g} s") from None


def _part(piece: Piece, stops: StopWords) -> Piece:
    text = stops.add(piece.text)
    if stops.found:
        return Piece(text, "stop", piece.prompt_tokens, piece.tokens)
    if piece.finish is not None:
        text += stops.rest()
    return Piece(text, piece.finish, piece.prompt_tokens, piece.tokens)
