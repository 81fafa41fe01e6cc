"""What a person calls the objects of the scenes, and their colours: for questions about an image in training."""

from __future__ import annotations

from typing import NamedTuple


class ObjectWords(NamedTuple):
    """A noun and the colour that a person would name."""

    noun: str
    colour: str


OBJECT_WORDS: dict[str, ObjectWords] = {
    "carrot": ObjectWords("carrot", "orange"),
    "plate": ObjectWords("plate", "white"),
    "spoon": ObjectWords("spoon", "red"),
    "towel": ObjectWords("towel", "blue"),
    "green_block": ObjectWords("green block", "green"),
    "yellow_block": ObjectWords("yellow block", "yellow"),
    "eggplant": ObjectWords("eggplant", "purple"),
    "basket": ObjectWords("basket", "brown"),
    # SimplerEnv's Bridge models, by their names in its data set.
    "bridge_carrot_generated_modified": ObjectWords("carrot", "orange"),
    "bridge_plate_objaverse_larger": ObjectWords("plate", "yellow"),
    "bridge_spoon_generated_modified": ObjectWords("spoon", "green"),
    "table_cloth_generated_shorter": ObjectWords("towel", "blue"),
    "baked_green_cube_3cm": ObjectWords("green block", "green"),
    "baked_yellow_cube_3cm": ObjectWords("yellow block", "yellow"),
    "dummy_sink_target_plane": ObjectWords("basket", "yellow"),
}
"""By the object's name in a scene."""
