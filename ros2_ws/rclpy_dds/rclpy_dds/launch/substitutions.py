"""Substitutions: text in launch files that is computed while launching."""

from __future__ import annotations

import importlib
import itertools
import math
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from . import logging as launch_logging
from .some_substitutions_type import SomeSubstitutionsType
from .substitution import Substitution
from .utilities import (
    describe_substitutions,
    normalize_to_list_of_substitutions,
    parse_bool,
    perform_substitutions,
    resolve,
)

if TYPE_CHECKING:
    from .launch_context import LaunchContext

__all__ = [
    "AllSubstitution",
    "AndSubstitution",
    "AnonName",
    "AnySubstitution",
    "Command",
    "EnvironmentVariable",
    "EqualsSubstitution",
    "FileContent",
    "FindExecutable",
    "IfElseSubstitution",
    "LaunchConfiguration",
    "LaunchLogDir",
    "LocalSubstitution",
    "NotEqualsSubstitution",
    "NotSubstitution",
    "OrSubstitution",
    "PathJoinSubstitution",
    "PathSubstitution",
    "PythonExpression",
    "StringJoinSubstitution",
    "SubstitutionFailure",
    "TextSubstitution",
    "ThisLaunchFile",
    "ThisLaunchFileDir",
]


class SubstitutionFailure(RuntimeError):
    """A substitution has no text in this context."""


class TextSubstitution(Substitution):
    """Fixed text."""

    def __init__(self, *, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"TextSubstitution expects a str, got {type(text).__name__}: {text!r}")
        self._text = text

    @property
    def text(self) -> str:
        """The text."""
        return self._text

    def perform(self, context: LaunchContext) -> str:
        return self._text

    def describe(self) -> str:
        return f"'{self._text}'"


class LaunchConfiguration(Substitution):
    """The value of a launch argument or configuration."""

    def __init__(self, variable_name: SomeSubstitutionsType, *, default: Any = None) -> None:
        self._name = normalize_to_list_of_substitutions(variable_name)
        self._default = None if default is None else _text_of_values(default)

    @property
    def variable_name(self) -> list[Substitution]:
        """The name, as substitutions."""
        return self._name

    def perform(self, context: LaunchContext) -> str:
        name = perform_substitutions(context, self._name)
        context.used_configurations.add(name)
        if name in context.launch_configurations:
            return str(context.launch_configurations[name])
        if self._default is None:
            raise SubstitutionFailure(f"launch configuration '{name}' does not exist")
        return perform_substitutions(context, self._default)

    def describe(self) -> str:
        return f"LaunchConfig({describe_substitutions(self._name)})"


class EnvironmentVariable(Substitution):
    """The value of an environment variable."""

    def __init__(self, name: SomeSubstitutionsType, *, default_value: SomeSubstitutionsType | None = None) -> None:
        self._name = normalize_to_list_of_substitutions(name)
        self._default = None if default_value is None else normalize_to_list_of_substitutions(default_value)

    def perform(self, context: LaunchContext) -> str:
        name = perform_substitutions(context, self._name)
        if name in context.environment:
            return context.environment[name]
        if self._default is None:
            raise SubstitutionFailure(f"environment variable '{name}' does not exist")
        return perform_substitutions(context, self._default)

    def describe(self) -> str:
        return f"EnvVar({describe_substitutions(self._name)})"


class PathJoinSubstitution(Substitution):
    """Path components joined by the separator. A component may itself be a list of substitutions."""

    def __init__(self, substitutions: Iterable[SomeSubstitutionsType]) -> None:
        if isinstance(substitutions, (str, Substitution)):
            substitutions = [substitutions]
        self._components = [normalize_to_list_of_substitutions(component) for component in substitutions]

    def perform(self, context: LaunchContext) -> str:
        return os.path.join(*(perform_substitutions(context, component) for component in self._components))

    def describe(self) -> str:
        return f"PathJoin('{' + '.join(describe_substitutions(component) for component in self._components)}')"

    def __truediv__(self, component: SomeSubstitutionsType) -> PathSubstitution:
        return PathSubstitution([*self._components, component])


