"""Substitutions that know about packages."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from ..ament_index_python.packages import get_package_prefix, get_package_share_directory
from ..launch.some_substitutions_type import SomeSubstitutionsType
from ..launch.substitution import Substitution
from ..launch.substitutions import PathSubstitution, SubstitutionFailure
from ..launch.utilities import describe_substitutions, normalize_to_list_of_substitutions, perform_substitutions
from ..workspace.executables import find_executable
from .parameter_descriptions import Parameter as ParameterDescription

if TYPE_CHECKING:
    from ..launch.launch_context import LaunchContext

__all__ = ["ExecutableInPackage", "FindPackage", "FindPackagePrefix", "FindPackageShare", "Parameter"]


class FindPackage(Substitution):
    """Base class of the substitutions that find a package."""

    def __init__(self, package: SomeSubstitutionsType) -> None:
        self._package = normalize_to_list_of_substitutions(package)

    @property
    def package(self) -> list[Substitution]:
        """The package's name, as substitutions."""
        return self._package

    def find(self, package_name: str) -> str:
        """Return the path of a package. Raises PackageNotFoundError."""
        raise NotImplementedError(f"{type(self).__name__} does not implement find()")

    def perform(self, context: LaunchContext) -> str:
        return self.find(perform_substitutions(context, self._package))

    def describe(self) -> str:
        return f"{type(self).__name__}(pkg={describe_substitutions(self._package)})"

    def __truediv__(self, component: SomeSubstitutionsType) -> PathSubstitution:
        return PathSubstitution([self, component])


class FindPackagePrefix(FindPackage):
    """The prefix a package is installed in."""

    def find(self, package_name: str) -> str:
        return get_package_prefix(package_name)


class FindPackageShare(FindPackage):
    """The share folder of a package."""

    def find(self, package_name: str) -> str:
        return get_package_share_directory(package_name)


class ExecutableInPackage(FindPackage):
    """Path of an executable of a package; where it has no file of its own, the command that runs it, shell-quoted."""

    def __init__(self, executable: SomeSubstitutionsType, package: SomeSubstitutionsType) -> None:
        super().__init__(package)
        self._executable = normalize_to_list_of_substitutions(executable)

    def command(self, context: LaunchContext) -> list[str]:
        """Return the command that runs the executable."""
        package = perform_substitutions(context, self._package)
        return list(find_executable(package, perform_substitutions(context, self._executable)).command)

    def perform(self, context: LaunchContext) -> str:
        return shlex.join(self.command(context))

    def describe(self) -> str:
        package = describe_substitutions(self._package)
        return f"ExecInPkg(pkg={package}, exec={describe_substitutions(self._executable)})"


class Parameter(Substitution):
    """The value of a parameter that SetParameter has set before."""

    def __init__(self, name: SomeSubstitutionsType, *, default: Any = None) -> None:
        self._name = normalize_to_list_of_substitutions(name)
        if default is None:
            self._default: list[Substitution] | None = None
        else:
            items = list(default) if isinstance(default, (list, tuple)) else [default]
            texts = [item if isinstance(item, (str, Substitution)) else str(item) for item in items]
            self._default = normalize_to_list_of_substitutions(texts)

    @property
    def name(self) -> list[Substitution]:
        """The parameter's name, as substitutions."""
        return self._name

    def describe(self) -> str:
        return f"Parameter(name={describe_substitutions(self._name)})"

    def perform(self, context: LaunchContext) -> str:
        name = perform_substitutions(context, self._name)
        for parameter in context.launch_configurations.get("global_params", []):
            if isinstance(parameter, ParameterDescription):
                found, value = parameter.evaluate(context)
                if found == name:
                    return str(value)
        if self._default is None:
            raise SubstitutionFailure(f"parameter '{name}' not found")
        return perform_substitutions(context, self._default)
