"""Robots: what their actions mean, their bounds and cameras, how their data code a motion. One robot, one folder."""