class PathSubstitution(PathJoinSubstitution):
    """A path to which `/` appends components, as with pathlib."""

    def __init__(self, path: SomeSubstitutionsType | Iterable[SomeSubstitutionsType]) -> None:
        super().__init__(path if isinstance(path, list) else [path])  # type: ignore[list-item]


class StringJoinSubstitution(Substitution):
    """Texts joined by a delimiter."""

    def __init__(self, substitutions: Iterable[SomeSubstitutionsType], delimiter: SomeSubstitutionsType = "") -> None:
        self._parts = [normalize_to_list_of_substitutions(part) for part in substitutions]
        self._delimiter = normalize_to_list_of_substitutions(delimiter)

    def perform(self, context: LaunchContext) -> str:
        delimiter = perform_substitutions(context, self._delimiter)
        return delimiter.join(perform_substitutions(context, part) for part in self._parts)

    def describe(self) -> str:
        return f"StringJoin({', '.join(describe_substitutions(part) for part in self._parts)})"


class ThisLaunchFile(Substitution):
    """Path of the launch file that is being visited."""

    def perform(self, context: LaunchContext) -> str:
        return _local(context, "current_launch_file_path", "ThisLaunchFile()")

    def describe(self) -> str:
        return "ThisLaunchFile()"


class ThisLaunchFileDir(Substitution):
    """Directory of the launch file that is being visited."""

    def perform(self, context: LaunchContext) -> str:
        return _local(context, "current_launch_file_directory", "ThisLaunchFileDir()")

    def describe(self) -> str:
        return "ThisLaunchFileDir()"


class LaunchLogDir(Substitution):
    """Directory of this launch's log files."""

    def perform(self, context: LaunchContext) -> str:
        return launch_logging.launch_config.log_dir

    def describe(self) -> str:
        return "LaunchLogDir()"


class LocalSubstitution(Substitution):
    """A local value by a dotted path, e.g. "event.returncode" within an event handler."""

    def __init__(self, expression: str, description: str | None = None) -> None:
        self._expression = expression
        self._description = description

    def perform(self, context: LaunchContext) -> str:
        value: Any = context.locals
        try:
            for name in self._expression.split("."):
                value = getattr(value, name)
        except AttributeError as error:
            raise SubstitutionFailure(f"local '{self._expression}' does not exist: {error}") from error
        return str(value)

    def describe(self) -> str:
        return f"LocalVar('{self._description or self._expression}')"


class PythonExpression(Substitution):
    """Result of a Python expression, as text. `python_modules` are in scope; the names of math also bare."""

    def __init__(self, expression: SomeSubstitutionsType, python_modules: SomeSubstitutionsType = ("math",)) -> None:
        self._expression = normalize_to_list_of_substitutions(expression)
        self._modules = normalize_to_list_of_substitutions(python_modules)

    def perform(self, context: LaunchContext) -> str:
        scope: dict[str, Any] = {}
        for module in self._modules:
            name = context.perform_substitution(module)
            if name == "math":
                scope.update(vars(math))
            scope[name] = importlib.import_module(name)
        text = perform_substitutions(context, self._expression)
        try:
            # A launch file is Python code already, so evaluating an expression of it grants nothing new.
            return str(eval(text, {}, scope))  # noqa: S307
        except Exception as error:
            raise SubstitutionFailure(f"Python expression {text!r} failed: {type(error).__name__}: {error}") from error

    def describe(self) -> str:
        modules = ", ".join(module.describe() for module in self._modules)
        return f"PythonExpr({describe_substitutions(self._expression)}, [{modules}])"


