"""Recordings of the robot graph: writing, checking, replaying and exporting them."""
