"""Curves of a training run, as an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magma_policy.files.whole_files import whole_file


def plot(history: dict[str, list[dict[str, Any]]], path: Path, held_out: Sequence[str]) -> None:
    """Losses and held-out figures over optimiser steps, as a PNG; nothing when there are none yet.

    Args:
        history: what a run has noted.
        path: the file.
        held_out: the figures of validations that are drawn.
    """
    if not history["loss"]:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    successes = history.get("success", [])
    figure, axes = plt.subplots(1, 3 if successes else 2, figsize=(16 if successes else 11, 4))
    left, right = axes[:2]
    losses = dict.fromkeys(key for entry in history["loss"] for key in entry if key != "step")
    _curves(left, history["loss"], tuple(losses), "training loss", "")
    _curves(right, history["validation"], held_out, "held out", "o")
    if successes:
        _success_curves(axes[2], successes)
    figure.tight_layout()
    try:
        with whole_file(path) as partial:
            figure.savefig(partial, dpi=110, format="png")
    finally:
        plt.close(figure)


def _success_curves(axes: Any, entries: list[dict[str, Any]]) -> None:
    """Rates in closed loop, one curve per task."""
    for task in dict.fromkeys(entry["task"] for entry in entries):
        points = [(e["step"], 100.0 * e["successes"] / e["episodes"]) for e in entries if e["task"] == task]
        axes.plot(*zip(*points, strict=True), marker="o", label=task)
    axes.set(xlabel="optimiser steps", ylabel="success on random layouts, %", ylim=(-5, 105))
    axes.legend(fontsize=7)


def _curves(axes: Any, entries: list[dict[str, Any]], keys: Sequence[str], label: str, marker: str) -> None:
    drawn = False
    for key in keys:
        points = [(entry["step"], entry[key]) for entry in entries if entry.get(key) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker or None, label=key)
            drawn = True
    axes.set(xlabel="optimiser steps", ylabel=label, yscale="log")
    if drawn:
        axes.legend()
