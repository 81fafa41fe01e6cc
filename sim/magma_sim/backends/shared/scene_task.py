"""`SharedSceneTask`: what the tasks have in common whose scene is shared by all of its users in a process."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from magma_contracts.arm_state import ArmState
from magma_sim.tasks.interface import (
    DemonstrableTask,
    FilmableTask,
    LateCommandTask,
    Observation,
    Pose,
    TaskSpec,
    Variant,
    check_action,
    late_physics_steps,
)


class ArmController(Protocol):
    """The arm of a scene, as a task reads it."""

    target_position: NDArray[np.float64]
    target_quaternion_xyzw: NDArray[np.float64]
    gripper_target: float

    @property
    def opening(self) -> float:
        """Measured, 0 closed ... 1 open."""

    def measured_pose(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position (3,) m and quaternion xyzw (4,) in the base frame."""

    def joint_positions(self) -> dict[str, float]:
        """By name."""


class SharedScene(Protocol):
    """A simulated world with one arm that plays one episode at a time."""

    user: object
    """the task that started the running episode"""

    @property
    def controller(self) -> ArmController:
        """The arm."""

    def place(
        self,
        layout: Any,
        start_position: NDArray[np.float64] | None = None,
        start_quaternion_xyzw: NDArray[np.float64] | None = None,
    ) -> None:
        """Starts an episode; None leaves the start of the tool to the layout."""

    def advance(self, action: NDArray[np.float64] | None, late_steps: int = 0) -> None:
        """Runs one step period; the action comes before physics step `late_steps`."""

    def snapshot(self) -> NDArray[np.float64]:
        """See `FilmableTask.snapshot`."""

    def show(self, snapshot: NDArray[np.float64]) -> None:
        """See `FilmableTask.show`."""


SceneT = TypeVar("SceneT", bound=SharedScene)
LayoutT = TypeVar("LayoutT")


class SharedSceneTask(DemonstrableTask, LateCommandTask, FilmableTask, Generic[SceneT, LayoutT]):
    """Episodes of one task in a scene that other tasks of this process use too: only the task that was reset last can
    be stepped.

    Args:
        scene: the world.
        spec: facts of the task.
        images: whether the scene renders.
        evaluation_layouts: number of layouts of the variant "eval".
        physics_steps: physics steps in a step period.
    """

    def __init__(
        self, scene: SceneT, spec: TaskSpec, *, images: bool, evaluation_layouts: int, physics_steps: int
    ) -> None:
        self._scene: SceneT | None = scene
        self._spec, self._images = spec, images
        self._evaluation_layouts, self._physics_steps = evaluation_layouts, physics_steps
        self._layout: LayoutT | None = None
        self._step = 0

    @property
    def spec(self) -> TaskSpec:
        return self._spec

    @property
    def evaluation_layouts(self) -> int:
        return self._evaluation_layouts

    @property
    def joint_positions(self) -> dict[str, float]:
        return self._require_scene().controller.joint_positions()

    @property
    def layout(self) -> LayoutT:
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
        scene = self._require_scene()
        chosen = self._choose_layout(variant, layout)
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
        late_steps = late_physics_steps(late_s, self._spec.step_period_s, self._physics_steps)
        scene.advance(None if action is None else check_action(action), late_steps)
        self._step += 1
        return self._observe(render)

    def render_large(self) -> NDArray[np.uint8]:
        scene = self._require_scene()
        if not self._images:
            raise RuntimeError("this task was made with images=False and cannot render")
        return self._large_image(scene)

    def snapshot(self) -> NDArray[np.float64]:
        return self._require_scene().snapshot()

    def show(self, snapshot: NDArray[np.float64]) -> None:
        self._require_scene().show(snapshot)

    def close(self) -> None:
        self._scene = None
        self._layout = None

    @property
    def _instruction(self) -> str:
        """What to do in the running episode."""
        return self._spec.instruction

    @abc.abstractmethod
    def _choose_layout(self, variant: Variant, layout: int) -> LayoutT:
        """The layout of this number; ValueError when there is none."""

    @abc.abstractmethod
    def _image(self, scene: SceneT) -> NDArray[np.uint8]:
        """What the policy sees, in the size of the specification."""

    @abc.abstractmethod
    def _large_image(self, scene: SceneT) -> NDArray[np.uint8]:
        """See `Task.render_large`."""

    @abc.abstractmethod
    def _object_poses(self, scene: SceneT) -> Mapping[str, Pose]:
        """See `Observation.object_poses`."""

    @abc.abstractmethod
    def _succeeded(self, scene: SceneT, poses: Mapping[str, Pose]) -> bool:
        """Whether the goal holds now, with the objects at `poses`."""

    def _require_scene(self) -> SceneT:
        if self._scene is None:
            raise RuntimeError("this task is closed")
        return self._scene

    def _observe(self, render: bool) -> Observation:
        scene = self._require_scene()
        controller = scene.controller
        position, quaternion = controller.measured_pose()
        poses = self._object_poses(scene)
        return Observation(
            image=self._image(scene) if render and self._images else None,
            end_effector=ArmState(
                position=position,
                quaternion_xyzw=quaternion,
                target_position=controller.target_position.copy(),
                target_quaternion_xyzw=controller.target_quaternion_xyzw.copy(),
                gripper=controller.opening,
                gripper_target=controller.gripper_target,
            ),
            object_poses=poses,
            step=self._step,
            success=self._succeeded(scene, poses),
            instruction=self._instruction,
        )
