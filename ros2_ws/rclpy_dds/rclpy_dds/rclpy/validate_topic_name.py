"""Validation of names: :func:`validate_topic_name`."""

from .validate_names import validate_topic_name

__all__ = ["validate_topic_name"]
