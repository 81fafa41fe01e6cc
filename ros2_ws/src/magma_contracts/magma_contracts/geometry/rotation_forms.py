"""The ways in which data of others code rotations, as unit quaternions xyzw, many at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from magma_contracts.geometry.rotation_arrays import (
    FloatArray,
    axis_angle_from_quaternion,
    multiply,
    quaternion_from_axis_angle,
    rotate,
)


def quaternions(values: FloatArray, form: str) -> FloatArray:
    """Rotations (T, n) of a form of `FORMS` as unit quaternions xyzw (T, 4).

    Raises:
        ValueError: another number of values than the form has, or none that is a rotation.
    """
    size, convert, _ = FORMS[form]
    if values.shape[1] != size:
        raise ValueError(f"{form} has {size} numbers, the columns have {values.shape[1]}")
    made = convert(values)
    norm = np.linalg.norm(made, axis=1, keepdims=True)
    if not np.isfinite(norm).all() or (np.abs(norm - 1.0) > 0.2).any():
        step = int(np.argmax(~(np.abs(norm[:, 0] - 1.0) <= 0.2)))
        raise ValueError(f"the rotation at step {step} is none of form {form}: {values[step].tolist()}")
    return made / norm


def coded(turns: FloatArray, form: str) -> FloatArray:
    """The inverse of `quaternions`: unit quaternions xyzw (T, 4) as rotations (T, n) of a form of `FORMS`.

    The pitch of euler_xyz is within ± pi/2, at which its roll is 0; the w of a quaternion is not negative.
    """
    return FORMS[form][2](turns)


def _from_euler(values: FloatArray) -> FloatArray:
    """Static x y z: Rz(yaw) Ry(pitch) Rx(roll)."""
    turns = []
    for axis in range(3):
        turn = np.zeros((len(values), 4))
        turn[:, axis], turn[:, 3] = np.sin(values[:, axis] / 2.0), np.cos(values[:, axis] / 2.0)
        turns.append(turn)
    return multiply(turns[2], multiply(turns[1], turns[0]))


def _from_matrices(values: FloatArray) -> FloatArray:
    """Nine numbers, row by row; the largest part of the quaternion is found first, so that none is divided by
    little."""
    m = values.reshape(-1, 3, 3)
    if (np.linalg.det(m) <= 0.0).any():
        return np.full((len(m), 4), np.nan)
    trace = m[:, 0, 0] + m[:, 1, 1] + m[:, 2, 2]
    squares = np.stack([*(1.0 + 2.0 * m[:, i, i] - trace for i in range(3)), 1.0 + trace], axis=1)
    x, y, z = (np.sqrt(np.maximum(squares[:, i], 0.0)) / 2.0 for i in range(3))
    w = np.sqrt(np.maximum(squares[:, 3], 0.0)) / 2.0
    first = squares.argmax(axis=1)
    off = {(0, 1): (m[:, 0, 1] + m[:, 1, 0]), (0, 2): (m[:, 0, 2] + m[:, 2, 0]), (1, 2): (m[:, 1, 2] + m[:, 2, 1])}
    turn = [m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]]
    with np.errstate(divide="ignore", invalid="ignore"):
        ways = [
            np.stack([x, off[0, 1] / (4 * x), off[0, 2] / (4 * x), turn[0] / (4 * x)], axis=1),
            np.stack([off[0, 1] / (4 * y), y, off[1, 2] / (4 * y), turn[1] / (4 * y)], axis=1),
            np.stack([off[0, 2] / (4 * z), off[1, 2] / (4 * z), z, turn[2] / (4 * z)], axis=1),
            np.stack([*(t / (4 * w) for t in turn), w], axis=1),
        ]
    return np.stack(ways, axis=1)[np.arange(len(m)), first]


def _from_six(values: FloatArray) -> FloatArray:
    """The matrix's first two columns, made orthogonal (Zhou et al., arXiv:1812.07035)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        first = values[:, :3] / np.linalg.norm(values[:, :3], axis=1, keepdims=True)
        second = values[:, 3:] - (first * values[:, 3:]).sum(axis=1, keepdims=True) * first
        second = second / np.linalg.norm(second, axis=1, keepdims=True)
    return _from_matrices(np.stack([first, second, np.cross(first, second)], axis=2).reshape(-1, 9))


def _shorter(turns: FloatArray) -> FloatArray:
    return np.where(turns[:, 3:] < 0.0, -turns, turns)


def _as_matrices(turns: FloatArray) -> FloatArray:
    """(T, 9), row by row."""
    columns = [rotate(turns, np.broadcast_to(axis, (len(turns), 3))) for axis in np.eye(3)]
    return np.stack(columns, axis=2).reshape(-1, 9)


def _as_euler(turns: FloatArray) -> FloatArray:
    m = _as_matrices(turns).reshape(-1, 3, 3)
    pitch = np.arcsin(np.clip(-m[:, 2, 0], -1.0, 1.0))
    # Straight up or down roll and yaw turn about one axis: all of it is given to the yaw.
    locked = np.abs(m[:, 2, 0]) > 1.0 - 1e-12
    roll = np.where(locked, 0.0, np.arctan2(m[:, 2, 1], m[:, 2, 2]))
    yaw = np.where(locked, np.arctan2(-m[:, 0, 1], m[:, 1, 1]), np.arctan2(m[:, 1, 0], m[:, 0, 0]))
    return np.stack([roll, pitch, yaw], axis=1)


_BY_COLUMNS = [0, 3, 6, 1, 4, 7]
"""Where the first two columns of a matrix stand in its nine numbers, one column after the other."""
_BY_ROWS = [0, 1, 3, 4, 6, 7]
"""The same, row by row."""

Convert = Callable[[FloatArray], FloatArray]
FORMS: Mapping[str, tuple[int, Convert, Convert]] = {
    "axis_angle": (3, quaternion_from_axis_angle, axis_angle_from_quaternion),
    "euler_xyz": (3, _from_euler, _as_euler),
    "quaternion_xyzw": (4, lambda values: values, _shorter),
    "quaternion_wxyz": (4, lambda values: values[:, [1, 2, 3, 0]], lambda turns: _shorter(turns)[:, [3, 0, 1, 2]]),
    "rotation_6d": (6, _from_six, lambda turns: _as_matrices(turns)[:, _BY_COLUMNS]),
    "rotation_6d_rows": (
        6,
        lambda values: _from_six(values[:, [0, 2, 4, 1, 3, 5]]),
        lambda turns: _as_matrices(turns)[:, _BY_ROWS],
    ),
    "matrix": (9, _from_matrices, _as_matrices),
}
"""How many numbers each has (rad), what makes quaternions of them, and what makes them of quaternions. euler_xyz is
static: roll about x first, then pitch about y, then yaw about z, all of the base frame. matrix is row by row;
rotation_6d is its first two columns, one after the other, and rotation_6d_rows the same row by row."""
