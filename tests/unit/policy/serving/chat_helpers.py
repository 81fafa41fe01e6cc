"""A server of the chat endpoint around a model that a test scripts, holds or fails."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
from types import SimpleNamespace

import numpy as np
from PIL import Image

from magma_contracts.action_spec import ActionSpec
from magma_policy.families.interface import Piece
from magma_policy.serving.batching import Batcher
from magma_policy.serving.chat.answer_store import AnswerStore
from magma_policy.serving.chat.answering import Answering
from magma_policy.serving.chat.api import ApiLimits, ChatApi
from magma_policy.serving.chat.talking import SharedModel
from magma_policy.serving.connection import PolicyServer
from magma_policy.serving.front import Limits
from magma_policy.serving.metrics import Metrics
from tests.running_server import running

LONG_S = 30.0
SPEC = ActionSpec("parrot", 1, 0.2, "base", "axis_angle", "absolute_open_1", "none", "third_person", 4, 4, False)


class Parrot:
    """Says what it was asked, letter by letter, as far as it may; acts by counting."""

    def __init__(self):
        self.asked = []
        self.closed = 0
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Semaphore(0)
        self.error = None

    def new_session(self, robot):
        return SimpleNamespace(count=0)

    def request(self, image, instruction, proprioception, session):
        return session

    def act_batch(self, requests):
        for session in requests:
            session.count += 1
        return [SimpleNamespace(deltas=np.full((1, 7), float(s.count)), stage_ms={}, marks=None) for s in requests]

    def pieces(self, message, settings):
        self.asked.append((message, settings))
        self.entered.release()
        try:
            if self.error is not None:
                raise self.error
            words = message.question[: settings.max_new_tokens]
            cut = len(message.question) >= settings.max_new_tokens
            for number, letter in enumerate(words, 1):
                assert self.go.wait(LONG_S)
                last = cut and number == len(words)
                yield Piece(letter, "length" if last else None, 7 + len(message.images), number)
            if not cut:
                yield Piece("", "stop", 7 + len(message.images), len(words) + 1)
        finally:
            self.closed += 1


@contextlib.contextmanager
def served(model, tmp_path=None, token=None, max_body=2**20, max_connections=8, max_waiting=8, identity="abc"):
    """The base of its URLs, http://127.0.0.1:PORT, while the server runs."""
    metrics = Metrics()
    store = AnswerStore(tmp_path / "answers.sqlite") if tmp_path is not None else None

    def make():
        batcher = Batcher(SharedModel(model), 4, 0.0, 8, metrics.batch)
        limits = Limits(2**20, max_connections)
        server = PolicyServer(model, {"": SPEC}, batcher, metrics, limits, token, "test", identity)
        answering = Answering(model, batcher, metrics, identity, store)
        server.offer(ChatApi(answering, metrics, "parrot", identity, ApiLimits(max_body, max_waiting)))
        return server, batcher

    with running(make) as url:
        try:
            yield url
        finally:
            model.go.set()


def data_url(pixels, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def asks(text, *pictures, detail=None):
    """A user's message."""
    shown = [{"url": url} if detail is None else {"url": url, "detail": detail} for url in pictures]
    parts = [{"type": "image_url", "image_url": one} for one in shown]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}
