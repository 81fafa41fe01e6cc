"""`magma-serve`: one policy for many robots, or one model that points for many people, over websocket.

magma-serve magma-tiny                       # on this machine only: ws://127.0.0.1:8765, http://127.0.0.1:8765/v1
magma-serve microsoft/kosmos-2-patch14-224   # a model that points
MAGMA_SERVE_TOKEN=... magma-serve /data/checkpoint --host 0.0.0.0
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib.metadata
import logging
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import tyro

from magma_contracts.errors import ConfigError
from magma_contracts.files.outputs import check_file
from magma_contracts.files.server_tokens import TOKEN_VARIABLE, token_from_file
from magma_contracts.hosts import is_loopback
from magma_policy.commands.options import LoadOptions, run_command
from magma_policy.commands.pointing import PointingOptions
from magma_policy.errors import CommandError

if TYPE_CHECKING:
    from magma_policy.families.interface import LoadedPolicy, Talker
    from magma_policy.serving.batching import Batcher
    from magma_policy.serving.chat.api import ChatApi
    from magma_policy.serving.front import ModelServer
    from magma_policy.serving.metrics import Metrics
    from magma_policy.serving.served_pointer import ServedPointer
    from magma_policy.serving.served_policy import Served
    from magma_policy.serving.text_server import ServedText

    AnyServed = Served | ServedPointer | ServedText

MIN_TOKEN_LENGTH = 16
STOPPING_S = 2.0
"""How long Ctrl-C waits for a call of the model."""

log = logging.getLogger("magma-serve")


@dataclass(frozen=True)
class ServeConfig(LoadOptions):
    """Serve a policy to robots and evaluators, or a model that points to whoever asks, over websocket. On the same port
    /v1/chat/completions answers questions about pictures as OpenAI's clients ask them, and so do /healthz and /metrics.

    Only this machine can connect unless --host says otherwise, and then a token is needed: in the environment variable
    MAGMA_SERVE_TOKEN, or in a file (--token-file). Ctrl-C ends it.
    """

    checkpoint: Annotated[str, tyro.conf.Positional] = "magma-tiny"
    """Folder of a checkpoint, name of a shipped one, or owner/name on the Hugging Face Hub."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 = every network of this machine (needs a token)."""
    port: int = 8765
    """0 = any free one; it is printed."""
    max_batch: int = 8
    """Robots answered by one call of the model."""
    batch_window_ms: float = 4.0
    """How long a request may wait for those of other robots; a single robot never waits."""
    max_waiting: int = 64
    """Requests that may wait; more are refused."""
    max_connections: int = 32
    """Clients at once; more are refused."""
    max_message_mib: float = 16.0
    """Largest message, or request with pictures, that is read."""
    keep_answers: bool = True
    """Keep answers to chat requests on disk, by hashes of model, words, pictures and settings, so that what was asked
    before needs no model; an evaluation that was killed goes on where it was."""
    answers: Path | None = None
    """File to keep them in; default: magma/answers.sqlite in the folder for caches (XDG_CACHE_HOME, ~/.cache)."""
    token_file: Path | None = None
    """File with the token that clients must give."""
    announce: Path | None = None
    """File to write the URL to, once the server is ready."""
    until_stdin_closes: bool = False
    """End when standard input ends, so that a parent process never leaves a server behind."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low, high in (
            ("port", 0, 65535),
            ("max_batch", 1, 1024),
            ("batch_window_ms", 0.0, 1000.0),
            ("max_waiting", 1, 65536),
            ("max_connections", 1, 4096),
            ("max_message_mib", 0.01, 1024.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"--{name.replace('_', '-')} must be from {low} to {high}, got {value}")


def read_token(config: ServeConfig, environment: dict[str, str] | None = None) -> str | None:
    """The token, from file or environment. Raises CommandError when it is too weak, or missing where it is needed."""
    variables = os.environ if environment is None else environment
    token: str | None = variables.get(TOKEN_VARIABLE) or None
    source = TOKEN_VARIABLE
    if config.token_file is not None:
        source = str(config.token_file)
        try:
            token = token_from_file(config.token_file)
        except ValueError as error:
            raise CommandError(f"--token-file: {error}") from error
    if token is not None and (len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable()):
        raise CommandError(
            f"the token in {source} must be at least {MIN_TOKEN_LENGTH} printable ASCII characters, got {len(token)}; "
            "`openssl rand -hex 16` makes one"
        )
    if token is None and not is_loopback(config.host):
        raise CommandError(
            f"--host {config.host} lets other machines move the arm: set {TOKEN_VARIABLE} or --token-file "
            "(`openssl rand -hex 16` makes a token), or stay on 127.0.0.1"
        )
    return token


def load(config: ServeConfig) -> AnyServed:
    """Loads the checkpoint and makes its first calls. Raises CommandError."""
    began_s = time.monotonic()
    served = load_pointer(config) or load_policy(config)
    log.info("warming up %s", served.name)
    served.warm_up()
    log.info("loaded %s in %.1f s", served.name, time.monotonic() - began_s)
    return served


def load_pointer(config: ServeConfig) -> ServedPointer | None:
    """The checkpoint, if it is of a family that points; else None. Raises CommandError."""
    from magma_policy.serving.served_pointer import ServedPointer

    pointing = PointingOptions(
        checkpoint=config.checkpoint, device=config.device, dtype=config.dtype, threads=config.threads
    )
    if not pointing.points():
        return None
    for name, unused in (("quantization", "none"), ("robot", None), ("statistics", None), ("unnorm_key", None)):
        if getattr(config, name) != unused:
            raise CommandError(
                f"--{name.replace('_', '-')} is for a policy; {config.checkpoint} points and does not act"
            )
    return ServedPointer(pointing.load(), Path(config.checkpoint).name)


def load_policy(config: ServeConfig) -> Served | ServedText:
    """The checkpoint as a policy; one that was given no robot only talks. Raises CommandError."""
    from magma_policy.serving.served_policy import Served
    from magma_policy.serving.text_server import ServedText

    policy = config.load(config.checkpoint)
    if policy.robots or not hasattr(policy, "pieces"):
        return Served(policy)
    return ServedText(cast("LoadedPolicy", policy), Path(config.checkpoint).name)


def _device_peak_bytes() -> float:
    import torch

    return float(torch.cuda.max_memory_allocated())


def make_server(served: AnyServed, config: ServeConfig, token: str | None) -> tuple[ModelServer, Batcher]:
    """The server and its batcher, not yet listening; to be called where an event loop runs."""
    import torch

    from magma_policy.serving.batching import Batcher
    from magma_policy.serving.chat.talking import SharedModel
    from magma_policy.serving.metrics import Metrics
    from magma_policy.serving.served_policy import Served

    metrics = Metrics()
    if torch.cuda.is_available():
        metrics.watch("magma_device_memory_peak_bytes", "Largest memory of tensors on the device.", _device_peak_bytes)
    several = isinstance(served, Served)  # of other models each request is a call of its own
    max_batch, window_s = (config.max_batch, config.batch_window_ms * 1e-3) if several else (1, 0.0)
    batcher = Batcher(SharedModel(served), max_batch, window_s, config.max_waiting, metrics.batch)
    server = _server(served, config, token, batcher, metrics)
    talker: Any = getattr(getattr(served, "pointer", None), "grounder", None) or getattr(served, "policy", None)
    if hasattr(talker, "pieces"):
        server.offer(_chat_api(talker, served, config, batcher, metrics))
    return server, batcher


def _chat_api(talker: Talker, served: AnyServed, config: ServeConfig, batcher: Batcher, metrics: Metrics) -> ChatApi:
    from magma_policy.serving.chat.answer_store import AnswerStore
    from magma_policy.serving.chat.answering import Answering
    from magma_policy.serving.chat.api import ApiLimits, ChatApi

    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    store = AnswerStore(config.answers or caches / "magma" / "answers.sqlite") if config.keep_answers else None
    # Another version of this package may answer otherwise with the same weights.
    identity = f"{served.identity} magma-policy {importlib.metadata.version('magma-policy')}"
    answering = Answering(talker, batcher, metrics, identity, store)
    limits = ApiLimits(int(config.max_message_mib * 2**20), config.max_waiting)
    return ChatApi(answering, metrics, served.name, served.identity, limits)


def _server(
    served: AnyServed, config: ServeConfig, token: str | None, batcher: Batcher, metrics: Metrics
) -> ModelServer:
    from magma_contracts.action_spec import ActionSpec
    from magma_policy.serving.connection import PolicyServer
    from magma_policy.serving.front import Limits
    from magma_policy.serving.grounding_connection import GroundingServer
    from magma_policy.serving.served_pointer import ServedPointer
    from magma_policy.serving.text_server import ServedText, TextServer
    from magma_policy_client.messages import PROTOCOL_VERSION

    limits = Limits(int(config.max_message_mib * 2**20), config.max_connections)
    if isinstance(served, ServedPointer):
        return GroundingServer(batcher, metrics, limits, token, served.name, served.pointer.identity)
    if isinstance(served, ServedText):
        return TextServer(batcher, metrics, limits, token, served.name, served.identity, PROTOCOL_VERSION)
    fields = [field.name for field in dataclasses.fields(ActionSpec)]
    specs = {
        name: ActionSpec(**{field: getattr(robot.spec, field) for field in fields})
        for name, robot in served.policy.robots.items()
    }
    return PolicyServer(served, specs, batcher, metrics, limits, token, "magma-serve", served.identity)


def bind(host: str, port: int) -> socket.socket:
    """A socket that has the address and does not listen yet. Raises CommandError when it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CommandError(f"cannot listen on {host}: {error.strerror or error}") from error
    try:
        # A server that was restarted need not wait until the last one's connections have timed out.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise CommandError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listener


