"""What tf2 raises."""


class TransformException(Exception):
    """Base of all errors of tf2."""


class LookupException(TransformException):
    """A frame does not exist."""


class ConnectivityException(TransformException):
    """Two frames are in different trees."""


class ExtrapolationException(TransformException):
    """The time lies outside what is known of a frame."""


class InvalidArgumentException(TransformException):
    """A frame name or object cannot be used."""


class TimeoutException(TransformException):
    """The time was over."""
