"""The policy client against servers that misbehave: every call ends by its deadline, no stale answer gets through."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import threading
import time

import msgpack
import numpy as np
import pytest
from websockets.asyncio.server import serve

from magma_contracts.action_spec import ActionSpec
from magma_policy_client import (
    ConnectionLostError,
    PolicyChangedError,
    PolicyClient,
    PolicyClientError,
    PolicyTimeoutError,
    ProtocolError,
    RefusedError,
    ServerError,
    SpecChangedError,
    VersionMismatchError,
    codec,
    messages,
)

SPEC = ActionSpec("fake", 2, 0.2, "base", "axis_angle", "absolute_open_1", "none", "third_person", 4, 4, False)
IMAGE = np.zeros((4, 4, 3), np.uint8)
SHORT_S = 0.3
LONG_S = 20.0


class FakeServer:
    """A websocket server that answers as a test tells it to, in a thread."""

    def __init__(self, answer, welcome=None, port=0):
        self.answer = answer
        self.welcome = welcome or messages.encode(messages.Welcome(messages.PROTOCOL_VERSION, "fake", SPEC, (), 2**20))
        self.connections = 0
        self.headers = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(port,), daemon=True)
        self._thread.start()
        assert self._ready.wait(60)
        self.url = f"ws://127.0.0.1:{self.port}"

    def _run(self, port):
        async def main():
            self._end = asyncio.Event()
            async with serve(self._handle, "127.0.0.1", port, close_timeout=0.1, max_size=None) as server:
                self.port = server.sockets[0].getsockname()[1]
                self._ready.set()
                await self._end.wait()

        self._loop.run_until_complete(main())

    async def _handle(self, connection):
        self.connections += 1
        self.headers.append(connection.request.headers.get_all("Authorization"))
        assert isinstance(messages.decode(await connection.recv()), messages.Hello)
        await connection.send(self.welcome)
        async for data in connection:
            await self.answer(connection, messages.decode(data))

    def close(self):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)


@pytest.fixture
def fake():
    servers = []

    def start(answer, **options):
        servers.append(FakeServer(answer, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def result(sequence, value=0.0, horizon=2):
    return messages.encode(messages.Result(sequence, np.full((horizon, 7), float(value)), {"decode": 1.0}))


async def good(connection, message):
    if isinstance(message, messages.Reset):
        await connection.send(messages.encode(messages.Done(message.sequence)))
    else:
        await connection.send(result(message.sequence, message.sequence))


def test_good_answers(fake):
    with PolicyClient(fake(good).url, timeout_s=LONG_S) as client:
        assert client.spec == SPEC and client.connected
        client.reset("left arm")
        first, second = client.act(IMAGE, "go", None), client.act(IMAGE, "go", None)
        assert first.deltas.shape == (2, 7) and second.sequence > first.sequence
        assert first.stage_ms["decode"] == 1.0 and first.stage_ms["network"] >= 0.0
    with pytest.raises(ConnectionLostError, match="closed"):
        client.act(IMAGE, "go", None)
    client.close()


def test_late_answers_are_never_returned(fake):
    held = []

    async def answer(connection, message):
        held.append(message.sequence)
        if len(held) == 1:
            return
        for sequence in held:  # the answer to the first question comes after all, before that to the second
            await connection.send(result(sequence, sequence))

    with PolicyClient(fake(answer).url, timeout_s=LONG_S) as client:
        with pytest.raises(PolicyTimeoutError, match=r"within 0\.3 s"):
            client.act(IMAGE, "go", None, deadline_s=SHORT_S)
        fresh = client.act(IMAGE, "go", None)
        assert len(held) == 2 and fresh.sequence == held[1] and (fresh.deltas == held[1]).all()


def test_a_server_that_never_answers_never_holds_a_caller(fake):
    async def answer(connection, message):
        connection.transport.pause_reading()  # the network's buffers fill up, and even sending blocks

    server = fake(answer, welcome=messages.encode(messages.Welcome(messages.PROTOCOL_VERSION, "fake", SPEC, (), 2**30)))
    with PolicyClient(server.url, timeout_s=LONG_S) as client:
        big = np.zeros((4000, 1000, 3), np.uint8)
        for _ in range(4):
            began_s = time.monotonic()
            with pytest.raises(PolicyTimeoutError):
                client.act(big, "go", None, deadline_s=SHORT_S)
            assert time.monotonic() - began_s < LONG_S


def test_an_answer_to_a_question_never_asked_is_an_error(fake):
    async def answer(connection, message):
        await connection.send(result(message.sequence + 1))

    with PolicyClient(fake(answer).url, timeout_s=LONG_S) as client, pytest.raises(ProtocolError, match="answered"):
        client.act(IMAGE, "go", None)


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (lambda n: b"\x00garbage", ProtocolError, "not a msgpack message"),
        (lambda n: b"\xff" * 10, ProtocolError, "expected a map|not a msgpack"),
        (lambda n: "text", ProtocolError, "is it a policy server"),
        (lambda n: result(n, horizon=3), ServerError, "sent 3 actions; its spec says 2"),
        (lambda n: msgpack.packb({"type": "result", "sequence": n}), ProtocolError, "no deltas"),
        (lambda n: messages.encode(messages.Done(n)), ServerError, "answered an observation with Done"),
        (lambda n: messages.encode(messages.Failure(n, "internal", "out of memory")), ServerError, "out of memory"),
        (lambda n: messages.encode(messages.Failure(n, "observation", "too dark")), RefusedError, "too dark"),
        (lambda n: messages.encode(messages.Failure(n, "overloaded", "busy")), RefusedError, "busy"),
        (lambda n: messages.encode(messages.Failure(n, "late", "dropped")), PolicyTimeoutError, "dropped"),
        (lambda n: messages.encode(messages.Failure(None, "malformed", "what?")), ProtocolError, "what?"),
    ],
)
def test_bad_answers_are_errors_and_the_next_call_works(fake, reply, error, says):
    answered = []

    async def answer(connection, message):
        answered.append(message)
        if len(answered) == 1:
            await connection.send(reply(message.sequence))
        else:
            await good(connection, message)

    with PolicyClient(fake(answer).url, timeout_s=LONG_S) as client:
        with pytest.raises(error, match=says):
            client.act(IMAGE, "go", None)
        assert client.act(IMAGE, "go", None).deltas.shape == (2, 7)


# A server that lies: everything is well formed, and nothing of it can be.
TITLE = "\x1b]0;owned\x07"


def lie(message, **fields):
    """A message of which some fields were changed behind the encoder's back."""
    packed = msgpack.unpackb(messages.encode(message), ext_hook=msgpack.ExtType)
    return msgpack.packb({**packed, **fields})


