"""Forward and inverse kinematics, singularities and collisions of one arm. No ROS, no clock; not thread-safe.

Built on Pinocchio (Carpentier et al., "The Pinocchio C++ library", SII 2019) and Pink, which writes differential
inverse kinematics as a quadratic programme with the joints' ranges and speeds as constraints. Poses are those of the
tool in the base frame: position (3,) m, rotation matrix (3, 3); joint vectors are in the order of
`RobotConfig.joints.names`.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from magma_contracts.errors import ConfigError
from magma_contracts.imports import import_problem
from magma_contracts.text import brief, listed, printable
from magma_control.robots.robot_config import RobotConfig
from magma_control.robots.robot_description import RobotDescription
from magma_control.robots.urdf_check import check_urdf
from magma_control.robots.urdf_joints import UrdfJoints, read_joints
from magma_control.safety import Refusal

try:
    import pinocchio as pin

    with warnings.catch_warnings():
        # qpsolvers warns at import about solvers that it lacks; the one used here is named below.
        warnings.simplefilter("ignore")
        import pink
        from pink.exceptions import PinkError
        from pink.limits import ConfigurationLimit, VelocityLimit
        from pink.tasks import FrameTask, PostureTask
except ImportError as error:
    _said = import_problem(error, "pip install pin pin-pink daqp", "pinocchio", "pink")
    raise ImportError(f"joint-level arms need inverse kinematics, and {_said}") from error

from magma_control.motion.joint_tree import JointTree
from magma_control.motion.other_joints import OtherJoints

FloatArray = NDArray[np.float64]
SOLVER = "daqp"
TABLE = "table"
_TABLE_HALF_M = 2.0
_WIDEST_RANGE = 1000.0


class NotSolvableError(RuntimeError):
    """There is no joint motion within the limits."""


@dataclass(frozen=True)
class InverseStep:
    """Joint velocities for one tick."""

    velocity: FloatArray
    """(n,) rad/s"""
    smallest_singular_value: float
    """of the Jacobian (m and rad mixed): 0 in a singularity"""


class Kinematics:
    """The arm's model, reduced to the joints that are commanded; the others stand where `place_others` was told."""

    def __init__(self, robot: RobotConfig, description: RobotDescription, table_height_m: float | None = None) -> None:
        """
        Args:
            robot: names, limits, weights.
            description: the URDF.
            table_height_m: height of the table top in the base frame; None leaves the table out of the collision check.

        Raises:
            ConfigError: the URDF cannot be read, or lacks a joint or a link that the configuration names.
        """
        self._robot = robot
        try:
            check_urdf(description.urdf)
        except ConfigError as error:
            raise ConfigError(f"robot {robot.name}: {error}") from None
        joints = read_joints(description.urdf)
        description = RobotDescription(joints.urdf, description.package_dirs)
        try:
            full = pin.buildModelFromXML(description.urdf)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(printable(f"robot {robot.name}: the URDF cannot be read: {error}")) from None
        names = robot.joints.names
        missing = [name for name in names if not full.existJointName(name)]
        if missing:
            raise ConfigError(
                f"robot {robot.name}: the URDF has no movable joint {listed(missing)}; it has "
                f"{listed(list(full.names)[1:])}"
            )
        for link in (robot.frames.base, robot.frames.tool):
            if not full.existFrame(link, pin.FrameType.BODY):
                raise ConfigError(
                    f"robot {robot.name}: the URDF has no link {brief(link)}; it has "
                    f"{listed(frame.name for frame in full.frames if frame.type == pin.FrameType.BODY)}"
                )
        self._refuse_joints(full, joints)
        locked = [full.getJointId(name) for name in list(full.names)[1:] if name not in names]
        geometry = self._read_geometry(full, description) if robot.collision.enabled else pin.GeometryModel()
        self._others = OtherJoints(robot, full, joints)
        self._model, (self._geometry,) = _reduced(full, geometry, locked, self._others.configuration)
        self._tree = JointTree(full, geometry, names)
        # Pinocchio sorts joints along the tree; the driver has its own order.
        order = [self._model.joints[self._model.getJointId(name)].idx_q for name in names]
        self._to_model = np.argsort(order)
        self._order = np.array(order)
        self._data = self._model.createData()
        if sum(frame.name == robot.frames.tool for frame in self._model.frames) > 1:
            # Pink knows frames by their name alone.
            raise ConfigError(
                f"robot {robot.name}: the URDF calls a joint {brief(robot.frames.tool)} like the tool's link"
            )
        self._tool = self._model.getFrameId(robot.frames.tool)
        base = self._model.getFrameId(robot.frames.base, pin.FrameType.BODY)
        if self._model.frames[base].parentJoint != 0:
            raise ConfigError(f"robot {robot.name}: base link {robot.frames.base!r} is moved by a joint of the arm")
        self._base_frame = base
        self._find_base()
        self.continuous = np.array([name in joints.continuous for name in names])
        self._some_endless = bool(self.continuous.any())
        self._limit_model()
        self.home = np.array(robot.joints.home)
        low, high = self.lower, self.upper
        outside = [
            f"{name} {value:g} not in {a:.3g} … {b:.3g}"
            for name, value, a, b in zip(names, self.home, low, high, strict=True)
            if not a <= value <= b
        ]
        if outside:
            raise ConfigError(f"robot {robot.name}: joints.home is out of range: {'; '.join(outside)}")
        self._add_table(table_height_m)
        self._choose_pairs()
        self._geometry_data = self._geometry.createData()
        for request in self._geometry_data.collisionRequests:
            request.security_margin = robot.collision.margin_m
        self._make_tasks()

    # Making it.

    def _refuse_joints(self, full: pin.Model, joints: UrdfJoints) -> None:
        """Joints that cannot be driven, or followed, one by one."""
        robot = self._robot.name
        for name in self._robot.joints.names:
            if full.joints[full.getJointId(name)].nq != 1:
                raise ConfigError(
                    f"robot {robot}: joint {name} moves in more than one way (planar or floating) and cannot be "
                    "driven: leave it out of joints.names"
                )
            mimic = joints.mimics.get(name)
            if mimic is not None:
                raise ConfigError(
                    f"robot {robot}: joint {name} follows {mimic.joint} (mimic) and cannot be driven by itself: "
                    "leave it out of joints.names"
                )
        for name, mimic in joints.mimics.items():
            if mimic.joint in self._robot.joints.names:
                raise ConfigError(
                    f"robot {robot}: joint {name} follows {mimic.joint} (mimic), which is a joint of the arm; arms "
                    f"with such a linkage are not supported: make {name} a fixed joint in the description if neither "
                    "the tool nor anything that is to be checked for collisions hangs on it"
                )

    def _find_base(self) -> None:
        pin.framesForwardKinematics(self._model, self._data, np.zeros(self._model.nq))
        self._base = pin.SE3(self._data.oMf[self._base_frame])
        self._base_inverse = self._base.inverse()
        self._base_is_root = self._base.isIdentity(1e-15)

    def _read_geometry(self, model: pin.Model, description: RobotDescription) -> pin.GeometryModel:
        with tempfile.TemporaryDirectory() as folder:
            # Pinocchio reads geometry from files only.
            path = Path(folder, "robot.urdf")
            path.write_text(description.urdf, encoding="utf-8")
            try:
                geometry = pin.buildGeomFromUrdf(
                    model, str(path), pin.GeometryType.COLLISION, package_dirs=list(description.package_dirs)
                )
            except (ValueError, RuntimeError) as error:
                raise ConfigError(
                    f"robot {self._robot.name}: the collision geometry cannot be read: {printable(str(error), 200)}; "
                    "set description.package_dirs, or collision.enabled: false to do without the check"
                ) from None
        for item in geometry.geometryObjects:
            shape = item.geometry
            if hasattr(shape, "buildConvexHull"):
                # Hulls contain the meshes, so that the check errs to the safe side, and are much faster.
                try:
                    shape.buildConvexHull(True, "Qt")
                except (ValueError, RuntimeError) as error:
                    raise ConfigError(
                        f"robot {self._robot.name}: the collision mesh of {brief(item.name)} has no hull: "
                        f"{printable(str(error), 200)}"
                    ) from None
                item.geometry = shape.convex
        return geometry

    def _limit_model(self) -> None:
        """Writes the configured limits into the model, where Pink's constraints take them from."""
        margin = self._robot.joints.position_margin
        model = self._model
        endless = np.zeros(model.nq, dtype=bool)
        endless[self._order] = self.continuous
        lower, upper = model.lowerPositionLimit + margin, model.upperPositionLimit - margin
        if max(np.abs(lower[~endless]).max(initial=0.0), np.abs(upper[~endless]).max(initial=0.0)) > _WIDEST_RANGE:
            raise ConfigError(
                f"robot {self._robot.name}: a joint's range ends beyond {_WIDEST_RANGE:g} rad or m, which is no limit"
            )
        lower, upper = np.where(endless, -np.inf, lower), np.where(endless, np.inf, upper)
        if not (lower < upper).all():
            raise ConfigError(f"robot {self._robot.name}: joints.position_margin {margin} leaves no range to a joint")
        model.lowerPositionLimit, model.upperPositionLimit = lower, upper
        configured = np.array(self._robot.per_joint("max_velocity"))
        urdf = model.velocityLimit[self._order]
        # Some URDFs leave the velocity at zero, which means that they say nothing.
        self.max_velocity = np.where(urdf > 0.0, np.minimum(configured, urdf), configured)
        model.velocityLimit = self.max_velocity[self._to_model]
        self.lower, self.upper = lower[self._order], upper[self._order]

    def _add_table(self, height_m: float | None) -> None:
        self._table_height_m = 0.0
        if height_m is None or not self._robot.collision.enabled:
            return
        box = pin.hppfcl.Box(2 * _TABLE_HALF_M, 2 * _TABLE_HALF_M, 2 * _TABLE_HALF_M)
        self._table_height_m = height_m
        self._geometry.addGeometryObject(pin.GeometryObject(TABLE, 0, 0, self._table_placement(height_m), box))

    def _table_placement(self, height_m: float) -> pin.SE3:
        return self._base * pin.SE3(np.eye(3), np.array([0.0, 0.0, height_m - _TABLE_HALF_M]))

    def move_table(self, height_m: float) -> None:
        """From now on the table top of the collision check, where there is one, is at this height of the base frame."""
        self._table_height_m = height_m
        for item in self._geometry.geometryObjects:
            if item.name == TABLE:
                item.placement = self._table_placement(height_m)

    def _choose_pairs(self) -> None:
        """All pairs of links that are no neighbours, less those named in the configuration; the table where wanted."""
        geometry, model = self._geometry, self._model
        ignored = {frozenset(pair.split()) for pair in self._robot.collision.ignored_pairs}
        above = set(self._robot.collision.links_above_table)
        objects = list(geometry.geometryObjects)
        links = [TABLE if item.name == TABLE else model.frames[item.parentFrame].name for item in objects]
        known = {frame.name for frame in model.frames}
        strangers = sorted(({name for pair in ignored for name in pair} | above) - known)
        if strangers and self._robot.collision.enabled:
            raise ConfigError(
                f"robot {self._robot.name}: collision names links that are not in the URDF: {listed(strangers)}"
            )
        parts: set[int] = set()
        for first in range(len(objects)):
            for second in range(first + 1, len(objects)):
                pair = frozenset((links[first], links[second]))
                if TABLE in pair:
                    wanted = bool(pair & above)
                else:
                    wanted = self._tree.may_touch(first, second) and pair not in ignored
                if wanted:
                    geometry.addCollisionPair(pin.CollisionPair(first, second))
                    parts.update(item for item in (first, second) if links[item] != TABLE)
        self._links = links
        self._dependence = self._tree.dependence(self._robot.frames, parts)
        for index in sorted(self._dependence.chain | self._dependence.parts):
            if self._tree.ways(index) != 1:
                raise ConfigError(
                    f"robot {self._robot.name}: joint {self._others.name_of(index)} (planar or floating) lies between "
                    f"{self._robot.frames.base} and the arm's tool or what it can touch, and joint states cannot tell "
                    "where it is: name a link behind it as frames.base, or make it a fixed joint in the description"
                )

    def _make_tasks(self) -> None:
        ik = self._robot.ik
        self._frame_task = FrameTask(
            self._robot.frames.tool, position_cost=1.0, orientation_cost=ik.orientation_cost, lm_damping=0.0
        )
        self._tasks = [self._frame_task]
        if ik.posture_cost > 0.0:
            posture = PostureTask(cost=ik.posture_cost, gain=0.02)
            posture.set_target(self.home[self._to_model])
            self._tasks.append(posture)
        self.limit_speeds(self.max_velocity)
        self._posture = self._tasks[1] if ik.posture_cost > 0.0 else None
        self._configuration = pink.Configuration(self._model, self._data, self.home[self._to_model])

    def widen_ranges(self, joints: FloatArray) -> None:
        """Lets joints (n,) that stand outside their range stay where they are; the others keep their range."""
        self._model.lowerPositionLimit = np.minimum(self.lower, joints)[self._to_model]
        self._model.upperPositionLimit = np.maximum(self.upper, joints)[self._to_model]
        if self._posture is not None and self._some_endless:
            # The comfortable posture is as near by as a joint without ends can have it.
            self._posture.set_target(self.nearest_turn(self.home, joints)[self._to_model])

    def limit_speeds(self, speeds: FloatArray) -> None:
        """Sets the joints' highest speeds (n,) for inverse kinematics, rad/s."""
        self._limits = [
            ConfigurationLimit(self._model),
            VelocityLimit(self._model, velocity_limit=speeds[self._to_model]),
        ]

    # The robot's other joints.

    @property
    def other_joints(self) -> tuple[str, ...]:
        """Joints of the robot that are not the arm's, and of which reports are of use."""
        return self._others.names

    def refuse_others(self, reported: Mapping[str, float]) -> Refusal | None:
        """Why it cannot be told from reports (rad or m, by name) where the tool is or what the arm could touch."""
        return self._others.missing(reported, self._dependence)

    def place_others(self, reported: Mapping[str, float]) -> str | None:
        """Puts the other joints (rad or m, by name) where they were reported; those that are not named stay.

        Returns:
            The name of one that moved the tool against the base, or None. The arm must then begin anew, at rest.
        """
        moved = self._others.place(reported, self._dependence.chain)
        if not moved:
            return None
        self._tree.place(self._model, self._geometry, self._others.poses())
        self._find_base()
        self.move_table(self._table_height_m)
        chain = sorted(moved & self._dependence.chain)
        return self._others.name_of(chain[0]) if chain else None

    # Using it.

    @property
    def joints(self) -> int:
        """Number of joints."""
        return len(self._order)

    def nearest_turn(self, joints: FloatArray, near: FloatArray) -> FloatArray:
        """Joints (n,) with whole turns added to those without ends, so that they are as near as can be to `near`."""
        if not self._some_endless:
            return joints
        turns = np.where(self.continuous, np.round((near - joints) / (2.0 * np.pi)), 0.0)
        return joints + 2.0 * np.pi * turns

    @property
    def checks_collisions(self) -> bool:
        """Whether the URDF had geometry that is checked."""
        return len(self._geometry.collisionPairs) > 0

    def forward(self, joints: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Joint positions (n,) -> position (3,) m and rotation matrix (3, 3) of the tool in the base frame."""
        pin.framesForwardKinematics(self._model, self._data, joints[self._to_model])
        tool = self._data.oMf[self._tool]
        if not self._base_is_root:
            tool = self._base_inverse * tool
        return tool.translation.copy(), tool.rotation.copy()

    def jacobian(self, joints: FloatArray) -> FloatArray:
        """(6, n): velocities of the joints -> linear (m/s) and angular (rad/s) velocity of the tool, base frame."""
        matrix = pin.computeFrameJacobian(
            self._model, self._data, joints[self._to_model], self._tool, pin.LOCAL_WORLD_ALIGNED
        )
        rotation = self._base_inverse.rotation
        return np.vstack([rotation @ matrix[:3], rotation @ matrix[3:]])[:, self._order]

    def step(self, joints: FloatArray, position: FloatArray, rotation: FloatArray, period_s: float) -> InverseStep:
        """Joint velocities that bring the tool from `joints` as near as the limits allow to a pose in one period.

        Near a singularity the motion is damped (Nakamura and Hanafusa, "Inverse kinematic solutions with singularity
        robustness", 1986; Chiaverini, "Singularity-robust task-priority redundancy resolution", 1997): the tool then
        deviates from its path instead of the joints becoming fast.

        Raises:
            NotSolvableError: the limits contradict each other here.
        """
        configuration = self._configuration
        configuration.update(joints[self._to_model])
        goal = self._base * pin.SE3(rotation, position)
        self._frame_task.set_target(goal)
        jacobian = configuration.get_frame_jacobian(self._robot.frames.tool)
        smallest = float(np.sqrt(max(0.0, np.linalg.eigvalsh(jacobian @ jacobian.T)[0])))
        ik = self._robot.ik
        shortage = max(0.0, 1.0 - smallest / ik.damping_below)
        try:
            velocity = pink.solve_ik(
                configuration,
                self._tasks,
                period_s,
                solver=SOLVER,
                damping=1e-9 + (ik.max_damping * shortage) ** 2,
                limits=self._limits,
                safety_break=False,
            )
        except PinkError as error:
            raise NotSolvableError(str(error)) from None
        if velocity is None or not np.isfinite(velocity).all():
            raise NotSolvableError("the quadratic programme has no solution")
        return InverseStep(np.asarray(velocity, dtype=np.float64)[self._order], smallest)

    def collision(self, joints: FloatArray) -> str | None:
        """The first two parts that are nearer to each other than the margin, or None."""
        if not self.checks_collisions:
            return None
        data = self._geometry_data
        if not pin.computeCollisions(self._model, self._data, self._geometry, data, joints[self._to_model], True):
            return None
        return next(self._touching(), "two parts")

    def contacts(self, joints: FloatArray) -> frozenset[str]:
        """All pairs of parts that are nearer to each other than the margin."""
        if not self.checks_collisions:
            return frozenset()
        data = self._geometry_data
        pin.computeCollisions(self._model, self._data, self._geometry, data, joints[self._to_model], False)
        return frozenset(self._touching())

    def _touching(self) -> Iterator[str]:
        """Names of the pairs found in contact by the last computation, in a fixed order."""
        for index, pair in enumerate(self._geometry.collisionPairs):
            if self._geometry_data.collisionResults[index].isCollision():
                yield f"{self._links[pair.first]} and {self._links[pair.second]}"


def _reduced(
    model: pin.Model, geometry: pin.GeometryModel, locked: list[int], configuration: FloatArray
) -> tuple[pin.Model, list[pin.GeometryModel]]:
    if not locked:
        return model, [geometry]
    reduced, geometries = pin.buildReducedModel(model, [geometry], locked, configuration)
    return reduced, list(geometries)
