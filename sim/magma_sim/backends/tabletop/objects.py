"""The eight objects of the tabletop suite: geometry, colour and mass, all made in code.

Object frame: origin at the grasp centre (sources) or at the centre of the footprint (targets), z up when resting on
the table, x along the long axis. Lengths in metres. The objects follow SimplerEnv's Bridge tasks (carrot and plate,
spoon and towel, green and yellow block, eggplant and basket; https://github.com/simpler-env/SimplerEnv); the sizes are
chosen for the Panda gripper, which opens 80 mm.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SUITE = "tabletop"
ROBOT = "panda"
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Station:
    """One elliptic cross-section of a swept solid, perpendicular to x."""

    x: float
    z: float
    half_width: float
    half_height: float


@dataclass(frozen=True)
class Part:
    """One convex piece: an axis-aligned box, or a solid swept along x or z through elliptic cross-sections."""

    colour: Colour
    kind: Literal["box", "sweep_x", "sweep_z"]
    half_size: tuple[float, float, float] = (0.0, 0.0, 0.0)
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    stations: tuple[Station, ...] = ()
    sides: int = 16
    collides: bool = True
    visible: bool = True


@dataclass(frozen=True)
class ObjectModel:
    """Everything that is known of one object before it is placed."""

    name: str
    parts: tuple[Part, ...]
    mass_kg: float
    rest_height: float
    """height of the origin above the table when the object rests"""
    footprint_half: tuple[float, float]
    """half extents of the bounding rectangle in x and y"""
    footprint_centre: tuple[float, float] = (0.0, 0.0)
    """centre of that rectangle in the object frame"""
    tip: tuple[float, float, float] | None = None
    """end of the long axis in the object frame; None for objects without one"""
    grasp_width: float = 0.0
    """width between the fingers when grasped at the origin; 0 for targets"""
    grasp_height: float = 0.0
    """height of the gripper's tool centre point above the table when grasping the resting object"""
    support_height: float = 0.0
    """height above the table of the surface on which a source comes to rest; 0 for sources"""
    half_turn_symmetric: bool = True
    yaw_range: float = np.pi / 4
    """initial headings are drawn from [-yaw_range, yaw_range]"""


ORANGE: Colour = (0.95, 0.36, 0.03)
LEAF: Colour = (0.10, 0.45, 0.08)
GREEN: Colour = (0.05, 0.55, 0.12)
YELLOW: Colour = (0.95, 0.78, 0.03)
PURPLE: Colour = (0.24, 0.03, 0.36)
WHITE: Colour = (0.92, 0.92, 0.90)
RIM_BLUE: Colour = (0.20, 0.35, 0.65)
TOWEL_BLUE: Colour = (0.10, 0.30, 0.75)
RED: Colour = (0.75, 0.05, 0.08)
STEEL: Colour = (0.62, 0.66, 0.70)
WICKER: Colour = (0.36, 0.18, 0.06)
WICKER_LIGHT: Colour = (0.50, 0.30, 0.12)

_CARROT_RADIUS = 0.017
_EGGPLANT_RADIUS = 0.019
_BLOCK_HALF = 0.020
_PLATE_RADIUS = 0.080
_TOWEL_HALF = 0.062
_BASKET_HALF = 0.072
_BASKET_WALL = 0.005
_BASKET_HEIGHT = 0.042


def _resting(x: float, radius: float, largest: float) -> Station:
    """A round section whose lowest point lies on the line where the thickest section touches the table."""
    return Station(x, radius - largest, radius, radius)


def _carrot() -> ObjectModel:
    body = tuple(
        _resting(x, r, _CARROT_RADIUS)
        for x, r in [(-0.042, 0.012), (-0.036, 0.0165), (-0.028, 0.017), (0.03, 0.0105), (0.048, 0.006), (0.053, 0.003)]
    )
    leaves = (
        Station(-0.062, -0.001, 0.010, 0.006),
        Station(-0.055, -0.003, 0.009, 0.007),
        Station(-0.041, -0.004, 0.004, 0.004),
    )
    return ObjectModel(
        name="carrot",
        parts=(
            Part(ORANGE, "sweep_x", stations=body, sides=16, collides=False),
            # Eight sides with a flat one below: a round one would roll away.
            Part(ORANGE, "sweep_x", stations=body, sides=8, visible=False),
            Part(LEAF, "sweep_x", stations=leaves, sides=7, collides=False),
        ),
        mass_kg=0.08,
        rest_height=_CARROT_RADIUS,
        footprint_half=(0.0575, 0.017),
        footprint_centre=(-0.0045, 0.0),
        tip=(0.053, 0.0, -0.014),
        grasp_width=0.027,
        grasp_height=0.014,
    )


