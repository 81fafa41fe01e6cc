"""Which requests of a page leave the browser: those to allowed origins, and of these only what changes nothing, unless
a person has said yes to the action that led to it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from magma_policy.errors import ScreenError, shown

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SAME = {"ws": "http", "wss": "https"}
READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing on a server that keeps to HTTP (RFC 9110, 9.2.1)."""
OF_THE_PAGE = frozenset({"data", "blob", "about"})
"""Schemes that hold what they show: nothing is asked for anywhere."""


def origin_of(address: str) -> str:
    """`https://host:port` of an address, with the port always; "" for one without a host. WebSockets count as the web
    address of their kind; a user name before the host is no part of it."""
    try:
        parts = urlsplit(address.strip())
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return ""
    scheme = _SAME.get(parts.scheme.lower(), parts.scheme.lower())
    if scheme not in _PORTS or not host:
        return ""
    try:
        name = host if ":" in host else host.encode("idna").decode("ascii")
    except UnicodeError:
        return ""
    return f"{scheme}://{f'[{name}]' if ':' in name else name}:{port or _PORTS[scheme]}"


def allowed_origins(addresses: Iterable[str]) -> frozenset[str]:
    """Origins of addresses that people gave. Raises ScreenError for one that has none."""
    found = set()
    for address in addresses:
        origin = origin_of(address)
        if not origin:
            raise ScreenError(f"{shown(address)} is no address such as https://example.org")
        found.add(origin)
    return frozenset(found)


def file_in(address: str, folder: Path | None) -> bool:
    """Whether a `file:` address lies in a folder, links followed."""
    if (
        folder is None
        or urlsplit(address).scheme.lower() != "file"
        or urlsplit(address).netloc not in ("", "localhost")
    ):
        return False
    try:
        return Path(url2pathname(urlsplit(address).path)).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):
        return False


def refuse_request(
    address: str, method: str, allowed: frozenset[str], *, folder: Path | None = None, navigates: bool = False,
    agreed: bool = False,
) -> str:  # fmt: skip
    """Why a request does not leave the browser, "" when it does.

    Args:
        address: what is asked for.
        method: of HTTP.
        allowed: origins that may be asked.
        folder: below which `file:` addresses may be read; None: nowhere.
        navigates: whether a page or a frame would show what comes back.
        agreed: whether a person has agreed to what led to it.
    """
    scheme = urlsplit(address).scheme.lower()
    if scheme in OF_THE_PAGE:
        return f"a page of {scheme}: addresses could claim to be anything" if navigates and scheme != "about" else ""
    if scheme == "file":
        return "" if file_in(address, folder) else f"{shown(address)} is a file outside the allowed folder"
    if origin_of(address) not in allowed:
        return f"{shown(address)} is not at an allowed address"
    if method.upper() not in READING and not agreed:
        return f"{method} {shown(address)} would change something, and nobody has agreed"
    return ""
