"""The tabletop world as a ManiSkill environment: Panda, table, eight objects, lamps and two views of one camera.

ManiSkill loads the robot and owns the scene; episodes are then run on the SAPIEN objects directly (`task.py`), because
ManiSkill's per-step tensors cost more time than the physics of one small scene.
World frame = robot base frame; the table top is z = 0.
"""

from __future__ import annotations

import numpy as np
import sapien
from mani_skill.envs.sapien_env import BaseEnv
from mani_skill.utils.structs.types import SceneConfig, SimConfig
from numpy.typing import NDArray

from magma_contracts.geometry.rotations import quaternion_from_yaw
from magma_sim.backends.shared.poses import pose_to_sapien
from magma_sim.backends.shared.rendering import use_fast_shader
from magma_sim.backends.shared.snapshots import show_snapshot, take_snapshot
from magma_sim.backends.tabletop.control import EndEffectorController
from magma_sim.backends.tabletop.decimation import decimate_robot
from magma_sim.backends.tabletop.layouts import TABLE_COLOUR, Layout
from magma_sim.backends.tabletop.objects import OBJECTS, ObjectModel, Part, part_mesh

SIM_FREQUENCY_HZ = 100
CONTROL_FREQUENCY_HZ = 5
PHYSICS_STEPS = SIM_FREQUENCY_HZ // CONTROL_FREQUENCY_HZ

RENDER_SIZE = 256
LARGE_IMAGE_SIZE = 512
CAMERA_POSITION = (1.14, 0.10, 0.66)
CAMERA_LOOK_AT = (0.475, 0.01, 0.06)
CAMERA_FIELD_OF_VIEW_RAD = 0.66
ROBOT_CELL_M = 0.006
"""detail of the robot's images; a pixel of the policy's image is about 5 mm on the table"""
FURTHEST_OBJECT_MM = 1500
"""the table's far edge is nearer to the camera along its axis, the backdrop is not"""
BACKDROP_COLOUR = (0.28, 0.36, 0.40)

READY_ARM = (0.0, 0.15, 0.0, -2.25, 0.0, 2.40, 0.785)
"""joint positions near every home pose, from which inverse kinematics starts, rad"""
TOOL_DOWN_XYZW = (1.0, 0.0, 0.0, 0.0)
"""orientation of the tool pointing straight down with the fingers opening along y"""

OBJECT_FRICTION = 0.9
TABLE_FRICTION = 0.7


def look_at_matrix(position: tuple[float, ...], target: tuple[float, ...]) -> NDArray[np.float64]:
    """base -> camera_optical (4, 4), x right, y down, z forward, with the base's z upwards in the image."""
    eye = np.asarray(position, dtype=np.float64)
    forward = np.asarray(target, dtype=np.float64) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, -rotation @ eye
    return matrix


def camera_intrinsics(size: int) -> NDArray[np.float64]:
    """K (3, 3) of the square image with `size` pixels a side."""
    focal = size / 2 / np.tan(CAMERA_FIELD_OF_VIEW_RAD / 2)
    return np.array([[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]])


def camera_extrinsics() -> NDArray[np.float64]:
    """base -> camera_optical (4, 4)."""
    return look_at_matrix(CAMERA_POSITION, CAMERA_LOOK_AT)


def _has_physics(entity: sapien.Entity) -> bool:
    return any(isinstance(component, sapien.physx.PhysxBaseComponent) for component in entity.components)


