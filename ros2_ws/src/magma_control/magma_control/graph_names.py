"""What a person calls or publishes to lead a controller, by its names in the graph. For texts only; no ROS."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GraphNames:
    """Fully resolved names; the defaults are those of a controller in no namespace."""

    rearm: str = "/magma/rearm"
    hand_back: str = "/magma/hand_back"
    instruction: str = "/magma/instruction"
