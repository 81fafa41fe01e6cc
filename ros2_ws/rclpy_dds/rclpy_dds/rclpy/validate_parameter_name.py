"""Validation of names: :func:`validate_parameter_name`."""

from .validate_names import validate_parameter_name

__all__ = ["validate_parameter_name"]
