"""Rotations, motions of a pose, boxes in pictures, and the conventions in which others code poses."""
