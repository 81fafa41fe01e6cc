"""Arm and gripper drivers, one file each, behind `base.ArmDriver` and `base.GripperDriver`."""
