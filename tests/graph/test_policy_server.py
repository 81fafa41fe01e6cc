"""magma-serve as a real process with the shipped model: equal actions, limits, faults, and the clients beside them."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgpack
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import magma_policy
from magma_contracts.arm_state import ArmState
from magma_policy.embodiments import robots
from magma_policy.families.interface import Proprioception as PolicyProprioception
from magma_policy_client import (
    ConnectionLostError,
    LocalServer,
    PolicyClient,
    PolicyTimeoutError,
    RefusedError,
    ServerError,
    messages,
)
from magma_policy_client.checkpoint_paths import find_checkpoint

LONG_S = 60.0
INSTRUCTION = "put the carrot on the plate"
DOWN = [1.0, 0.0, 0.0, 0.0]
STATE = ArmState([0.45, 0.0, 0.2], DOWN, [0.45, 0.0, 0.2], DOWN, 1.0, 1.0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The shipped one, with one robot more: "wide" moves twice as far."""
    folder = tmp_path_factory.mktemp("checkpoint") / "magma-tiny"
    shutil.copytree(find_checkpoint("magma-tiny"), folder)
    robot = robots.read(folder)
    bounds = robot.statistics
    wide = dataclasses.replace(bounds, q01=tuple(2 * v for v in bounds.q01), q99=tuple(2 * v for v in bounds.q99))
    robots.write(dataclasses.replace(robot, statistics=wide), folder / robots.FOLDER / "wide")
    return folder


@pytest.fixture(scope="module")
def server(checkpoint):
    os.environ["OMP_NUM_THREADS"] = "1"
    with LocalServer(checkpoint, device="cpu", arguments=["--max-message-mib", "1", "--max-connections", "6"]) as one:
        yield one
        print(one.output)


@pytest.fixture
def client(server):
    with server.client(timeout_s=LONG_S) as one:
        yield one


@pytest.fixture(scope="module")
def local_policy():
    return magma_policy.load(find_checkpoint("magma-tiny"), device="cpu")


def test_a_connection_acts_for_the_robot_it_asks_for(server, client):
    assert "wide" in client.robots
    with PolicyClient(server.url, server.token, LONG_S, "wide") as wide:
        usual = client.act(picture(), INSTRUCTION, STATE).deltas
        assert wide.act(picture(), INSTRUCTION, STATE).deltas[0, :6] == pytest.approx(2 * usual[0, :6])
        wide.reset()
        assert wide.act(picture(), INSTRUCTION, STATE).deltas[0, :6] == pytest.approx(2 * usual[0, :6])
    with pytest.raises(RefusedError, match=r"no robot 'tall' here.*wide") as refused:
        PolicyClient(server.url, server.token, LONG_S, "tall")
    assert refused.value.code == "robot"


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (128, 128, 3), dtype=np.uint8)


def http(server, path, token=None):
    """Status and body of a GET request."""
    request = urllib.request.Request(server.url.replace("ws://", "http://") + path)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=LONG_S) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metric(server, name):
    """A number from /metrics."""
    _, text = http(server, "/metrics", server.token)
    return float(next(line for line in text.splitlines() if line.startswith(name)).split()[-1])


def raw(server):
    """A websocket without the client's care."""
    return connect(server.url, additional_headers={"Authorization": f"Bearer {server.token}"}, compression=None)


def greeted(server):
    socket = raw(server)
    socket.send(messages.encode(messages.Hello(messages.PROTOCOL_VERSION, "raw", "")))
    assert isinstance(messages.decode(socket.recv(LONG_S)), messages.Welcome)
    return socket


def test_actions_equal_those_in_process(client, local_policy):
    state = PolicyProprioception(**vars(STATE))
    for seed in range(3):
        client.reset(f"episode {seed}")
        remote = client.act(picture(seed), INSTRUCTION, STATE)
        local = local_policy.act(picture(seed), INSTRUCTION, state)
        np.testing.assert_array_equal(remote.deltas, local.deltas)
        np.testing.assert_allclose(remote.marks, local.marks, atol=1e-3)
    assert {"queue", "preprocess", "vision", "prefill", "decode", "unnormalise", "network"} <= set(remote.stage_ms)
    assert client.spec.policy == "magma-tiny" and client.spec.horizon == 1


def test_several_robots_at_once_get_what_each_alone_gets(server, local_policy):
    state = PolicyProprioception(**vars(STATE))
    expected = {seed: local_policy.act(picture(seed), INSTRUCTION, state).deltas for seed in range(4)}
    failures = []

    def robot(seed):
        try:
            with server.client(timeout_s=LONG_S) as client:
                for _ in range(10):
                    np.testing.assert_allclose(client.act(picture(seed), INSTRUCTION, STATE).deltas, expected[seed])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=robot, args=(seed,)) for seed in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    assert not failures
    assert metric(server, "magma_batch_size_sum") > metric(server, "magma_batch_size_count"), "some were batched"


