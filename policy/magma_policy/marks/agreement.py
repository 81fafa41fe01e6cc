"""How well a point tracker's marks agree with known ones: where it says they are after some frames, and where they are.

The known marks are projections of points of the scene, whether something hides them or not, and some (an object's
centre, the point between the fingers) lie on no surface that a camera sees. So a part of the disagreement is no fault
of the tracker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magma_policy.marks.tracking import PointTracker

HORIZONS = (1, 4, 8, 16)
"""Frames after which positions are compared."""
CLOSE_PX = 2.0
"""A tracked mark so close to the known one agrees; a known mark that went farther than that has moved."""

COMPARISON = np.dtype(
    [("mark", "i8"), ("frames", "i8"), ("visible", "?"), ("error_px", "f4"), ("moved_px", "f4")],
)
"""One start of one mark after so many frames: whether the tracker still sees it, how far its position is from the known
one, and how far the known one went."""


def compare(
    frames: np.ndarray, marks: np.ndarray, tracker: PointTracker, every: int, horizons: Sequence[int] = HORIZONS
) -> np.ndarray:
    """Follows known marks from every `every`-th frame on.

    Args:
        frames: uint8 (T, H, W, 3) rgb.
        marks: (T, K, 2) pixels from the image's corner, NaN where unknown.

    Returns:
        `COMPARISON` rows; a mark that is off the image or unknown, at the start or later, has none.
    """
    rows = []
    size = np.array(frames.shape[2:0:-1])
    for start in range(0, len(frames) - 1, every):
        known = marks[start : start + max(horizons) + 1].astype(np.float64)
        with np.errstate(invalid="ignore"):
            on_image = np.logical_and.reduce(np.isfinite(known) & (known >= 0) & (known < size), axis=-1)
        chosen = np.flatnonzero(on_image[0])
        if not len(chosen):
            continue
        tracks = tracker.track(frames[start : start + len(known)], known[0, chosen])
        for after in horizons:
            if after >= len(known):
                continue
            there = on_image[after, chosen]
            error = np.linalg.norm(tracks.points[after] - known[after, chosen], axis=-1)
            moved = np.linalg.norm(known[after, chosen] - known[0, chosen], axis=-1)
            block = np.zeros(int(there.sum()), dtype=COMPARISON)
            block["mark"], block["frames"] = chosen[there], after
            block["visible"], block["error_px"], block["moved_px"] = (
                tracks.visible[after, there],
                error[there],
                moved[there],
            )
            rows.append(block)
    return np.concatenate(rows) if rows else np.zeros(0, dtype=COMPARISON)


def summarise(rows: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Figures of `compare`'s rows by the mark's name and by frames, over all starts and over those whose known mark
    moved more than `CLOSE_PX`. See `figures`."""
    summary: dict[str, Any] = {}
    for mark in np.unique(rows["mark"]).tolist():
        name = names[mark] if mark < len(names) else f"mark {mark}"
        of_mark = rows[rows["mark"] == mark]
        summary[name] = {
            str(after): {
                "all": figures(chosen := of_mark[of_mark["frames"] == after]),
                "moved": figures(chosen[chosen["moved_px"] > CLOSE_PX]),
            }
            for after in np.unique(of_mark["frames"]).tolist()
        }
    return summary


def figures(rows: np.ndarray) -> dict[str, float | int | None]:
    """How often and how far: starts compared, share lost, then of those not lost the median and the 90th percentile of
    the error in px and the share within `CLOSE_PX`; and that share if every mark were said to stand still."""
    seen = rows["error_px"][rows["visible"]].astype(np.float64)
    return {
        "starts": len(rows),
        "lost": _share(~rows["visible"]),
        "median_px": round(float(np.median(seen)), 2) if len(seen) else None,
        "p90_px": round(float(np.percentile(seen, 90)), 2) if len(seen) else None,
        "within_2px": _share(seen <= CLOSE_PX),
        "standing_still_within_2px": _share(rows["moved_px"] <= CLOSE_PX),
    }


def table(summary: dict[str, Any]) -> list[str]:
    """`summarise`'s figures as lines of text."""
    lines = [f"{'mark':18s} {'frames':>6s}  {'starts':>6s} {'lost':>5s} {'median':>6s} {'p90':>6s} {'<= 2px':>6s}"]
    lines[0] += f"  | moved:  {lines[0][27:]}"
    for name, by_frames in summary.items():
        for after, groups in by_frames.items():
            every, moved = (_cells(groups[group]) for group in ("all", "moved"))
            lines.append(f"{name:18s} {after:>6s}  {every}  | {'':7s} {moved}")
    return lines


def _cells(values: dict[str, Any]) -> str:
    def cell(name: str, form: str, width: int) -> str:
        value = values[name]
        return ("-" if value is None else format(value, form)).rjust(width)

    return " ".join(
        [
            cell("starts", "d", 6),
            cell("lost", ".0%", 5),
            cell("median_px", ".1f", 6),
            cell("p90_px", ".1f", 6),
            cell("within_2px", ".0%", 6),
        ]
    )


def _share(which: np.ndarray) -> float | None:
    return round(float(which.mean()), 4) if len(which) else None
