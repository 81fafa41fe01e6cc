"""Policies on servers by their addresses, whichever protocol the server speaks.

    ws://host:port, wss://host:port          magma-serve, and whatever speaks this project's protocol
    openpi://host:port?model=FILE            an openpi server
    vla-eval://host:port?model=FILE          a model server of vla-eval

FILE is a model file (`magma_policy_client.foreign.model_file`), or the name of a shipped one.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from magma_contracts.errors import ConfigError
from magma_contracts.text import brief
from magma_policy_client.client import PolicyClient
from magma_policy_client.connected_client import DEFAULT_TIMEOUT_S
from magma_policy_client.errors import RefusedError
from magma_policy_client.foreign import model_file
from magma_policy_client.foreign.foreign_client import ForeignClient
from magma_policy_client.foreign.openpi import OpenpiClient
from magma_policy_client.foreign.vla_eval import VlaEvalClient

FOREIGN: dict[str, type[ForeignClient]] = {"openpi": OpenpiClient, "vla-eval": VlaEvalClient}


def open_policy(
    address: str, token: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S, robot: str = ""
) -> PolicyClient | ForeignClient:
    """A connection to the policy of an address.

    Args:
        address: see the module's text.
        token: what the server asks for, if anything.
        timeout_s: deadline for connecting, and for calls that name none.
        robot: which of the server's robots acts; "" is its default one.

    Raises:
        ValueError: the address, the model file or the timeout makes no sense.
        PolicyClientError: see the kinds in `magma_policy_client.errors`.
    """
    if scheme_of(address) not in FOREIGN:
        return PolicyClient(address, token, timeout_s, robot)
    if robot:
        raise RefusedError("robot", f"{address} knows no robots by name, so none called {brief(robot)}")
    url, model = read_address(address)
    return FOREIGN[scheme_of(address)](address, url, model, token, timeout_s)


def check_address(address: str) -> None:
    """ValueError unless an address of another project's protocol is one, with a model file that can be read."""
    if scheme_of(address) in FOREIGN:
        read_address(address)


def scheme_of(address: str) -> str:
    """What stands before ://, in small letters."""
    return address.strip().partition("://")[0].lower()


def read_address(address: str) -> tuple[str, model_file.ModelFile]:
    """The websocket's URL and the model file of an address of another project's protocol. Raises ValueError."""
    scheme = scheme_of(address)
    example = f"{scheme}://127.0.0.1:8000?model=my_policy.toml"
    try:
        parts = urlsplit(address.strip())
        port = parts.port
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise ConfigError(f"{brief(address)} is no address ({error}); write {example}") from error
    if not parts.hostname or port is None or parts.username is not None or parts.fragment:
        raise ConfigError(f"{brief(address)} is no address of a host and a port; write {example}")
    if [name for name, _ in options] != ["model"] or not options[0][1]:
        raise ConfigError(
            f"{brief(address)} must name a model file, and nothing else, behind its ?: its keys and conventions are "
            f"not known otherwise; write {example}, with a file as docs/add_a_policy.md shows it"
        )
    return f"ws://{parts.netloc}{parts.path}", model_file.ModelFile.read(model_file.find(options[0][1]))
