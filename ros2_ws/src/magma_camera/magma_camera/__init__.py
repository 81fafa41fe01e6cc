"""Camera side of the robot graph: model-ready frames from any camera driver; a source for webcams and files."""
