"""Validation of names: :func:`validate_namespace`."""

from .validate_names import validate_namespace

__all__ = ["validate_namespace"]
