"""A policy server of one's own: a process on this machine that ends with the one that started it."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from magma_contracts.files.server_tokens import TOKEN_VARIABLE
from magma_policy_client.client import DEFAULT_TIMEOUT_S, PolicyClient
from magma_policy_client.errors import ServerError

COMMAND_VARIABLE = "MAGMA_SERVE"
"""Environment variable with the path of `magma-serve`, for environments that cannot hold torch themselves."""


class LocalServer:
    """Starts `magma-serve` on an ephemeral loopback port with a random token, and waits until it is ready.

    Use it as a context manager. The server also ends when the process that made it dies, by whatever cause.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        device: str = "auto",
        threads: int = 1,
        timeout_s: float = 180.0,
        arguments: Sequence[str] = (),
        log: Path | None = None,
    ) -> None:
        """
        Args:
            checkpoint: folder of a checkpoint, or the name of a shipped one.
            device: auto, cpu, cuda.
            threads: CPU threads of the model; 0 is torch's own choice.
            timeout_s: how long loading may take.
            arguments: further arguments of `magma-serve`.
            log: file for what the server prints; None keeps it for the error message only.

        Raises:
            ServerError: the server did not start; the message has what it said.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="magma-serve-")
        announcement = Path(self._folder.name) / "url"
        self._log = log if log is not None else Path(self._folder.name) / "log"
        self.token = secrets.token_urlsafe(24)
        command = [*find_command(), str(checkpoint), "--port", "0", "--device", device, "--threads", str(threads)]
        command += ["--announce", str(announcement), "--until-stdin-closes", *arguments]
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                # On the command line every user of the machine could read the token.
                env={**os.environ, TOKEN_VARIABLE: self.token},
                start_new_session=True,  # Ctrl-C goes to the parent, which then closes its server in order
            )
        try:
            self.url = self._wait(announcement, timeout_s)
        except BaseException:
            self.close()
            raise

    @property
    def output(self) -> str:
        """What the server has printed so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def client(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> PolicyClient:
        """A new connection."""
        return PolicyClient(self.url, self.token, timeout_s)

    def close(self) -> None:
        """Ends the server, within a few seconds."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            self.process.wait(5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._folder.cleanup()

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self, announcement: Path, timeout_s: float) -> str:
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if announcement.is_file():
                return announcement.read_text(encoding="utf-8").strip()
            status = self.process.poll()
            if status is not None:
                raise ServerError(f"magma-serve ended with status {status}:\n{self.output.strip()}")
            time.sleep(0.02)
        raise ServerError(f"magma-serve was not ready after {timeout_s:g} s; it said:\n{self.output.strip()}")


def find_command() -> list[str]:
    """How to start the server: this environment's own, `MAGMA_SERVE`, or one on the PATH. Raises ServerError."""
    if os.environ.get(COMMAND_VARIABLE):
        return [os.environ[COMMAND_VARIABLE]]
    if importlib.util.find_spec("magma_policy") is not None:
        return [sys.executable, "-m", "magma_policy.commands.serve"]
    found = shutil.which("magma-serve")
    if found is None:
        raise ServerError(
            f"there is no magma-serve in this environment; install magma-policy, or set {COMMAND_VARIABLE} to the path "
            "of magma-serve in the environment that has it"
        )
    return [found]
