"""Base class of the events that handlers react to."""


class Event:
    """Something that happened while launching."""

    name = "launch.Event"
