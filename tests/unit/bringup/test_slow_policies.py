"""The controller's bounds beside a policy's latency."""

from __future__ import annotations

import pytest

from magma_bringup.launching.slow_policies import waiting_bounds


@pytest.mark.parametrize(("latency_ms", "bound_s"), [(0, 0.5), (100, 0.5), (200, 0.5), (400, 0.7), (800, 1.1)])
def test_the_bounds_leave_time_for_the_answer_and_never_fall_below_the_usual(latency_ms: float, bound_s: float) -> None:
    assert waiting_bounds(latency_ms) == {"max_frame_age_s": bound_s, "watchdog_s": bound_s}
