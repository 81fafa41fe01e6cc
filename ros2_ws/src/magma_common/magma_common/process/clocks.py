"""The steady clock of the nodes, and what they say about a ROS clock that stands still. No ROS."""

from __future__ import annotations

import time

NO_CLOCK = "use_sim_time is set, but nothing is published on /clock"
"""Until the first message on /clock such a node's time is 0, and whatever is stamped lies in its future."""


def steady_s() -> float:
    """Seconds on a clock that nobody can set and that goes on while the machine sleeps.

    CLOCK_MONOTONIC stands still during a suspend: to it, what was planned before is still fresh afterwards.
    """
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)  # Linux has it
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)
