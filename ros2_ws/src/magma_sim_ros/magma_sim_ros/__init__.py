"""The built-in simulator as camera and arm of the robot graph, and scripted policies."""
