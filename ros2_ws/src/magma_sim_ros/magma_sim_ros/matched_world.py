"""Brings together what belongs to one instant: frame, measured state and object poses with the same stamp."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np

from magma_contracts.arm_state import EndEffectorState

KEPT = 16
"""Instants to keep; parts of one instant arrive within milliseconds of each other."""

Poses = Mapping[str, tuple[np.ndarray, np.ndarray]]


class MatchedWorld:
    """Collects parts by stamp and hands an instant out once, when the frame, the state and the poses are there.

    An instant older than the last one handed out is dropped. Not thread-safe.
    """

    def __init__(self) -> None:
        self._states: OrderedDict[int, EndEffectorState] = OrderedDict()
        self._poses: OrderedDict[int, Poses] = OrderedDict()
        self._frame_ns: int | None = None

    def add_state(self, state: EndEffectorState) -> None:
        """A measured state."""
        _keep(self._states, state.stamp_ns, state)

    def add_poses(self, stamp_ns: int, poses: Poses) -> None:
        """Object poses; more of the same stamp are added to those known."""
        _keep(self._poses, stamp_ns, {**self._poses.get(stamp_ns, {}), **poses})

    def add_frame(self, stamp_ns: int) -> None:
        """A camera frame came: it sets the pace, as for a policy that looks at it."""
        self._frame_ns = stamp_ns

    def take(self) -> tuple[EndEffectorState, Poses] | None:
        """State and poses of the newest frame, once; None while a part is missing."""
        if self._frame_ns is None or self._frame_ns not in self._states or self._frame_ns not in self._poses:
            return None
        stamp_ns, self._frame_ns = self._frame_ns, None
        return self._states[stamp_ns], self._poses[stamp_ns]


def _keep(kept: OrderedDict, stamp_ns: int, value: object) -> None:
    kept[stamp_ns] = value
    while len(kept) > KEPT:
        kept.popitem(last=False)
