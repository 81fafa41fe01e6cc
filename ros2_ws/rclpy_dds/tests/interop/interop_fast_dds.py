"""Runs programs on a ROS 2 with eProsima Fast DDS: the Python that ``MAGMA_FAST_DDS_PYTHON`` names.

No ROS 2 need be installed for it; PyPI has rclpy with Fast DDS as wheels:

    python3 -m venv fast-dds
    fast-dds/bin/pip install 'ros-jazzy-rclpy[fastrtps]' ros-jazzy-rmw-fastrtps-cpp ros-jazzy-sensor-msgs \
        ros-jazzy-geometry-msgs ros-jazzy-std-srvs
    MAGMA_FAST_DDS_PYTHON=$PWD/fast-dds/bin/python pytest ros2_ws/rclpy_dds/tests/interop/test_fast_dds.py
"""

import os

from interop_stock import stock_environment

VARIABLE = "MAGMA_FAST_DDS_PYTHON"


def why_no_fast_dds() -> str | None:
    """Return why there is no Fast DDS to test with, or None."""
    python = os.environ.get(VARIABLE, "")
    if not python:
        return f"needs a Python with rclpy on Fast DDS: set {VARIABLE} (interop_fast_dds.py says how to get one)"
    return None if os.access(python, os.X_OK) else f"{VARIABLE} names {python}, which is no program"


def fast_dds_python() -> str:
    """Return the Python."""
    return os.environ[VARIABLE]


def fast_dds_environment(domain: int) -> dict[str, str]:
    """Return the environment for it in a domain, on this machine only."""
    # No setup.bash says anew where its libraries are: the wheels know, and another ROS 2's would come first.
    return stock_environment(domain, "rmw_fastrtps_cpp", without=["LD_LIBRARY_PATH"])
