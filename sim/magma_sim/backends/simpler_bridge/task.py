"""`BridgeTask`: the Task interface over SimplerEnv's Bridge tasks in ManiSkill 3; one scene per task and process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from magma_sim.backends.simpler_bridge import cameras
from magma_sim.backends.simpler_bridge.goals import ROBOTS, SUITE, goal_of
from magma_sim.backends.simpler_bridge.layouts import EVALUATION_LAYOUTS, BridgeLayout, make_layout
from magma_sim.backends.simpler_bridge.scene import BASE_POSITION, PHYSICS_STEPS, TABLE_TOP_M, BridgeScene
from magma_sim.rendering import choose_render_device
from magma_sim.task import (
    DemonstrableTask,
    EndEffectorState,
    LateCommandTask,
    Observation,
    TaskSpec,
    Variant,
    check_action,
    late_physics_steps,
)

IMAGE_SIZE: cameras.Size = (128, 128)
LARGE_IMAGE_SIZE: cameras.Size = (480, 640)

_shared_scenes: dict[tuple[str, bool], BridgeScene] = {}


def shared_scene(task: str, *, images: bool) -> BridgeScene:
    """The one scene of this process for a task, with or without rendering; built on first use, which takes seconds."""
    key = (task, images)
    if key not in _shared_scenes:
        _shared_scenes[key] = BridgeScene(goal_of(task), choose_render_device() if images else None)
    return _shared_scenes[key]


class BridgeTask(DemonstrableTask, LateCommandTask):
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
        magma_sim.rendering.RenderingUnavailableError: images wanted and no device can render.
    """

    def __init__(self, name: str, *, images: bool = True, image_size: Sequence[int] = IMAGE_SIZE) -> None:
        self._goal = goal_of(name)
        if len(image_size) != 2:
            raise ValueError(f"image_size is (height, width), got {tuple(image_size)}")
        self._size = cameras.check_size((image_size[0], image_size[1]))
        self._images = images
        self._scene: BridgeScene | None = shared_scene(name, images=images)
        self._layout: BridgeLayout | None = None
        self._step = 0
        self._spec = TaskSpec(
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

    @property
    def spec(self) -> TaskSpec:
        return self._spec

    @property
    def evaluation_layouts(self) -> int:
        return EVALUATION_LAYOUTS

    @property
    def joint_positions(self) -> dict[str, float]:
        return self._require_scene().controller.joint_positions()

    @property
    def layout(self) -> BridgeLayout:
        """The layout of the running episode.

        Raises:
            RuntimeError: no episode was started.
        """
        if self._layout is None:
            raise RuntimeError("no episode is running: call reset first")
        return self._layout

    def reset(
        self,
        variant: Variant,
        layout: int,
        *,
        start_position: NDArray[np.float64] | None = None,
        start_quaternion_xyzw: NDArray[np.float64] | None = None,
        render: bool = True,
    ) -> Observation:
        """Starts an episode, see `Task.reset`.

        Args:
            variant: "eval", with the official episode id as layout, or "random", with a seed.
            layout: its number.
            start_position: (3,) m and start_quaternion_xyzw: (4,); another start of the tool, for demonstrations.
            render: False leaves the image out.
        """
        scene = self._require_scene()
        chosen = make_layout(self._goal.task, variant, layout)
        scene.place(chosen, start_position, start_quaternion_xyzw)
        scene.user = self
        self._layout = chosen
        self._step = 0
        return self._observe(render)

    def step(self, action: NDArray[np.floating] | None, *, render: bool = True, late_s: float = 0.0) -> Observation:
        scene = self._require_scene()
        if self._layout is None:
            raise RuntimeError("no episode is running: call reset first")
        if scene.user is not self:
            raise RuntimeError("another task of this process was reset since; tasks share one scene: call reset first")
        late_steps = late_physics_steps(late_s, self._spec.step_period_s, PHYSICS_STEPS)
        scene.advance(None if action is None else check_action(action), late_steps)
        self._step += 1
        return self._observe(render)

    def render_large(self) -> NDArray[np.uint8]:
        scene = self._require_scene()
        if not self._images:
            raise RuntimeError("this task was made with images=False and cannot render")
        return scene.picture(LARGE_IMAGE_SIZE)

    def close(self) -> None:
        self._scene = None
        self._layout = None

    def _require_scene(self) -> BridgeScene:
        if self._scene is None:
            raise RuntimeError("this task is closed")
        return self._scene

    def _observe(self, render: bool) -> Observation:
        scene = self._require_scene()
        controller = scene.controller
        position, quaternion = controller.measured_pose()
        return Observation(
            image=scene.picture(self._size) if render and self._images else None,
            end_effector=EndEffectorState(
                position=position,
                quaternion_xyzw=quaternion,
                target_position=controller.target_position.copy(),
                target_quaternion_xyzw=controller.target_quaternion_xyzw.copy(),
                gripper=controller.opening,
                gripper_target=controller.gripper_target,
            ),
            object_poses=scene.object_poses(),
            step=self._step,
            success=scene.succeeded(),
            instruction=self._goal.instruction,
        )
