"""Validation of names: :func:`validate_node_name`."""

from .validate_names import validate_node_name

__all__ = ["validate_node_name"]
