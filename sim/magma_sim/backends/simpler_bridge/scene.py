"""The world of one Bridge task: ManiSkill loads robot, table and objects; episodes run on SAPIEN's objects directly.

ManiSkill's own environment classes keep lists at class level that a second environment in the process corrupts, take
several times as long per step for bookkeeping in tensors, and start an episode in a physics world that remembers the
one before. Here ManiSkill loads, and nothing else of it runs. A test plays the same actions in ManiSkill's environment
and here and compares poses, success and images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sapien
from numpy.typing import NDArray

from magma_sim.backends.shared.poses import pose_from_sapien, pose_to_sapien
from magma_sim.backends.shared.rendering import use_fast_shader
from magma_sim.backends.shared.snapshots import show_snapshot, take_snapshot
from magma_sim.backends.simpler_bridge import cameras
from magma_sim.backends.simpler_bridge.assets import DATA_SET, ROBOT, check_assets, data_folder
from magma_sim.backends.simpler_bridge.control import WidowXController
from magma_sim.backends.simpler_bridge.goals import BridgeGoal, Setting
from magma_sim.backends.simpler_bridge.layouts import BridgeLayout
from magma_sim.backends.simpler_bridge.success import SuccessRule
from magma_sim.tasks.interface import Pose

SIM_FREQUENCY_HZ = 500
CONTROL_FREQUENCY_HZ = 5
PHYSICS_STEPS = SIM_FREQUENCY_HZ // CONTROL_FREQUENCY_HZ
_SETTLE_STEPS, _LONG_SETTLE_STEPS = 50, 600
"""half a control period, and six of them for objects that still move then"""
_MOVING_M_S, _MOVING_RAD_S = 1e-3, 1e-2

START_JOINTS: dict[Setting, tuple[float, ...]] = {
    "flat_table": (-0.01840777, 0.0398835, 0.22242722, -0.00460194, 1.36524296, 0.00153398, 0.037, 0.037),
    "sink": (-0.2600599, -0.12875618, 0.04461369, -0.00652761, 1.7033415, -0.26983038, 0.037, 0.037),
}
"""measured on the real robot, rad and m"""
BASE_POSITION: dict[Setting, tuple[float, float, float]] = {
    "flat_table": (0.147, 0.028, 0.870),
    "sink": (0.127, 0.060, 0.85),
}
"""of the robot's base in the world; it is turned by 180 degrees about z"""
TABLE_TOP_M = 0.870
"""in the world"""
_BASE_WXYZ = (0.0, 0.0, 0.0, 1.0)
_AWAY = sapien.Pose([-10.0, 0.0, 0.0])
"""where the robot waits while the objects settle"""
CONTROL_MODE = "arm_pd_ee_target_delta_pose_align2_gripper_pd_joint_pos"


def _loader(goal: BridgeGoal, render_device: sapien.Device | None) -> Any:
    """ManiSkill's environment of a goal, made only to load its scene."""
    import importlib
    import logging

    from mani_skill.utils.logging_utils import logger

    module = importlib.import_module("mani_skill.envs.tasks.digital_twins.bridge_dataset_eval.put_on_in_scene")

    class Loader(getattr(module, goal.environment)):  # type: ignore[misc]
        SUPPORTED_OBS_MODES = ("none",)
        # Of its own, because the base class writes to the one at class level.
        _rgb_overlay_images: dict = {}  # noqa: RUF012

        def _setup_scene(self) -> None:
            # ManiSkill's render_backend string cannot name lavapipe ("pci:0" is split at the colon), so the device is
            # set here, before the scene is made with it.
            self._render_device = render_device
            self.backend.render_device = render_device
            super()._setup_scene()

        def remove_object_from_greenscreen(self, object: object) -> None:
            """Pictures are composed by `cameras.compose`; the list at class level is left alone."""

        def _after_reconfigure(self, options: dict) -> None:
            """Nothing is composed by ManiSkill."""

        def _setup_sensors(self, options: dict) -> None:
            """Cameras are made by `BridgeScene.camera`."""
            self._sensor_configs: dict = {}
            self._sensors: dict = {}
            self._human_render_cameras: dict = {}
            self.scene.sensors, self.scene.human_render_cameras = {}, {}

        def _initialize_episode(self, env_idx: object, options: dict) -> None:
            """Episodes are started by `BridgeScene.place`."""

        def evaluate(self) -> dict:
            """Success is judged by `BridgeScene.succeeded`."""
            return {}

    # What ManiSkill warns of here (initial poses, mimic joints) is as its authors made these tasks.
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return Loader(obs_mode="none", control_mode=CONTROL_MODE, sim_backend="physx_cpu", render_backend="none")
    finally:
        logger.setLevel(level)