def floats(values):
    return codec._pack_extension(np.asarray(values, dtype=np.float64))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("horizon", 10**9),
        ("horizon", 0),
        ("image_height", 10**9),
        ("image_width", -1),
        ("step_period_s", 1e-300),
        ("step_period_s", float("inf")),
        ("step_period_s", float("nan")),
        ("policy", TITLE),
        ("camera", "two\nlines"),
        ("statistics_key", "x" * 4000),
        ("frame", "\u202eabc"),
    ],
)
def test_a_specification_that_no_policy_can_have_is_refused_before_anything_of_its_size_is_made(fake, field, value):
    whole = messages.Welcome(messages.PROTOCOL_VERSION, "fake", SPEC, (), 2**20)
    server = fake(good, welcome=lie(whole, spec={**dataclasses.asdict(SPEC), field: value}))
    with pytest.raises(ProtocolError, match=f"spec: {field} must be") as told:
        PolicyClient(server.url, timeout_s=LONG_S)
    assert str(told.value).isprintable() and len(str(told.value)) < 1000


@pytest.mark.parametrize(
    "fields",
    [
        {"server": TITLE},
        {"robots": [TITLE]},
        {"robots": ["arm\n"]},
        {"robots": ["arm"] * 10_000},
        {"max_message_bytes": 0},
        {"max_message_bytes": 2**60},
        {"identity": TITLE},
        {"protocol": -1},
        {"spec": {}},
        {"motto": "more"},
    ],
)
def test_a_welcome_that_cannot_be_is_refused_in_one_printable_line(fake, fields):
    welcome = lie(messages.Welcome(messages.PROTOCOL_VERSION, "fake", SPEC, (), 2**20), **fields)
    with pytest.raises(PolicyClientError) as told:
        PolicyClient(fake(good, welcome=welcome).url, timeout_s=LONG_S)
    assert str(told.value).isprintable() and len(str(told.value)) < 1000


@pytest.mark.parametrize(
    "fields",
    [
        {"deltas": floats(np.full((2, 7), np.nan))},
        {"deltas": floats(np.full((2, 7), np.inf))},
        {"deltas": floats(np.zeros((0, 7)))},
        {"deltas": floats(np.zeros((2, 6)))},
        {"deltas": msgpack.ExtType(1, b"\x0a\x02" + b"\xff" * 8)},
        {"deltas": msgpack.ExtType(2, b"cos\nsystem\n(S'true'\ntR.")},
        {"deltas": [[0.01] * 7] * 2},
        {"marks": floats(np.full((4, 2), np.nan))},
        {"marks": floats(np.zeros((100_000, 2)))},
        {"stage_ms": {TITLE: 1.0}},
        {"stage_ms": {"decode": float("nan")}},
        {"sequence": 2**63},
        {"sequence": True},
    ],
)
def test_an_action_that_cannot_be_is_refused_and_the_next_call_works(fake, fields):
    answered = []

    async def answer(connection, message):
        answered.append(message)
        if len(answered) > 1:
            return await good(connection, message)
        whole = messages.Result(message.sequence, np.zeros((2, 7)), {}, np.zeros((4, 2)))
        await connection.send(lie(whole, **fields))

    with PolicyClient(fake(answer).url, timeout_s=LONG_S) as client:
        with pytest.raises(PolicyClientError) as told:
            client.act(IMAGE, "go", None)
        assert str(told.value).isprintable() and len(str(told.value)) < 1000
        assert client.act(IMAGE, "go", None).deltas.shape == (2, 7)


