"""Talk to a policy, or a model that points, on another machine or in another environment: no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from magma_policy_client.client import PolicyClient
    from magma_policy_client.errors import (
        ConnectionLostError,
        PolicyChangedError,
        PolicyClientError,
        PolicyTimeoutError,
        ProtocolError,
        QuestionError,
        RefusedError,
        ServerError,
        SpecChangedError,
        VersionMismatchError,
    )
    from magma_policy_client.grounding_client import GroundingClient
    from magma_policy_client.local_server import LocalServer
    from magma_policy_client.messages import PROTOCOL_VERSION, Result

__all__ = [
    "PROTOCOL_VERSION",
    "ConnectionLostError",
    "GroundingClient",
    "LocalServer",
    "PolicyChangedError",
    "PolicyClient",
    "PolicyClientError",
    "PolicyTimeoutError",
    "ProtocolError",
    "QuestionError",
    "RefusedError",
    "Result",
    "ServerError",
    "SpecChangedError",
    "VersionMismatchError",
]

# For those who ask at run time; the names above are for type checkers. What is not named here is of `errors`.
_HOMES = {
    "PolicyClient": "client",
    "GroundingClient": "grounding_client",
    "LocalServer": "local_server",
    "PROTOCOL_VERSION": "messages",
    "Result": "messages",
}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for: who only looks for a checkpoint needs no websockets."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
