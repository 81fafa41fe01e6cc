"""Where source and target are put at the start: the 24 official episodes of each task, and random ones by seed.

Poses are those before the objects settle, in the world frame of SimplerEnv (m; the table top is z = 0.870). Official
ones follow SimplerEnv's grids; a test compares them with ManiSkill's own tables. Random ones are drawn from numpy's
PCG64 seeded with `SeedSequence([STREAM, task number, seed])`, and again when they come close to an official episode:
training on random layouts never sees an evaluation layout.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_contracts.geometry.rotations import multiply_left_to_right, quaternion_from_axis_angle, quaternion_from_yaw
from magma_sim.backends.simpler_bridge.goals import TASKS, goal_of
from magma_sim.tasks.interface import VARIANTS, Pose, Variant

EVALUATION_LAYOUTS = 24
RANDOM_STREAM = 0x5EED_B21D
OFFICIAL_CLEARANCE_M = 0.005
"""in a random layout the source or the target is farther than this from its place in every official episode"""

_TABLE_CENTRE = (-0.16, 0.0)
_RANDOM_HALF_X, _RANDOM_HALF_Y = 0.105, 0.105
"""random objects stand within so many metres of the centre; the official grids end at 0.10"""
_EGGPLANT_CENTRE = (-0.105, 0.206, 0.933)
_EGGPLANT_RANDOM_HALF = (0.016, 0.022)
_BASKET_POSITION = (-0.125, 0.025, 1.0)
_UPRIGHT = (0.0, 0.0, 0.0, 1.0)

_EGGPLANT_QUATERNIONS_WXYZ = (
    (0.543729, 0.82549, 0.0746101, 0.131747),
    (0.559342, 0.817133, -0.138906, -0.0116353),
    (0.543029, 0.789388, -0.267736, -0.101503),
    (-0.40751, -0.532897, 0.652644, 0.352154),
    (-0.157154, 0.235481, 0.75148, -0.595927),
    (-0.020137, 0.0213848, 0.953791, -0.299033),
    (-0.108854, 0.337692, 0.897378, -0.262348),
    (0.366114, 0.618434, 0.571457, 0.396152),
)


@dataclass(frozen=True)
class TableRecipe:
    """How a table-top task lays out its two objects."""

    half_edges: tuple[float, ...]
    """half edge of each square on whose corners the two objects stand, m"""
    source_height: float
    target_height: float
    source_yaws: tuple[float, ...]
    target_yaws: tuple[float, ...]
    """headings that go with `source_yaws`, one by one"""
    distance: float
    """smallest distance of the two objects in a random layout, m"""
    target_turns: bool
    """whether random layouts turn the target too (a plate looks the same)"""


TABLE_RECIPES: dict[str, TableRecipe] = {
    "widowx_carrot_on_plate": TableRecipe(
        (0.075,), 0.887529, 0.869532, (math.pi, -math.pi / 2), (0.0, 0.0), distance=0.125, target_turns=False
    ),
    "widowx_spoon_on_towel": TableRecipe(
        (0.075,), 0.88, 0.875, (0.0, math.pi / 2), (0.0, 0.0), distance=0.135, target_turns=True
    ),
    "widowx_stack_cube": TableRecipe((0.05, 0.1), 0.887529, 0.887529, (0.0,), (0.0,), distance=0.08, target_turns=True),
}


@dataclass(frozen=True)
class BridgeLayout:
    """The start of one episode, before the objects settle."""

    task: str
    variant: Variant
    number: int
    source: Pose
    target: Pose
    """(position (3,) m, quaternion xyzw (4,)), world frame"""


def _corners(half_edge: float) -> list[tuple[float, float]]:
    x, y = _TABLE_CENTRE
    return [(x + i * half_edge, y + j * half_edge) for i in (-1, 1) for j in (-1, 1)]


def _pose(x: float, y: float, z: float, quaternion_xyzw: NDArray[np.float64] | tuple[float, ...]) -> Pose:
    return np.array([x, y, z]), np.array(quaternion_xyzw, dtype=np.float64)


def _official(task: str, number: int) -> tuple[Pose, Pose]:
    if task in TABLE_RECIPES:
        recipe = TABLE_RECIPES[task]
        pairs = [pair for half_edge in recipe.half_edges for pair in itertools.permutations(_corners(half_edge), 2)]
        place, turn = divmod(number, len(recipe.source_yaws))
        (source_x, source_y), (target_x, target_y) = pairs[place]
        return (
            _pose(source_x, source_y, recipe.source_height, quaternion_from_yaw(recipe.source_yaws[turn])),
            _pose(target_x, target_y, recipe.target_height, quaternion_from_yaw(recipe.target_yaws[turn])),
        )
    place, turn = divmod(number, len(_EGGPLANT_QUATERNIONS_WXYZ))
    # Three of the eight places are reached by the 24 official ids: the grid has 2 x 4 of them, and 8 rotations each.
    x = _EGGPLANT_CENTRE[0] + (-0.01, 0.01)[place // 4]
    y = _EGGPLANT_CENTRE[1] + float(np.linspace(-0.015, 0.015, 4)[place % 4])
    w, *xyz = _EGGPLANT_QUATERNIONS_WXYZ[turn]
    return _pose(x, y, _EGGPLANT_CENTRE[2], (*xyz, w)), _pose(*_BASKET_POSITION, _UPRIGHT)


def _random_table(recipe: TableRecipe, rng: np.random.Generator) -> tuple[Pose, Pose]:
    while True:
        offsets = rng.uniform((-_RANDOM_HALF_X, -_RANDOM_HALF_Y), (_RANDOM_HALF_X, _RANDOM_HALF_Y), size=(2, 2))
        if float(np.hypot(*(offsets[0] - offsets[1]))) >= recipe.distance:
            break
    (source_x, source_y), (target_x, target_y) = offsets + np.array(_TABLE_CENTRE)
    source_yaw = float(rng.uniform(-math.pi, math.pi))
    target_yaw = float(rng.uniform(-math.pi, math.pi)) if recipe.target_turns else 0.0
    return (
        _pose(source_x, source_y, recipe.source_height, quaternion_from_yaw(source_yaw)),
        _pose(target_x, target_y, recipe.target_height, quaternion_from_yaw(target_yaw)),
    )


def _random_eggplant(rng: np.random.Generator) -> tuple[Pose, Pose]:
    w, *xyz = _EGGPLANT_QUATERNIONS_WXYZ[int(rng.integers(len(_EGGPLANT_QUATERNIONS_WXYZ)))]
    tilt = quaternion_from_axis_angle(np.array([*rng.normal(0.0, 0.1, 2), 0.0]))
    turn = quaternion_from_yaw(float(rng.uniform(-math.pi, math.pi)))
    half_x, half_y = _EGGPLANT_RANDOM_HALF
    x = _EGGPLANT_CENTRE[0] + float(rng.uniform(-half_x, half_x))
    y = _EGGPLANT_CENTRE[1] + float(rng.uniform(-half_y, half_y))
    rotation = multiply_left_to_right(turn, multiply_left_to_right(tilt, np.array([*xyz, w])))
    return _pose(x, y, _EGGPLANT_CENTRE[2], rotation), _pose(*_BASKET_POSITION, _UPRIGHT)


def nearest_official_m(task: str, source: Pose, target: Pose) -> float:
    """Distance to the most similar official episode: the larger of the source's and the target's distance, m.

    Rotations do not count: a layout with the objects at an official place is taken as equal, however they are turned.
    """
    return min(
        max(float(np.linalg.norm(source[0][:2] - other.source[0][:2])),
            float(np.linalg.norm(target[0][:2] - other.target[0][:2])))
        for other in (make_layout(task, "eval", number) for number in range(EVALUATION_LAYOUTS))
    )  # fmt: skip


@functools.lru_cache(maxsize=512)
def make_layout(task: str, variant: Variant, number: int) -> BridgeLayout:
    """The layout of an official episode ("eval", its id) or of a seed ("random"); equal arguments give equal layouts.

    Raises:
        ValueError: unknown task or variant, a negative number, or an episode id beyond the official ones.
    """
    goal_of(task)
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; it is one of {', '.join(VARIANTS)}")
    if number < 0:
        raise ValueError(f"layouts are numbered from 0, got {number}")
    if variant == "eval":
        if number >= EVALUATION_LAYOUTS:
            raise ValueError(f"official episode ids run from 0 to {EVALUATION_LAYOUTS - 1}, got {number}")
        return BridgeLayout(task, variant, number, *_official(task, number))
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([RANDOM_STREAM, TASKS.index(task), number])))
    while True:
        source, target = _random_table(TABLE_RECIPES[task], rng) if task in TABLE_RECIPES else _random_eggplant(rng)
        if nearest_official_m(task, source, target) > OFFICIAL_CLEARANCE_M:
            return BridgeLayout(task, variant, number, source, target)
