"""A model that points, as services in the robot's graph."""
