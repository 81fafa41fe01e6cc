"""Order of the 16 numbers of an arm's state: base frame, metres, quaternions xyzw, gripper opening 0..1."""

from __future__ import annotations

POSITION = slice(0, 3)
QUATERNION = slice(3, 7)
TARGET_POSITION = slice(7, 10)
TARGET_QUATERNION = slice(10, 14)
GRIPPER = slice(14, 15)
GRIPPER_TARGET = slice(15, 16)
PROPRIOCEPTION_DIMS = 16
