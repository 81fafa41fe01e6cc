"""`TabletopTask`: the Task interface over the tabletop scene, one shared scene per process."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from magma_sim.backends.tabletop.control import pose_from_sapien
from magma_sim.backends.tabletop.layouts import EVALUATION_LAYOUTS, Layout, make_layout
from magma_sim.backends.tabletop.objects import OBJECTS, goal_of
from magma_sim.backends.tabletop.scene import (
    LARGE_IMAGE_SIZE,
    PHYSICS_STEPS,
    RENDER_SIZE,
    TOOL_DOWN_XYZW,
    TabletopEnv,
    camera_extrinsics,
    camera_intrinsics,
)
from magma_sim.backends.tabletop.success import ContactFacts, succeeded
from magma_sim.rendering import choose_render_device
from magma_sim.task import (
    DemonstrableTask,
    EndEffectorState,
    LateCommandTask,
    Observation,
    Pose,
    TaskSpec,
    Variant,
    check_action,
    late_physics_steps,
)

IMAGE_SIZE = 128
MAX_STEPS = 60
_TOUCH_IMPULSE_N_S = 1e-6

_shared_scenes: dict[bool, TabletopEnv] = {}


def shared_scene(*, images: bool) -> TabletopEnv:
    """The one scene of this process with (or without) rendering; built on first use, which takes seconds."""
    if images not in _shared_scenes:
        _shared_scenes[images] = TabletopEnv(choose_render_device() if images else None)
    return _shared_scenes[images]


class TabletopTask(DemonstrableTask, LateCommandTask):
    """One of the four language tasks.

    All tasks of a process share one scene, so only the task that was reset last can be stepped.

    Args:
        name: task name, see `magma_sim.backends.tabletop.objects.TASKS`.
        images: False leaves rendering out altogether; needs no Vulkan device.

    Raises:
        ValueError: unknown task.
        magma_sim.rendering.RenderingUnavailableError: images wanted and no device can render.
    """

    def __init__(self, name: str, *, images: bool = True) -> None:
        self._goal = goal_of(name)
        self._images = images
        self._scene: TabletopEnv | None = shared_scene(images=images)
        self._layout: Layout | None = None
        self._step = 0
        self._spec = TaskSpec(
            suite="tabletop",
            task=name,
            instruction=self._goal.instruction,
            max_steps=MAX_STEPS,
            image_height=IMAGE_SIZE,
            image_width=IMAGE_SIZE,
            camera_intrinsics=camera_intrinsics(IMAGE_SIZE),
            camera_extrinsics=camera_extrinsics(),
            table_height_m=0.0,
            robot="panda",
            object_names=tuple(OBJECTS),
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
    def layout(self) -> Layout:
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
            variant: "eval" or "random".
            layout: its number.
            start_position: (3,) m; another start of the tool centre point than the layout's own, for demonstrations.
            start_quaternion_xyzw: (4,); another start orientation than straight down.
            render: False leaves the image out.
        """
        scene = self._require_scene()
        chosen = self._choose_layout(variant, layout)
        position = np.array(chosen.home_position) if start_position is None else np.asarray(start_position)
        quaternion = np.array(TOOL_DOWN_XYZW if start_quaternion_xyzw is None else start_quaternion_xyzw)
        scene.place(chosen, position, quaternion)
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
        return scene.render_camera(LARGE_IMAGE_SIZE)

    def close(self) -> None:
        self._scene = None
        self._layout = None

    def _choose_layout(self, variant: Variant, layout: int) -> Layout:
        return make_layout(self._goal.task, variant, layout)

    def _require_scene(self) -> TabletopEnv:
        if self._scene is None:
            raise RuntimeError("this task is closed")
        return self._scene

    def _observe(self, render: bool) -> Observation:
        scene = self._require_scene()
        layout = self.layout
        controller = scene.controller
        position, quaternion = controller.measured_pose()
        poses: dict[str, Pose] = {
            name: pose_from_sapien(scene.objects[name].pose) for name in OBJECTS if name in layout.placements
        }
        image = None
        if render and self._images:
            image = cv2.resize(
                scene.render_camera(RENDER_SIZE), (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA
            ).astype(np.uint8)
        return Observation(
            image=image,
            end_effector=EndEffectorState(
                position=position,
                quaternion_xyzw=quaternion,
                target_position=controller.target_position.copy(),
                target_quaternion_xyzw=controller.target_quaternion_xyzw.copy(),
                gripper=controller.opening,
                gripper_target=controller.gripper_target,
            ),
            object_poses=poses,
            step=self._step,
            success=succeeded(self._goal, poses, self._contact_facts(scene)),
            instruction=self._goal.instruction,
        )

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
