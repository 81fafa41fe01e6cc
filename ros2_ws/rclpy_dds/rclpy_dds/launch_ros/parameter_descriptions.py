"""Parameters of nodes as launch files describe them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from .. import parameter_yaml
from ..launch.some_substitutions_type import SomeSubstitutionsType
from ..launch.substitution import Substitution
from ..launch.utilities import (
    is_uniform,
    normalize_to_list_of_substitutions,
    perform_substitutions,
    resolve,
    typed_text,
    typed_value,
)

if TYPE_CHECKING:
    from ..launch.launch_context import LaunchContext

__all__ = ["Parameter", "ParameterFile", "ParameterValue"]

_SCALARS = (bool, int, float, str)


class ParameterValue:
    """A value with a type: int, float, bool, str, typing.List of one of those, or None for YAML's rules.

    As in launch_ros, only substitutions are converted; a plain value must be of the type already. Raises TypeError
    when it is not.
    """

    def __init__(self, value: Any, *, value_type: Any = None) -> None:
        is_list = not isinstance(value, _SCALARS) and not _is_one_text(value)
        if is_list and not isinstance(value, (list, tuple)):
            raise TypeError(
                f"a parameter's value must be bool, int, float, str, a substitution, or a list of one of them, got "
                f"{type(value).__name__}: {value!r}"
            )
        wants_list = get_origin(value_type) is list
        element_type = get_args(value_type)[0] if wants_list else value_type
        plain = [item for item in (value if is_list else [value]) if isinstance(item, _SCALARS)]
        fits = element_type is None or all(isinstance(item, element_type) for item in plain)
        if not fits or (value_type is not None and not _is_one_text(value) and is_list != wants_list):
            raise TypeError(f"value {value!r} is not of value_type {value_type}; only substitutions are converted")
        self._value = value
        self._value_type = value_type
        self._element_type = element_type

    @property
    def value(self) -> Any:
        """The value as given."""
        return self._value

    @property
    def value_type(self) -> Any:
        """The type, None for YAML's rules."""
        return self._value_type

    def evaluate(self, context: LaunchContext, name: str = "") -> Any:
        """Return the value. Raises ValueError when a substitution's text does not fit the type."""
        what = f"parameter '{name}'" if name else "parameter value"
        if isinstance(self._value, _SCALARS):
            return self._value
        if _is_one_text(self._value):
            return typed_text(resolve(context, self._value), self._value_type, what)
        return _uniform(
            [
                item if isinstance(item, _SCALARS) else typed_text(resolve(context, item), self._element_type, what)
                for item in self._value
            ],
            what,
        )


class Parameter:
    """One named parameter."""

    def __init__(self, name: SomeSubstitutionsType, value: Any, *, value_type: Any = None) -> None:
        self._name = normalize_to_list_of_substitutions(name)
        self._value = ParameterValue(value, value_type=value_type)

    def evaluate(self, context: LaunchContext) -> tuple[str, Any]:
        """Return (name, value)."""
        name = perform_substitutions(context, self._name)
        return name, self._value.evaluate(context, name)


class ParameterFile:
    """A YAML file of parameters; with `allow_substs`, $(var …), $(env …) and $(find-pkg-share …) in it are replaced."""

    def __init__(
        self,
        param_file: SomeSubstitutionsType | os.PathLike[str],
        *,
        allow_substs: bool | SomeSubstitutionsType = False,
    ) -> None:
        path = os.fspath(param_file) if isinstance(param_file, os.PathLike) else param_file
        self._path = normalize_to_list_of_substitutions(path)
        self._allow_substs = allow_substs

    def evaluate(self, context: LaunchContext) -> Path:
        """Return the path of the file. Raises FileNotFoundError, ValueError for content that is no YAML mapping."""
        path = Path(perform_substitutions(context, self._path))
        if not path.is_file():
            raise FileNotFoundError(f"parameter file '{path}' does not exist")
        text = path.read_text(encoding="utf-8")
        if typed_value(context, self._allow_substs, bool):
            from .text_substitutions import substitute_text

            text = substitute_text(text, context)
            path = write_parameter_file(context, text)
        try:
            content = parameter_yaml.load(text)
        except ValueError as error:
            raise ValueError(f"parameter file '{path}' is {error}") from error
        if content is not None and not isinstance(content, dict):
            raise ValueError(f"parameter file '{path}' must hold node names with ros__parameters below them")
        return path


def write_parameter_file(context: LaunchContext, text: str) -> Path:
    """Write a parameter file that lasts as long as the launch and return its path."""
    with tempfile.NamedTemporaryFile("w", prefix="launch_params_", delete=False, encoding="utf-8") as file:
        context.temporary_files.append(file.name)
        file.write(text)
    return Path(file.name)


def evaluate_parameter_dict(context: LaunchContext, parameters: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Return {name: value}; nested dictionaries become dotted names. Raises TypeError or ValueError."""
    result: dict[str, Any] = {}
    for key, value in parameters.items():
        name = prefix + resolve(context, key)
        if isinstance(value, Mapping):
            result.update(evaluate_parameter_dict(context, value, name + "."))
        elif isinstance(value, ParameterValue):
            result[name] = value.evaluate(context, name)
        else:
            result[name] = _plain_value(context, name, value)
    return result


def _is_one_text(value: Any) -> bool:
    """Return whether a value is a substitution, or a list of texts with a substitution among them."""
    if isinstance(value, Substitution):
        return True
    return (
        isinstance(value, (list, tuple))
        and any(isinstance(item, Substitution) for item in value)
        and all(isinstance(item, (str, Substitution)) for item in value)
    )


def _plain_value(context: LaunchContext, name: str, value: Any) -> Any:
    """Return a value of a parameter dictionary as a bool, int, float, str, or a list of one of them.

    The rules are those of launch_ros: text from substitutions is read as YAML; a list with a substitution in it is
    one text, unless all items are lists or tuples themselves, which makes it a list of texts.
    """
    what = f"parameter '{name}'"
    if isinstance(value, _SCALARS):
        return value
    if _is_one_text(value):
        return typed_text(resolve(context, value), None, what)
    if not isinstance(value, Iterable) or isinstance(value, bytes):
        raise TypeError(
            f"{what}: {value!r} of type {type(value).__name__} is not covered; use bool, int, float, str, a "
            "substitution, or a list of one of them"
        )
    items = list(value)
    if any(isinstance(item, Substitution) for item in items):
        raise TypeError(f"{what}: a list with substitutions in it may otherwise hold str only, got {items!r}")
    return _uniform(
        [typed_text(resolve(context, item), None, what) if isinstance(item, (list, tuple)) else item for item in items],
        what,
    )


def _uniform(items: list[Any], what: str) -> list[Any]:
    """Return the items if they are of one scalar type, ints among floats as floats; otherwise raise TypeError."""
    if not items:
        raise TypeError(f"{what}: an empty list has no type, so it cannot be passed as a parameter; leave it out")
    if {type(item) for item in items} == {int, float}:
        return [float(item) for item in items]
    if not is_uniform(items):
        raise TypeError(f"{what}: the items of a list must be of one type (bool, int, float or str), got {items!r}")
    return items
