"""Action statistics: the q01/q99 bounds that turn normalised actions into metres and radians, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magma_contracts.actions import DELTA_SIZE
from magma_contracts.errors import ConfigError
from magma_contracts.files.typed_tables import from_dict, naming
from magma_policy.errors import shown
from magma_policy.files.json_dataclasses import to_dict
from magma_policy.files.json_files import read_object

# Keeps the division finite for a dimension that never moves (q01 == q99), as in the original training code.
EPSILON = 1e-8


@dataclass(frozen=True)
class ActionStatistics:
    """Bounds per dimension; where `mask` is False (the gripper) the normalised value passes through unchanged."""

    q01: tuple[float, ...]
    q99: tuple[float, ...]
    mask: tuple[bool, ...]

    def __post_init__(self) -> None:
        for name in ("q01", "q99", "mask"):
            if len(getattr(self, name)) != DELTA_SIZE:
                raise ConfigError(f"statistics {name} must have {DELTA_SIZE} entries, got {len(getattr(self, name))}")
        low, high = np.array(self.q01), np.array(self.q99)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ConfigError("statistics must be finite")
        with np.errstate(over="ignore"):
            distance = high - low
        if not np.isfinite(distance).all():
            raise ConfigError(f"statistics q01 {self.q01} and q99 {self.q99} lie too far apart for a number")
        if (high < low).any():
            raise ConfigError(f"statistics q99 {self.q99} must not lie below q01 {self.q01}")

    def unnormalise(self, values: np.ndarray) -> np.ndarray:
        """(..., 7) normalised to physical: 0.5 * (v + 1) * (q99 - q01) + q01 where the mask is set."""
        values = np.asarray(values, dtype=np.float64)
        low, high, mask = np.array(self.q01), np.array(self.q99), np.array(self.mask)
        return np.where(mask, 0.5 * (values + 1.0) * (high - low) + low, values)

    def normalise(self, actions: np.ndarray) -> np.ndarray:
        """(..., 7) physical to normalised, clipped to [-1, 1] (BOUNDS_Q99 of Open X-Embodiment training)."""
        actions = np.asarray(actions, dtype=np.float64)
        low, high, mask = np.array(self.q01), np.array(self.q99), np.array(self.mask)
        scaled = 2.0 * (actions - low) / (high - low + EPSILON) - 1.0
        return np.clip(np.where(mask, scaled, actions), -1.0, 1.0)


def from_actions(actions: np.ndarray) -> ActionStatistics:
    """Statistics of (N, 7) demonstration actions; the gripper (last) is not scaled."""
    q01 = np.quantile(actions, 0.01, axis=0)
    q99 = np.quantile(actions, 0.99, axis=0)
    mask = [True] * (DELTA_SIZE - 1) + [False]
    q01[-1], q99[-1] = 0.0, 1.0
    return ActionStatistics(tuple(map(float, q01)), tuple(map(float, q99)), tuple(mask))


def save(statistics: dict[str, ActionStatistics], path: Path) -> None:
    """Write the statistics of every key as JSON."""
    path.write_text(json.dumps({k: to_dict(v) for k, v in statistics.items()}, indent=2) + "\n", encoding="utf-8")


def load(path: Path) -> dict[str, ActionStatistics | ConfigError]:
    """The statistics of every data set in statistics.json.

    Other data sets may be another robot's, and tools leave notes in such files: what is no statistics of seven
    dimensions is there as the error that `select` raises for it. Raises ConfigError when the file is missing or
    malformed.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no action statistics; without them an action has no physical meaning")
    found: dict[str, ActionStatistics | ConfigError] = {}
    data = read_object(path)
    # In OpenVLA's config.json they lie one level deeper.
    inner = data.get("norm_stats")
    for key, value in (inner if isinstance(inner, dict) else data).items():
        try:
            with naming(f"{path}:{key}"):
                found[key] = from_dict(ActionStatistics, _bounds(value), f"{path}:{key}")
        except ConfigError as error:
            found[key] = error
    return found


def _bounds(entry: Any) -> Any:
    """The three entries that are used, of the form that OpenVLA and RLDS data sets are described in; else unchanged.

    There they lie under "action" among means, extremes and counts, and where none is exempt there may be no mask.
    """
    if not isinstance(entry, dict):
        return entry
    inner = entry.get("action", entry)
    if isinstance(inner, dict) and (inner is not entry or "mean" in inner):
        found = {name: inner[name] for name in ("q01", "q99", "mask") if name in inner}
        q01 = found.get("q01")
        return {"mask": [True] * len(q01), **found} if isinstance(q01, list) else found
    return entry


def select(statistics: Mapping[str, ActionStatistics | ConfigError], key: str) -> ActionStatistics:
    """The statistics of `key`; raises ConfigError that lists the known keys when there are none, or says why those of
    `key` are none."""
    found = statistics.get(key)
    if isinstance(found, ConfigError):
        raise found
    if found is None:
        known = sorted(name for name, value in statistics.items() if isinstance(value, ActionStatistics))
        raise ConfigError(f"no action statistics for {shown(key)}; the checkpoint has {known}")
    return found
