"""Actions: motions of the end effector, one by one or as the chunks that a policy proposes.

Units and frames: metres, radians, seconds; stamps are nanoseconds of ROS time. A delta is a float array (7,): dx, dy,
dz in metres (added to the target position), an axis-angle vector rx, ry, rz in radians (applied on the left of the
target orientation), and the absolute gripper opening 0 closed ... 1 open. The dataclasses do not judge their values: an
action with a NaN in it can be held, so that whoever is in charge can refuse it with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

DELTA_SIZE = 7
DELTA_FIELDS = ("dx", "dy", "dz", "rx", "ry", "rz", "gripper")
TRANSLATION = slice(0, 3)
ROTATION = slice(3, 6)
GRIPPER = 6
"""Where each part stands in a delta."""


@dataclass(frozen=True)
class EndEffectorDelta:
    """One relative motion with its stamp and frame."""

    delta: NDArray[np.float64]
    """(7,)"""
    stamp_ns: int
    frame: str = "base"
    source: str = ""
    """who asked for it: name of the operator's device or of the policy; empty when unknown"""


@dataclass(frozen=True)
class ActionChunk:
    """Actions that a policy proposes for the next steps."""

    deltas: NDArray[np.float64]
    """(n, 7)"""
    stamp_ns: int
    """capture time of the camera frame acted on"""
    step_period_s: float
    policy: str
    instruction: str
    sequence: int
    frame: str = "base"
    step_frames: tuple[str, ...] = ()
    """frame of each step; empty, or an empty name, means the frame of the chunk"""
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    """milliseconds by name of stage"""
    refusal: str = ""
    """why there is no action for this frame; then `deltas` has no rows"""