class Command(Substitution):
    """What a command writes to stdout. `on_stderr`: fail, ignore, warn or capture."""

    def __init__(self, command: SomeSubstitutionsType, *, on_stderr: SomeSubstitutionsType = "fail") -> None:
        self._command = normalize_to_list_of_substitutions(command)
        self._on_stderr = normalize_to_list_of_substitutions(on_stderr)

    def perform(self, context: LaunchContext) -> str:
        command = perform_substitutions(context, self._command)
        on_stderr = perform_substitutions(context, self._on_stderr)
        if on_stderr not in ("fail", "ignore", "warn", "capture"):
            raise SubstitutionFailure(f"on_stderr must be fail, ignore, warn or capture, got {on_stderr!r}")
        try:
            result = subprocess.run(
                shlex.split(command),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if on_stderr == "capture" else subprocess.PIPE,
                text=True,
                check=False,
            )
        except FileNotFoundError as error:
            raise SubstitutionFailure(f"command not found: {error}") from error
        if result.returncode != 0:
            raise SubstitutionFailure(
                f"command exited with status {result.returncode}: {command}\n{result.stderr or ''}".rstrip()
            )
        if result.stderr and on_stderr in ("fail", "warn"):
            message = f"command wrote to stderr: {command}\n{result.stderr}".rstrip()
            if on_stderr == "fail":
                raise SubstitutionFailure(message)
            launch_logging.get_logger("launch").warning(message)
        return result.stdout

    def describe(self) -> str:
        return f"Command({describe_substitutions(self._command)})"


class FindExecutable(Substitution):
    """Path of an executable on PATH."""

    def __init__(self, *, name: SomeSubstitutionsType) -> None:
        self._name = normalize_to_list_of_substitutions(name)

    def perform(self, context: LaunchContext) -> str:
        name = perform_substitutions(context, self._name)
        path = shutil.which(name)
        if path is None:
            raise SubstitutionFailure(f"executable '{name}' not found on the PATH")
        return path

    def describe(self) -> str:
        return f"FindExec({describe_substitutions(self._name)})"


class FileContent(Substitution):
    """Content of a text file."""

    def __init__(self, path: SomeSubstitutionsType) -> None:
        self._path = normalize_to_list_of_substitutions(path)

    def perform(self, context: LaunchContext) -> str:
        path = perform_substitutions(context, self._path)
        try:
            with open(path, encoding="utf-8") as file:
                return file.read()
        except OSError as error:
            raise SubstitutionFailure(f"cannot read file '{path}': {error}") from error

    def describe(self) -> str:
        return f"FileContent({describe_substitutions(self._path)})"


class AnonName(Substitution):
    """A name made unique to this launch on this machine; the same name gives the same result within one launch."""

    _counter = itertools.count(1)

    def __init__(self, name: SomeSubstitutionsType) -> None:
        self._name = normalize_to_list_of_substitutions(name)

    def perform(self, context: LaunchContext) -> str:
        name = perform_substitutions(context, self._name)
        key = f"anon{name}"
        if key not in context.launch_configurations:
            host = "".join(c if c.isalnum() else "_" for c in socket.gethostname())
            unique = f"{host}_{os.getpid()}_{time.time_ns() // 1_000_000}_{next(self._counter)}"
            context.launch_configurations[key] = f"{name}_{unique}"
        return context.launch_configurations[key]

    def describe(self) -> str:
        return f"AnonName({describe_substitutions(self._name)})"


class EqualsSubstitution(Substitution):
    """ "true" or "false": whether two texts are equal. true/1 equal each other, numbers are compared as numbers."""

    def __init__(self, left: Any, right: Any) -> None:
        self._left = _text_of_values(left)
        self._right = _text_of_values(right)

    def perform(self, context: LaunchContext) -> str:
        return _bool_text(
            _equal(perform_substitutions(context, self._left), perform_substitutions(context, self._right))
        )

    def describe(self) -> str:
        return f"{type(self).__name__}({describe_substitutions(self._left)} {describe_substitutions(self._right)})"


