"""A launch description: the entities of one launch file, in order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .action import Action
from .launch_description_entity import LaunchDescriptionEntity
from .utilities import normalize_to_list_of_entities

if TYPE_CHECKING:
    from .actions import DeclareLaunchArgument
    from .launch_context import LaunchContext


class LaunchDescription(LaunchDescriptionEntity):
    """An ordered list of actions."""

    def __init__(
        self,
        initial_entities: Iterable[LaunchDescriptionEntity] | None = None,
        *,
        deprecated_reason: str | None = None,
    ) -> None:
        self._entities = normalize_to_list_of_entities(initial_entities)
        self.deprecated_reason = deprecated_reason

    @property
    def entities(self) -> list[LaunchDescriptionEntity]:
        """The entities, in order."""
        return self._entities

    def add_entity(self, entity: LaunchDescriptionEntity) -> None:
        """Append an entity."""
        self.add_action(entity)

    def add_action(self, action: LaunchDescriptionEntity) -> None:
        """Append an action."""
        self._entities.extend(normalize_to_list_of_entities(action))

    def visit(self, context: LaunchContext) -> Iterable[LaunchDescriptionEntity] | None:
        return self._entities

    def get_sub_entities(self) -> Iterable[LaunchDescriptionEntity]:
        return self._entities

    def get_launch_arguments(self, conditional_inclusion: bool = False) -> list[DeclareLaunchArgument]:
        """Return the declared arguments, also of included files and groups, each name once.

        Sets `_conditionally_included` of those that are declared only under a condition. Arguments that an
        OpaqueFunction would declare, or a file whose path depends on the context, are not seen.
        """
        from .actions import DeclareLaunchArgument  # that module needs this one

        found: dict[str, DeclareLaunchArgument] = {}

        def look(entities: Iterable[LaunchDescriptionEntity], conditional: bool) -> None:
            for entity in entities:
                under_condition = conditional or (isinstance(entity, Action) and entity.condition is not None)
                if isinstance(entity, DeclareLaunchArgument) and entity.name not in found:
                    entity._conditionally_included = under_condition
                    found[entity.name] = entity
                look(entity.get_sub_entities(), under_condition)

        look(self._entities, conditional_inclusion)
        return list(found.values())