def _spoon() -> ObjectModel:
    handle_half_height = 0.008
    bowl = (
        Station(-0.056, -0.001, 0.007, 0.007),
        Station(-0.048, -0.001, 0.016, 0.007),
        Station(-0.036, -0.001, 0.019, 0.007),
        Station(-0.024, -0.001, 0.014, 0.007),
        Station(-0.016, -0.001, 0.007, 0.007),
    )
    return ObjectModel(
        name="spoon",
        parts=(
            Part(STEEL, "sweep_x", stations=bowl, sides=12, collides=False),
            Part(STEEL, "box", half_size=(0.020, 0.014, 0.007), centre=(-0.036, 0.0, -0.001), visible=False),
            Part(RED, "box", half_size=(0.042, 0.008, handle_half_height), centre=(0.026, 0.0, 0.0)),
        ),
        mass_kg=0.06,
        rest_height=handle_half_height,
        footprint_half=(0.062, 0.019),
        footprint_centre=(0.006, 0.0),
        tip=(0.068, 0.0, 0.0),
        grasp_width=0.016,
        grasp_height=0.012,
    )


def _eggplant() -> ObjectModel:
    body = tuple(
        _resting(x, r, _EGGPLANT_RADIUS)
        for x, r in [
            (-0.046, 0.008), (-0.042, 0.0145), (-0.033, 0.018), (-0.018, 0.019),
            (0.004, 0.0175), (0.022, 0.0145), (0.036, 0.0115), (0.040, 0.008),
        ]
    )  # fmt: skip
    cap = (
        Station(0.034, -0.0075, 0.0125, 0.012),
        Station(0.041, -0.0075, 0.009, 0.009),
        Station(0.043, -0.0075, 0.003, 0.003),
        Station(0.054, -0.006, 0.003, 0.003),
    )
    return ObjectModel(
        name="eggplant",
        parts=(
            Part(PURPLE, "sweep_x", stations=body, sides=16, collides=False),
            Part(PURPLE, "sweep_x", stations=body, sides=8, visible=False),
            Part(LEAF, "sweep_x", stations=cap, sides=8, collides=False),
        ),
        mass_kg=0.09,
        rest_height=_EGGPLANT_RADIUS,
        footprint_half=(0.050, 0.019),
        footprint_centre=(0.004, 0.0),
        tip=(0.054, 0.0, -0.006),
        grasp_width=0.035,
        grasp_height=0.016,
    )


def _block(name: str, colour: Colour, *, source: bool) -> ObjectModel:
    return ObjectModel(
        name=name,
        parts=(Part(colour, "box", half_size=(_BLOCK_HALF, _BLOCK_HALF, _BLOCK_HALF)),),
        mass_kg=0.08 if source else 0.15,
        rest_height=_BLOCK_HALF,
        footprint_half=(_BLOCK_HALF, _BLOCK_HALF),
        grasp_width=2 * _BLOCK_HALF if source else 0.0,
        grasp_height=_BLOCK_HALF if source else 0.0,
        support_height=0.0 if source else 2 * _BLOCK_HALF,
    )


def _plate() -> ObjectModel:
    r = _PLATE_RADIUS
    # Stations of a sweep along z: "x" is the height, "z" an offset that stays zero.
    disc = (Station(0.0, 0.0, 0.055, 0.055), Station(0.008, 0.0, r, r))
    rim = (Station(0.008, 0.0, r, r), Station(0.011, 0.0, r, r))
    well = (Station(0.011, 0.0, 0.066, 0.066), Station(0.0115, 0.0, 0.066, 0.066))
    return ObjectModel(
        name="plate",
        parts=(
            Part(WHITE, "sweep_z", stations=disc, sides=24, visible=True, collides=False),
            Part(RIM_BLUE, "sweep_z", stations=rim, sides=24, collides=False),
            Part(WHITE, "sweep_z", stations=well, sides=24, collides=False),
            Part(WHITE, "sweep_z", stations=(disc[0], Station(0.0115, 0.0, r, r)), sides=16, visible=False),
        ),
        mass_kg=0.6,
        rest_height=0.0,
        footprint_half=(r, r),
        support_height=0.0115,
        yaw_range=0.0,
    )


def _towel() -> ObjectModel:
    half = _TOWEL_HALF
    return ObjectModel(
        name="towel",
        parts=(
            Part(TOWEL_BLUE, "box", half_size=(half, half, 0.003), centre=(0.0, 0.0, 0.003)),
            Part(
                WHITE, "box", half_size=(half * 0.85, 0.004, 0.0032), centre=(0.0, half * 0.78, 0.0033), collides=False
            ),
            Part(
                WHITE, "box", half_size=(half * 0.85, 0.004, 0.0032), centre=(0.0, -half * 0.78, 0.0033), collides=False
            ),
        ),
        mass_kg=0.4,
        rest_height=0.0,
        footprint_half=(half, half),
        support_height=0.006,
        yaw_range=0.35,
    )


