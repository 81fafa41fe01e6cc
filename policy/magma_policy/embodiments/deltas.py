"""Robots whose data were recorded in this project's own convention: nothing is converted."""

from __future__ import annotations

import numpy as np

from magma_policy.embodiments.adapter import AdaptedAction, Adapter


class DeltaAdapter(Adapter):
    """For models trained on this project's own deltas."""

    def adapt(self, values: np.ndarray) -> AdaptedAction:
        delta = np.array(values, dtype=np.float64)
        # Bin centres of the unscaled gripper run from -0.996 to 0.996; the opening is defined on 0..1.
        delta[6] = np.clip(delta[6], 0.0, 1.0)
        return AdaptedAction(delta, None)

    def encode(self, deltas: np.ndarray) -> np.ndarray:
        return np.asarray(deltas, dtype=np.float64)
