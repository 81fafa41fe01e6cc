import math

import pytest

from magma_control.runtime.latency import LatencyWindow
from magma_control.runtime.log_throttle import LogThrottle


def test_a_repeated_line_comes_once_per_period_with_a_count():
    throttle = LogThrottle(5.0)
    assert throttle.pass_through("a", "line", 0.0) == "line"
    assert throttle.pass_through("a", "line", 1.0) is None
    assert throttle.pass_through("a", "line", 2.0) is None
    assert throttle.pass_through("b", "other", 2.0) == "other"
    assert throttle.pass_through("a", "line", 5.0) == "line (and 2 more like it)"
    assert throttle.pass_through("a", "line", 10.0) == "line"


def test_percentiles_of_the_last_values():
    window = LatencyWindow(size=4)
    assert math.isnan(window.percentile_ms(50))
    for value_ms in (100.0, 1.0, 2.0, 3.0, 4.0):
        window.add(value_ms)
    assert window.percentile_ms(50) == pytest.approx(2.5)
    assert window.percentile_ms(100) == 4.0
