"""Trace-of-Mark: asking Magma how numbered marks will move, and turning its answer into paths of pixels.

Question and answer are the published ones (Magma repository, agents/robot_traj and data_utils; Yang et al. 2025, arXiv
2502.13130, section 3.2). Traces are not needed to control a robot: the action ids are predicted directly. They show a
person what the model thinks will happen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from magma_policy.marks.set_of_mark import GRID, MARK_AT, MAX_TEXT

DEFAULT_MARKS = tuple(range(1, 11))
"""The demonstration names ten marks though none is drawn; the model places them itself."""
DEFAULT_SPEED = 8
"""Mean length of a step in grid units."""
DEFAULT_STEPS = 8
TEMPERATURE = 0.3
MAX_NEW_TOKENS = 1024
MAX_POINTS = 512

_NUMBER = r"-?[0-9]{1,6}(?:\.[0-9]{0,6})?"
_HEADER = re.compile(r"\bmark\s{0,3}#?([0-9]{1,4})\s{0,3}[\"']?\s{0,3}:", re.IGNORECASE)
_ANY_MARK = re.compile(r"\bmark\b", re.IGNORECASE)
_PAIR = re.compile(rf"[\[(]\s{{0,3}}({_NUMBER})\s{{0,3}}[,;\s]\s{{0,3}}({_NUMBER})\s{{0,3}}[\])]")


def trace_question(
    task: str,
    marks: Sequence[int] = DEFAULT_MARKS,
    speed: int | None = DEFAULT_SPEED,
    steps: int = DEFAULT_STEPS,
    actor: str = "robot",
) -> str:
    """How the marks should move to finish a task.

    Args:
        task: what is being done.
        marks: numbers of the marks.
        speed: grid units per step; None leaves the words out, as part of the training data does.
        steps: number of future positions asked for.
        actor: robot or person.
    """
    if steps < 1 or (speed is not None and speed < 0) or not marks:
        raise ValueError(f"steps {steps} >= 1, speed {speed} >= 0 and at least one mark are needed")
    pace = "" if speed is None else f"with speed {speed} "
    return (
        f"The image is split into {GRID}x{GRID} grids and is labeled with numeric marks {list(marks)}.\n"
        f"The {actor} is doing: {task}. To finish the task, how to move the numerical marks in the image "
        f"{pace}for the next {steps} steps?"
    )


@dataclass(frozen=True)
class Traces:
    """Where marks are and where they will go, in grid units (0..256, x right, y down).

    Attributes:
        starts: (x, y) by mark.
        futures: float64 (T, 2) by mark, T >= 1, one row per step.
    """

    starts: dict[int, tuple[float, float]] = field(default_factory=dict)
    futures: dict[int, np.ndarray] = field(default_factory=dict)

    def paths(self, width: int, height: int) -> dict[int, np.ndarray]:
        """Pixel paths float64 (T, 2) or, where the start is known, (T + 1, 2), by mark, for an image of this size."""
        scale = np.array([width, height], dtype=np.float64) / GRID
        paths = {}
        for mark, future in self.futures.items():
            start = [np.array([self.starts[mark]])] if mark in self.starts else []
            paths[mark] = np.concatenate([*start, future]) * scale
        return paths


def parse_traces(text: str) -> Traces:
    """Reads an answer to `trace_question`. Never raises.

    The form is `Mark 6 at [251,92] should be moved, and their future positions are:` and, for each mark,
    `"Mark 6": "[[252,90],[249,88]]"`. Answers cut off in the middle keep what is whole; positions off the grid are left
    out; of a mark named twice the first trace counts.
    """
    text = text[:MAX_TEXT]
    starts: dict[int, tuple[float, float]] = {}
    for found in MARK_AT.finditer(text):
        x, y = float(found.group(2)), float(found.group(3))
        if _on_grid(x, y):
            starts.setdefault(int(found.group(1)), (x, y))
    futures: dict[int, np.ndarray] = {}
    for header in _HEADER.finditer(text):
        following = _ANY_MARK.search(text, header.end())
        part = text[header.end() : following.start() if following else len(text)]
        pairs = [(float(pair.group(1)), float(pair.group(2))) for pair in _PAIR.finditer(part)]
        points = [pair for pair in pairs[:MAX_POINTS] if _on_grid(*pair)]
        if points:
            futures.setdefault(int(header.group(1)), np.array(points, dtype=np.float64))
    return Traces(starts, futures)


def format_traces(traces: Traces) -> str:
    """The answer as training data has it: the inverse of `parse_traces`, for whole numbers."""
    marks = ", ".join(f"Mark {mark} at [{round(x)},{round(y)}]" for mark, (x, y) in traces.starts.items())
    lines = []
    for mark, future in traces.futures.items():
        points = ",".join(f"[{round(x)},{round(y)}]" for x, y in future.tolist())
        lines.append(f'"Mark {mark}": "[{points}]"\n\n')
    return f"{marks} should be moved, and their future positions are:\n\n{''.join(lines)}"


def from_pixels(paths: Mapping[int, np.ndarray], width: int, height: int) -> Traces:
    """Traces of pixel paths (T + 1, 2), the first row being the start; rounded to the grid, as for training."""
    scale = GRID / np.array([width, height], dtype=np.float64)
    rounded = {mark: np.rint(np.asarray(path, dtype=np.float64) * scale) for mark, path in paths.items()}
    starts = {mark: (float(path[0, 0]), float(path[0, 1])) for mark, path in rounded.items()}
    return Traces(starts, {mark: path[1:] for mark, path in rounded.items() if len(path) > 1})


def _on_grid(x: float, y: float) -> bool:
    return 0.0 <= x <= GRID and 0.0 <= y <= GRID
