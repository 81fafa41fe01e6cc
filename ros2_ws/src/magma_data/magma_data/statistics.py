"""What LeRobot tells of every feature: min, max, mean, std, count and quantiles, of an episode and of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_data.info import Feature

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
PICTURES = 100
"""So many pictures of an episode are looked at."""

Statistics = dict[str, NDArray[Any]]


def of_episode(values: Mapping[str, NDArray[Any]], features: Mapping[str, Feature]) -> dict[str, Statistics]:
    """Statistics by feature of the arrays (T, *shape) of one episode; those of pictures uint8 (T, H, W, 3) are of each
    channel, (3, 1, 1) and from 0 to 1. Text has none, and neither has a feature with a number that is never known
    (NaN)."""
    found = {}
    for name, feature in features.items():
        if name not in values or feature.dtype == "string":
            continue
        array = values[name]
        if feature.pictured:
            array = array[np.unique(np.linspace(0, len(array) - 1, PICTURES).astype(int))]
            found[name] = _of_pictures(array)
        else:
            flat = array.reshape(len(array), -1).astype(np.float64)
            if np.isfinite(flat).any(axis=0).all():
                found[name] = _statistics(flat, feature.shape, len(array))
    return found


def _of_pictures(pictures: NDArray[np.uint8]) -> Statistics:
    """Of uint8 (T, H, W, C), from how often each of the 256 levels occurs: no copy of the pictures is made."""
    channels = pictures.shape[-1]
    often = np.stack([np.bincount(pictures[..., channel].ravel(), minlength=256) for channel in range(channels)])
    levels, total = np.arange(256) / 255.0, often[0].sum()
    mean = often @ levels / total
    made = {
        "min": levels[(often > 0).argmax(axis=1)],
        "max": levels[255 - (often > 0)[:, ::-1].argmax(axis=1)],
        "mean": mean,
        "std": np.sqrt((often * (levels - mean[:, None]) ** 2).sum(axis=1) / total),
    }
    upto = often.cumsum(axis=1)
    for name, share in QUANTILES.items():
        # Between the two values around the place, as numpy has it.
        place = share * (total - 1)
        below, above = ((upto > np.floor(place)).argmax(axis=1), (upto > np.ceil(place)).argmax(axis=1))
        made[name] = levels[below] + (levels[above] - levels[below]) * (place - np.floor(place))
    return {name: value.reshape(channels, 1, 1) for name, value in made.items()} | {"count": np.array([len(pictures)])}


def _statistics(flat: NDArray[np.float64], shape: tuple[int, ...], count: int) -> Statistics:
    known = np.where(np.isfinite(flat), flat, np.nan)
    made = {
        "min": np.nanmin(known, axis=0),
        "max": np.nanmax(known, axis=0),
        "mean": np.nanmean(known, axis=0),
        "std": np.nanstd(known, axis=0),
    }
    made |= dict(zip(QUANTILES, np.nanquantile(known, [*QUANTILES.values()], axis=0), strict=True))
    return {name: value.reshape(shape) for name, value in made.items()} | {"count": np.array([count])}


def of_all(parts: Sequence[dict[str, Statistics]]) -> dict[str, Statistics]:
    """Statistics of all episodes. Quantiles are the means of the episodes', weighted by their length, as LeRobot has
    it: those of all steps cannot be had from them. A feature that an episode has none of has none here."""
    made = {}
    for name in parts[0] if parts else ():
        ours = [part[name] for part in parts if name in part]
        if len(ours) < len(parts):
            continue
        counts = np.array([part["count"][0] for part in ours], dtype=np.float64)
        shares = (counts / counts.sum()).reshape(-1, *[1] * ours[0]["mean"].ndim)
        stacked = {key: np.stack([part[key] for part in ours]) for key in ours[0] if key != "count"}
        mean = (stacked["mean"] * shares).sum(axis=0)
        spread = ((stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2) * shares).sum(axis=0)
        made[name] = {
            "min": stacked["min"].min(axis=0),
            "max": stacked["max"].max(axis=0),
            "mean": mean,
            "std": np.sqrt(spread),
            **{key: (stacked[key] * shares).sum(axis=0) for key in QUANTILES if key in stacked},
            "count": np.array([int(counts.sum())]),
        }
    return made


def as_json(statistics: Mapping[str, Statistics]) -> dict[str, dict[str, Any]]:
    """As they stand in meta/stats.json."""
    return {name: {key: value.tolist() for key, value in one.items()} for name, one in statistics.items()}
