"""What the clients of other people's policy servers have in common: they are used as `PolicyClient` is."""

from __future__ import annotations

import abc
import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection

from magma_contracts.action_spec import ActionSpec
from magma_contracts.arm_state import ArmState
from magma_contracts.text import one_line, printable
from magma_policy_client import messages
from magma_policy_client.connected_client import ConnectedClient, check_seconds
from magma_policy_client.errors import (
    PolicyChangedError,
    PolicyClientError,
    ProtocolError,
    RefusedError,
    ServerError,
)
from magma_policy_client.foreign import conventions
from magma_policy_client.foreign.model_file import ModelFile
from magma_policy_client.messages import Result

MOST_STAGES = 16
CONTENT_KEYS = ("identity", "content", "checkpoint_sha256")
"""Where a server may tell what its policy is by content."""
BY_METADATA = "metadata-"
"""Begins the identity of a policy whose server tells no content: two of equal metadata cannot be told apart."""


class ForeignClient(ConnectedClient):
    """Connection to one policy on a server of another project; see `ConnectedClient`.

    What is known of the policy is what its model file says. A server that says something of its own conventions is
    believed where it agrees, and refused where it does not.
    """

    def __init__(self, address: str, url: str, model: ModelFile, token: str | None, timeout_s: float) -> None:
        """
        Args:
            address: as a person wrote it, for errors.
            url: of the websocket.
            model: the model file.
            token: what the server asks for, if anything.
            timeout_s: deadline for connecting, and for calls that name none.

        Raises:
            ValueError: the URL, the timeout or the model file makes no sense.
            PolicyClientError: see the kinds in `magma_policy_client.errors`.
        """
        self._address = address
        self._model = model
        self._token = token
        self._identity = ""
        super().__init__(url, timeout_s, messages.MAX_MESSAGE_BYTES)

    @property
    def url(self) -> str:
        """The address, as a person wrote it."""
        return self._address

    @property
    def spec(self) -> ActionSpec:
        """What the policy needs and returns here."""
        return self._model.spec

    @property
    def identity(self) -> str:
        """A hash of what the server tells of its policy's content and of the model file; where it tells no content, of
        all that it tells, and then it begins with "metadata-". The same as long as this client lives."""
        return self._identity

    @property
    def robots(self) -> tuple[str, ...]:
        """None: these servers do not know robots by name."""
        return ()

    def reset(self, session: str = "default", timeout_s: float | None = None) -> None:
        """Begins an episode. Raises a PolicyClientError when it is not certain that the server knows."""
        del session  # one connection is one session

        async def work(_: float) -> None:
            await self._begin_episode(await self._connected())

        self._call(work, self._timeout_s if timeout_s is None else check_seconds(timeout_s, "timeout_s"))

    def act(self, image: np.ndarray, instruction: str, proprioception: Any, deadline_s: float | None = None) -> Result:
        """One action chunk; as `PolicyClient.act`."""
        try:
            state = None if proprioception is None else ArmState.of(proprioception)
        except (AttributeError, TypeError, ValueError) as error:
            raise RefusedError("observation", f"not a state of an arm: {error}") from error
        told = conventions.observation(self._model, image, instruction, state)

        async def work(_: float) -> Result:
            connection = await self._connected()
            began_s = time.monotonic()
            answer, stages = await self._exchange(connection, told, instruction)
            elapsed_ms = (time.monotonic() - began_s) * 1e3
            deltas = conventions.deltas(self._model, answer, state)
            stages["network"] = max(0.0, elapsed_ms - sum(stages.values()))
            return Result(self._sequence, deltas, stages, None)

        return self._call(work, self._timeout_s if deadline_s is None else check_seconds(deadline_s, "deadline_s"))

    @abc.abstractmethod
    async def _begin_episode(self, connection: ClientConnection) -> None:
        """Tells the server that an episode begins, where its protocol can."""

    @abc.abstractmethod
    async def _exchange(
        self, connection: ClientConnection, told: Mapping[str, Any], instruction: str
    ) -> tuple[Mapping[Any, Any], dict[str, float]]:
        """One observation and its answer: what is in it by key, and how long the server says its stages took, ms.
        Raises a PolicyClientError, and CancelledError when the deadline passes."""

    def _check_size(self, data: bytes) -> bytes:
        """The message itself. Raises RefusedError for one that is too large."""
        if len(data) > messages.MAX_MESSAGE_BYTES:
            raise RefusedError(
                "observation",
                f"the observation has {len(data)} bytes, more than {messages.MAX_MESSAGE_BYTES}; ask for smaller "
                "pictures in the model file (image_size)",
            )
        return data

    def _recognise(self, told: Mapping[Any, Any]) -> None:
        """Takes the server for the one it says it is. Raises PolicyChangedError for another one than before."""
        content = next((told[key] for key in CONTENT_KEYS if isinstance(told.get(key), str) and told[key]), None)
        by = "" if content is not None else BY_METADATA
        known = content if content is not None else _canonical(told)
        digest = hashlib.sha256(json.dumps([known, repr(self._model)]).encode()).hexdigest()
        identity = by + digest[: 64 - len(by)]
        if self._identity and identity != self._identity:
            raise PolicyChangedError(
                f"{self._address} told {self._identity[:21]} of itself before and tells {identity[:21]} now: another "
                "policy, or other settings of it; make a new client to accept it"
            )
        self._identity = identity

    def _failed(self, said: object) -> PolicyClientError:
        """The server's own words for why there is no answer, as one sentence; of a traceback its last line."""
        lines = [line for line in str(said).splitlines() if line.strip()]
        text = printable(one_line(lines[-1]), 300) if lines else "nothing"
        return ServerError(f"{self._address} failed: {text}")


def stages_of(value: object) -> dict[str, float]:
    """Times in milliseconds that a server tells, by name: what is a finite number of at least 0, and not too many."""
    if not isinstance(value, Mapping):
        return {}
    found: dict[str, float] = {}
    for name, number in list(value.items())[:MOST_STAGES]:
        named = isinstance(name, str) and len(name) < 60 and name.endswith("_ms") and name.isprintable()
        counted = isinstance(number, (int, float)) and not isinstance(number, bool)
        if named and counted and 0.0 <= number < 1e9:
            found[name.removesuffix("_ms")] = float(number)
    return found


def _canonical(value: Any) -> Any:
    """JSON of what a server tells, equal for equal content. Raises ProtocolError."""
    if isinstance(value, Mapping):
        return sorted([repr(key), _canonical(inner)] for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return [_canonical(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return [value.dtype.str, list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, (str, bytes, bool, int, float, type(None))):
        return repr(value)
    raise ProtocolError(f"the server tells a {type(value).__name__} of itself")
