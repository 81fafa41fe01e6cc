"""The network side of magma-serve around a model that points."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.request

import numpy as np
import pytest

from magma_contracts.grounding import Entity, Expression, GroundedText, Grounding
from magma_policy.grounding.local_pointer import LocalPointer
from magma_policy.serving.batching import Batcher
from magma_policy.serving.front import Limits
from magma_policy.serving.grounding_connection import GroundingServer
from magma_policy.serving.metrics import Metrics
from magma_policy.serving.served_pointer import ServedPointer
from magma_policy_client import (
    ConnectionLostError,
    GroundingClient,
    PolicyChangedError,
    PolicyClient,
    PolicyTimeoutError,
    QuestionError,
    RefusedError,
    ServerError,
    VersionMismatchError,
    grounding_messages,
)
from tests.running_server import running

LONG_S = 60.0
IMAGE = np.zeros((4, 6, 3), np.uint8)
BOX = np.array([0.25, 0.25, 0.75, 0.75])


class OneThing:
    """A carrot in the middle of every picture; waits for `go`."""

    def __init__(self):
        self.go = threading.Event()
        self.go.set()

    def ground(self, image, phrases, which="one"):
        assert self.go.wait(LONG_S)
        if "broken" in phrases:
            raise RuntimeError("out of memory")
        found = [np.array([BOX] if "carrot" in phrase else []).reshape(-1, 4) for phrase in phrases]
        return [Grounding(p, b, np.full(len(b), 0.5), float(len(b))) for p, b in zip(phrases, found, strict=True)]

    def refer(self, image, box):
        return Expression("a carrot", 0.5)

    def describe(self, image, *, detailed=False):
        return GroundedText("a carrot" * (1 + detailed), (Entity("carrot", (2, 8), np.array([BOX]), np.array([0.5])),))

    def answer(self, image, question):
        return GroundedText(f"{image.shape}")


@contextlib.contextmanager
def served(model, identity="ab" * 16, port=0, token=None):
    batcher = Batcher(ServedPointer(LocalPointer(model, identity), "one-thing"), 1, 0.0, 8, lambda run: None)
    server = GroundingServer(batcher, Metrics(), Limits(2**20, 8), token, "one-thing", identity)
    with running(lambda: (server, batcher), port) as url:
        yield url.replace("http", "ws")
        model.go.set()


@pytest.fixture
def model():
    return OneThing()


def test_answers_are_those_of_the_model_itself(model):
    own = LocalPointer(model, "x")
    with served(model) as url, GroundingClient(url, timeout_s=LONG_S) as client:
        assert (client.model, client.identity) == ("one-thing", "ab" * 16)
        for far, near in zip(
            client.ground(IMAGE, ["the carrot", "a spoon"]), own.ground(IMAGE, ["the carrot", "a spoon"]), strict=True
        ):
            assert (far.phrase, far.presence) == (near.phrase, near.presence)
            np.testing.assert_array_equal(far.boxes, near.boxes)
        assert client.refer(IMAGE, BOX) == own.refer(IMAGE, BOX)
        named = client.name(IMAGE, [0.5, 0.5, 0.5, 0.5])
        assert named.phrase == "the carrot" and named.agreement == 1.0
        assert client.describe(IMAGE, detailed=True).text == "a carrota carrot"
        assert client.describe(IMAGE).entities[0].span == (2, 8)
        assert client.answer(IMAGE, "how large?").text == "(4, 6, 3)"
        health = json.loads(urllib.request.urlopen(url.replace("ws://", "http://") + "/healthz", timeout=LONG_S).read())
        assert (health["policy"], health["identity"], health["protocol"]) == ("one-thing", "ab" * 16, 1)


def test_what_cannot_be_asked_and_what_breaks(model):
    with served(model) as url, GroundingClient(url, timeout_s=LONG_S) as client:
        for question, told in (
            (lambda: client.ground(IMAGE, [" "]), "the phrase is empty"),
            (lambda: client.ground(IMAGE, ["x" * 3000]), "at most 2,000 are read"),
            (lambda: client.ground(IMAGE, ["x" * 10_000]), "at most 4096 characters"),
            (lambda: client.answer(IMAGE, ""), "the question is empty"),
            (lambda: client.name(IMAGE, [0.01, 0.01, 0.01, 0.01]), "click nearer to its middle"),
            (lambda: client.refer(IMAGE, [0.0, np.nan, 1.0, 1.0]), "must be finite"),
            (lambda: client.name(IMAGE, [np.inf, 0.5, np.inf, 0.5]), "must be finite"),
            (lambda: client.name(IMAGE, [1.2, 0.5, 1.2, 0.5]), "outside of the picture"),
            (lambda: client.name(IMAGE, [1.2, 0.1, 1.5, 0.4]), "outside of the picture"),
            (lambda: client.name(IMAGE, [0.1, 0.1, 0.1, 0.4]), "no area"),
            (lambda: client.answer(IMAGE, "x" * 10_000), "at most 4096 characters"),
            (lambda: client.describe(np.zeros((4, 6), np.uint8)), "image"),
            (lambda: client.describe(np.zeros((4, 6, 3), np.float32)), "image"),
            (lambda: client.ground(np.zeros((2000, 2000, 3), np.uint8), ["x"]), "takes at most"),
        ):
            with pytest.raises(QuestionError, match=told) as refused:
                question()
            assert isinstance(refused.value, ValueError)
        with pytest.raises(ServerError, match="the model failed: RuntimeError: out of memory"):
            client.ground(IMAGE, ["broken"])
        assert client.refer(IMAGE, BOX).text == "a carrot"
        assert client.name(IMAGE, [0.75, 0.75, 0.25, 0.25]).agreement == 1.0  # drawn from the other corner


def test_a_late_answer_is_never_that_of_another_question(model):
    with served(model) as url, GroundingClient(url, timeout_s=LONG_S) as client:
        model.go.clear()
        client._timeout_s = 0.2
        with pytest.raises(PolicyTimeoutError):
            client.ground(IMAGE, ["the carrot"])
        client._timeout_s = LONG_S
        model.go.set()
        assert client.ground(IMAGE, ["a spoon"])[0].phrase == "a spoon"


def test_a_client_at_the_wrong_door_is_told(model, monkeypatch):
    with served(model) as url:
        with pytest.raises(RefusedError, match="one-thing points and does not act"):
            PolicyClient(url, timeout_s=LONG_S)
        monkeypatch.setattr(grounding_messages, "GROUNDING_VERSION", 2)
        monkeypatch.setattr(GroundingClient, "_hello", lambda self: grounding_messages.GroundingHello(99, "old"))
        with pytest.raises(VersionMismatchError, match="client speaks protocol 99, this server 2"):
            GroundingClient(url, timeout_s=LONG_S)


def test_a_token_is_asked_for(model):
    with served(model, token="0123456789abcdef") as url:
        with pytest.raises(RefusedError, match="wrong or missing token"):
            GroundingClient(url, timeout_s=LONG_S)
        with GroundingClient(url, "0123456789abcdef", LONG_S) as client:
            assert client.refer(IMAGE, BOX).text == "a carrot"


def test_a_server_that_comes_back_with_another_model_is_refused(model):
    with contextlib.ExitStack() as first:
        client = GroundingClient(first.enter_context(served(model)), timeout_s=LONG_S)
        port = int(client.url.rpartition(":")[2])
    with (
        client,
        served(model, identity="cd" * 16, port=port),
        pytest.raises(PolicyChangedError, match=r"served one-thing of content abab.* now serves"),
    ):
        for _ in range(2):  # the first call may find that the connection has gone
            with contextlib.suppress(ConnectionLostError):
                client.refer(IMAGE, BOX)
