"""What can go wrong between a policy client and its server, as types."""

from __future__ import annotations

from magma_contracts.text import sentence


class PolicyClientError(Exception):
    """Anything that kept a call from returning an action. Whoever drives an arm holds it still then.

    Its text is one printable line, whatever the other side wrote into it: it goes on to terminals and logs.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(sentence(message))


class ProtocolError(PolicyClientError):
    """Bytes that are not a message of this protocol, or a message out of place."""


class PolicyTimeoutError(PolicyClientError, TimeoutError):
    """No answer within the deadline. The client stays usable; the late answer is dropped when it comes."""


class ConnectionLostError(PolicyClientError, ConnectionError):
    """No connection, or it broke during the call. The next call connects again."""


class VersionMismatchError(PolicyClientError):
    """Client and server speak different versions of the protocol."""


class RefusedError(PolicyClientError):
    """The server understood and said no: a wrong token, a bad picture, an empty instruction, too many requests.

    Attributes:
        code: the reason as one word, see `magma_policy_client.messages.FAILURE_CODES`; "token" for a wrong token.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class QuestionError(RefusedError, ValueError):
    """What a model that points cannot be asked, or has no answer to; the message says why."""


class ServerError(PolicyClientError):
    """The policy failed inside the server, or the server answered with something that is no action."""


class SpecChangedError(PolicyClientError):
    """After a reconnection the server offers another policy than before; make a new client to accept it."""


class PolicyChangedError(SpecChangedError):
    """After a reconnection the server has other weights, statistics or settings than before, with an equal
    specification; make a new client to accept it."""
