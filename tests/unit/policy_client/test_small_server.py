"""A policy served in one call: what comes in that is wrong costs a refusal, and nothing else."""

from __future__ import annotations

import dataclasses
import queue
import socket
import threading

import numpy as np
import pytest
import websockets.sync.server
from websockets.sync.client import connect

from magma_contracts.action_spec import ActionSpec
from magma_contracts.arm_state import ArmState
from magma_policy_client import PolicyClient, ProtocolError, RefusedError, ServerError, messages, small_server
from magma_policy_client.small_server import serve_policy

SPEC = ActionSpec("mine", 2, 0.2, "base", "axis_angle", "absolute_open_1", "none", "third_person", 4, 4, True)
IMAGE = np.full((4, 4, 3), 7, np.uint8)
STATE = ArmState(np.ones(3), np.array([0, 0, 0, 1.0]), np.zeros(3), np.array([0, 0, 0, 1.0]), 0.5, 1.0)
LONG_S = 30.0


def policy(image, instruction, state):
    if instruction == "unknown":
        raise ValueError("no such\ncarrot")
    if instruction == "crash":
        raise KeyError("weights")
    if instruction == "nan":
        return np.full((2, 7), np.nan)
    if instruction == "one":
        return np.zeros((1, 7))
    return [[image[0, 0, 0] * 1e-3, state.position[0] * 1e-2, 0, 0, 0, 0, state.gripper]] * 2


@pytest.fixture
def serve(monkeypatch):
    """Serves in a thread until the test ends; returns the port."""
    servers, threads = [], []

    def listening(*args, **options):
        servers.append(websockets.sync.server.serve(*args, **options))
        return servers[-1]

    def made(**options):
        ports = queue.SimpleQueue()
        options |= {"ready": ports.put}
        threads.append(threading.Thread(target=serve_policy, args=(policy, SPEC, 0), kwargs=options, daemon=True))
        threads[-1].start()
        return ports.get(timeout=LONG_S)

    monkeypatch.setattr(small_server, "serve", listening)
    yield made
    for server in servers:
        server.shutdown()
    for thread in threads:
        thread.join(LONG_S)
        assert not thread.is_alive()


def test_it_acts_and_says_why_not(serve):
    begun = []
    port = serve(identity="abc", reset=lambda: begun.append(1))
    with PolicyClient(f"ws://127.0.0.1:{port}", timeout_s=LONG_S) as client:
        assert client.spec == SPEC and client.identity == "abc"
        client.reset()
        assert begun == [1]
        result = client.act(IMAGE, "go", STATE)
        np.testing.assert_allclose(result.deltas, [[0.007, 0.01, 0, 0, 0, 0, 0.5]] * 2)
        assert "policy" in result.stage_ms
        for instruction, error, said in (
            ("unknown", RefusedError, r"no such\\ncarrot"), ("crash", ServerError, "KeyError"),
            ("nan", ServerError, "all finite"), ("one", ServerError, r"\(1, 7\) numbers"),
        ):  # fmt: skip
            with pytest.raises(error, match=said):
                client.act(IMAGE, instruction, STATE)
        with pytest.raises(RefusedError, match="needs the arm's state"):
            client.act(IMAGE, "go", None)
        with pytest.raises(RefusedError, match="the policy takes"):
            client.act(np.zeros((5, 4, 3), np.uint8), "go", STATE)
        assert len(client.act(IMAGE, "go", STATE).deltas) == 2
    with pytest.raises(RefusedError, match="one robot"):
        PolicyClient(f"ws://127.0.0.1:{port}", timeout_s=LONG_S, robot="widowx")


def test_an_episode_that_cannot_begin_is_told_and_ends_nothing(serve, caplog):
    broken = [True]

    def reset():
        if broken:
            raise RuntimeError("the arm's\nmemory is full")

    with PolicyClient(f"ws://127.0.0.1:{serve(reset=reset)}", timeout_s=LONG_S) as client:
        with pytest.raises(ServerError, match=r"RuntimeError: the arm's\\nmemory is full"):
            client.reset()
        assert "the policy failed" in caplog.text
        assert client.connected
        broken.clear()
        client.reset()
        assert len(client.act(IMAGE, "go", STATE).deltas) == 2


def test_bytes_that_are_no_message_end_nothing(serve):
    url = f"ws://127.0.0.1:{serve()}"
    with connect(url, compression=None, proxy=None) as connection:
        connection.send(messages.encode(messages.Hello(messages.PROTOCOL_VERSION, "test", "")))
        assert isinstance(messages.decode(connection.recv(LONG_S)), messages.Welcome)
        for nonsense in (b"", b"\xc1", "text", messages.encode(messages.Hello(3, "again", ""))):
            connection.send(nonsense)
            assert messages.decode(connection.recv(LONG_S)).code == "malformed"
        late = messages.Act(5, "s", 1e-9, "go", IMAGE, STATE)
        connection.send(messages.encode(late))
        assert messages.decode(connection.recv(LONG_S)).code == "late"
        connection.send(messages.encode(dataclasses.replace(late, sequence=6, budget_s=LONG_S)))
        assert messages.decode(connection.recv(LONG_S)).sequence == 6
    for hello in (b"\x00", messages.encode(messages.Reset(1, "s")), messages.encode(messages.Hello(2, "old", ""))):
        with connect(url, compression=None, proxy=None) as connection:
            connection.send(hello)
            assert messages.decode(connection.recv(LONG_S)).code in ("malformed", "version")
    with pytest.raises(ProtocolError):
        messages.decode(b"")


def test_other_machines_need_a_token(serve):
    with pytest.raises(ValueError, match="give a token"):
        serve_policy(policy, SPEC, 0, host="0.0.0.0")
    with pytest.raises(ValueError, match="horizon must be from 1"):
        serve_policy(policy, dataclasses.replace(SPEC, horizon=0), 0)
    port = serve(token="secret")
    with PolicyClient(f"ws://127.0.0.1:{port}", "secret", LONG_S) as client:
        assert client.spec == SPEC
    for token in (None, "other", "sécret"):
        with pytest.raises(RefusedError, match="token") as caught:
            PolicyClient(f"ws://127.0.0.1:{port}", token and token.encode().decode("latin-1"), LONG_S)
        assert caught.value.code == "token"
    with socket.create_connection(("127.0.0.1", port), timeout=LONG_S) as raw:
        raw.sendall(
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer \xff\xfe\r\n\r\n"
        )
        assert b" 401 " in raw.recv(100)
