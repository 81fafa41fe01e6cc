"""Demonstration sets as LeRobot datasets, read and written without lerobot."""