def test_bad_observations_are_refused_with_the_policys_words(client):
    for image, instruction, state, says in [
        (picture()[:64], INSTRUCTION, STATE, "must have shape"),
        (picture(), "", STATE, "instruction is empty"),
        (picture(), "<|eot_id|>", STATE, "reserved markup"),
        (picture(), INSTRUCTION, None, "needs proprioception"),
        (picture(), INSTRUCTION, ArmState([np.nan] * 3, DOWN, [0] * 3, DOWN, 1, 1), "not finite"),
    ]:
        with pytest.raises(RefusedError, match=says) as caught:
            client.act(image, instruction, state)
        assert caught.value.code == "observation"
    assert client.act(picture(), INSTRUCTION, STATE).deltas.shape == (1, 7)


def test_tokens_and_paths(server):
    for token in (None, "wrong" * 5, server.token + "x"):
        with pytest.raises(RefusedError, match="token") as caught:
            PolicyClient(server.url, token, timeout_s=LONG_S)
        assert caught.value.code == "token"
    status, body = http(server, "/healthz")
    assert status == 200 and json.loads(body)["status"] == "ok" and json.loads(body)["policy"] == "magma-tiny"
    assert http(server, "/metrics")[0] == 401
    status, body = http(server, "/metrics", server.token)
    assert status == 200 and "# TYPE magma_inference_seconds histogram" in body
    assert http(server, "/secrets", server.token)[0] == 404
    assert http(server, "/", server.token)[0] == 426
    with pytest.raises(ConnectionLostError, match="HTTP 404"):
        PolicyClient(server.url + "/elsewhere", server.token, timeout_s=LONG_S)
    with pytest.raises(Exception, match="403"):
        connect(
            server.url, additional_headers={"Authorization": f"Bearer {server.token}"}, origin="http://evil.example"
        )


def test_late_questions_are_dropped_and_said_so(server):
    with greeted(server) as socket:
        socket.send(messages.encode(messages.Act(5, "s", 1e-6, INSTRUCTION, picture(), STATE)))
        answer = messages.decode(socket.recv(LONG_S))
    assert isinstance(answer, messages.Failure) and answer.code == "late" and answer.sequence == 5
    assert metric(server, 'magma_requests_total{outcome="late"}') >= 1


def test_a_client_that_gave_up_gets_no_stale_action(client):
    for _ in range(3):
        with pytest.raises(PolicyTimeoutError):
            client.act(picture(1), "put the spoon on the towel", STATE, deadline_s=0.002)
    fresh = client.act(picture(2), INSTRUCTION, STATE)
    np.testing.assert_array_equal(fresh.deltas, client.act(picture(2), INSTRUCTION, STATE).deltas)


def test_garbage_costs_only_its_own_connection(server, client):
    expected = client.act(picture(), INSTRUCTION, STATE).deltas
    with greeted(server) as socket:
        broken = {"type": "act", "sequence": 9, "image": "cat.png"}
        for data in (os.urandom(500), b"", "text", msgpack.packb(broken)):
            socket.send(data)
            answer = messages.decode(socket.recv(LONG_S))
            assert isinstance(answer, messages.Failure) and answer.code == "malformed"
        assert answer.sequence == 9 and "no budget_s" in answer.message
        socket.send(messages.encode(messages.Act(10, "s", 10.0, INSTRUCTION, picture(), STATE)))
        assert isinstance(messages.decode(socket.recv(LONG_S)), messages.Result), "it may still behave"
        with pytest.raises(Exception, match="1002"):
            for _ in range(20):
                socket.send(os.urandom(100))
                socket.recv(LONG_S)
    with raw(server) as socket, pytest.raises(Exception, match="1002"):
        socket.send(b"no hello")
        while True:
            socket.recv(LONG_S)
    with raw(server) as socket:
        socket.send(msgpack.packb({"type": "hello", "protocol": 99, "news": True}))
        answer = messages.decode(socket.recv(LONG_S))
        assert isinstance(answer, messages.Failure) and answer.code == "version" and "99" in answer.message
    np.testing.assert_array_equal(client.act(picture(), INSTRUCTION, STATE).deltas, expected)


