"""The WidowX arm of the Bridge tasks: EndEffectorDelta in, joint drive targets out.

Behaves as SimplerEnv's `arm_pd_ee_target_delta_pose_align2_gripper_pd_joint_pos` in ManiSkill 3.0.1: deltas move the
*target* pose, inverse kinematics from the measured joint positions gives the joint targets, which are set at once and
held for the step. Where no solution is found the joints keep their places while the target pose moves on. Actions are
not clipped.

Conventions meet here: our rotation is an axis-angle vector; ManiSkill's controller takes Euler angles XYZ, for which
`maniskill_action` converts (SimplerEnv's original took axis-angle too). The base frame is the robot's, yawed by 180
degrees in the world. SAPIEN's quaternions are wxyz.
"""

from __future__ import annotations

import numpy as np
import sapien
from numpy.typing import NDArray
from sapien.pysapien_pinocchio import PinocchioModel

from magma_contracts.geometry.rotations import matrix_from_axis_angle
from magma_sim.backends.shared.poses import apply_delta, pose_from_sapien, pose_to_sapien

FINGER_CLOSED_M, FINGER_OPEN_M = 0.014, 0.038
"""drive targets of both finger joints: the joint's range and 1 mm more on both sides, as SimplerEnv has it"""
TOOL_LINK = "ee_gripper_link"
ARM_JOINTS = 6
_IK_ITERATIONS = 100


def euler_xyz(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axis-angle vector (3,) -> angles (3,) rad with R = Rx(a) Ry(b) Rz(c), pytorch3d's convention "XYZ"."""
    matrix = matrix_from_axis_angle(rotation)
    sine = float(np.clip(matrix[0, 2], -1.0, 1.0))
    return np.array([
        np.arctan2(-matrix[1, 2], matrix[2, 2]), np.arcsin(sine), np.arctan2(-matrix[0, 1], matrix[0, 0])
    ])  # fmt: skip


def maniskill_action(action: NDArray[np.float64]) -> NDArray[np.float64]:
    """EndEffectorDelta (7,) -> the action (7,) of ManiSkill's environment: Euler angles XYZ, gripper -1 ... 1."""
    return np.array([*action[:3], *euler_xyz(action[3:6]), 2.0 * action[6] - 1.0])


def finger_target(opening: float) -> float:
    """Opening 0 (closed) ... 1 (open) -> drive target of each finger joint, m."""
    return FINGER_CLOSED_M + opening * (FINGER_OPEN_M - FINGER_CLOSED_M)


def finger_opening(joint_m: float) -> float:
    """Position of a finger joint -> opening 0 ... 1."""
    return float(np.clip((joint_m - FINGER_CLOSED_M) / (FINGER_OPEN_M - FINGER_CLOSED_M), 0.0, 1.0))


class WidowXController:
    """Holds the target pose of `ee_gripper_link` in the base frame and drives the joints towards it.

    Args:
        robot: the articulation.
        urdf: text of the robot's URDF.
    """

    def __init__(self, robot: sapien.physx.PhysxArticulation, urdf: str) -> None:
        self._robot = robot
        self._joints = robot.active_joints
        # SAPIEN's compiled model even where the pinocchio wheel is installed: with that present,
        # sapien.wrapper's becomes a slow loop in Python with other results.
        self._kinematics = PinocchioModel(urdf, [0.0, 0.0, -9.81])
        names = [_own_name(robot, joint.name) for joint in self._joints]
        links = [_own_name(robot, link.name) for link in robot.links]
        self._kinematics.set_joint_order(names)
        self._kinematics.set_link_order(links)
        self._names = names
        self._tool_index = links.index(TOOL_LINK)
        self._tool = robot.links[self._tool_index]
        self._movable = np.array([1] * ARM_JOINTS + [0] * (len(names) - ARM_JOINTS), dtype=np.int32)
        self.target_position = np.zeros(3)
        self.target_quaternion_xyzw = np.array([0.0, 0.0, 0.0, 1.0])
        self.gripper_target = 1.0

    def solve(
        self, position: NDArray[np.float64], quaternion_xyzw: NDArray[np.float64], start: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """Arm joint positions (6,) for a tool pose in the base frame, from joint positions `start` (8,), or None."""
        solution, success, _ = self._kinematics.compute_inverse_kinematics(
            self._tool_index,
            pose_to_sapien(position, quaternion_xyzw),
            initial_qpos=start,
            active_qmask=self._movable,
            max_iterations=_IK_ITERATIONS,
        )
        return np.asarray(solution, dtype=np.float64).ravel()[:ARM_JOINTS] if success else None

    def within_limits(self, arm: NDArray[np.float64]) -> bool:
        """Whether arm joint positions (6,) are possible. Actions are not checked for it, as in SimplerEnv."""
        limits = np.concatenate([joint.limits for joint in self._joints[:ARM_JOINTS]])
        return bool((arm >= limits[:, 0]).all() and (arm <= limits[:, 1]).all())

    def reset(self, joint_positions: NDArray[np.float64]) -> None:
        """Puts the robot at rest at `joint_positions` (8,), rad and m; the target is the pose it then has."""
        self._robot.set_qpos(joint_positions)
        self._robot.set_qvel(np.zeros(len(joint_positions)))
        self._kinematics.compute_forward_kinematics(joint_positions)
        self.target_position, self.target_quaternion_xyzw = pose_from_sapien(
            self._kinematics.get_link_pose(self._tool_index)
        )
        self.gripper_target = finger_opening(float(joint_positions[-1]))
        for joint, value in zip(self._joints, joint_positions, strict=True):
            joint.set_drive_target(float(value))

    def set_action(self, action: NDArray[np.float64]) -> bool:
        """Moves the target by one EndEffectorDelta (7,).

        Returns:
            False when no joint positions were found for it: the joints then keep their measured places.
        """
        self.target_position, self.target_quaternion_xyzw = apply_delta(
            self.target_position, self.target_quaternion_xyzw, action
        )
        self.gripper_target = float(action[6])
        measured = np.asarray(self._robot.qpos, dtype=np.float64)
        solution = self.solve(self.target_position, self.target_quaternion_xyzw, measured)
        arm = measured[:ARM_JOINTS] if solution is None else solution
        for joint, value in zip(self._joints[:ARM_JOINTS], arm, strict=True):
            joint.set_drive_target(float(value))
        for joint in self._joints[ARM_JOINTS:]:
            joint.set_drive_target(finger_target(self.gripper_target))
        return solution is not None

    @property
    def opening(self) -> float:
        """Measured opening of the gripper, 0 ... 1."""
        return finger_opening(float(self._robot.qpos[ARM_JOINTS:].mean()))

    def joint_positions(self) -> dict[str, float]:
        """Measured position of every joint by name: rad, the two finger joints m."""
        return {name: float(value) for name, value in zip(self._names, self._robot.qpos, strict=True)}

    def measured_pose(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position (3,) m and quaternion xyzw (4,) of the tool in the base frame."""
        return pose_from_sapien(self._robot.root_pose.inv() * self._tool.entity_pose)


def _own_name(robot: sapien.physx.PhysxArticulation, name: str) -> str:
    """ManiSkill puts scene-<number>-<robot>_ before the names of the robot's own model."""
    root = robot.links[0].name
    return name.removeprefix(root.removesuffix("base_link"))