class TabletopEnv(BaseEnv):
    """Scene with one Panda and every object of the suite; `place` starts an episode, `advance` runs one step period.

    Args:
        render_device: SAPIEN device to render on, or None for physics alone.
    """

    SUPPORTED_REWARD_MODES = ("none",)

    def __init__(self, render_device: sapien.Device | None) -> None:
        self._chosen_device = render_device
        self.user: object = None
        """the task that started the running episode"""
        self.objects: dict[str, sapien.Entity] = {}
        self.bodies: dict[str, sapien.physx.PhysxRigidDynamicComponent] = {}
        self._strangers: dict[str, sapien.Entity] = {}
        super().__init__(
            num_envs=1,
            obs_mode="none",
            reward_mode="none",
            robot_uids="panda",
            control_mode="pd_joint_pos",
            sim_backend="physx_cpu",
            render_backend="none",
        )

    @property
    def _default_sim_config(self) -> SimConfig:
        return SimConfig(
            sim_freq=SIM_FREQUENCY_HZ,
            control_freq=CONTROL_FREQUENCY_HZ,
            # Bodies never sleep: a sleeping contact is not reported, and waking depends on history.
            scene_config=SceneConfig(sleep_threshold=0.0, contact_offset=0.01, enable_enhanced_determinism=True),
        )

    def _setup_scene(self) -> None:
        # ManiSkill's render_backend string cannot name lavapipe ("pci:0" is split at the colon), so the device chosen
        # by magma_sim.backends.shared.rendering is set here, before the scene is made with it.
        self._render_device = self._chosen_device
        self.backend.render_device = self._chosen_device
        super()._setup_scene()

    def _load_agent(self, options: dict, *_: object, **__: object) -> None:
        super()._load_agent(options, sapien.Pose())

    def _load_scene(self, options: dict) -> None:
        scene = self.scene.sub_scenes[0]
        self._table_material = self._material(TABLE_COLOUR)
        self._add_static(scene, "table", (0.45, 0.75, 0.02), (0.35, 0.0, -0.02), self._table_material)
        if self._chosen_device is not None:
            backdrop = self._material(BACKDROP_COLOUR)
            self._add_static(scene, "backdrop", (0.01, 3.0, 1.5), (-0.9, 0.0, 0.5), backdrop, collides=False)
            self._add_static(scene, "floor", (3.0, 3.0, 0.01), (0.0, 0.0, -0.8), backdrop, collides=False)
        for model in OBJECTS.values():
            self._make_object(model)

    def _load_lighting(self, options: dict) -> None:
        scene = self.scene.sub_scenes[0]
        scene.set_ambient_light([0.35, 0.35, 0.35])
        self._lamps = [
            scene.add_directional_light([-0.35, -0.25, -1.0], [1.0, 1.0, 1.0], shadow=False),
            scene.add_directional_light([0.3, 0.8, -0.6], [0.5, 0.5, 0.5], shadow=False),
        ]

    def _setup_sensors(self, options: dict) -> None:
        super()._setup_sensors(options)
        scene = self.scene.sub_scenes[0]
        use_fast_shader()
        self._cameras = {}
        for size in (RENDER_SIZE, LARGE_IMAGE_SIZE):
            self._cameras[size] = scene.add_camera(
                f"third_person_{size}", size, size, CAMERA_FIELD_OF_VIEW_RAD, 0.05, 10.0
            )
        self.place_cameras(camera_extrinsics())

    def place_cameras(self, extrinsics: NDArray[np.float64]) -> None:
        """Puts the cameras at base -> camera_optical (4, 4)."""
        camera_to_base = np.linalg.inv(extrinsics)
        # SAPIEN's camera looks along x with y left and z up; the optical frame has x right, y down, z forward.
        camera_to_base[:3, :3] = camera_to_base[:3, :3] @ np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]])
        for camera in self._cameras.values():
            camera.entity.set_pose(sapien.Pose(camera_to_base))

    def light(self, colour: NDArray[np.float64]) -> None:
        """Gives the lamps a colour, RGB; (1, 1, 1) is nominal."""
        for lamp, brightness in zip(self._lamps, (1.0, 0.5), strict=True):
            lamp.set_color(list(brightness * colour))

    def stand(self, model: ObjectModel, x: float, y: float, yaw: float = 0.0) -> sapien.Entity:
        """Stands an object that belongs to no task on the table, until the next `place`."""
        if model.name not in self._strangers:
            self._strangers[model.name] = self._make_entity(model)[0]
        entity = self._strangers[model.name]
        entity.set_pose(pose_to_sapien(np.array([x, y, model.rest_height]), quaternion_from_yaw(yaw)))
        self._add(entity)
        return entity

    def _after_reconfigure(self, options: dict) -> None:
        robot = self.agent.robot._objs[0]
        if self._chosen_device is not None:
            decimate_robot(robot, ROBOT_CELL_M)
        self.robot_links = frozenset(link.entity.name for link in robot.links)
        scene = self.scene.sub_scenes[0]
        self._world = scene
        self._permanent = [entity for entity in scene.entities if _has_physics(entity)]
        self._standing = list(self._permanent)
        if self._chosen_device is not None:
            self._render_system = scene.render_system
        self.controller = EndEffectorController(robot, self.agent.tcp._objs[0])

    @staticmethod
    def _material(colour: tuple[float, ...]) -> sapien.render.RenderMaterial:
        return sapien.render.RenderMaterial(base_color=[*colour, 1.0], specular=0.2, roughness=0.8)

    def _add_static(
        self,
        scene: sapien.Scene,
        name: str,
        half_size: tuple[float, float, float],
        position: tuple[float, float, float],
        material: sapien.render.RenderMaterial,
        *,
        collides: bool = True,
    ) -> None:
        entity = sapien.Entity()
        entity.name = name
        if collides:
            body = sapien.physx.PhysxRigidStaticComponent()
            surface = sapien.physx.PhysxMaterial(TABLE_FRICTION, TABLE_FRICTION, 0.0)
            body.attach(sapien.physx.PhysxCollisionShapeBox(half_size, surface))
            entity.add_component(body)
        if self._chosen_device is not None:
            visual = sapien.render.RenderBodyComponent()
            visual.attach(sapien.render.RenderShapeBox(half_size, material))
            entity.add_component(visual)
        entity.set_pose(sapien.Pose(position))
        scene.add_entity(entity)

    def _make_object(self, model: ObjectModel) -> None:
        self.objects[model.name], self.bodies[model.name] = self._make_entity(model)

    def _make_entity(self, model: ObjectModel) -> tuple[sapien.Entity, sapien.physx.PhysxRigidDynamicComponent]:
        entity = sapien.Entity()
        entity.name = model.name
        body = sapien.physx.PhysxRigidDynamicComponent()
        surface = sapien.physx.PhysxMaterial(OBJECT_FRICTION, OBJECT_FRICTION, 0.0)
        visual = sapien.render.RenderBodyComponent() if self._chosen_device is not None else None
        for part in model.parts:
            if part.collides:
                body.attach(self._collision_shape(part, surface))
            if part.visible and visual is not None:
                visual.attach(self._visual_shape(part))
        entity.add_component(body)
        if visual is not None:
            entity.add_component(visual)
        body.mass = model.mass_kg
        body.set_linear_damping(0.2)
        body.set_angular_damping(0.5)
        return entity, body

    @staticmethod
    def _collision_shape(part: Part, surface: sapien.physx.PhysxMaterial) -> sapien.physx.PhysxCollisionShape:
        if part.kind == "box":
            shape = sapien.physx.PhysxCollisionShapeBox(part.half_size, surface)
            shape.set_local_pose(sapien.Pose(part.centre))
            return shape
        vertices, _, _ = part_mesh(part)
        return sapien.physx.PhysxCollisionShapeConvexMesh(
            vertices=np.unique(vertices, axis=0), scale=np.ones(3, dtype=np.float32), material=surface
        )

    def _visual_shape(self, part: Part) -> sapien.render.RenderShape:
        material = self._material(part.colour)
        if part.kind == "box":
            shape = sapien.render.RenderShapeBox(part.half_size, material)
            shape.set_local_pose(sapien.Pose(part.centre))
            return shape
        vertices, triangles, normals = part_mesh(part)
        texture_coordinates = np.zeros((len(vertices), 2), dtype=np.float32)
        return sapien.render.RenderShapeTriangleMesh(vertices, triangles, normals, texture_coordinates, material)

    def place(
        self,
        layout: Layout,
        start_position: NDArray[np.float64] | None = None,
        start_quaternion_xyzw: NDArray[np.float64] | None = None,
    ) -> None:
        """Stands the layout's objects on the table, takes the others away, and puts the arm at rest at its start.

        Args:
            layout: what stands where.
            start_position: (3,) m, tool centre point; None: the layout's own.
            start_quaternion_xyzw: (4,); None: straight down.

        Raises:
            ValueError: the start is out of the arm's reach.
        """
        position = np.array(layout.home_position if start_position is None else start_position)
        quaternion = np.array(TOOL_DOWN_XYZW if start_quaternion_xyzw is None else start_quaternion_xyzw)
        joints = self.controller.solve(position, quaternion, np.array([*READY_ARM, 0.04, 0.04]))
        if joints is None:
            raise ValueError(f"the arm cannot reach the start position {np.round(position, 3).tolist()}")
        joints[7:] = 0.04
        self._start_fresh_physics()
        for name in OBJECTS:
            if name not in layout.placements:
                continue
            x, y, yaw = layout.placements[name]
            position = np.array([x, y, OBJECTS[name].rest_height])
            self.objects[name].set_pose(pose_to_sapien(position, quaternion_from_yaw(yaw)))
            self._add(self.objects[name])
            self.bodies[name].set_linear_velocity(np.zeros(3))
            self.bodies[name].set_angular_velocity(np.zeros(3))
        self.controller.reset(joints)
        if self._chosen_device is not None:
            self._table_material.base_color = [*layout.table_colour, 1.0]
            self.light(np.full(3, layout.light))

    def _start_fresh_physics(self) -> None:
        """Moves robot and furniture into a new, empty physics world and leaves every object out.

        A PhysX world remembers the order in which contacts came and went; in one that is used again the same actions
        in the same layout end up millimetres apart, depending on what was played before. A new one costs a
        millisecond. The render system stays, and with it everything uploaded to the renderer.
        """
        for entity in reversed(self._standing):
            self._world.remove_entity(entity)
        # These settings are SAPIEN's globals; another scene of this process may have set its own since.
        self._set_scene_config()
        systems: list[sapien.System] = [sapien.physx.PhysxCpuSystem()]
        if self._chosen_device is not None:
            systems.append(self._render_system)
        self._world = sapien.Scene(systems)
        self._world.physx_system.timestep = 1.0 / SIM_FREQUENCY_HZ
        self._standing = []
        for entity in self._permanent:
            self._add(entity)

    def _add(self, entity: sapien.Entity) -> None:
        self._world.add_entity(entity)
        self._standing.append(entity)

    def advance(self, action: NDArray[np.float64] | None, late_steps: int = 0) -> None:
        """Runs the physics of one step period; the action (7,), if any, comes before physics step `late_steps`."""
        physics = self._world.physx_system
        for index in range(PHYSICS_STEPS):
            if action is not None and index == late_steps:
                self.controller.set_action(action)
            self.controller.before_physics_step(PHYSICS_STEPS)
            physics.step()

    def physics_tick(self) -> None:
        """Runs one physics step, 1 / SIM_FREQUENCY_HZ, with the drive targets as they are."""
        self._world.physx_system.step()

    def snapshot(self) -> NDArray[np.float64]:
        """See `FilmableTask.snapshot`."""
        return take_snapshot(self.agent.robot._objs[0], self._movable())

    def show(self, snapshot: NDArray[np.float64]) -> None:
        """See `FilmableTask.show`."""
        show_snapshot(snapshot, self.agent.robot._objs[0], self._movable())

    def _movable(self) -> list[sapien.Entity]:
        return [*self.objects.values(), *self._strangers.values()]

    def contacts(self) -> list[sapien.physx.PhysxContact]:
        """Contacts of the last physics step."""
        return self._world.physx_system.get_contacts()

    def render_camera(self, size: int) -> NDArray[np.uint8]:
        """Picture (size, size, 3) RGB uint8 of the present state; size is RENDER_SIZE or LARGE_IMAGE_SIZE."""
        self._world.update_render()
        camera = self._cameras[size]
        camera.take_picture()
        return np.ascontiguousarray(camera.get_picture("Color")[..., :3])

    def render_entities(self, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
        """`render_camera`, and the `per_scene_id` (size, size) of what each pixel shows; 0 beyond the table."""
        image = self.render_camera(size)
        found = self._cameras[size].get_picture("PositionSegmentation")
        # Backdrop and floor keep the numbers of the first physics world, which objects of later ones have too.
        near = (found[..., 2] < 0) & (-found[..., 2].astype(np.int32) < FURTHEST_OBJECT_MM)
        return image, np.where(near, found[..., 3], 0).astype(np.int16)
