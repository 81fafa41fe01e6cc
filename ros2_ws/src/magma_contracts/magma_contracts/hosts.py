"""Names and addresses of machines, as people and HTTP headers give them: what of them is this machine's alone."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on this address, or under this name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_address(name: str) -> bool:
    """Whether this is an address, and so no name that somebody's DNS could point anywhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def host_name(header: str | None) -> str:
    """The name in a Host header, without port, brackets and a closing dot, in small letters; empty where it has none,
    or where what stands for the port is none."""
    text = (header or "").strip().lower()
    if text.startswith("["):
        name, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        name, _, port = text.partition(":")
        name = name.rstrip(".")
    return name if not port or (port.isascii() and port.isdigit()) else ""
