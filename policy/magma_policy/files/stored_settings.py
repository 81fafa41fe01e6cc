"""The settings with which a folder of results was begun, compared with those of who goes on with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magma_policy.errors import shown

_MOST_TOLD = 6


def differences(stored: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """What differs of the settings in `mine`, in one line: "" where nothing does."""
    names = [name for name in mine if stored.get(name) != mine[name]]
    told = [f"{name} is {shown(stored.get(name))} there, {shown(mine[name])} here" for name in names[:_MOST_TOLD]]
    more = len(names) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")
