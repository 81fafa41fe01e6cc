"""Raised for files that cannot be used as a launch file."""


class InvalidLaunchFileError(Exception):
    """The file cannot be loaded as a launch file; the message says why."""
