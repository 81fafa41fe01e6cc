"""`TabletopTask`: the Task interface over the tabletop scene, one shared scene per process."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from magma_sim.backends.shared.poses import pose_from_sapien
from magma_sim.backends.shared.rendering import choose_render_device
from magma_sim.backends.shared.scene_task import SharedSceneTask
from magma_sim.backends.tabletop.layouts import EVALUATION_LAYOUTS, Layout, make_layout
from magma_sim.backends.tabletop.objects import OBJECTS, ROBOT, SUITE, goal_of
from magma_sim.backends.tabletop.scene import (
    LARGE_IMAGE_SIZE,
    PHYSICS_STEPS,
    RENDER_SIZE,
    TabletopEnv,
    camera_extrinsics,
    camera_intrinsics,
)
from magma_sim.backends.tabletop.success import ContactFacts, succeeded
from magma_sim.tasks.interface import Pose, TaskSpec, Variant

IMAGE_SIZE = 128
MAX_STEPS = 60
_TOUCH_IMPULSE_N_S = 1e-6

_shared_scenes: dict[bool, TabletopEnv] = {}


def shared_scene(*, images: bool) -> TabletopEnv:
    """The one scene of this process with (or without) rendering; built on first use, which takes seconds."""
    if images not in _shared_scenes:
        _shared_scenes[images] = TabletopEnv(choose_render_device() if images else None)
    return _shared_scenes[images]


class TabletopTask(SharedSceneTask[TabletopEnv, Layout]):
    """One of the four language tasks.

    All tasks of a process share one scene, so only the task that was reset last can be stepped.

    Args:
        name: task name, see `magma_sim.backends.tabletop.objects.TASKS`.
        images: False leaves rendering out altogether; needs no Vulkan device.

    Raises:
        ValueError: unknown task.
        magma_sim.backends.shared.rendering.RenderingUnavailableError: images wanted and no device can render.
    """

    def __init__(self, name: str, *, images: bool = True) -> None:
        self._goal = goal_of(name)
        spec = TaskSpec(
            suite=SUITE,
            task=name,
            instruction=self._goal.instruction,
            max_steps=MAX_STEPS,
            image_height=IMAGE_SIZE,
            image_width=IMAGE_SIZE,
            camera_intrinsics=camera_intrinsics(IMAGE_SIZE),
            camera_extrinsics=camera_extrinsics(),
            table_height_m=0.0,
            robot=ROBOT,
            object_names=tuple(OBJECTS),
        )
        super().__init__(
            shared_scene(images=images),
            spec,
            images=images,
            evaluation_layouts=EVALUATION_LAYOUTS,
            physics_steps=PHYSICS_STEPS,
        )

    @property
    def _instruction(self) -> str:
        # Of the goal that is judged, which a perturbation may change.
        return self._goal.instruction

    def _choose_layout(self, variant: Variant, layout: int) -> Layout:
        return make_layout(self._goal.task, variant, layout)

    def _image(self, scene: TabletopEnv) -> NDArray[np.uint8]:
        large = scene.render_camera(RENDER_SIZE)
        return cv2.resize(large, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA).astype(np.uint8)

    def _large_image(self, scene: TabletopEnv) -> NDArray[np.uint8]:
        return scene.render_camera(LARGE_IMAGE_SIZE)

    def _object_poses(self, scene: TabletopEnv) -> dict[str, Pose]:
        there = self.layout.placements
        return {name: pose_from_sapien(scene.objects[name].pose) for name in OBJECTS if name in there}

    def _succeeded(self, scene: TabletopEnv, poses: Mapping[str, Pose]) -> bool:
        return succeeded(self._goal, poses, self._contact_facts(scene))

    def _contact_facts(self, scene: TabletopEnv) -> ContactFacts:
        source, target = scene.objects[self._goal.source], scene.objects[self._goal.target]
        touches_target = touches_robot = False
        for contact in scene.contacts():
            first, second = (body.entity for body in contact.bodies)
            if source not in (first, second):
                continue
            impulse = sum((point.impulse for point in contact.points), np.zeros(3))
            if np.linalg.norm(impulse) <= _TOUCH_IMPULSE_N_S:
                continue
            other = second if first == source else first
            touches_target = touches_target or other == target
            touches_robot = touches_robot or other.name in scene.robot_links
        body = scene.bodies[self._goal.source]
        return ContactFacts(
            touches_target=touches_target,
            touches_robot=touches_robot,
            linear_speed=float(np.linalg.norm(body.linear_velocity)),
            angular_speed=float(np.linalg.norm(body.angular_velocity)),
        )
