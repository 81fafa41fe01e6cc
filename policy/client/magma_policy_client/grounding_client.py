"""A model that points on another machine, as if it were here: `GroundingClient("ws://gpu-box:8765").ground(...)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from magma_contracts.grounding import Expression, GroundedText, Grounding, NamedPlace, Which
from magma_policy_client import grounding_messages as messages
from magma_policy_client.connected_client import DEFAULT_TIMEOUT_S, time_left
from magma_policy_client.errors import PolicyChangedError, PolicyClientError, ProtocolError, QuestionError, ServerError
from magma_policy_client.messages import Failure
from magma_policy_client.model_client import CLIENT_NAME, ModelClient

AnswerT = TypeVar("AnswerT")


class GroundingClient(ModelClient):
    """Connection to a server of a model that points (`magma_contracts.grounding.Pointer`); see `ModelClient`.

    What cannot be asked is a QuestionError, which is a ValueError too, as of a model in this process; all else is a
    PolicyClientError as of a policy's server.
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """
        Args:
            url: `ws://host:port` or `wss://host:port`.
            token: what the server was started with, if anything.
            timeout_s: deadline for connecting, and for every question.

        Raises:
            ValueError: the URL or timeout makes no sense.
            PolicyClientError: see the kinds in `magma_policy_client.errors`.
        """
        self._model: str | None = None
        self._identity = ""
        super().__init__(url, token, timeout_s)

    @property
    def model(self) -> str:
        """The model's name, as its server tells it."""
        return self._model or ""

    @property
    def identity(self) -> str:
        """The model's content as hexadecimal digits; the same as long as this client lives."""
        return self._identity

    def ground(self, image: NDArray[np.uint8], phrases: Sequence[str], which: Which = "one") -> list[Grounding]:
        """Where each phrase is."""
        asked = tuple(phrases)
        answer = self._question(lambda n, left: messages.Ground(n, left, image, asked, which), messages.Found)
        if len(answer.found) != len(asked):
            raise ServerError(f"{self._url} answered {len(answer.found)} phrases of {len(asked)}")
        return list(answer.found)

    def refer(self, image: NDArray[np.uint8], box: ArrayLike) -> Expression:
        """What stands at a box (4,)."""
        place = np.asarray(box, dtype=np.float64)
        return self._question(lambda n, left: messages.Refer(n, left, image, place), messages.Called).expression

    def name(self, image: NDArray[np.uint8], place: ArrayLike) -> NamedPlace:
        """What stands at a place (4,), a box or a click, in words that lead back to it."""
        where = np.asarray(place, dtype=np.float64)
        return self._question(lambda n, left: messages.Name(n, left, image, where), messages.Named).named

    def describe(self, image: NDArray[np.uint8], *, detailed: bool = False) -> GroundedText:
        """A caption whose phrases have boxes."""
        return self._question(lambda n, left: messages.Describe(n, left, image, detailed), messages.Told).told

    def answer(self, image: NDArray[np.uint8], question: str) -> GroundedText:
        """The answer to a question."""
        return self._question(lambda n, left: messages.Ask(n, left, image, question), messages.Told).told

    def _question(self, make: Callable[[int, float], messages.Question], kind: type[AnswerT]) -> AnswerT:
        """Asks what `make` makes of a sequence and the seconds that are left, and returns an answer of this kind."""

        async def work(until_s: float) -> AnswerT:
            connection = await self._connected()
            answer = await self._ask(connection, make(self._next(), time_left(until_s)))
            if not isinstance(answer, kind):
                raise ServerError(f"{self._url} answered a question with {type(answer).__name__}")
            return answer

        return self._call(work, self._timeout_s)

    def _encode(self, message: messages.Message) -> bytes:
        return messages.encode(message)

    def _decode(self, data: bytes) -> messages.Message:
        return messages.decode(data)

    def _hello(self) -> messages.GroundingHello:
        return messages.GroundingHello(messages.GROUNDING_VERSION, CLIENT_NAME)

    def _accept(self, data: bytes) -> int:
        self._check_version(messages.peek_version(data), messages.GROUNDING_VERSION)
        welcome = messages.decode(data)
        if not isinstance(welcome, messages.GroundingWelcome):
            raise ProtocolError(f"{self._url} greeted with {type(welcome).__name__}")
        if self._model is not None and welcome.identity != self._identity:
            raise PolicyChangedError(
                f"{self._url} served {self._model} of content {self._identity[:12] or 'unknown'} before, and now "
                f"serves {welcome.model} of {welcome.identity[:12] or 'unknown'}; make a new client to accept it"
            )
        self._model, self._identity = welcome.model, welcome.identity
        return welcome.max_message_bytes

    def _failure(self, failure: Failure) -> PolicyClientError:
        if failure.code == "observation":
            return QuestionError("observation", failure.message)
        return super()._failure(failure)
