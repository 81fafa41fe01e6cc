"""Actions on launch arguments and launch configurations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..action import Action
from ..some_substitutions_type import SomeSubstitutionsType
from ..substitution import Substitution
from ..utilities import describe_substitutions, normalize_to_list_of_substitutions, perform_substitutions, resolve

if TYPE_CHECKING:
    from ..launch_context import LaunchContext


class DeclareLaunchArgument(Action):
    """Declares an argument of the launch file, given on the command line as `name:=value`."""

    def __init__(
        self,
        name: str,
        *,
        default_value: SomeSubstitutionsType | None = None,
        description: str | None = None,
        choices: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._name = name
        self._default = None if default_value is None else normalize_to_list_of_substitutions(default_value)
        self._choices = None if choices is None else list(choices)
        if self._choices is not None:
            if not self._choices:
                raise RuntimeError(f"launch argument '{name}': choices is empty; use None for any value")
            if isinstance(default_value, str) and default_value not in self._choices:
                raise RuntimeError(
                    f"launch argument '{name}': default_value '{default_value}' is not in choices {self._choices}"
                )
        if self._choices is None:
            self._description = "no description given" if description is None else description
        elif description is None:
            self._description = f"One of: {self._choices}"
        else:
            stop = "" if description.endswith(".") else "."
            self._description = f"{description}{stop} Valid choices are: {self._choices}"
        self._conditionally_included = False

    @property
    def name(self) -> str:
        """The argument's name."""
        return self._name

    @property
    def default_value(self) -> list[Substitution] | None:
        """The default as substitutions; None means that the argument must be given."""
        return self._default

    @property
    def description(self) -> str:
        """The text that --show-args shows."""
        return self._description

    @property
    def choices(self) -> list[str] | None:
        """The values that are allowed; None means any."""
        return self._choices

    def describe(self) -> str:
        return f"DeclareLaunchArgument('{self._name}')"

    def execute(self, context: LaunchContext) -> None:
        context.used_configurations.add(self._name)
        if self._name not in context.launch_configurations:
            if self._default is None:
                raise RuntimeError(
                    f"Required launch argument '{self._name}' (description: '{self._description}') was not provided: "
                    f"add {self._name}:=<value>"
                )
            context.launch_configurations[self._name] = perform_substitutions(context, self._default)
        value = context.launch_configurations[self._name]
        if self._choices is not None and value not in self._choices:
            raise RuntimeError(
                f"Argument '{self._name}' provided value '{value}' is not valid. Valid options are: {self._choices}"
            )


class SetLaunchConfiguration(Action):
    """Sets a launch configuration."""

    def __init__(self, name: SomeSubstitutionsType, value: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._name = normalize_to_list_of_substitutions(name)
        self._value = normalize_to_list_of_substitutions(value)

    def describe(self) -> str:
        return f"SetLaunchConfiguration({describe_substitutions(self._name)}, {describe_substitutions(self._value)})"

    def execute(self, context: LaunchContext) -> None:
        name = perform_substitutions(context, self._name)
        context.launch_configurations[name] = perform_substitutions(context, self._value)


class UnsetLaunchConfiguration(Action):
    """Removes a launch configuration; one that is not set is no error."""

    def __init__(self, name: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._name = normalize_to_list_of_substitutions(name)

    def execute(self, context: LaunchContext) -> None:
        context.launch_configurations.pop(perform_substitutions(context, self._name), None)


class PushLaunchConfigurations(Action):
    """Remembers the launch configurations."""

    def execute(self, context: LaunchContext) -> None:
        context.push_launch_configurations()


class PopLaunchConfigurations(Action):
    """Restores the launch configurations of the matching push."""

    def execute(self, context: LaunchContext) -> None:
        context.pop_launch_configurations()


class ResetLaunchConfigurations(Action):
    """Removes all launch configurations except the given ones, whose values are computed before."""

    def __init__(
        self,
        launch_configurations: Mapping[Any, SomeSubstitutionsType] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._kept = dict(launch_configurations or {})

    def execute(self, context: LaunchContext) -> None:
        kept = {resolve(context, name): resolve(context, value) for name, value in self._kept.items()}
        context.launch_configurations.clear()
        context.launch_configurations.update(kept)
