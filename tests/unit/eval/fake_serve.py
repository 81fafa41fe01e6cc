"""A policy server without a model for tests, called as `magma-serve` is: its checkpoint is a folder with a file
`identity`, and it answers every question with a command to stay."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.server import serve

from magma_contracts.action_spec import ActionSpec
from magma_policy_client import messages

SPEC = ActionSpec("served", 1, 0.2, "base", "axis_angle", "absolute_open_1", "none", "third_person", 8, 8, False)


def executable(folder: Path) -> Path:
    """A command for `MAGMA_SERVE`."""
    path = folder / "fake-serve"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n')
    path.chmod(0o755)
    return path


async def answer(connection: Any, identity: str) -> None:
    await connection.recv()
    welcome = messages.Welcome(messages.PROTOCOL_VERSION, "fake", SPEC, (), 2**20, identity)
    await connection.send(messages.encode(welcome))
    async for data in connection:
        question = messages.decode(data)
        if isinstance(question, messages.Reset):
            await connection.send(messages.encode(messages.Done(question.sequence)))
        else:
            await connection.send(messages.encode(messages.Result(question.sequence, np.zeros((1, 7)), {})))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--announce", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    given, _ = parser.parse_known_args()
    identity = (given.checkpoint / "identity").read_text()
    async with serve(lambda connection: answer(connection, identity), given.host, 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        partial = given.announce.with_name("partial")
        partial.write_text(f"ws://{given.host}:{port}")
        partial.replace(given.announce)
        await asyncio.to_thread(os.read, 0, 1)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
    os._exit(0)