def _basket() -> ObjectModel:
    half, wall, height = _BASKET_HALF, _BASKET_WALL, _BASKET_HEIGHT
    side = (height / 2, half - wall / 2)
    return ObjectModel(
        name="basket",
        parts=(
            Part(WICKER_LIGHT, "box", half_size=(half, half, 0.003), centre=(0.0, 0.0, 0.003)),
            Part(WICKER, "box", half_size=(wall / 2, half, side[0]), centre=(side[1], 0.0, side[0])),
            Part(WICKER, "box", half_size=(wall / 2, half, side[0]), centre=(-side[1], 0.0, side[0])),
            Part(WICKER, "box", half_size=(half - wall, wall / 2, side[0]), centre=(0.0, side[1], side[0])),
            Part(WICKER, "box", half_size=(half - wall, wall / 2, side[0]), centre=(0.0, -side[1], side[0])),
        ),
        mass_kg=0.6,
        rest_height=0.0,
        footprint_half=(half, half),
        support_height=0.006,
        yaw_range=0.35,
    )


BASKET_RIM_HEIGHT = _BASKET_HEIGHT
BASKET_INNER_HALF = _BASKET_HALF - _BASKET_WALL

OBJECTS: dict[str, ObjectModel] = {
    model.name: model
    for model in (
        _carrot(),
        _plate(),
        _spoon(),
        _towel(),
        _block("green_block", GREEN, source=True),
        _block("yellow_block", YELLOW, source=False),
        _eggplant(),
        _basket(),
    )
}


@dataclass(frozen=True)
class Goal:
    """One language task: bring the source onto or into the target."""

    task: str
    source: str
    target: str
    instruction: str


GOALS: dict[str, Goal] = {
    goal.task: goal
    for goal in (
        Goal("carrot_on_plate", "carrot", "plate", "put the carrot on the plate"),
        Goal("spoon_on_towel", "spoon", "towel", "put the spoon on the towel"),
        Goal("stack_blocks", "green_block", "yellow_block", "stack the green block on the yellow block"),
        Goal("eggplant_in_basket", "eggplant", "basket", "put the eggplant in the basket"),
    )
}
TASKS: tuple[str, ...] = tuple(GOALS)


def goal_of(task: str) -> Goal:
    """The goal of a task, or a ValueError naming the tasks that exist."""
    try:
        return GOALS[task]
    except KeyError:
        raise ValueError(f"unknown task {task!r}; the {SUITE} suite has {', '.join(TASKS)}") from None


def part_mesh(part: Part) -> tuple[NDArray[np.float32], NDArray[np.uint32], NDArray[np.float32]]:
    """Flat-shaded triangle mesh of a swept part.

    Returns:
        vertices (N, 3) m, triangles (M, 3) with outward winding, unit normals (N, 3).

    Raises:
        ValueError: the part is a box, which needs no mesh.
    """
    if part.kind == "box":
        raise ValueError("a box part has no mesh")
    angles = (np.arange(part.sides) + 0.5) * 2 * np.pi / part.sides
    # Scaled so that the flat sides, not the corners, touch the stated half width and height.
    stretch = 1.0 / np.cos(np.pi / part.sides)
    rings = np.stack(
        [
            np.stack(
                [
                    np.full(part.sides, s.x),
                    np.sin(angles) * s.half_width * stretch,
                    s.z - np.cos(angles) * s.half_height * stretch,
                ],
                axis=-1,
            )
            for s in part.stations
        ]
    )
    if part.kind == "sweep_z":
        rings = rings[..., [1, 2, 0]]
    faces: list[NDArray[np.float64]] = []
    following = np.roll(np.arange(part.sides), -1)
    for near, far in itertools.pairwise(rings):
        faces.extend(np.stack([near[i], near[j], far[j]]) for i, j in enumerate(following))
        faces.extend(np.stack([near[i], far[j], far[i]]) for i, j in enumerate(following))
    for ring, flip in ((rings[0], True), (rings[-1], False)):
        centre = ring.mean(axis=0)
        for i, j in enumerate(following):
            corners = [centre, ring[j], ring[i]] if flip else [centre, ring[i], ring[j]]
            faces.append(np.stack(corners))
    triangles = np.stack(faces)
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    keep = length[:, 0] > 1e-12
    triangles, normals = triangles[keep], normals[keep] / length[keep]
    count = len(triangles)
    return (
        triangles.reshape(-1, 3).astype(np.float32),
        np.arange(3 * count, dtype=np.uint32).reshape(-1, 3),
        np.repeat(normals, 3, axis=0).astype(np.float32),
    )
