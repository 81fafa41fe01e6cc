"""Makes the modules of this folder importable, and skips live tests where there is no ROS 2."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from interop_stock import why_no_stock


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ros2: needs a ROS 2 that MAGMA_ROS2_SETUP names")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("ros2") is not None:
        reason = why_no_stock()
        if reason is not None:
            pytest.skip(reason)
