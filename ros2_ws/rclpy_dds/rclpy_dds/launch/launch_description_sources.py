"""Launch descriptions from Python launch files."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
from types import ModuleType

from . import unsupported
from .invalid_launch_file_error import InvalidLaunchFileError
from .launch_description import LaunchDescription
from .launch_description_source import LaunchDescriptionSource
from .some_substitutions_type import SomeSubstitutionsType

__all__ = [
    "AnyLaunchDescriptionSource",
    "InvalidLaunchFileError",
    "InvalidPythonLaunchFileError",
    "PythonLaunchDescriptionSource",
    "get_launch_description_from_any_launch_file",
    "get_launch_description_from_python_launch_file",
    "load_python_launch_file_as_module",
]

__getattr__ = unsupported.not_covered(
    "launch.launch_description_sources",
    [
        "FrontendLaunchDescriptionSource",
        "InvalidFrontendLaunchFileError",
        "get_launch_description_from_frontend_launch_file",
    ],
)


class InvalidPythonLaunchFileError(InvalidLaunchFileError):
    """A Python launch file lacks what launch needs of it."""


def load_python_launch_file_as_module(python_launch_file_path: str) -> ModuleType:
    """Import a Python launch file (of any name) and return it as a module."""
    loader = importlib.machinery.SourceFileLoader("python_launch_file", python_launch_file_path)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    if spec is None:
        raise InvalidPythonLaunchFileError(f"cannot load '{python_launch_file_path}' as Python")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def get_launch_description_from_python_launch_file(python_launch_file_path: str) -> LaunchDescription:
    """Return what the file's generate_launch_description() returns.

    Raises FileNotFoundError, or InvalidPythonLaunchFileError when the file has no such function or it returns
    something else.
    """
    if not os.path.isfile(python_launch_file_path):
        raise FileNotFoundError(f"launch file '{python_launch_file_path}' does not exist")
    module = load_python_launch_file_as_module(python_launch_file_path)
    if not hasattr(module, "generate_launch_description"):
        raise InvalidPythonLaunchFileError(
            f"launch file at '{python_launch_file_path}' does not contain the required function "
            "'generate_launch_description()'"
        )
    description = module.generate_launch_description()
    if not isinstance(description, LaunchDescription):
        raise InvalidPythonLaunchFileError(
            f"generate_launch_description() of '{python_launch_file_path}' returned a "
            f"{type(description).__name__}, expected a LaunchDescription"
        )
    return description


def get_launch_description_from_any_launch_file(launch_file_path: str) -> LaunchDescription:
    """Like the Python variant; XML and YAML launch files raise NotImplementedError."""
    if os.path.isfile(launch_file_path) and not launch_file_path.endswith(".py"):
        raise NotImplementedError(
            f"launch file '{launch_file_path}': only Python launch files (*.launch.py) are covered by rclpy_dds; XML "
            "and YAML launch files need a ROS 2 installation"
        )
    return get_launch_description_from_python_launch_file(launch_file_path)


class PythonLaunchDescriptionSource(LaunchDescriptionSource):
    """A Python launch file."""

    def __init__(self, launch_file_path: SomeSubstitutionsType) -> None:
        super().__init__(None, _as_text(launch_file_path), "interpreted python launch file")

    def _get_launch_description(self, location: str) -> LaunchDescription:
        return get_launch_description_from_python_launch_file(location)


class AnyLaunchDescriptionSource(LaunchDescriptionSource):
    """A launch file of any kind that is covered."""

    def __init__(self, launch_file_path: SomeSubstitutionsType) -> None:
        super().__init__(None, _as_text(launch_file_path), "interpreted launch file")

    def _get_launch_description(self, location: str) -> LaunchDescription:
        return get_launch_description_from_any_launch_file(location)


def _as_text(path: SomeSubstitutionsType | os.PathLike[str]) -> SomeSubstitutionsType:
    return os.fspath(path) if isinstance(path, os.PathLike) else path
