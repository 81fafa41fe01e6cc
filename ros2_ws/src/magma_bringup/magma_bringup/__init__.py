"""Starts the robot graph and plays episodes through it."""
