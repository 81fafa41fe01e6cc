"""Where everything stands at the start of an episode: 24 fixed evaluation layouts per task, and random ones by seed.

A layout is drawn from numpy's PCG64 seeded with `SeedSequence([STREAM, task number, layout number])`. Evaluation and
random layouts have different first words, so their streams are independent whatever the numbers; a test compares the
poses themselves. Drawing again with the same numbers gives the same layout on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_sim.backends.tabletop.objects import GOALS, OBJECTS, TASKS, Colour, ObjectModel, goal_of
from magma_sim.task import VARIANTS, Variant

EVALUATION_LAYOUTS = 24
STREAMS: dict[Variant, int] = {"eval": 0x5EED_E7A1, "random": 0x5EED_0A2D}

WORKSPACE_LOW = (0.37, -0.24)
WORKSPACE_HIGH = (0.66, 0.24)
"""corners of the part of the table on which footprints may stand, base frame, m"""
HOME_POSITION = (0.46, 0.0, 0.24)
"""nominal tool centre point at the start, base frame, m"""
_HOME_JITTER = (0.03, 0.04, 0.02)
_FINGER_ROOM = 0.035
"""free space on both sides of a source across its long axis, for the open fingers, m"""
_GAP = 0.012
_TRIES_PER_OBJECT = 60


@dataclass(frozen=True)
class Layout:
    """The start of one episode."""

    task: str
    variant: Variant
    number: int
    distractor_task: str
    """the task whose source and target stand on the table beside this task's own"""
    placements: dict[str, tuple[float, float, float]]
    """object name -> x, y (m) of the object's origin and its yaw (rad), base frame"""
    home_position: tuple[float, float, float]
    """tool centre point at the start, base frame, m"""
    light: float
    """brightness of the lamps, 1 nominal"""
    table_colour: Colour


def _rectangle(model: ObjectModel, x: float, y: float, yaw: float, room: tuple[float, float]) -> NDArray[np.float64]:
    """Corners (4, 2) of the footprint grown by `room` on each side."""
    half = np.asarray(model.footprint_half) + room
    corners = np.asarray(model.footprint_centre) + half * np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return corners @ np.array([[cosine, sine], [-sine, cosine]]) + (x, y)


def rectangles_overlap(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Separating-axis test of two rectangles given by their corners (4, 2)."""
    for corners in (first, second):
        for edge in (corners[1] - corners[0], corners[2] - corners[1]):
            axis = np.array([-edge[1], edge[0]])
            a, b = first @ axis, second @ axis
            if a.max() < b.min() or b.max() < a.min():
                return False
    return True


def _inside_workspace(corners: NDArray[np.float64]) -> bool:
    return bool((corners.min(axis=0) >= WORKSPACE_LOW).all() and (corners.max(axis=0) <= WORKSPACE_HIGH).all())


def _place(names: Sequence[str], rng: np.random.Generator) -> dict[str, tuple[float, float, float]] | None:
    """One attempt at standing all objects apart; None when it painted itself into a corner."""
    placed: dict[str, tuple[float, float, float]] = {}
    taken: list[NDArray[np.float64]] = []
    for name in names:
        model = OBJECTS[name]
        room = (_GAP, _FINGER_ROOM) if model.grasp_width > 0 else (_GAP, _GAP)
        for _ in range(_TRIES_PER_OBJECT):
            x, y = (float(v) for v in rng.uniform(WORKSPACE_LOW, WORKSPACE_HIGH))
            yaw = float(rng.uniform(-model.yaw_range, model.yaw_range)) if model.yaw_range > 0 else 0.0
            if not _inside_workspace(_rectangle(model, x, y, yaw, (0.0, 0.0))):
                continue
            grown = _rectangle(model, x, y, yaw, room)
            if any(rectangles_overlap(grown, other) for other in taken):
                continue
            placed[name] = (x, y, yaw)
            taken.append(grown)
            break
        else:
            return None
    return placed


def make_layout(task: str, variant: Variant, number: int) -> Layout:
    """Draws the layout `number` of a task; equal arguments give equal layouts.

    Raises:
        ValueError: unknown task or variant, a negative number, or an evaluation number beyond the fixed set.
    """
    goal = goal_of(task)
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; it is one of {', '.join(VARIANTS)}")
    if number < 0:
        raise ValueError(f"layouts are numbered from 0, got {number}")
    if variant == "eval" and number >= EVALUATION_LAYOUTS:
        raise ValueError(f"evaluation layouts run from 0 to {EVALUATION_LAYOUTS - 1}, got {number}")
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([STREAMS[variant], TASKS.index(task), number])))
    others = [other for other in TASKS if other != task]
    distractor = GOALS[others[int(rng.integers(len(others)))]]
    # Large footprints first: a plate finds no room between three small things.
    names = sorted(
        (goal.source, goal.target, distractor.source, distractor.target),
        key=lambda name: -OBJECTS[name].footprint_half[0] * OBJECTS[name].footprint_half[1],
    )
    placements = None
    while placements is None:
        placements = _place(names, rng)
    jitter = rng.uniform(-1.0, 1.0, size=3) * _HOME_JITTER
    home_x, home_y, home_z = (float(v) for v in np.asarray(HOME_POSITION) + jitter)
    red, green, blue = (float(v) for v in np.array([0.36, 0.31, 0.26]) * rng.uniform(0.8, 1.2) * rng.uniform(0.94, 1.06, size=3))
    return Layout(
        task=task,
        variant=variant,
        number=number,
        distractor_task=distractor.task,
        placements=placements,
        home_position=(home_x, home_y, home_z),
        light=float(rng.uniform(0.85, 1.15)),
        table_colour=(red, green, blue),
    )
