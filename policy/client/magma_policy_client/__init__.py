"""Talk to a Magma policy on another machine or in another environment: no torch."""

from magma_policy_client.client import PolicyClient
from magma_policy_client.errors import (
    ConnectionLostError,
    PolicyChangedError,
    PolicyClientError,
    PolicyTimeoutError,
    ProtocolError,
    RefusedError,
    ServerError,
    SpecChangedError,
    VersionMismatchError,
)
from magma_policy_client.local_server import LocalServer
from magma_policy_client.messages import PROTOCOL_VERSION, Result

__all__ = [
    "PROTOCOL_VERSION",
    "ConnectionLostError",
    "LocalServer",
    "PolicyChangedError",
    "PolicyClient",
    "PolicyClientError",
    "PolicyTimeoutError",
    "ProtocolError",
    "RefusedError",
    "Result",
    "ServerError",
    "SpecChangedError",
    "VersionMismatchError",
]
