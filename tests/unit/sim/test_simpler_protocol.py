"""Messages between evaluator and simulator process: round trips, and everything that is not a message."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from magma_sim.backends.simpler_original import protocol
from magma_sim.backends.simpler_original.protocol import DeadlineError, Message, PeerClosedError, ProtocolError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53), 1 << 53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
ARRAYS = st.dictionaries(
    st.text(max_size=8),
    arrays.arrays(
        dtype=st.sampled_from(sorted(protocol.DTYPES)),
        shape=arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    ),
    max_size=3,
)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def header(**changes: object) -> bytes:
    fields: dict[str, object] = {"version": protocol.VERSION, "id": 1, "operation": "step", "body": {}, "arrays": []}
    raw = json.dumps({**fields, **changes}).encode()
    return protocol.MAGIC + struct.pack(">I", len(raw)) + raw


@settings(max_examples=60, deadline=None)
@given(
    number=st.integers(0, 1 << 50),
    operation=st.text(max_size=12),
    body=st.dictionaries(st.text(), JSON, max_size=3),
    data=ARRAYS,
)
def test_round_trip(number: int, operation: str, body: dict, data: dict[str, np.ndarray]) -> None:
    here, there = socket.socketpair()
    with here, there:
        protocol.send(here, Message(number, operation, body, data), 1.0)
        received = protocol.receive(there, 1.0)
    assert (received.id, received.operation, received.body) == (number, operation, body)
    assert list(received.arrays) == list(data)
    for name, array in data.items():
        assert received.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(received.arrays[name], array)


def test_a_picture_larger_than_the_socket_buffer_arrives(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    picture = np.random.default_rng(0).integers(0, 256, (512, 640, 3), dtype=np.uint8)
    sender = threading.Thread(target=protocol.send, args=(here, Message(1, "result", {}, {"image": picture}), 10.0))
    sender.start()
    np.testing.assert_array_equal(protocol.receive(there, 10.0).arrays["image"], picture)
    sender.join()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_refused(raw: bytes) -> None:
    here, there = socket.socketpair()
    with there:
        with here:
            here.sendall(raw)
        with pytest.raises((ProtocolError, PeerClosedError)):
            while True:
                protocol.receive(there, 1.0)


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_any_json_that_is_no_header_is_refused(value: object) -> None:
    raw = json.dumps(value).encode()
    here, there = socket.socketpair()
    with here, there:
        here.sendall(protocol.MAGIC + struct.pack(">I", len(raw)) + raw)
        with pytest.raises(ProtocolError):
            protocol.receive(there, 1.0)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (header(version=protocol.VERSION + 1), f"version {protocol.VERSION + 1}"),
        (header(extra=1), "extra"),
        (header(id=-1), "wrong type"),
        (header(id=True), "wrong type"),
        (header(body=[]), "wrong type"),
        (header(arrays=[{"name": "a", "dtype": "object", "shape": [1]}]), "object"),
        (header(arrays=[{"name": "a", "dtype": "uint8", "shape": [-1]}]), "shape"),
        (header(arrays=[{"name": "a", "dtype": "float64", "shape": [1 << 20, 1 << 20]}]), "at most"),
        (header(arrays=[{"name": "a", "dtype": "uint8", "shape": [1] * 9}]), "shape"),
        (protocol.MAGIC + struct.pack(">I", 1 << 31), "at most"),
    ],
)
def test_a_wrong_header_says_what_is_wrong(pair: tuple[socket.socket, socket.socket], frame: bytes, says: str) -> None:
    here, there = pair
    here.sendall(frame)
    with pytest.raises(ProtocolError, match=says):
        protocol.receive(there, 1.0)


def test_what_cannot_be_sent_is_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    for message in (
        Message(1, "step", {"value": float("nan")}),
        Message(1, "step", {"value": object()}),
        Message(1, "step", {}, {"a": np.array(["text"])}),
        Message(1, "step", {}, {"a": np.array([None])}),
        Message(1, "step", {}, {"a": np.zeros(protocol.MAX_PAYLOAD_BYTES + 1, np.uint8)}),
    ):
        with pytest.raises(ProtocolError):
            protocol.send(pair[0], message, 1.0)


def test_silence_ends_with_the_deadline(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    with pytest.raises(DeadlineError):
        protocol.receive(there, 0.05)
    here.sendall(header()[:20])
    with pytest.raises(DeadlineError):
        protocol.receive(there, 0.05)


def test_a_reader_that_stalls_ends_with_the_deadline(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(DeadlineError):
        protocol.send(pair[0], Message(1, "step", {}, {"a": np.zeros(8 << 20, np.uint8)}), 0.1)


def test_a_closed_connection_is_said(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    here.sendall(header()[:10])
    here.close()
    with pytest.raises(PeerClosedError):
        protocol.receive(there, 1.0)
    with pytest.raises(PeerClosedError):
        protocol.send(there, Message(1, "step"), 1.0)
