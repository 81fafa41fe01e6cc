"""Descriptions of nodes' parameters, under the name launch files import them by."""

from ..launch import unsupported
from .parameter_descriptions import Parameter, ParameterFile, ParameterValue

__all__ = ["Parameter", "ParameterFile", "ParameterValue"]

__getattr__ = unsupported.not_covered("launch_ros.descriptions", ["ComposableNode"])
