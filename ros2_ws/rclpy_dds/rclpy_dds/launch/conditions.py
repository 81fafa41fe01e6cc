"""Conditions for actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .condition import Condition
from .some_substitutions_type import SomeSubstitutionsType
from .substitution import Substitution
from .utilities import describe_substitutions, normalize_to_list_of_substitutions, parse_bool, perform_substitutions

if TYPE_CHECKING:
    from .launch_context import LaunchContext

__all__ = [
    "IfCondition",
    "InvalidConditionExpressionError",
    "LaunchConfigurationEquals",
    "LaunchConfigurationNotEquals",
    "UnlessCondition",
    "evaluate_condition_expression",
]


class InvalidConditionExpressionError(ValueError):
    """The text of a condition is neither true nor false."""


def evaluate_condition_expression(context: LaunchContext, expression: list[Substitution]) -> bool:
    """Return the truth value of the expanded text: true/1 or false/0 in any case.

    Raises InvalidConditionExpressionError for anything else.
    """
    text = perform_substitutions(context, expression)
    try:
        return parse_bool(text)
    except ValueError:
        raise InvalidConditionExpressionError(
            f"invalid condition expression, expected one of [true, 1, false, 0] but got {text!r}, expanded from "
            f"{describe_substitutions(expression)}"
        ) from None


class IfCondition(Condition):
    """True when the text expands to true or 1, false for false or 0."""

    def __init__(self, predicate_expression: SomeSubstitutionsType) -> None:
        self._expression = normalize_to_list_of_substitutions(predicate_expression)
        super().__init__(predicate=lambda context: evaluate_condition_expression(context, self._expression))

    def describe(self) -> str:
        return f"{type(self).__name__}({describe_substitutions(self._expression)})"


class UnlessCondition(IfCondition):
    """The opposite of IfCondition."""

    def evaluate(self, context: LaunchContext) -> bool:
        return not super().evaluate(context)


class LaunchConfigurationEquals(Condition):
    """True when a launch configuration has this value; with None: when it is not set."""

    def __init__(self, launch_configuration_name: str, expected_value: SomeSubstitutionsType | None) -> None:
        self._name = launch_configuration_name
        self._expected = None if expected_value is None else normalize_to_list_of_substitutions(expected_value)
        super().__init__(predicate=self._holds)

    def _holds(self, context: LaunchContext) -> bool:
        context.used_configurations.add(self._name)
        expected = None if self._expected is None else perform_substitutions(context, self._expected)
        return context.launch_configurations.get(self._name) == expected

    def describe(self) -> str:
        value = "None" if self._expected is None else describe_substitutions(self._expected)
        return f"{type(self).__name__}({self._name!r}, {value})"


class LaunchConfigurationNotEquals(LaunchConfigurationEquals):
    """The opposite of LaunchConfigurationEquals."""

    def evaluate(self, context: LaunchContext) -> bool:
        return not super().evaluate(context)
