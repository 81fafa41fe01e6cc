"""Names of frames in /tf, which all arms of a graph share."""

from __future__ import annotations

FRAME_PREFIX_OF_NAMESPACE = "auto"
FRAME_PREFIX_HELP = (
    "Before the names of frames in /tf, which several arms share; auto = the node's namespace and a slash (left/), "
    "nothing in none."
)


def frame_prefix(setting: str, namespace: str) -> str:
    """What stands before the names of frames.

    Args:
        setting: the prefix itself, or `FRAME_PREFIX_OF_NAMESPACE`.
        namespace: of the node, as it tells it.
    """
    if setting != FRAME_PREFIX_OF_NAMESPACE:
        return setting
    inside = namespace.strip("/")
    return f"{inside}/" if inside else ""
