"""Actions on the environment that started processes inherit."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..action import Action
from ..some_substitutions_type import SomeSubstitutionsType
from ..utilities import (
    describe_substitutions,
    normalize_to_list_of_substitutions,
    perform_substitutions,
    typed_value,
)

if TYPE_CHECKING:
    from ..launch_context import LaunchContext


class SetEnvironmentVariable(Action):
    """Sets an environment variable."""

    def __init__(self, name: SomeSubstitutionsType, value: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._name = normalize_to_list_of_substitutions(name)
        self._value = normalize_to_list_of_substitutions(value)

    def describe(self) -> str:
        return f"SetEnvironmentVariable({describe_substitutions(self._name)}, {describe_substitutions(self._value)})"

    def execute(self, context: LaunchContext) -> None:
        name = perform_substitutions(context, self._name)
        context.environment[name] = perform_substitutions(context, self._value)


class AppendEnvironmentVariable(Action):
    """Appends to (or, with `prepend`, puts before) an environment variable, joined by the path separator."""

    def __init__(
        self,
        name: SomeSubstitutionsType,
        value: SomeSubstitutionsType,
        prepend: bool | SomeSubstitutionsType = False,
        separator: SomeSubstitutionsType = os.pathsep,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._name = normalize_to_list_of_substitutions(name)
        self._value = normalize_to_list_of_substitutions(value)
        self._prepend = prepend
        self._separator = normalize_to_list_of_substitutions(separator)

    def execute(self, context: LaunchContext) -> None:
        name = perform_substitutions(context, self._name)
        value = perform_substitutions(context, self._value)
        if name in context.environment:
            separator = perform_substitutions(context, self._separator)
            parts = [context.environment[name], value]
            if typed_value(context, self._prepend, bool):
                parts.reverse()
            value = separator.join(parts)
        context.environment[name] = value


class UnsetEnvironmentVariable(Action):
    """Removes an environment variable; one that is not set is no error."""

    def __init__(self, name: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._name = normalize_to_list_of_substitutions(name)

    def execute(self, context: LaunchContext) -> None:
        context.environment.pop(perform_substitutions(context, self._name), None)


class PushEnvironment(Action):
    """Remembers the environment."""

    def execute(self, context: LaunchContext) -> None:
        context.push_environment()


class PopEnvironment(Action):
    """Restores the environment of the matching push."""

    def execute(self, context: LaunchContext) -> None:
        context.pop_environment()


class ResetEnvironment(Action):
    """Gives the environment back as it was when the launch began."""

    def execute(self, context: LaunchContext) -> None:
        context.reset_environment()
