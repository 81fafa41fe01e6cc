"""A small KOSMOS-2 learns to point from rendered scenes."""
