"""Talk to a Magma policy on another machine or in another environment: numpy, websockets and msgpack only."""

from magma_policy_client.client import PolicyClient, Result
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
from magma_policy_client.messages import PROTOCOL_VERSION
from magma_policy_client.spec import ActionSpec, EndEffectorLike, Proprioception

__all__ = [
    "PROTOCOL_VERSION",
    "ActionSpec",
    "ConnectionLostError",
    "EndEffectorLike",
    "LocalServer",
    "PolicyChangedError",
    "PolicyClient",
    "PolicyClientError",
    "PolicyTimeoutError",
    "Proprioception",
    "ProtocolError",
    "RefusedError",
    "Result",
    "ServerError",
    "SpecChangedError",
    "VersionMismatchError",
]
