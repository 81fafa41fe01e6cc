"""rclpy's API on Cyclone DDS, for Python environments without a ROS 2 install."""

__version__ = "0.2.0"
