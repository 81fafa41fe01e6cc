"""How much memory a policy takes, as its server tells it."""

from __future__ import annotations

import http.client
import math
import re
import threading
import urllib.error
import urllib.request
from typing import Any

LARGEST = 1 << 20
PLACES = {
    "host": ("magma_memory_peak_bytes", "process_resident_memory_bytes"),
    "accelerator": ("magma_device_memory_peak_bytes",),
}
"""Where memory is, and which of a server's metrics tells how much: the first that it has."""
MIB = 2**20


def served_memory(url: str, token: str, timeout_s: float = 5.0) -> dict[str, float]:
    """Memory of a policy server in MiB by place; empty where the server of an address tells none.

    Args:
        url: of the policy; only a server at ws:// or wss:// is asked, at its /metrics.
        token: what it was started with; "" without.
        timeout_s: longest wait, however slowly the server answers.
    """
    if not url.lower().startswith(("ws://", "wss://")):
        return {}
    told: list[str] = []
    # The socket's own timeout is one of each read: a server that sends byte by byte would never reach it.
    asking = threading.Thread(target=lambda: told.append(_metrics(url, token, timeout_s)), daemon=True)
    asking.start()
    asking.join(timeout_s)
    text = told[0] if told else ""
    found = {}
    for place, names in PLACES.items():
        values = [value for name in names if (value := _value(text, name)) is not None]
        if values:
            found[place] = round(values[0] / MIB, 1)
    return found


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The token is for the server that was named, and for no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _metrics(url: str, token: str, timeout_s: float) -> str:
    """What a server tells at /metrics; "" where it tells nothing."""
    try:
        request = urllib.request.Request("http" + url[2:].rstrip("/") + "/metrics")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)
        with opener.open(request, timeout=timeout_s) as answer:
            return str(answer.read(LARGEST).decode("utf-8", "replace"))
    except (OSError, ValueError, urllib.error.URLError, http.client.HTTPException):
        return ""


def _value(text: str, name: str) -> float | None:
    match = re.search(rf"^{name} (\S{{1,40}})$", text, re.MULTILINE)
    try:
        value = float(match[1]) if match else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0.0 else None
