"""What the core hears of each side (policy, operators, arm), and what it makes of it. No clock, no I/O, no ROS."""
