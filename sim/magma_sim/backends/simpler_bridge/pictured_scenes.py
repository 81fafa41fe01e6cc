"""Random scenes before the photos of the Bridge tasks, with what stands where: for a model that points.

The objects of the three table tasks share one table, in any combination and some of them twice, which no task has;
the sink has eggplants, and the basket of its photo. Nothing moves here: what is shown are copies without bodies, at the
height and tilt at which the objects came to rest in their own task.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
import sapien
from numpy.typing import NDArray

from magma_contracts.geometry.rotations import multiply_left_to_right, quaternion_from_yaw
from magma_contracts.scenes import Split
from magma_sim.backends.shared.poses import pose_to_sapien
from magma_sim.backends.simpler_bridge.goals import GOALS, BridgeGoal, Setting
from magma_sim.backends.simpler_bridge.layouts import make_layout
from magma_sim.backends.simpler_bridge.scene import START_JOINTS, BridgeScene
from magma_sim.backends.simpler_bridge.task import IMAGE_SIZE, shared_scene
from magma_sim.tasks.pictured_scene import HARD_SHARE, PicturedScene, Thing, scene_generator, words_of

SIMULATOR = 2
"""Of this simulator in the seeds of scenes."""
SINK_SHARE = 0.25
FEWEST, MOST = 1, 4
BASKET = "dummy_sink_target_plane"
"""Its plane is not seen: the basket is in the photo."""
BASKET_OUTLINE = ((0.012, 0.462), (0.242, 0.175), (0.469, 0.204), (0.472, 0.246), (0.266, 0.594), (0.022, 0.517))
"""Of the basket in the photo, x y as fractions of it."""
_TABLE_CENTRE, _TABLE_HALF = np.array((-0.16, 0.0)), np.array((0.13, 0.13))
_SINK_CENTRE, _SINK_HALF = np.array((-0.110, 0.206)), np.array((0.024, 0.045))
_GAP_M = 0.012
_ARM_NOISE_RAD = np.array((0.35, 0.25, 0.25, 0.3, 0.3, 0.3, 0.0, 0.0))
_TRIES = 200


class _Kind:
    """An object as it rests, and copies of it."""

    def __init__(self, goal: BridgeGoal, scene: BridgeScene, name: str) -> None:
        self.name, self._scene = name, scene
        scene.place(make_layout(goal.task, "random", 0))
        position, self.quaternion = scene.object_poses(in_world=True)[name]
        self.height = float(position[2])
        self.radius = scene.radius(name)
        self._copies: list[sapien.Entity] = []

    def copy(self, number: int) -> sapien.Entity:
        """The copy of this number, always the same."""
        while len(self._copies) <= number:
            self._copies.append(self._scene.copy_of(self.name))
        return self._copies[number]


@functools.cache
def _kinds(setting: Setting) -> tuple[_Kind, ...]:
    """The objects of a setting's tasks; loads their scenes, which takes seconds."""
    return tuple(
        _Kind(goal, shared_scene(goal.task, images=True), name)
        for goal in GOALS.values()
        if goal.setting == setting
        for name in (goal.source, goal.target)
        if name != BASKET
    )


def random_scene(split: Split, number: int) -> PicturedScene:
    """The scene of this number; equal arguments give equal scenes.

    Raises:
        magma_sim.tasks.interface.SimulatorUnavailableError: no device can render, or the data files are not there.
    """
    rng = scene_generator(split, SIMULATOR, number)
    setting: Setting = "sink" if rng.random() < SINK_SHARE else "flat_table"
    hard = rng.random() < HARD_SHARE
    kinds = _kinds(setting)
    centre, half = (_SINK_CENTRE, _SINK_HALF) if setting == "sink" else (_TABLE_CENTRE, _TABLE_HALF)
    places = None
    while places is None:
        # In the sink there is no other object to choose, but it may be empty.
        fewest = 0 if setting == "sink" and not hard else FEWEST
        count = int(rng.integers(fewest, min(MOST - hard, len(kinds)) + 1))
        chosen = [kinds[index] for index in rng.permutation(len(kinds))[:count]]
        if hard:
            chosen.append(chosen[0])
        places = _places([kind.radius for kind in chosen], centre, half, rng)
    entities = []
    for index, (kind, place) in enumerate(zip(chosen, places, strict=True)):
        entity = kind.copy(chosen[:index].count(kind))
        turn = quaternion_from_yaw(float(rng.uniform(-np.pi, np.pi)))
        position = np.array([*place, kind.height])
        entity.set_pose(pose_to_sapien(position, multiply_left_to_right(turn, kind.quaternion)))
        entities.append(entity)
    stage = shared_scene(next(goal.task for goal in GOALS.values() if goal.setting == setting), images=True)
    joints = np.array(START_JOINTS[setting]) + rng.uniform(-1.0, 1.0, size=8) * _ARM_NOISE_RAD
    image, masks, photo = stage.show_copies(joints, entities, IMAGE_SIZE)
    things = [Thing(words_of(kind.name), mask) for kind, mask in zip(chosen, masks, strict=True)]
    if setting == "sink":
        things.append(Thing(words_of(BASKET), _basket(photo.shape) & photo))
    return PicturedScene(_lit(image, float(rng.uniform(0.85, 1.15))), tuple(things))


def _places(
    radii: list[float], centre: NDArray[np.float64], half: NDArray[np.float64], rng: np.random.Generator
) -> list[NDArray[np.float64]] | None:
    """Places (2,) apart from each other; None when one finds no room."""
    found: list[NDArray[np.float64]] = []
    for index, radius in enumerate(radii):
        for _ in range(_TRIES):
            place = centre + rng.uniform(-half, half)
            if all(np.hypot(*(place - other)) >= radius + radii[k] + _GAP_M for k, other in enumerate(found[:index])):
                found.append(place)
                break
        else:
            return None
    return found


def _basket(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The basket's pixels in a photo of a size."""
    outline = np.rint(np.array(BASKET_OUTLINE) * (shape[1], shape[0])).astype(np.int32)
    return cv2.fillPoly(np.zeros(shape[:2], dtype=np.uint8), [outline], 1).astype(bool)


def _lit(image: NDArray[np.uint8], brightness: float) -> NDArray[np.uint8]:
    """The image as under another light: photo and objects together."""
    return np.clip(np.rint(image * brightness), 0, 255).astype(np.uint8)
