"""`BridgeTask`: the Task interface over SimplerEnv's Bridge tasks in ManiSkill 3; one scene per task and process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from magma_sim.backends.shared.rendering import choose_render_device
from magma_sim.backends.shared.scene_task import SharedSceneTask
from magma_sim.backends.simpler_bridge import cameras
from magma_sim.backends.simpler_bridge.goals import ROBOTS, SUITE, goal_of
from magma_sim.backends.simpler_bridge.layouts import EVALUATION_LAYOUTS, BridgeLayout, make_layout
from magma_sim.backends.simpler_bridge.scene import BASE_POSITION, PHYSICS_STEPS, TABLE_TOP_M, BridgeScene
from magma_sim.tasks.interface import Pose, TaskSpec, Variant

IMAGE_SIZE: cameras.Size = (128, 128)
LARGE_IMAGE_SIZE: cameras.Size = (480, 640)

_shared_scenes: dict[tuple[str, bool], BridgeScene] = {}


def shared_scene(task: str, *, images: bool) -> BridgeScene:
    """The one scene of this process for a task, with or without rendering; built on first use, which takes seconds."""
    key = (task, images)
    if key not in _shared_scenes:
        _shared_scenes[key] = BridgeScene(goal_of(task), choose_render_device() if images else None)
    return _shared_scenes[key]


class BridgeTask(SharedSceneTask[BridgeScene, BridgeLayout]):
    """One of SimplerEnv's four WidowX tasks.

    Tasks of the same name in one process share one scene: only the one that was reset last can be stepped.

    Args:
        name: task name, see `magma_sim.backends.simpler_bridge.goals.TASKS`.
        images: False leaves rendering out altogether; needs no Vulkan device.
        image_size: (height, width) of `Observation.image`: 128 x 128 as magma-tiny takes it, (480, 640) as published
            evaluations have it, or any other.

    Raises:
        ValueError: unknown task, or an image size out of range.
        AssetsMissingError: the data files are not there; the message names ManiSkill's download command.
        magma_sim.backends.shared.rendering.RenderingUnavailableError: images wanted and no device can render.
    """

    def __init__(self, name: str, *, images: bool = True, image_size: Sequence[int] = IMAGE_SIZE) -> None:
        self._goal = goal_of(name)
        if len(image_size) != 2:
            raise ValueError(f"image_size is (height, width), got {tuple(image_size)}")
        self._size = cameras.check_size((image_size[0], image_size[1]))
        spec = TaskSpec(
            suite=SUITE,
            task=name,
            instruction=self._goal.instruction,
            max_steps=self._goal.max_steps,
            image_height=self._size[0],
            image_width=self._size[1],
            camera_intrinsics=cameras.intrinsics(self._size),
            camera_extrinsics=cameras.extrinsics(self._goal.setting),
            robot=ROBOTS[self._goal.setting],
            table_height_m=TABLE_TOP_M - BASE_POSITION[self._goal.setting][2],
            object_names=(self._goal.source, self._goal.target),
        )
        super().__init__(
            shared_scene(name, images=images),
            spec,
            images=images,
            evaluation_layouts=EVALUATION_LAYOUTS,
            physics_steps=PHYSICS_STEPS,
        )

    def _choose_layout(self, variant: Variant, layout: int) -> BridgeLayout:
        return make_layout(self._goal.task, variant, layout)

    def _image(self, scene: BridgeScene) -> NDArray[np.uint8]:
        return scene.image(self._size)

    def _large_image(self, scene: BridgeScene) -> NDArray[np.uint8]:
        return scene.image(LARGE_IMAGE_SIZE)

    def _object_poses(self, scene: BridgeScene) -> dict[str, Pose]:
        return scene.object_poses()

    def _succeeded(self, scene: BridgeScene, poses: Mapping[str, Pose]) -> bool:
        del poses
        return scene.succeeded()