def test_oversized_messages(server, client):
    with pytest.raises(RefusedError, match="takes at most 1048576"):
        client.act(np.zeros((1000, 1000, 3), np.uint8), INSTRUCTION, STATE)
    with greeted(server) as socket, pytest.raises(ConnectionClosed) as ended:
        socket.send(b"x" * (2 * 2**20))
        socket.recv(LONG_S)
    # The reason may be lost where the rest of what is too long was still on its way.
    assert ended.value.rcvd is None or ended.value.rcvd.code == 1009
    assert client.act(picture(), INSTRUCTION, STATE).deltas.shape == (1, 7)


def test_hanging_and_slow_clients_hold_nobody(server, client):
    host, port = server.url.removeprefix("ws://").split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(20)]
    half = raw(server)
    deaf = greeted(server)
    for sequence in range(8):  # questions whose answers it never reads
        deaf.send(messages.encode(messages.Act(sequence, str(sequence), 60.0, INSTRUCTION, picture(), STATE)))
    assert client.act(picture(), INSTRUCTION, STATE, deadline_s=LONG_S).deltas.shape == (1, 7)
    assert http(server, "/healthz")[0] == 200
    for item in silent:
        item.close()
    deaf.close()
    half.close()


def test_a_full_house_turns_the_next_away(server):
    guests = []
    try:
        with pytest.raises(RefusedError, match="connections are taken") as caught:
            for _ in range(8):
                guests.append(server.client(timeout_s=LONG_S))
        assert caught.value.code == "overloaded"
    finally:
        for guest in guests:
            guest.close()
    deadline_s = time.monotonic() + LONG_S
    while json.loads(http(server, "/healthz")[1])["connections"] and time.monotonic() < deadline_s:
        time.sleep(0.01)
    server.client(timeout_s=LONG_S).close()


def test_the_end_of_a_server_is_told_and_its_return_found(tmp_path):
    """One server of its own: stopped, continued, interrupted, started again on the same port, killed."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {**os.environ, "MAGMA_SERVE_TOKEN": "t" * 32, "OMP_NUM_THREADS": "1"}

    def start(log):
        command = [
            sys.executable,
            "-m",
            "magma_policy.commands.serve",
            "magma-tiny",
            "--port",
            str(port),
            "--device",
            "cpu",
        ]
        process = subprocess.Popen(
            [*command, "--announce", str(log) + ".url"],
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            env=environment,
        )
        deadline_s = time.monotonic() + 120.0
        while not Path(str(log) + ".url").exists():
            assert process.poll() is None and time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.02)
        return process

    log = tmp_path / "first.log"
    process = start(log)
    try:
        with PolicyClient(f"ws://127.0.0.1:{port}", "t" * 32, timeout_s=LONG_S) as client:
            expected = client.act(picture(), INSTRUCTION, STATE).deltas
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(PolicyTimeoutError):
                client.act(picture(3), INSTRUCTION, STATE, deadline_s=0.3)
            process.send_signal(signal.SIGCONT)
            np.testing.assert_array_equal(client.act(picture(), INSTRUCTION, STATE).deltas, expected)

            process.send_signal(signal.SIGINT)
            assert process.wait(60.0) == 0
            text = log.read_text()
            assert "Traceback" not in text and "serving magma-tiny on ws://127.0.0.1" in text
            with pytest.raises((ConnectionLostError, RefusedError)):
                client.act(picture(), INSTRUCTION, STATE, deadline_s=5.0)

            process = start(tmp_path / "second.log")
            np.testing.assert_array_equal(client.act(picture(), INSTRUCTION, STATE).deltas, expected)
            process.kill()
            process.wait()
            with pytest.raises(ConnectionLostError):
                client.act(picture(), INSTRUCTION, STATE, deadline_s=5.0)
    finally:
        process.kill()
        process.wait()


def test_a_server_ends_with_its_parent_and_says_why_it_cannot_start():
    with pytest.raises(ServerError, match="no checkpoint 'nonsense'"):
        LocalServer("nonsense")
    one = LocalServer("magma-tiny", device="cpu")
    one.process.stdin.close()  # what the parent's death does
    assert one.process.wait(60.0) == 0
    one.close()


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["magma-tiny", "--host", "0.0.0.0"], 1, "lets other machines move the arm"),
        (["magma-tiny", "--port", "70000"], 2, "--port must be from 0 to 65535"),
        (["magma-tiny", "--token-file", "/nowhere"], 1, "token file /nowhere cannot be read"),
        (["magma-tiny", "--prot", "1"], 2, "--prot"),
        (["/no/such/folder"], 1, "no checkpoint '/no/such/folder'"),
    ],
)
def test_wrong_command_lines_are_told_before_anything_is_loaded(arguments, status, says):
    result = subprocess.run(
        [sys.executable, "-m", "magma_policy.commands.serve", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == status and says in result.stderr and "Traceback" not in result.stderr
