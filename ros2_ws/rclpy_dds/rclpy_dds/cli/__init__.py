"""The `ros2` command, with the words of the stock tool, for environments without a ROS 2 install."""
