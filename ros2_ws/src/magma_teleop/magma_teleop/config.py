"""Everything about keyboard operation that can be set."""

from __future__ import annotations

from dataclasses import dataclass

from magma_common.config import NodeConfig, parameter


@dataclass(frozen=True)
class KeyboardConfig(NodeConfig):
    """How far one key press goes, and how often commands are sent."""

    step_translation_m: float = parameter(0.02, "Translation of one command in metres.", minimum=0.001, maximum=0.1)
    step_rotation_rad: float = parameter(0.15, "Rotation of one command in radians.", minimum=0.01, maximum=0.5)
    step_period_s: float = parameter(
        0.2, "Shortest time between two commands in seconds: the arm's step period.", minimum=0.01, maximum=2.0
    )
    key_hold_s: float = parameter(
        0.3, "A key press that could not be sent within this time is forgotten, seconds.", minimum=0.05, maximum=1.0
    )
    state_timeout_s: float = parameter(
        2.0, "The controller counts as gone when it has not reported for this long, seconds.", minimum=0.2, maximum=30.0
    )
    frame: str = parameter("base", "Frame in which the arm takes deltas.", read_only=True)