class NotEqualsSubstitution(EqualsSubstitution):
    """The opposite of EqualsSubstitution."""

    def perform(self, context: LaunchContext) -> str:
        return _bool_text(super().perform(context) == "false")


class NotSubstitution(Substitution):
    """ "true" or "false": the opposite of a truth value."""

    def __init__(self, value: SomeSubstitutionsType) -> None:
        self._value = normalize_to_list_of_substitutions(value)

    def perform(self, context: LaunchContext) -> str:
        return _bool_text(not _truth(context, self._value, self))

    def describe(self) -> str:
        return f"NotSubstitution({describe_substitutions(self._value)})"


class AllSubstitution(Substitution):
    """ "true" when all the truth values are true; later ones are not evaluated after the first false one."""

    def __init__(self, *args: SomeSubstitutionsType) -> None:
        self._args = [normalize_to_list_of_substitutions(arg) for arg in args]

    def perform(self, context: LaunchContext) -> str:
        return _bool_text(all(_truth(context, arg, self) for arg in self._args))

    def describe(self) -> str:
        return f"{type(self).__name__}({' '.join(describe_substitutions(arg) for arg in self._args)})"


class AnySubstitution(AllSubstitution):
    """ "true" when any of the truth values is true; later ones are not evaluated after the first true one."""

    def perform(self, context: LaunchContext) -> str:
        return _bool_text(any(_truth(context, arg, self) for arg in self._args))


class AndSubstitution(AllSubstitution):
    """ "true" when both truth values are true."""

    def __init__(self, left: SomeSubstitutionsType, right: SomeSubstitutionsType) -> None:
        super().__init__(left, right)


class OrSubstitution(AnySubstitution):
    """ "true" when one of two truth values is true."""

    def __init__(self, left: SomeSubstitutionsType, right: SomeSubstitutionsType) -> None:
        super().__init__(left, right)


class IfElseSubstitution(Substitution):
    """One of two texts, by a truth value."""

    def __init__(
        self,
        condition: SomeSubstitutionsType,
        if_value: SomeSubstitutionsType = "",
        else_value: SomeSubstitutionsType = "",
    ) -> None:
        self._condition = normalize_to_list_of_substitutions(condition)
        self._if_value = normalize_to_list_of_substitutions(if_value)
        self._else_value = normalize_to_list_of_substitutions(else_value)

    def perform(self, context: LaunchContext) -> str:
        chosen = self._if_value if _truth(context, self._condition, self) else self._else_value
        return perform_substitutions(context, chosen)

    def describe(self) -> str:
        parts = (self._condition, self._if_value, self._else_value)
        return f"IfElseSubstitution({', '.join(describe_substitutions(part) for part in parts)})"


def _text_of_values(value: Any) -> list[Substitution]:
    """Return a value, or an iterable of values, as substitutions; other types than text become their str()."""
    if isinstance(value, (str, Substitution)) or not isinstance(value, Iterable):
        value = [value]
    return normalize_to_list_of_substitutions(
        [item if isinstance(item, (str, Substitution)) else str(item) for item in value]
    )


def _bool_text(value: bool) -> str:
    return "true" if value else "false"


def _truth(context: LaunchContext, expression: list[Substitution], user: Substitution) -> bool:
    text = resolve(context, expression)
    try:
        return parse_bool(text)
    except ValueError as error:
        raise SubstitutionFailure(f"{user.describe()}: {error}") from None


def _equal(left: str, right: str) -> bool:
    if left == right:
        return True
    for convert in (parse_bool, float):
        try:
            left_value, right_value = convert(left), convert(right)
        except ValueError:
            continue
        return math.isclose(left_value, right_value)
    return False


def _local(context: LaunchContext, name: str, user: str) -> str:
    try:
        return str(context.get_locals_as_dict()[name])
    except KeyError:
        raise SubstitutionFailure(f"{user} is used outside of any launch file") from None