class BridgeScene:
    """`place` starts an episode, `advance` runs one step period. Poses are given in the robot's base frame.

    Args:
        goal: the task.
        render_device: SAPIEN device to render on, or None for physics alone.

    Raises:
        AssetsMissingError: the data files are not there.
    """

    def __init__(self, goal: BridgeGoal, render_device: sapien.Device | None) -> None:
        data = data_folder()
        check_assets(data)
        self._goal = goal
        self.user: object = None
        """the task that started the running episode"""
        self._environment = _loader(goal, render_device)
        self._renders = render_device is not None
        environment = self._environment
        self._first_world = environment.scene.sub_scenes[0]
        self._world = self._first_world
        self._robot = environment.agent.robot._objs[0]
        self.controller = WidowXController(self._robot, (data / ROBOT / "wx250s.urdf").read_text())
        self.objects: dict[str, sapien.Entity] = {
            name: environment.objs[name]._objs[0] for name in (goal.source, goal.target)
        }
        self._bodies = {
            name: entity.find_component_by_type(sapien.physx.PhysxRigidDynamicComponent)
            for name, entity in self.objects.items()
        }
        self._sizes = {
            name: np.subtract(environment.model_db[name]["bbox"]["max"], environment.model_db[name]["bbox"]["min"])
            for name in self.objects
        }
        self._standing = [entity for entity in self._first_world.entities if _has_physics(entity)]
        self._links = [link.entity for link in self._robot.links]
        self._photo_kept = [*self._links, self.objects[goal.source]]
        if goal.setting == "flat_table":
            self._photo_kept.append(self.objects[goal.target])
        self._base = sapien.Pose(BASE_POSITION[goal.setting], _BASE_WXYZ)
        if self._renders:
            self._render_system = self._first_world.render_system
            self._photo = cameras.load_photo(data / DATA_SET / "real_inpainting", goal.setting)
            self._photos: dict[cameras.Size, NDArray[np.uint8]] = {}
            self._cameras: dict[cameras.Size, sapien.render.RenderCameraComponent] = {}
        self.rule: SuccessRule | None = None
        """of the running episode"""

    def place(
        self,
        layout: BridgeLayout,
        start_position: NDArray[np.float64] | None = None,
        start_quaternion_xyzw: NDArray[np.float64] | None = None,
    ) -> None:
        """Lets the objects of the layout settle and puts the arm at rest at its start, or at another pose.

        Args:
            layout: where the objects are put.
            start_position: (3,) m and start_quaternion_xyzw: (4,), tool pose in the base frame; None: the task's own.

        Raises:
            ValueError: the arm cannot reach the start pose.
        """
        joints = np.array(START_JOINTS[self._goal.setting])
        if start_position is not None and start_quaternion_xyzw is not None:
            solution = self.controller.solve(start_position, start_quaternion_xyzw, joints)
            if solution is None or not self.controller.within_limits(solution):
                raise ValueError(f"the arm cannot reach the start position {np.round(start_position, 3).tolist()}")
            joints[: len(solution)] = solution
        self._start_fresh_physics()
        self._robot.set_root_pose(_AWAY)
        self.controller.reset(joints)
        for name, (position, quaternion) in ((self._goal.source, layout.source), (self._goal.target, layout.target)):
            self.objects[name].set_pose(pose_to_sapien(position, quaternion))
            if not self._bodies[name].kinematic:
                self._bodies[name].set_linear_velocity(np.zeros(3))
                self._bodies[name].set_angular_velocity(np.zeros(3))
        self._settle()
        self._robot.set_root_pose(self._base)
        self.controller.reset(joints)
        poses = self.object_poses(in_world=True)
        source, target = self._goal.source, self._goal.target
        self.rule = SuccessRule.after_settling(
            self._goal, self._sizes[source], poses[source][1], self._sizes[target], poses[target][1]
        )

    def _settle(self) -> None:
        physics = self._world.physx_system
        for _ in range(_SETTLE_STEPS):
            physics.step()
        linear = sum(float(np.linalg.norm(body.linear_velocity)) for body in self._bodies.values())
        angular = sum(float(np.linalg.norm(body.angular_velocity)) for body in self._bodies.values())
        if linear > _MOVING_M_S or angular > _MOVING_RAD_S:
            for _ in range(_LONG_SETTLE_STEPS):
                physics.step()

    def _start_fresh_physics(self) -> None:
        """Moves everything into a new, empty physics world.

        A PhysX world remembers the order in which contacts came and went; in one that is used again the same actions
        in the same layout end up millimetres apart, depending on what was played before. A new one costs a
        millisecond. The render system stays, and with it everything uploaded to the renderer.
        """
        for entity in reversed(self._standing):
            self._world.remove_entity(entity)
        # These settings are SAPIEN's globals; another scene of this process may have set its own since.
        self._environment._set_scene_config()
        systems: list[sapien.System] = [sapien.physx.PhysxCpuSystem()]
        if self._renders:
            systems.append(self._render_system)
        self._world = sapien.Scene(systems)
        self._world.physx_system.timestep = 1.0 / SIM_FREQUENCY_HZ
        for entity in self._standing:
            self._world.add_entity(entity)

    def advance(self, action: NDArray[np.float64] | None, late_steps: int = 0) -> None:
        """Runs the physics of one step period; the action (7,), if any, comes before physics step `late_steps`."""
        physics = self._world.physx_system
        for index in range(PHYSICS_STEPS):
            if action is not None and index == late_steps:
                self.controller.set_action(action)
            physics.step()

    def snapshot(self) -> NDArray[np.float64]:
        """See `FilmableTask.snapshot`."""
        return take_snapshot(self._robot, list(self.objects.values()))

    def show(self, snapshot: NDArray[np.float64]) -> None:
        """See `FilmableTask.show`."""
        show_snapshot(snapshot, self._robot, list(self.objects.values()))

    def object_poses(self, *, in_world: bool = False) -> dict[str, Pose]:
        """Pose of source and target by name."""
        to_frame = sapien.Pose() if in_world else self._base.inv()
        return {name: pose_from_sapien(to_frame * entity.pose) for name, entity in self.objects.items()}

    def contact_force_n(self) -> float:
        """Force between source and target in the last physics step."""
        pair = {self.objects[self._goal.source], self.objects[self._goal.target]}
        impulse = np.zeros(3)
        for contact in self._world.physx_system.get_contacts():
            if {body.entity for body in contact.bodies} == pair:
                sign = 1.0 if contact.bodies[0].entity == self.objects[self._goal.source] else -1.0
                impulse += sign * sum((point.impulse for point in contact.points), np.zeros(3))
        return float(np.linalg.norm(impulse)) * SIM_FREQUENCY_HZ

    def succeeded(self) -> bool:
        """Whether the goal holds now."""
        if self.rule is None:
            raise RuntimeError("no episode is running: call place first")
        poses = self.object_poses(in_world=True)
        return self.rule.holds(poses[self._goal.source][0], poses[self._goal.target][0], self.contact_force_n())

    def image(self, size: cameras.Size) -> NDArray[np.uint8]:
        """The camera's image (height, width, 3) RGB of the present state, the photo behind the objects."""
        return self._composed(size, self._photo_kept)[0]

    def _composed(
        self, size: cameras.Size, kept: Sequence[sapien.Entity]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
        """The image with these entities before the photo, and the `per_scene_id` of each rendered pixel."""
        rendered_size = cameras.render_size(size)
        # The camera first: updating the renderer also tells it where a new camera is.
        camera = self._camera(rendered_size)
        self._world.update_render()
        camera.take_picture()
        rendered = camera.get_picture("Color")[..., :3]
        segmentation = camera.get_picture("PositionSegmentation")[..., 3]
        keep = np.array([entity.per_scene_id for entity in kept])
        if rendered_size not in self._photos:
            self._photos[rendered_size] = cameras.resize(self._photo, rendered_size)
        image = cameras.compose(rendered, segmentation, keep, self._photos[rendered_size])
        return np.ascontiguousarray(cameras.resize(image, size)), segmentation

    def radius(self, name: str) -> float:
        """Half of the mean of an object's two longer sides, m."""
        return float(np.sort(self._sizes[name])[1:].mean() / 2)

    def copy_of(self, name: str) -> sapien.Entity:
        """What the source or target looks like, without its body; it may stand in the scene of another task."""
        visual = self.objects[name].find_component_by_type(sapien.render.RenderBodyComponent)
        copy = sapien.Entity()
        copy.name = name
        copy.add_component(visual.clone())
        return copy

    def show_copies(
        self, arm_joints: NDArray[np.float64], copies: Sequence[sapien.Entity], size: cameras.Size
    ) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]], NDArray[np.bool_]]:
        """The image (height, width, 3) with the arm at `arm_joints` and `copies` instead of the task's own objects; and
        masks, at the size that was rendered, of what is seen of each copy and of the photo. The running episode ends.
        """
        self._start_fresh_physics()
        self._robot.set_root_pose(self._base)
        self.controller.reset(arm_joints)
        for entity in self.objects.values():
            entity.set_pose(_AWAY)
        for copy in copies:
            self._world.add_entity(copy)
        shown = [*self._links, *copies]
        image, numbers = self._composed(size, shown)
        masks = [numbers == copy.per_scene_id for copy in copies]
        photo = ~np.isin(numbers, [entity.per_scene_id for entity in shown])
        for copy in copies:
            self._world.remove_entity(copy)
        return image, masks, photo

    def _camera(self, size: cameras.Size) -> sapien.render.RenderCameraComponent:
        """The camera that renders (height, width) pixels; made on first use."""
        if size not in self._cameras:
            height, width = size
            use_fast_shader()
            camera = self._first_world.add_camera(f"third_person_{width}x{height}", width, height, 1.0, 0.01, 100.0)
            matrix = cameras.intrinsics(size)
            camera.set_focal_lengths(matrix[0, 0], matrix[1, 1])
            camera.set_principal_point(matrix[0, 2], matrix[1, 2])
            setup = cameras.SETUPS[self._goal.setting]
            camera.entity.set_pose(self._base * sapien.Pose(setup.position, setup.quaternion_wxyz))
            self._cameras[size] = camera
        return self._cameras[size]


def _has_physics(entity: sapien.Entity) -> bool:
    return any(isinstance(component, sapien.physx.PhysxBaseComponent) for component in entity.components)
