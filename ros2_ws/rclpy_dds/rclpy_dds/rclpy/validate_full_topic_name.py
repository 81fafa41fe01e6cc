"""Validation of names: :func:`validate_full_topic_name`."""

from .validate_names import validate_full_topic_name

__all__ = ["validate_full_topic_name"]
