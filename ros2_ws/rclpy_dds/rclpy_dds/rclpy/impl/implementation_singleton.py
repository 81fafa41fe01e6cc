"""rclpy's way to its C extension; see :mod:`rclpy._rclpy_pybind11`."""

from .. import _rclpy_pybind11 as rclpy_implementation

__all__ = ["rclpy_implementation"]
