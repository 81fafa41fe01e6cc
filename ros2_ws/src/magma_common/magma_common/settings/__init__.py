"""Settings of a node: typed, checked, bound to its ROS parameters, and read from YAML."""
