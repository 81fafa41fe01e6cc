"""How long a controller waits for a policy that is known to be slow."""

from __future__ import annotations

USUAL_S = 0.5
"""The controller's own bounds, which hold for policies that answer within 200 ms."""
BEYOND_ANSWER_S = 0.3
"""A frame waits up to a step period (0.2 s) for a policy that is busy; the rest is for the ways through the graph."""


def waiting_bounds(latency_ms: float) -> dict[str, float]:
    """The controller's parameters that stand beside a latency: set when it starts, and only tightened while it works.

    Args:
        latency_ms: the longest that an answer takes.
    """
    bound_s = round(max(USUAL_S, 1e-3 * latency_ms + BEYOND_ANSWER_S), 3)
    return {"max_frame_age_s": bound_s, "watchdog_s": bound_s}
