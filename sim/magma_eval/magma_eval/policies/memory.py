"""How much memory a policy takes, as its server tells it."""

from __future__ import annotations

import math
import re
import urllib.error
import urllib.request

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
        timeout_s: longest wait.
    """
    if not url.lower().startswith(("ws://", "wss://")):
        return {}
    request = urllib.request.Request("http" + url[2:].rstrip("/") + "/metrics")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            text = answer.read(LARGEST).decode("utf-8", "replace")
    except (OSError, ValueError, urllib.error.URLError):
        return {}
    found = {}
    for place, names in PLACES.items():
        values = [value for name in names if (value := _value(text, name)) is not None]
        if values:
            found[place] = round(values[0] / MIB, 1)
    return found


def _value(text: str, name: str) -> float | None:
    match = re.search(rf"^{name} (\S{{1,40}})$", text, re.MULTILINE)
    try:
        value = float(match[1]) if match else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0.0 else None
