"""`magma-serve`: one policy for many robots, over websocket.

magma-serve magma-tiny                       # on this machine only: ws://127.0.0.1:8765
MAGMA_SERVE_TOKEN=... magma-serve /data/checkpoint --host 0.0.0.0
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from magma_policy.checkpoint_paths import CheckpointNotFoundError, find_checkpoint
from magma_policy.config import ConfigError

if TYPE_CHECKING:
    from magma_policy_client.spec import Proprioception

    from magma_policy.serve_connection import PolicyServer

TOKEN_VARIABLE = "MAGMA_SERVE_TOKEN"
MIN_TOKEN_LENGTH = 16
WARM_UP_CALLS = 3
"""The first calls of a model allocate and tune; they are made before the server says it is ready."""
STOPPING_S = 2.0
"""How long Ctrl-C waits for a call of the model."""

log = logging.getLogger("magma-serve")


@dataclass(frozen=True)
class ServeConfig:
    """Serve a policy to robots and evaluators over websocket. /healthz and /metrics answer on the same port.

    Only this machine can connect unless --host says otherwise, and then a token is needed: in the environment variable
    MAGMA_SERVE_TOKEN, or in a file (--token-file). Ctrl-C ends it.
    """

    checkpoint: Annotated[str, tyro.conf.Positional] = "magma-tiny"
    """Folder of a checkpoint, or name of a shipped one."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 = every network of this machine (needs a token)."""
    port: int = 8765
    """0 = any free one; it is printed."""
    device: Literal["auto", "cuda", "cpu", "mps"] = "auto"
    """Where the model runs; auto = the GPU when there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; auto = float32 on a CPU, bfloat16 on a GPU."""
    threads: int = 1
    """CPU threads of the model; 0 = torch's own choice."""
    max_batch: int = 8
    """Robots answered by one call of the model."""
    batch_window_ms: float = 4.0
    """How long a question may wait for those of other robots; a single robot never waits."""
    max_waiting: int = 64
    """Questions that may wait; more are refused."""
    max_connections: int = 32
    """Clients at once; more are refused."""
    max_message_mib: float = 16.0
    """Largest message that is read."""
    token_file: Path | None = None
    """File with the token that clients must give."""
    announce: Path | None = None
    """File to write the URL to, once the server is ready."""
    until_stdin_closes: bool = False
    """End when standard input ends, so that a parent process never leaves a server behind."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("port", 0, 65535),
            ("threads", 0, 1024),
            ("max_batch", 1, 1024),
            ("batch_window_ms", 0.0, 1000.0),
            ("max_waiting", 1, 65536),
            ("max_connections", 1, 4096),
            ("max_message_mib", 0.01, 1024.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"--{name.replace('_', '-')} must be from {low} to {high}, got {value}")


class ServeError(RuntimeError):
    """The server cannot start; the message says why and what to do."""


def read_token(config: ServeConfig, environment: dict[str, str] | None = None) -> str | None:
    """The token, from file or environment. Raises ServeError when it is too weak, or missing where it is needed."""
    variables = os.environ if environment is None else environment
    token: str | None = variables.get(TOKEN_VARIABLE) or None
    source = TOKEN_VARIABLE
    if config.token_file is not None:
        source = str(config.token_file)
        try:
            token = config.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ServeError(f"--token-file {config.token_file} cannot be read: {error}") from error
    if token is not None and (len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable()):
        raise ServeError(
            f"the token in {source} must be at least {MIN_TOKEN_LENGTH} printable ASCII characters, got {len(token)}; "
            "`openssl rand -hex 16` makes one"
        )
    if token is None and not is_loopback(config.host):
        raise ServeError(
            f"--host {config.host} lets other machines move the arm: set {TOKEN_VARIABLE} or --token-file "
            "(`openssl rand -hex 16` makes a token), or stay on 127.0.0.1"
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Served:
    """A loaded policy as the server uses it."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy

    def new_session(self) -> Any:
        """State of one robot's episode."""
        return self.policy.new_session() if hasattr(self.policy, "new_session") else object()

    def request(self, image: Any, instruction: str, proprioception: Proprioception | None, session: Any) -> Any:
        """A checked observation. Raises ObservationError or InstructionError."""
        from magma_policy import policy as policies

        state = policies.Proprioception(**vars(proprioception)) if proprioception is not None else None
        if not hasattr(self.policy, "act_batch"):
            self.policy._check_image(image)
            return (image, instruction, state)
        request = policies.ActRequest(image, instruction, state, session)
        self.policy.check(request)
        return request

    def act_batch(self, requests: Sequence[Any]) -> list[Any]:
        """One call of the model."""
        if not hasattr(self.policy, "act_batch"):
            return [self.policy.act(*request) for request in requests]
        return list(self.policy.act_batch(requests))

    def warm_up(self) -> None:
        """Makes the first, slow calls."""
        import numpy as np
        from magma_policy_client.spec import STATE_SIZE, Proprioception

        spec = self.policy.spec
        grey = np.full((spec.image_height, spec.image_width, 3), 128, dtype=np.uint8)
        rest = np.zeros(STATE_SIZE)
        rest[[6, 13]] = 1.0  # the identity rotation, twice
        state = Proprioception.from_vector(rest) if spec.proprioception else None
        for _ in range(WARM_UP_CALLS):
            self.act_batch([self.request(grey, "do the task", state, self.new_session())])


