"""Between this project's observations and actions and those of a policy behind somebody else's server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_contracts.arm_state import ArmState
from magma_contracts.geometry.pose_conventions import UNITS
from magma_contracts.geometry.rotation_arrays import axis_angle_from_quaternion, conjugate, multiply, rotate
from magma_contracts.geometry.rotation_forms import coded, quaternions
from magma_policy_client.codec import short
from magma_policy_client.errors import RefusedError, ServerError
from magma_policy_client.foreign.model_file import ModelFile, sizes

NUMBERS = "iuf"
"""Kinds of numpy's that are numbers; texts of digits and truths could be made into some."""
OVERSHOOT = 0.1
"""By so much of its way a gripper may be told to open or close further than it can: networks that were trained on two
numbers do. More is another convention than the file says."""


def observation(model: ModelFile, image: NDArray[np.uint8], instruction: str, state: ArmState | None) -> dict[str, Any]:
    """What the server is told.

    Args:
        image: uint8 (H, W, 3) rgb in the model's size.
        instruction: what to do.
        state: needed where the model has a state.

    Raises:
        RefusedError: the picture has another size, or the state is missing or not finite.
    """
    if image.shape != (*model.image_size, 3) or image.dtype != np.uint8:
        raise RefusedError("observation", f"the picture is {short(image)}; the model file says {model.image_size}")
    told: dict[str, Any] = {}
    for path, pixels in ((model.observation.image, image), *((p, image * 0) for p in model.observation.black_images)):
        _put(told, path, pixels)
    _put(told, (model.observation.instruction,), instruction)
    if model.state is not None:
        told |= _state(model, _known(state))
    return told


def deltas(model: ModelFile, answer: Mapping[Any, Any], state: ArmState | None) -> NDArray[np.float64]:
    """The steps (chunk, 7) of an answer, as `magma_contracts.actions` has them.

    Args:
        answer: arrays by key, a row for each action; of a chunk of one also without rows.
        state: needed where actions are absolute or of the tool's frame.

    Raises:
        ServerError: a key that is missing, another number of actions or of numbers in one, or numbers that are not
            finite, no rotation, or no opening of a gripper.
    """
    action = model.action
    rows = {key: _rows(model, key, answer, width) for key, width in sizes("action", action.places).items()}
    part = {name: rows[place.feature][:, place.begin : place.end] for name, place in action.places.items()}
    moves = part["position"] * (UNITS[action.position_unit] * action.position_scale)
    try:
        turns = quaternions(part["rotation"] * action.rotation_scale, action.rotation_form)
    except ValueError as error:
        raise ServerError(f"{model.policy}: {error}") from error
    if action.reads_state:
        moves, turns = _from_target(model, moves, turns, _known(state))
    opening = (part["gripper"][:, 0] - action.gripper_closed) / (action.gripper_open - action.gripper_closed)
    if (np.abs(opening - 0.5) > 0.5 + OVERSHOOT).any():
        worst = part["gripper"][int(np.argmax(np.abs(opening - 0.5))), 0]
        raise ServerError(
            f"{model.policy} tells the gripper {worst:g}, where {action.gripper_closed:g} is closed and "
            f"{action.gripper_open:g} open; gripper_closed and gripper_open of its model file do not fit"
        )
    steps = np.concatenate([moves, axis_angle_from_quaternion(turns), np.clip(opening, 0.0, 1.0)[:, None]], axis=1)
    if not np.isfinite(steps).all():
        raise ServerError(f"{model.policy} answered numbers that make no step")
    return steps


def _state(model: ModelFile, state: ArmState) -> dict[str, Any]:
    keys = model.state
    assert keys is not None
    gripper = keys.gripper_closed + state.gripper * (keys.gripper_open - keys.gripper_closed)
    values = {
        "position": state.position / UNITS[keys.position_unit],
        "rotation": coded(state.quaternion_xyzw[None], keys.rotation_form)[0],
        "gripper": np.array([gripper]),
        "gripper_mirrored": np.array([-gripper]),
    }
    made = {key: np.zeros(size, keys.dtype) for key, size in sizes("state", keys.places).items()}
    for name, place in keys.places.items():
        if name in values:
            made[place.feature][place.begin : place.end] = values[name]
    return made


def _from_target(
    model: ModelFile, moves: NDArray[np.float64], turns: NDArray[np.float64], state: ArmState
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps in the base frame, from where the arm was last told to go."""
    target = state.target_quaternion_xyzw[None]
    if model.action.kind == "absolute":
        places = np.concatenate([state.target_position[None], moves])
        ways = np.concatenate([target, turns])
        return np.diff(places, axis=0), multiply(ways[1:], conjugate(ways[:-1]))
    shifted, turned = [], []
    for move, turn in zip(moves, turns, strict=True):
        shifted.append(rotate(target, move[None]))
        turned.append(multiply(multiply(target, turn[None]), conjugate(target)))
        target = multiply(target, turn[None])
    return np.concatenate(shifted), np.concatenate(turned)


def _rows(model: ModelFile, key: str, answer: Mapping[Any, Any], width: int) -> NDArray[np.float64]:
    if key not in answer:
        there = ", ".join(short(name) for name in list(answer)[:10]) or "nothing"
        raise ServerError(f"{model.policy} answered {there}; its model file asks for {key!r}")
    try:
        told = np.asarray(answer[key])
        if told.dtype.kind not in NUMBERS:
            raise TypeError
        rows = told.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ServerError(f"{model.policy} answered {key!r} with {short(answer[key])}, no numbers") from error
    if rows.ndim == 1 and model.chunk == 1:
        rows = rows[None]
    if rows.shape != (model.chunk, width):
        raise ServerError(
            f"{model.policy} answered {key!r} of shape {rows.shape}; its model file tells of {model.chunk} actions "
            f"(chunk) of {width} numbers (name what is not used in action.unused)"
        )
    if not np.isfinite(rows).all():
        raise ServerError(f"{model.policy} answered {key!r} with numbers that are not finite")
    return rows


def _known(state: ArmState | None) -> ArmState:
    if state is None or not np.isfinite(state.as_vector(np.float64)).all():
        raise RefusedError("observation", "this policy needs the arm's state, all of its numbers finite")
    return state


def _put(told: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        told = told.setdefault(key, {})
    told[path[-1]] = value