def test_what_a_server_says_of_a_failure_reaches_people_as_one_printable_line(fake):
    async def answer(connection, message):
        if message.sequence == 1:
            await connection.send(messages.encode(messages.Failure(1, "internal", f"{TITLE}a\nb" * 200)))
        else:
            await connection.close(1011, f"{TITLE}gone")

    with PolicyClient(fake(answer).url, timeout_s=LONG_S) as client:
        for kind in (ServerError, ConnectionLostError):
            with pytest.raises(kind) as told:
                client.act(IMAGE, "go", None)
            assert "owned" in str(told.value) and str(told.value).isprintable() and len(str(told.value)) < 1000


def connect(client):
    """There is a connection, with time for it."""
    client._call(lambda _: client._connected(), LONG_S)


def drop(client):
    """The connection is given up, if there still is one; in the client's own thread, whose business it is."""

    async def work(_):
        if client._connection is not None:
            client._drop(client._connection)

    client._call(work, LONG_S)


def test_an_answer_beyond_the_limit_or_without_an_end_holds_nobody_beyond_the_deadline(fake):
    asked = []

    async def answer(connection, message):
        asked.append(message)
        if len(asked) == 1:
            await connection.send(b"\0" * (messages.MAX_MESSAGE_BYTES + 1))
        elif len(asked) == 2:  # byte by byte, never whole

            async def drops():
                while True:
                    yield b"\0"
                    await asyncio.sleep(0.01)

            await connection.send(drops())
        elif len(asked) == 3:  # answers to nothing that was asked of late, for ever
            while True:
                await connection.send(result(0))
        else:
            await good(connection, message)

    with PolicyClient(fake(answer).url, timeout_s=LONG_S) as client:
        with pytest.raises(ConnectionLostError, match="exceeds limit"):
            client.act(IMAGE, "go", None)
        for _ in range(2):
            connect(client)
            with pytest.raises((PolicyTimeoutError, ConnectionLostError)):
                client.act(IMAGE, "go", None, deadline_s=SHORT_S)
            drop(client)
        connect(client)
        assert client.act(IMAGE, "go", None).deltas.shape == (2, 7)


