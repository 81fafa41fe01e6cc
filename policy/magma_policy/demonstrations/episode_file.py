"""One episode of a demonstration set: reading its file, and what is wrong with it, by step."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from magma_contracts.arm_state import (
    GRIPPER,
    GRIPPER_TARGET,
    POSITION,
    QUATERNION,
    TARGET_POSITION,
    TARGET_QUATERNION,
)
from magma_contracts.demonstrations import NEEDED, SHAPES
from magma_contracts.text import printable
from magma_policy.errors import InstructionError
from magma_policy.files.array_files import ArrayFileError, read_arrays
from magma_policy.instructions import check_instruction

ARRAYS = (
    "proprioception", "actions", "marks", "instruction", "frames", "weights", "object_names", "object_positions",
)  # fmt: skip

FARTHEST_M = 10.0
"""No arm reaches farther from its base; millimetres do."""
LONGEST_DELTA_M = 1.0
"""No arm moves so far in one step; millimetres do."""


class DemonstrationError(ValueError):
    """A demonstration set is missing, malformed or does not fit the others."""


def read_episode(path: Path) -> dict[str, np.ndarray]:
    """Arrays of one episode, checked for types, shapes and finiteness; `frames` is absent in state-only episodes.

    The instruction comes as text, the names of objects too. Raises DemonstrationError, which names all that is wrong.
    """
    try:
        data = read_arrays(path, ARRAYS)
    except ArrayFileError as error:
        raise DemonstrationError(str(error)) from error
    return check_arrays(str(path), data)


def check_arrays(where: str, data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of an episode, checked for types, shapes and finiteness, with text as text. DemonstrationError names
    `where` and all that is wrong."""
    found = list(_malformed(data))
    if found:
        raise DemonstrationError(f"{where}: {'; '.join(found)}")
    for name in ("instruction", "object_names"):
        if name in data:
            data[name] = _as_text(data[name])
    return data


def fingerprint(data: dict[str, np.ndarray]) -> bytes:
    """Tells episodes apart by their contents."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(data):
        digest.update(f"{name} {data[name].dtype} {data[name].shape}".encode())
        digest.update(data[name].tobytes())
    return digest.digest()


def _malformed(data: dict[str, np.ndarray]) -> Iterator[str]:
    """What no reader could make sense of."""
    lacking = [name for name in NEEDED if name not in data]
    if lacking:
        yield f"lacks {lacking}"
        return
    actions = data["actions"]
    steps = len(actions) if actions.ndim else 0
    if not steps:
        yield "has no steps"
        return
    known = data["object_names"].shape[0] if "object_names" in data and data["object_names"].ndim == 1 else 0
    sizes = {"T": steps, "N": known}
    for name in ARRAYS:
        shape = tuple(size if isinstance(size, int) else sizes.get(size) for size in SHAPES[name])
        array = data.get(name)
        if array is None:
            continue
        fits = array.ndim == len(shape) and all(w in (None, h) for w, h in zip(shape, array.shape, strict=True))
        if not fits:
            words = ", ".join("any" if side is None else str(side) for side in shape)
            yield f"{name} has shape {array.shape}, expected ({words})"
        elif name in ("instruction", "object_names"):
            yield from _not_text(name, array)
        elif name == "frames":
            if array.dtype != np.uint8:
                yield f"frames are {array.dtype}, expected uint8"
            elif not array.size:
                yield f"frames of {array.shape[2]}x{array.shape[1]} pixels show nothing"
        elif array.dtype.kind not in "fiu":
            yield f"{name} holds {array.dtype}, expected numbers"
        else:
            # A mark that is not known is not a number; everything else is one.
            with np.errstate(over="ignore"):
                single = array.astype(np.float32)
            bad = np.isinf(single) if name == "marks" else ~np.isfinite(single)
            yield from at_steps(bad, f"{name} is not finite", array)
    if "weights" in data and data["weights"].dtype.kind in "fiu" and data["weights"].shape == (steps,):
        yield from at_steps(data["weights"] < 0, "weights must not be negative", data["weights"])


def _not_text(name: str, array: np.ndarray) -> Iterator[str]:
    if array.dtype.kind not in "US":
        yield f"{name} holds {array.dtype}, expected text"
        return
    try:
        for value in _as_text(array).reshape(-1).tolist():
            value.encode("utf-8")
    except UnicodeError as error:
        yield f"{name} is not valid text ({printable(error)})"


def _as_text(array: np.ndarray) -> np.ndarray:
    """Text of an array of text or of its UTF-8 bytes, as some writers store it."""
    if array.dtype.kind != "S":
        return array
    values = [value.decode("utf-8") for value in array.reshape(-1).tolist()]
    return np.array(values, dtype=np.str_).reshape(array.shape)


def unteachable(data: dict[str, np.ndarray], height: int, width: int, marks: int) -> Iterator[str]:
    """What a policy must not be taught of a well-formed episode: an image or number that is not what the format says.

    `height` and `width` are those of the card's camera, px, `marks` how many the first episode of the run has.
    """
    try:
        check_instruction(str(data["instruction"]))
    except InstructionError as error:
        yield printable(error)
    if "frames" in data and data["frames"].shape[1:] != (height, width, 3):
        yield f"frames are uint8 {data['frames'].shape[1:]}, the card says {(height, width, 3)}"
    if data["marks"].shape[1] != marks:
        yield f"has {data['marks'].shape[1]} marks, the first episode has {marks}"
    actions, state = data["actions"].astype(np.float64), data["proprioception"].astype(np.float64)
    length, angle = np.linalg.norm(actions[:, :3], axis=1), np.linalg.norm(actions[:, 3:6], axis=1)
    yield from at_steps(length > LONGEST_DELTA_M, "the action's translation is longer than 1 m", length)
    yield from at_steps(angle > math.pi + 1e-3, "the action's rotation is more than half a turn (rad)", angle)
    off = (actions[:, 6] < -1e-3) | (actions[:, 6] > 1 + 1e-3)
    yield from at_steps(off, "the action's gripper lies outside 0 (closed) to 1 (open)", actions[:, 6])
    for what, where in (("gripper's opening", GRIPPER), ("gripper's target", GRIPPER_TARGET)):
        value = state[:, where][:, 0]
        yield from at_steps((value < -0.05) | (value > 1.05), f"the {what} lies outside 0 to 1", value)
    for what, where in (("position", POSITION), ("target position", TARGET_POSITION)):
        far = np.abs(state[:, where]).max(axis=1)
        yield from at_steps(far > FARTHEST_M, f"the {what} lies more than {FARTHEST_M:g} m away", far)
    for what, where in (("quaternion", QUATERNION), ("target quaternion", TARGET_QUATERNION)):
        norm = np.linalg.norm(state[:, where], axis=1)
        yield from at_steps(np.abs(norm - 1) > 0.2, f"the {what} is not of unit length", norm)


def at_steps(bad: np.ndarray, what: str, values: np.ndarray) -> Iterator[str]:
    """One sentence that names the first bad step with its value, and how many more there are; nothing without any."""
    steps = np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1)) if bad.size else np.zeros(0, dtype=int)
    if len(steps):
        step = int(steps[0])
        value = values[step].reshape(-1)[np.flatnonzero(bad[step].reshape(-1))[0]]
        more = f", and at {len(steps) - 1} more" if len(steps) > 1 else ""
        yield f"{what}: {value:g} at step {step}{more}"
