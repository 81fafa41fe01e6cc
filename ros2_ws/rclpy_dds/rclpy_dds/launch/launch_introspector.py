"""Shows a launch description as a tree, as `ros2 launch --print` does."""

from __future__ import annotations

from collections.abc import Iterable

from .action import Action
from .launch_description import LaunchDescription
from .launch_description_entity import LaunchDescriptionEntity


class LaunchIntrospector:
    """Formats launch descriptions for people."""

    def format_launch_description(self, launch_description: LaunchDescription) -> str:
        """Return the entities, and those they are known to contain, as an indented tree."""
        return "\n".join(["LaunchDescription", *_tree(launch_description.entities)])


def _tree(entities: Iterable[LaunchDescriptionEntity]) -> list[str]:
    lines = []
    all_entities = list(entities)
    for index, entity in enumerate(all_entities):
        last = index == len(all_entities) - 1
        text = entity.describe().replace("\n", "\\n")
        if isinstance(entity, Action) and entity.condition is not None:
            text += f"  when {entity.condition.describe()}"
        lines.append(("└── " if last else "├── ") + text)
        lines.extend(("    " if last else "│   ") + line for line in _tree(entity.get_sub_entities()))
    return lines