def test_a_token_goes_to_the_server_that_was_named_and_to_no_other(fake):
    other = fake(good)
    with socket.create_server(("127.0.0.1", 0)) as named:
        heard = []

        def redirect():
            connection, _ = named.accept()
            with connection:
                heard.append(connection.recv(4096))
                target = other.url.replace("127.0.0.1", "localhost")
                connection.sendall(f"HTTP/1.1 307 X\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())

        thread = threading.Thread(target=redirect)
        thread.start()
        with contextlib.suppress(PolicyClientError):
            PolicyClient(f"ws://127.0.0.1:{named.getsockname()[1]}", "a-secret-token-of-somebody", LONG_S).close()
        thread.join(LONG_S)
    assert b"a-secret-token-of-somebody" in heard[0]
    assert not any("secret" in value for headers in other.headers for value in headers)


def test_a_lost_connection_is_told_and_made_again(fake):
    async def answer(connection, message):
        if message.sequence == 1:
            connection.transport.abort()
        else:
            await good(connection, message)

    server = fake(answer)
    with PolicyClient(server.url, timeout_s=LONG_S) as client:
        with pytest.raises(ConnectionLostError, match="lost the connection"):
            client.act(IMAGE, "go", None)
        assert not client.connected
        assert client.act(IMAGE, "go", None).sequence == 2
        assert server.connections == 2


def test_a_server_that_comes_back_is_found_again_unless_it_serves_another_policy(fake):
    server = fake(good)
    with PolicyClient(server.url, timeout_s=LONG_S) as client:
        client.act(IMAGE, "go", None)
        server.close()
        for _ in range(2):
            with pytest.raises(ConnectionLostError):
                client.act(IMAGE, "go", None, deadline_s=2.0)
        again = fake(good, port=server.port)
        client.act(IMAGE, "go", None)
        again.close()
        other = ActionSpec("other", 2, 0.2, "base", "axis_angle", "absolute_open_1", "none", "wrist", 4, 4, False)
        fake(
            good,
            welcome=messages.encode(messages.Welcome(messages.PROTOCOL_VERSION, "fake", other, (), 2**20)),
            port=server.port,
        )
        with pytest.raises((ConnectionLostError, SpecChangedError)):
            client.act(IMAGE, "go", None)
        with pytest.raises(SpecChangedError, match="make a new client"):
            client.act(IMAGE, "go", None)


def test_another_policy_behind_the_address_is_never_asked_though_its_specification_is_equal(fake):
    def welcome(identity):
        return messages.encode(messages.Welcome(messages.PROTOCOL_VERSION, "fake", SPEC, (), 2**20, identity))

    first, second = "a1" * 16, "b2" * 16
    server = fake(good, welcome=welcome(first))
    with PolicyClient(server.url, timeout_s=LONG_S) as client:
        assert client.identity == first
        client.act(IMAGE, "go", None)
        server.close()
        again = fake(good, welcome=welcome(first), port=server.port)
        wait_until_gone(client)
        client.act(IMAGE, "go", None)
        again.close()
        other = fake(good, welcome=welcome(second), port=server.port)
        wait_until_gone(client)
        for _ in range(3):
            with pytest.raises(PolicyChangedError, match="of content a1a1a1a1a1a1 before, and now serves b2b2b2b2b2b2"):
                client.act(IMAGE, "go", None)
            with pytest.raises(PolicyChangedError):
                client.reset()
        other.close()
        # The policy of before may come back.
        fake(good, welcome=welcome(first), port=server.port)
        client.act(IMAGE, "go", None)


def wait_until_gone(client):
    until_s = time.monotonic() + LONG_S
    while client.connected and time.monotonic() < until_s:
        time.sleep(0.01)


def test_other_versions_are_told(fake):
    server = fake(good, welcome=msgpack.packb({"type": "welcome", "protocol": 7, "motto": "newer"}))
    with pytest.raises(VersionMismatchError, match=f"speaks protocol 7, this client {messages.PROTOCOL_VERSION}"):
        PolicyClient(server.url, timeout_s=LONG_S)
    refusing = fake(good, welcome=messages.encode(messages.Failure(None, "version", "client speaks protocol 1")))
    with pytest.raises(VersionMismatchError, match="client speaks"):
        PolicyClient(refusing.url, timeout_s=LONG_S)


def test_things_that_are_no_policy_server(fake):
    with pytest.raises(ProtocolError, match="is it a policy server"):
        PolicyClient(fake(good, welcome="hello from a chat").url, timeout_s=LONG_S)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(PolicyTimeoutError):
            PolicyClient(url, timeout_s=SHORT_S)
    with pytest.raises(ConnectionLostError, match="cannot connect"):
        PolicyClient(url, timeout_s=LONG_S)


@pytest.mark.parametrize("url", ["127.0.0.1:8765", "http://host:1", "ws://", "ws://host", "ws://host:99999", ""])
def test_wrong_urls_are_refused(url):
    with pytest.raises(ValueError, match=r"URL|port"):
        PolicyClient(url)


def test_observations_that_cannot_be_sent_are_refused_before_they_are(fake):
    with PolicyClient(fake(good).url, timeout_s=LONG_S) as client:
        for image in (IMAGE.astype(np.float32), IMAGE[0], [[1]], None):
            with pytest.raises(RefusedError, match="image must be a uint8 array"):
                client.act(image, "go", None)
        with pytest.raises(RefusedError, match="not a state of an arm"):
            client.act(IMAGE, "go", "state")
        with pytest.raises(RefusedError, match="at most 1048576"):
            client.act(np.zeros((1000, 1000, 3), np.uint8), "go", None)
        with pytest.raises(ValueError, match="deadline_s"):
            client.act(IMAGE, "go", None, deadline_s=0)
        client.act(IMAGE, "go", None)


def test_closing_lets_a_waiting_thread_go(fake):
    asked = threading.Event()

    async def answer(connection, message):
        asked.set()

    client = PolicyClient(fake(answer).url, timeout_s=LONG_S)
    errors = []

    def work():
        try:
            client.act(IMAGE, "go", None, deadline_s=600.0)
        except ConnectionLostError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert asked.wait(LONG_S)
    client.close()
    thread.join(LONG_S)
    assert len(errors) == 1


def test_two_threads_take_turns(fake):
    async def slow(connection, message):
        await asyncio.sleep(0.002)
        await good(connection, message)

    with PolicyClient(fake(slow).url, timeout_s=LONG_S) as client:
        sequences = []

        def work():
            for _ in range(20):
                answer = client.act(IMAGE, "go", None)
                assert (answer.deltas == answer.sequence).all()
                sequences.append(answer.sequence)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(sequences) == list(range(1, 61))
