"""Expansion of names: :func:`expand_topic_name`."""

from .validate_names import expand_topic_name

__all__ = ["expand_topic_name"]
