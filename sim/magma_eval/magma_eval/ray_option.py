"""`--ray [HOST:PORT|auto]` of every command that can work on a cluster."""

from __future__ import annotations

from typing import Annotated

import tyro

RayOption = Annotated[
    tuple[str, ...] | None, tyro.conf.arg(metavar="[HOST:PORT|auto]", help_behavior_hint="(default: no cluster)")
]
"""None: not given; (): given alone; else the address."""


def address_of(given: tuple[str, ...] | None) -> str | None:
    """Of a cluster; "" starts one of this machine; None: no Ray. ValueError when it is not one address."""
    if given is None:
        return None
    if len(given) > 1 or "" in given:
        raise ValueError(f"--ray takes one HOST:PORT, auto, or nothing, got {' '.join(map(repr, given))}")
    return given[0] if given else ""
