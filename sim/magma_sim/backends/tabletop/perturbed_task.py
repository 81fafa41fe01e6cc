"""`PerturbedTask`: a tabletop task with one thing changed, see `perturbations`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from magma_sim.backends.tabletop.layouts import Layout
from magma_sim.backends.tabletop.objects import goal_of
from magma_sim.backends.tabletop.perturbations import (
    GREY,
    PERTURBATIONS,
    UNSEEN_OBJECTS,
    free_places,
    instruction_of,
    with_sources_swapped,
)
from magma_sim.backends.tabletop.scene import (
    CAMERA_LOOK_AT,
    CAMERA_POSITION,
    TabletopEnv,
    camera_extrinsics,
    look_at_matrix,
)
from magma_sim.backends.tabletop.task import TabletopTask
from magma_sim.tasks.interface import Observation, Variant


class PerturbedTask(TabletopTask):
    """A tabletop task of which the policy sees or hears something else than it was trained on.

    The specification, the camera's pose in it included, stays that of the task: nobody tells the policy of the change.

    Args:
        name: task name.
        perturbation: name in `PERTURBATIONS`.
        images: as in `TabletopTask`.

    Raises:
        ValueError: unknown task or perturbation.
    """

    def __init__(self, name: str, perturbation: str, *, images: bool = True) -> None:
        if perturbation not in PERTURBATIONS:
            raise ValueError(f"unknown perturbation {perturbation!r}; there are {', '.join(PERTURBATIONS)}")
        super().__init__(name, images=images)
        self._own_goal = self._goal
        self._perturbation = PERTURBATIONS[perturbation]

    def reset(
        self,
        variant: Variant,
        layout: int,
        *,
        start_position: NDArray[np.float64] | None = None,
        start_quaternion_xyzw: NDArray[np.float64] | None = None,
        render: bool = True,
    ) -> Observation:
        self._goal = self._own_goal
        start = {"start_position": start_position, "start_quaternion_xyzw": start_quaternion_xyzw}
        super().reset(variant, layout, **start, render=False)
        if self._perturbation.other_task:
            self._goal = goal_of(self.layout.distractor_task)
        scene = self._require_scene()
        if self._images:
            scene.light(self.layout.light * np.array(self._perturbation.lamp_colour))
        if self._perturbation.unseen_objects:
            for model, place in zip(UNSEEN_OBJECTS, free_places(self.layout), strict=True):
                scene.stand(model, *place)
        return self._observe(render)

    def render_large(self) -> NDArray[np.uint8]:
        with self._moved_camera(self._require_scene()):
            return super().render_large()

    def _choose_layout(self, variant: Variant, layout: int) -> Layout:
        chosen = super()._choose_layout(variant, layout)
        return with_sources_swapped(chosen) if self._perturbation.swapped_objects else chosen

    def _observe(self, render: bool) -> Observation:
        with self._moved_camera(self._require_scene()):
            seen = super()._observe(render)
        image = seen.image
        if image is not None and self._perturbation.grey_image:
            image = np.full_like(image, GREY)
        said = instruction_of(self._perturbation, self._own_goal.task, seen.instruction, self.layout.number)
        return dataclasses.replace(seen, image=image, instruction=said)

    @contextmanager
    def _moved_camera(self, scene: TabletopEnv) -> Iterator[None]:
        """The scene is shared with other tasks, so that its cameras go back after each image."""
        if not self._images or not any(self._perturbation.camera_shift):
            yield
            return
        shift = np.array(self._perturbation.camera_shift)
        scene.place_cameras(look_at_matrix(tuple(CAMERA_POSITION + shift), tuple(CAMERA_LOOK_AT + shift / 2)))
        try:
            yield
        finally:
            scene.place_cameras(camera_extrinsics())
