"""The demonstration format: its files, the names and shapes of their entries, and its version.

A set is a LeRobot dataset of version 3.0 (`magma_data`), with a data card and a few features that only this project
knows.
`magma-demos` and `magma-export` write it, `magma-train` reads it. Earlier it was a folder with card.json and
one .npz per episode (numpy arrays only, never pickle), which is still read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magma_contracts.actions import DELTA_FIELDS, DELTA_SIZE
from magma_contracts.arm_state import STATE_SIZE

FORMAT_VERSION = 2
"""Of the data card. Rises with every change that an older reader would misread. 1 and 2 differ in what is optional
only."""
READABLE_VERSIONS = (1, 2)

CARD = "card.json"
EPISODES = "episodes"
"""Card and folder of the episodes of a set of .npz files; that of a LeRobot dataset is meta/magma.json."""

MARKS = ("source_centre", "source_tip", "target_rest_point", "tool")
"""The points of `points` and `marks`, in their order: where the object to be moved is and where one end of its long
axis is, where it shall come to rest, and the tool centre point."""
OBJECT_MARKS = MARKS[:3]
"""Those that belong to objects; a recording has to be told where they are."""

SHAPES: Mapping[str, tuple[str | int, ...]] = {
    "proprioception": ("T", STATE_SIZE),
    "actions": ("T", DELTA_SIZE),
    "marks": ("T", "K", 2),
    "instruction": (),
    "frames": ("T", "H", "W", 3),
    "weights": ("T",),
    "object_names": ("N",),
    "object_positions": ("T", "N", 3),
    "executed": ("T", DELTA_SIZE),
    "points": ("T", "K", 3),
    "operator": ("T",),
    "intervention": ("T",),
    "task": (),
    "success": (),
}
"""The arrays of an episode of T steps:

    proprioception float32       `magma_contracts.arm_state.ArmState.as_vector`
    actions float32              what is to be learned: deltas, see `magma_contracts.actions`
    executed float32             what was executed
    points float32               `MARKS` in the base frame, m; NaN where unknown
    marks float32                the same as pixels (u, v) of the frame
    frames uint8                 rgb; absent in sets without pictures
    weights float32              what a step counts in training; 1 where absent
    object_names text            every object of the scene, distractors too
    object_positions float32     their origins, base frame, m
    operator bool                the step was the operator's
    intervention int32           number of the intervention that the step belongs to, from 0; -1 = none
    instruction, task text;  success bool, at the last step
"""
NEEDED = ("proprioception", "actions", "marks", "instruction")
"""An episode without one of these teaches nothing."""

ACTION_ENTRY: Mapping[str, Any] = {
    "fields": list(DELTA_FIELDS),
    "units": "m, axis-angle rad, absolute opening 0 closed .. 1 open",
    "frame": "base frame, relative to the controller's target",
}
"""What the card says about actions, for people."""


def check_version(card: Mapping[str, Any]) -> int:
    """The format version that a card names; cards from before there were versions are of the first.

    Raises:
        ValueError: one that this program cannot read; the text says which it can.
    """
    version = card.get("format_version", 1)
    if isinstance(version, bool) or version not in READABLE_VERSIONS:
        known = ", ".join(map(str, READABLE_VERSIONS))
        raise ValueError(
            f"format_version is {str(version)[:40]}, this program reads {known}; it was written by a newer program, "
            "or is no data card"
        )
    return int(version)