async def run(served: AnyServed, config: ServeConfig, token: str | None, listener: socket.socket) -> None:
    """Serves on a bound socket until interrupted. Raises CommandError when somebody else listens there."""
    server, batcher = make_server(served, config, token)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ending.set)
    if config.until_stdin_closes:
        threading.Thread(target=_wait_for_stdin, args=(loop, ending), daemon=True).start()
    try:
        port = await server.start(listener)
    except OSError as error:
        raise CommandError(f"cannot listen on {config.host}:{config.port}: {error.strerror or error}") from error
    host = f"[{config.host}]" if ":" in config.host else config.host
    url = f"ws://{host}:{port}"
    guarded = "with a token" if token else "without a token"
    content = f"content {served.identity[:12]}"
    print(f"serving {served.name} on {url} ({guarded}, {content}); Ctrl-C ends it", flush=True)
    if config.announce is not None:
        config.announce.parent.mkdir(parents=True, exist_ok=True)
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

    def work() -> int:
        config = tyro.cli(ServeConfig)
        token = read_token(config)
        for option, file in (("--announce", config.announce), ("--answers", config.answers)):
            if file is not None:
                check_file(file, option)
        # The address first: loading may take a minute, and all that time nobody else can take it.
        with bind(config.host, config.port) as listener:
            asyncio.run(run(load(config), config, token, listener))
        return 0

    status = run_command("magma-serve", work)
    # Taking torch down piece by piece takes seconds, longer than Ctrl-C may. Nothing is left to save.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
