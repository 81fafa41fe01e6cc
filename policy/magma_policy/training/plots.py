"""Curves of a training run, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def plot(history: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Losses and held-out errors over optimiser steps, as a PNG; nothing when there are none yet."""
    if not history["loss"]:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    _curves(left, history["loss"], ("marks", "action", "state", "text"), "training loss", "")
    keys = ("action_mm", "state_only_mm", "gripper_percent", "mark_px_p95", "text_grid")
    _curves(right, history["validation"], keys, "held-out error", "o")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _curves(axes: Any, entries: list[dict[str, Any]], keys: tuple[str, ...], label: str, marker: str) -> None:
    drawn = False
    for key in keys:
        points = [(entry["step"], entry[key]) for entry in entries if entry.get(key) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker or None, label=key)
            drawn = True
    axes.set(xlabel="optimiser steps", ylabel=label, yscale="log")
    if drawn:
        axes.legend()
