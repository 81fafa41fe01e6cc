"""The network side of magma-serve around a model that a test holds, fails or floods with."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import numpy as np
import pytest
from websockets.sync.client import connect

from magma_contracts.action_spec import ActionSpec
from magma_policy.errors import NotFiniteError, ObservationError
from magma_policy.serving.batching import Batcher
from magma_policy.serving.connection import PolicyServer
from magma_policy.serving.front import Limits
from magma_policy.serving.metrics import Metrics
from magma_policy_client import PolicyClient, PolicyTimeoutError, RefusedError, ServerError, messages
from tests.running_server import running

LONG_S = 30.0
SPEC = ActionSpec("fake", 1, 0.2, "base", "axis_angle", "absolute_open_1", "none", "third_person", 4, 4, False)
IMAGE = np.zeros((4, 4, 3), np.uint8)


class Model:
    """Acts by counting in its session; waits for `go`; does what the instruction says."""

    def __init__(self):
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Semaphore(0)
        self.calls = 0

    def new_session(self, robot):
        return SimpleNamespace(count=0)

    def request(self, image, instruction, proprioception, session):
        if instruction == "refuse":
            raise ObservationError("too dark")
        return instruction, session

    def act_batch(self, requests):
        self.calls += 1
        self.entered.release()
        assert self.go.wait(LONG_S)
        results = []
        for instruction, session in requests:
            if instruction == "overflow":
                raise NotFiniteError.of("fake", "float16")
            if instruction == "fail":
                raise RuntimeError("out of memory")
            session.count += 1
            value = np.nan if instruction == "nan" else float(session.count)
            results.append(SimpleNamespace(deltas=np.full((1, 7), value), stage_ms={"decode": 1.0}, marks=None))
        return results


@pytest.fixture
def served():
    """A model behind a server in a thread: (model, url)."""
    model = Model()
    metrics = Metrics()
    batcher = Batcher(model, 4, 0.0, 8, metrics.batch)
    server = PolicyServer(model, {"": SPEC}, batcher, metrics, Limits(2**20, 8), None, "test")
    with running(lambda: (server, batcher)) as url:
        yield model, url.replace("http", "ws")
        model.go.set()


def get(url, path):
    try:
        with urllib.request.urlopen(url.replace("ws://", "http://") + path, timeout=LONG_S) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_answers_while_the_model_works_and_says_when_it_is_stuck(served, monkeypatch):
    model, url = served
    model.go.clear()
    with PolicyClient(url, timeout_s=LONG_S) as client:
        asking = threading.Thread(target=client.act, args=(IMAGE, "go", None))
        asking.start()
        assert model.entered.acquire(timeout=LONG_S)
        status, body = get(url, "/healthz")
        assert status == 200 and json.loads(body)["inference_running_s"] > 0
        assert "magma_inference_running_seconds" in get(url, "/metrics")[1]
        with PolicyClient(url, timeout_s=LONG_S) as other:
            assert other.spec == SPEC, "a new client is greeted meanwhile"
        monkeypatch.setattr("magma_policy.serving.front.STUCK_S", 0.0)
        status, body = get(url, "/healthz")
        assert status == 503 and json.loads(body)["status"] == "stuck"
        model.go.set()
        asking.join(LONG_S)
    assert get(url, "/healthz")[0] == 200


def test_episodes_do_not_leak_into_each_other(served):
    _, url = served
    with PolicyClient(url, timeout_s=LONG_S) as left, PolicyClient(url, timeout_s=LONG_S) as right:

        def count(client):
            return client.act(IMAGE, "go", None).deltas[0, 0]

        assert [count(left), count(left), count(right)] == [1, 2, 1], "each connection has its own episode"
        left.reset()
        assert [count(left), count(right)] == [1, 2]
        left.reset("second arm")
        assert count(left) == 1
        left.reset("default")
        assert count(left) == 1


def test_a_failing_model_fails_one_call(served):
    _, url = served
    with PolicyClient(url, timeout_s=LONG_S) as client:
        with pytest.raises(ServerError, match="RuntimeError: out of memory"):
            client.act(IMAGE, "fail", None)
        with pytest.raises(ServerError, match="deltas must be finite"):
            client.act(IMAGE, "nan", None)
        with pytest.raises(ServerError, match=r": fake computed logits in float16 that are not finite.* bfloat16"):
            client.act(IMAGE, "overflow", None)
        with pytest.raises(RefusedError, match="too dark"):
            client.act(IMAGE, "refuse", None)
        assert client.act(IMAGE, "go", None).deltas.shape == (1, 7)
    assert 'magma_requests_total{outcome="internal"} 3.0' in get(url, "/metrics")[1]


def test_late_questions_cost_no_call_of_the_model(served):
    model, url = served
    model.go.clear()
    # The hasty one speaks the protocol itself: a client's own deadline may pass before its question is sent.
    hasty = connect(url, compression=None, proxy=None)

    def ask(sequence, session, budget_s):
        hasty.send(messages.encode(messages.Act(sequence, session, budget_s, "go", IMAGE, None)))

    def hear():
        return messages.decode(hasty.recv(LONG_S))

    with PolicyClient(url, timeout_s=LONG_S) as busy, hasty:
        hasty.send(messages.encode(messages.Hello(messages.PROTOCOL_VERSION, "test", "")))
        assert isinstance(hear(), messages.Welcome)
        asking = threading.Thread(target=busy.act, args=(IMAGE, "go", None))
        asking.start()
        assert model.entered.acquire(timeout=LONG_S)
        for number in range(3):
            ask(number, f"arm {number}", 0.05)
        until_s = time.monotonic() + LONG_S
        while "magma_waiting_requests 3.0" not in get(url, "/metrics")[1]:
            assert time.monotonic() < until_s
        time.sleep(0.06)
        model.go.set()
        asking.join(LONG_S)
        late = [hear() for _ in range(3)]
        assert {answer.code for answer in late} == {"late"} and {answer.sequence for answer in late} == {0, 1, 2}
        for number in range(3):
            ask(3 + number, f"arm {number}", LONG_S)
            assert hear().deltas[0, 0] == 1, "none of the three was computed"
    assert model.calls == 4
    assert 'magma_requests_total{outcome="late"} 3.0' in get(url, "/metrics")[1]


def test_a_client_that_leaves_takes_its_questions_along(served):
    model, url = served
    model.go.clear()
    with PolicyClient(url, timeout_s=LONG_S) as busy:
        asking = threading.Thread(target=busy.act, args=(IMAGE, "go", None))
        asking.start()
        assert model.entered.acquire(timeout=LONG_S)
        leaving = PolicyClient(url, timeout_s=LONG_S)
        with pytest.raises(PolicyTimeoutError):
            leaving.act(IMAGE, "go", None, deadline_s=0.2)
        leaving.close()
        model.go.set()
        asking.join(LONG_S)
        assert busy.act(IMAGE, "go", None).deltas[0, 0] == 2
    assert model.calls == 2
