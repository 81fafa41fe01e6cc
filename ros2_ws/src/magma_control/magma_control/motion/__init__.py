"""An arm that is told joint by joint: its path, its kinematics, its limits, its brake. No clock, no I/O, no ROS."""
