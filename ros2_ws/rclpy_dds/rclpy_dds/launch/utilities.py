"""Helpers that launch files and actions use to handle text that may contain substitutions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_args, get_origin

from .. import parameter_yaml
from .launch_description_entity import LaunchDescriptionEntity
from .some_substitutions_type import SomeSubstitutionsType
from .substitution import Substitution

if TYPE_CHECKING:
    from .launch_context import LaunchContext


def normalize_to_list_of_substitutions(subs: SomeSubstitutionsType) -> list[Substitution]:
    """Return `subs` as a list of substitutions; plain strings become TextSubstitution.

    Raises TypeError for anything that is neither text nor a substitution.
    """
    from .substitutions import TextSubstitution  # that module needs this one

    def one(item: object) -> Substitution:
        if isinstance(item, Substitution):
            return item
        if isinstance(item, str):
            return TextSubstitution(text=item)
        raise TypeError(f"expected a str or a launch.Substitution, got {type(item).__name__}: {item!r}")

    if isinstance(subs, (str, Substitution)):
        return [one(subs)]
    if isinstance(subs, Iterable):
        return [one(item) for item in subs]
    return [one(subs)]


def perform_substitutions(context: LaunchContext, subs: Iterable[Substitution]) -> str:
    """Return the text of all the substitutions, joined."""
    return "".join(context.perform_substitution(sub) for sub in subs)


def resolve(context: LaunchContext, subs: SomeSubstitutionsType) -> str:
    """Normalize and perform in one step."""
    return perform_substitutions(context, normalize_to_list_of_substitutions(subs))


def describe_substitutions(subs: SomeSubstitutionsType) -> str:
    """Return the text by which `--show-args` and `--print` show `subs`."""
    return " + ".join(sub.describe() for sub in normalize_to_list_of_substitutions(subs))


def normalize_to_list_of_entities(entities: object) -> list[LaunchDescriptionEntity]:
    """Return one entity or an iterable of entities (None entries dropped) as a list."""
    if entities is None:
        return []
    if isinstance(entities, LaunchDescriptionEntity):
        return [entities]
    if not isinstance(entities, Iterable) or isinstance(entities, (str, bytes)):
        raise TypeError(f"expected launch actions, got {type(entities).__name__}: {entities!r}")
    result = []
    for entity in entities:
        if entity is None:
            continue
        if not isinstance(entity, LaunchDescriptionEntity):
            raise TypeError(f"expected a launch action, got {type(entity).__name__}: {entity!r}")
        result.append(entity)
    return result


def parse_bool(text: str) -> bool:
    """Return the truth value of true/false/1/0 in any case; anything else is a ValueError."""
    lowered = text.strip().lower()
    if lowered in ("true", "1"):
        return True
    if lowered in ("false", "0"):
        return False
    raise ValueError(f"expected one of [true, 1, false, 0], got {text!r}")


def typed_value(context: LaunchContext, value: Any, data_type: type) -> Any:
    """Return `value` as `data_type` (bool, int or float), performing it first when it is text or a substitution."""
    if isinstance(value, data_type) and not (data_type is not bool and isinstance(value, bool)):
        return value
    if data_type is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    text = resolve(context, value)
    return parse_bool(text) if data_type is bool else data_type(text)


def typed_text(text: str, data_type: Any, what: str) -> Any:
    """Read `text` as a parameter value.

    `data_type` is bool, int, float, str, typing.List[...] or list[...] of those, or None for "as YAML says".
    Raises ValueError, naming `what`, when the text does not fit the type.
    """
    if data_type is str or (data_type is None and not text):
        return text
    if data_type in (int, float):
        try:
            return data_type(text)
        except ValueError:
            raise ValueError(f"{what}: {text!r} is not of type {data_type.__name__}") from None
    if data_type is bool and text in ("0", "1"):
        return text == "1"
    try:
        value = parameter_yaml.load(text)
    except ValueError as error:
        raise ValueError(f"{what}: {text!r} is {error}") from error
    if data_type is None:
        if isinstance(value, (bool, int, float, str)) or (isinstance(value, list) and value and is_uniform(value)):
            return value
        raise ValueError(
            f"{what}: {text!r} is neither a scalar nor a list of one scalar type. If it is meant to be a string, use "
            "launch_ros.parameter_descriptions.ParameterValue(value, value_type=str)"
        )
    if data_type is bool and isinstance(value, bool):
        return value
    if get_origin(data_type) is list:
        (element_type,) = get_args(data_type)
        if isinstance(value, list) and all(type(item) is element_type for item in value):
            return value
    raise ValueError(f"{what}: {text!r} is not of type {getattr(data_type, '__name__', data_type)}")


def is_uniform(values: list[Any]) -> bool:
    """Return whether all items are of one and the same scalar parameter type."""
    first = type(values[0])
    return first in (bool, int, float, str) and all(type(item) is first for item in values)


def is_a(obj: object, entity_type: type) -> bool:
    """Return whether an object is an instance of exactly this class."""
    return type(obj) is entity_type


def is_a_subclass(obj: object, entity_type: type) -> bool:
    """Return whether an object is an instance of this class or of one derived from it."""
    return isinstance(obj, entity_type)


def ensure_argument_type(argument: object, types: Any, argument_name: str, caller: str | None = None) -> None:
    """Raise TypeError unless an argument is of one of the types, a class or an iterable of classes."""
    allowed = (types,) if isinstance(types, type) else tuple(types)
    if not isinstance(argument, allowed):
        where = f"'{caller}' expected" if caller else "Expected"
        names = ", ".join(f"'{each.__name__}'" for each in allowed)
        raise TypeError(
            f"{where} '{argument_name}' to be one of [{names}], but got '{argument}' of type '{type(argument)}'"
        )