def load(config: ServeConfig) -> Served:
    """Loads the checkpoint. Raises ServeError, or what loading raises."""
    path = find_checkpoint(config.checkpoint)
    # torch takes seconds to import; a wrong command line is told before that.
    import torch

    import magma_policy
    from magma_policy.checkpoint import CheckpointError

    if config.threads:
        torch.set_num_threads(config.threads)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ServeError("--device cuda: torch sees no CUDA GPU here; use --device cpu or auto")
    dtype = None if config.dtype == "auto" else getattr(torch, config.dtype)
    began_s = time.monotonic()
    try:
        served = Served(magma_policy.load(path, device=config.device, dtype=dtype))
    except CheckpointError as error:
        raise ServeError(str(error)) from error
    served.warm_up()
    log.info("loaded %s from %s in %.1f s", served.policy.spec.policy, path, time.monotonic() - began_s)
    return served


def make_server(served: Served, config: ServeConfig, token: str | None) -> tuple[PolicyServer, Any]:
    """The server and its batcher, not yet listening."""
    from magma_policy_client.spec import ActionSpec

    from magma_policy.serve_batching import Batcher
    from magma_policy.serve_connection import Limits, PolicyServer
    from magma_policy.serve_metrics import Metrics

    metrics = Metrics()
    batcher = Batcher(served, config.max_batch, config.batch_window_ms * 1e-3, config.max_waiting, metrics.batch)
    own = served.policy.spec
    spec = ActionSpec(**{field.name: getattr(own, field.name) for field in dataclasses.fields(ActionSpec)})
    limits = Limits(int(config.max_message_mib * 2**20), config.max_connections)
    return PolicyServer(served, spec, batcher, metrics, limits, token, "magma-serve"), batcher


async def run(served: Served, config: ServeConfig, token: str | None) -> None:
    """Serves until interrupted. Raises ServeError when the address cannot be had."""
    server, batcher = make_server(served, config, token)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ending.set)
    if config.until_stdin_closes:
        threading.Thread(target=_wait_for_stdin, args=(loop, ending), daemon=True).start()
    try:
        port = await server.start(config.host, config.port)
    except OSError as error:
        raise ServeError(f"cannot listen on {config.host}:{config.port}: {error.strerror or error}") from error
    host = f"[{config.host}]" if ":" in config.host else config.host
    url = f"ws://{host}:{port}"
    guarded = "with a token" if token else "without a token"
    print(f"serving {served.policy.spec.policy} on {url} ({guarded}); Ctrl-C ends it", flush=True)
    if config.announce is not None:
        partial = config.announce.with_name(config.announce.name + ".partial")
        partial.write_text(url + "\n", encoding="utf-8")
        partial.replace(config.announce)
    await ending.wait()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)  # a second Ctrl-C ends it the hard way
    log.info("ending")
    ended = asyncio.create_task(asyncio.to_thread(batcher.stop, STOPPING_S))
    await asyncio.sleep(0)
    await ended
    await server.stop()


def _wait_for_stdin(loop: asyncio.AbstractEventLoop, ending: asyncio.Event) -> None:
    with contextlib.suppress(OSError, ValueError):
        while sys.stdin.buffer.read(4096):
            pass
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(ending.set)


def main() -> None:
    """Entry point. Exit status 2 for a wrong command line, 1 when the server cannot start, 0 after Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    status = 0
    try:
        config = tyro.cli(ServeConfig)
        token = read_token(config)
        asyncio.run(run(load(config), config, token))
    except (CheckpointNotFoundError, ConfigError, ServeError) as error:
        print(f"magma-serve: {error}", file=sys.stderr)
        status = 1
    except ImportError as error:
        print(f"magma-serve: {error}; `./run setup` installs everything it needs", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    # Taking torch down piece by piece takes seconds, longer than Ctrl-C may. Nothing is left to save.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
