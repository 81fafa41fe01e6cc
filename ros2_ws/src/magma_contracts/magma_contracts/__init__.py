"""What the parts of the robot stack agree on, each defined once: numpy only, no ROS, no torch, no simulator."""
