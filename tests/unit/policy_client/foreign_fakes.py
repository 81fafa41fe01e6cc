"""Servers of other people's protocols, as tests have them answer, and a model file for them."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import msgpack
import numpy as np
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

MODEL = """
policy = "echo"
camera = "third_person"
image_size = [4, 6]
fps = 5
chunk = 2

[observation]
image = ["images", "primary"]
instruction = "prompt"
black_images = [["images", "wrist"]]

[state]
space = "end_effector"
position = "state[0:3]"
rotation = "state[3:6]"
rotation_form = "axis_angle"
gripper = "state[6]"
gripper_closed = 0.0
gripper_open = 0.04

[action]
space = "end_effector"
kind = "delta"
position = "actions[0:3]"
rotation = "actions[3:6]"
rotation_form = "axis_angle"
gripper = "actions[6]"
gripper_closed = 1.0
gripper_open = -1.0
"""
IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
ROWS = np.array([[0.01, 0, 0, 0, 0, 0.1, 1.0], [0, 0.02, 0, 0, 0, 0, -1.0]], np.float32)
STEPS = np.array([[0.01, 0, 0, 0, 0, 0.1, 0.0], [0, 0.02, 0, 0, 0, 0, 1.0]])


def openpi_array(array):
    """As openpi-client writes it."""
    return {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": array.dtype.str, b"shape": array.shape}


def vla_eval_array(array):
    """As vla-eval writes what is no picture."""
    return {"__ndarray__": True, "data": array.tobytes(), "dtype": array.dtype.str, "shape": list(array.shape)}


class FakeServer:
    """A websocket server in a thread. `converse(connection)` is the whole of a conversation."""

    def __init__(self, converse):
        self.converse, self.connections, self.headers = converse, 0, []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(60)

    def _run(self):
        async def main():
            self._end = asyncio.Event()
            async with serve(self._handle, "127.0.0.1", 0, close_timeout=0.1, max_size=None) as server:
                self.port = server.sockets[0].getsockname()[1]
                self._ready.set()
                await self._end.wait()

        self._loop.run_until_complete(main())

    async def _handle(self, connection):
        self.connections += 1
        self.headers.append(connection.request.headers)
        with contextlib.suppress(ConnectionClosed):
            await self.converse(connection)

    def close(self):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)


def openpi(answer, metadata=None):
    """A conversation of openpi; `answer(observation)` gives what is packed, bytes or text as they are, None for
    silence."""

    async def converse(connection):
        await connection.send(msgpack.packb(metadata() if callable(metadata) else metadata or {}))
        async for data in connection:
            made = answer(msgpack.unpackb(data))
            if made is not None:
                await connection.send(made if isinstance(made, (bytes, str)) else msgpack.packb(made))

    return converse


def vla_eval(answer, hello=None):
    """A conversation of vla-eval; `answer(message)` gives messages to send: (type, payload, seq), or bytes."""

    async def converse(connection):
        async for data in connection:
            message = msgpack.unpackb(data)
            if message["type"] == "hello":
                told = {"harness_version": "0.8.0", "protocol_version": 1, "model_server": "Fake"} | (hello or {})
                answers = [("hello", told, message["seq"])]
            else:
                answers = answer(message)
            for made in answers:
                if not isinstance(made, bytes):
                    kind, payload, seq = made
                    made = msgpack.packb({"type": kind, "payload": payload, "seq": seq, "timestamp": 0.0})
                await connection.send(made)

    return converse


def good_openpi(observation):
    """What a policy answers."""
    return {"actions": openpi_array(ROWS), "server_timing": {"infer_ms": 3.0}}


def good_vla_eval(message):
    """What a policy answers."""
    if message["type"] != "observation":
        return []
    return [("action", {"actions": vla_eval_array(ROWS)}, message["seq"])]
