"""Where everything stands at the start of an episode: 24 fixed evaluation layouts per task, and random ones by seed.

A layout is drawn from numpy's PCG64 seeded with `SeedSequence([STREAM, task number, layout number])`. Evaluation and
random layouts have different first words, so their streams are independent whatever the numbers; a test compares the
poses themselves. Drawing again with the same numbers gives the same layout on every machine.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from magma_sim.backends.tabletop.objects import GOALS, OBJECTS, TASKS, Colour, ObjectModel, goal_of
from magma_sim.tasks.interface import VARIANTS, Variant

EVALUATION_LAYOUTS = 24
STREAMS: dict[Variant, int] = {"eval": 0x5EED_E7A1, "random": 0x5EED_0A2D}

WORKSPACE_LOW = (0.37, -0.24)
WORKSPACE_HIGH = (0.66, 0.24)
"""corners of the part of the table on which footprints may stand, base frame, m"""
HOME_POSITION = (0.46, 0.0, 0.24)
"""nominal tool centre point at the start, base frame, m"""
TABLE_COLOUR: Colour = (0.36, 0.31, 0.26)
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


@dataclass(frozen=True)
class Rectangle:
    """A rectangle on the table: centre and half extents in m, heading in rad.

    In plain floats: thousands are tried per layout, and numpy on pairs of numbers is thirty times slower.
    """

    x: float
    y: float
    half_x: float
    half_y: float
    yaw: float

    def overlaps(self, other: Rectangle) -> bool:
        """Separating-axis test."""
        dx, dy = other.x - self.x, other.y - self.y
        cosine, sine = abs(math.cos(other.yaw - self.yaw)), abs(math.sin(other.yaw - self.yaw))
        for first, second in ((self, other), (other, self)):
            c, s = math.cos(first.yaw), math.sin(first.yaw)
            if abs(c * dx + s * dy) > first.half_x + second.half_x * cosine + second.half_y * sine:
                return False
            if abs(c * dy - s * dx) > first.half_y + second.half_x * sine + second.half_y * cosine:
                return False
        return True

    def inside_workspace(self) -> bool:
        """Whether it lies within the part of the table on which objects may stand."""
        c, s = abs(math.cos(self.yaw)), abs(math.sin(self.yaw))
        reach_x, reach_y = c * self.half_x + s * self.half_y, s * self.half_x + c * self.half_y
        return (
            self.x - reach_x >= WORKSPACE_LOW[0]
            and self.y - reach_y >= WORKSPACE_LOW[1]
            and self.x + reach_x <= WORKSPACE_HIGH[0]
            and self.y + reach_y <= WORKSPACE_HIGH[1]
        )


def footprint(model: ObjectModel, x: float, y: float, yaw: float, room: tuple[float, float] = (0.0, 0.0)) -> Rectangle:
    """Footprint of an object whose origin is at x, y, grown by `room` on each side along its own axes."""
    c, s = math.cos(yaw), math.sin(yaw)
    offset_x, offset_y = model.footprint_centre
    return Rectangle(
        x + c * offset_x - s * offset_y,
        y + s * offset_x + c * offset_y,
        model.footprint_half[0] + room[0],
        model.footprint_half[1] + room[1],
        yaw,
    )


def place_apart(models: Sequence[ObjectModel], rng: np.random.Generator) -> list[tuple[float, float, float]] | None:
    """One attempt at standing all objects apart: x, y (m) and yaw (rad) of each; None when it painted itself into a
    corner."""
    placed: list[tuple[float, float, float]] = []
    taken: list[Rectangle] = []
    for model in models:
        room = (_GAP, _FINGER_ROOM) if model.grasp_width > 0 else (_GAP, _GAP)
        for _ in range(_TRIES_PER_OBJECT):
            x = WORKSPACE_LOW[0] + (WORKSPACE_HIGH[0] - WORKSPACE_LOW[0]) * rng.random()
            y = WORKSPACE_LOW[1] + (WORKSPACE_HIGH[1] - WORKSPACE_LOW[1]) * rng.random()
            yaw = -model.yaw_range + 2 * model.yaw_range * rng.random() if model.yaw_range > 0 else 0.0
            if not footprint(model, x, y, yaw).inside_workspace():
                continue
            grown = footprint(model, x, y, yaw, room)
            if any(grown.overlaps(other) for other in taken):
                continue
            placed.append((x, y, yaw))
            taken.append(grown)
            break
        else:
            return None
    return placed


@functools.lru_cache(maxsize=256)
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
        places = place_apart([OBJECTS[name] for name in names], rng)
        placements = None if places is None else dict(zip(names, places, strict=True))
    jitter = rng.uniform(-1.0, 1.0, size=3) * _HOME_JITTER
    home_x, home_y, home_z = (float(v) for v in np.asarray(HOME_POSITION) + jitter)
    tint = np.array(TABLE_COLOUR) * rng.uniform(0.8, 1.2) * rng.uniform(0.94, 1.06, size=3)
    red, green, blue = (float(v) for v in tint)
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
