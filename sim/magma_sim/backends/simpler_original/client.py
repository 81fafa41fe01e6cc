"""Starts a SimplerEnv worker process and asks it things, with a deadline for each."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from magma_sim.backends.simpler_original.installation import Installation
from magma_sim.backends.simpler_original.protocol import (
    DeadlineError,
    Message,
    PeerClosedError,
    ProtocolError,
    receive,
    send,
)

PACKAGE = Path(__file__).parent
SEND_TIMEOUT_S = 10.0
START_TIMEOUT_S = 120.0


class WorkerError(RuntimeError):
    """The worker could not do what was asked; it can be asked again. The message is the worker's own."""


class WorkerLostError(RuntimeError):
    """The worker died, hung or spoke nonsense, and has been killed. Start a new one."""


class Worker:
    """One worker process. Not thread-safe.

    Args:
        installation: where SimplerEnv is installed.

    Raises:
        WorkerLostError: it did not come up; the message holds the end of its log.
    """

    def __init__(self, installation: Installation) -> None:
        here, there = socket.socketpair()
        self._connection = here
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._next_id = 0
        with there:
            self._process = subprocess.Popen(
                [str(installation.python), "-m", f"{PACKAGE.name}.worker", str(there.fileno())],
                pass_fds=[there.fileno()],
                env={**os.environ, **installation.environment(), "PYTHONPATH": str(PACKAGE.parent)},
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                # Ctrl-C in a terminal is for the evaluator, which ends its workers itself.
                start_new_session=True,
            )
        try:
            self.versions, _ = self.ask("hello", {}, timeout_s=START_TIMEOUT_S)
        except WorkerError as error:
            self.close()
            raise WorkerLostError(f"the SimplerEnv worker did not start: {error}") from error

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def ask(
        self, operation: str, body: dict[str, Any], arrays: dict[str, np.ndarray] | None = None, *, timeout_s: float
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Body and arrays of the answer. Raises WorkerError or WorkerLostError."""
        self._next_id += 1
        try:
            send(self._connection, Message(self._next_id, operation, body, arrays or {}), SEND_TIMEOUT_S)
            answer = receive(self._connection, timeout_s)
            if answer.id != self._next_id:
                raise ProtocolError(f"an answer to request {answer.id} came for request {self._next_id}")
        except DeadlineError as error:
            raise self._lost(f"did not answer '{operation}' within {timeout_s:g} s") from error
        except (PeerClosedError, ProtocolError, OSError) as error:
            raise self._lost(f"was lost at '{operation}': {error}") from error
        if answer.operation == "error":
            raise WorkerError(f"{answer.body.get('kind')}: {answer.body.get('message')}")
        return answer.body, answer.arrays

    def close(self) -> None:
        """Ends the worker; safe to call twice."""
        self._connection.close()
        try:
            self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _lost(self, what: str) -> WorkerLostError:
        self._process.kill()
        status = self._process.wait()
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 2000))
        tail = self._log.read().decode(errors="replace").strip()
        self.close()
        return WorkerLostError(f"the SimplerEnv worker {what} (exit status {status}); the end of its log:\n{tail}")
