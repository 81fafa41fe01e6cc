"""The safety stage: what is refused whole, and what is cut down to size. Pure functions of their inputs.

Nothing is repaired that makes no sense: a value that is not finite, in another frame or absurdly large tells that its
sender is broken, so its whole chunk is refused. Only a sensible motion that goes a little too far is shortened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import GRIPPER, ROTATION, TRANSLATION, ActionChunk
from magma_contracts.arm_state import EndEffectorState
from magma_control.config import ControllerConfig

MAX_PLAUSIBLE_REACH_M = 10.0
"""A report of an end effector farther away than this is no pose of a table-top arm."""
STATE_JUMP_M = 0.1
"""How much farther than its speed allows an arm may be between two reports (overshoot, late reports)."""
QUATERNION_NORM_TOLERANCE = 1e-2
"""How far the norm of a reported quaternion may be from one (drivers send float32 and rounded values)."""


@dataclass(frozen=True)
class Refusal:
    """Why an input is not acted on."""

    code: str
    """short and without numbers: what the counters are kept by"""
    text: str
    """for a person: what was wrong, with which value, what was expected"""
    sender_broken: bool = False
    """the content makes no sense: nothing else that this sender said before is to be trusted either"""


def refuse_spec(spec: ActionSpec, config: ControllerConfig) -> Refusal | None:
    """Compares what a policy's actions mean with what the arm takes; names the first field that differs."""
    expected = {"frame": config.frame, "rotation": config.rotation, "gripper": config.gripper}
    for name, value in expected.items():
        got = getattr(spec, name)
        if got != value:
            return Refusal(
                "action spec does not fit",
                f"action spec of policy {spec.policy!r}: {name} is {got!r}, this arm takes {value!r}",
            )
    if not abs(spec.step_period_s - config.step_period_s) <= config.step_period_tolerance * config.step_period_s:
        return Refusal(
            "action spec does not fit",
            f"action spec of policy {spec.policy!r}: step_period_s is {spec.step_period_s}, "
            f"this arm takes {config.step_period_s}",
        )
    if not 1 <= spec.horizon <= config.max_horizon:
        return Refusal(
            "action spec does not fit",
            f"action spec of policy {spec.policy!r}: horizon is {spec.horizon}, "
            f"this arm takes 1 to {config.max_horizon}",
        )
    return None


def refuse_chunk(chunk: ActionChunk, spec: ActionSpec, config: ControllerConfig) -> Refusal | None:
    """Judges a chunk's content against the spec that its policy announced. Stamps are judged elsewhere."""
    if chunk.policy != spec.policy:
        return _senseless(
            "chunk of another policy",
            f"chunk comes from policy {chunk.policy!r}, the action spec from {spec.policy!r}: run one policy at a time",
        )
    if chunk.refusal:
        return _senseless("policy refuses", f"policy {chunk.policy!r} gives no action: {chunk.refusal}")
    if not abs(chunk.step_period_s - spec.step_period_s) <= config.step_period_tolerance * spec.step_period_s:
        return _senseless(
            "chunk with a wrong step period",
            f"chunk has step_period_s {chunk.step_period_s}, its action spec {spec.step_period_s}",
        )
    if len(chunk.deltas) == 0:
        return _senseless("empty chunk", "chunk has no steps")
    if len(chunk.deltas) > spec.horizon:
        return _senseless(
            "chunk too long", f"chunk has {len(chunk.deltas)} steps, its action spec allows {spec.horizon}"
        )
    return refuse_frames((chunk.frame, *(name for name in chunk.step_frames if name)), config) or refuse_deltas(
        chunk.deltas, config
    )


def refuse_frames(frames: Sequence[str], config: ControllerConfig) -> Refusal | None:
    """Refuses any frame but the arm's."""
    for frame in frames:
        if frame != config.frame:
            return _senseless("wrong frame", f"motion is given in frame {frame!r}, this arm takes {config.frame!r}")
    return None


def refuse_deltas(deltas: NDArray[np.float64], config: ControllerConfig) -> Refusal | None:
    """Refuses deltas (n, 7) of which one is not finite, absurdly large, or has an impossible gripper opening."""
    for index, delta in enumerate(deltas):
        if not np.isfinite(delta).all():
            return _senseless("not finite", f"step {index} holds a value that is not finite: {_listed(delta)}")
        translation = float(np.linalg.norm(delta[TRANSLATION]))
        if translation > config.reject_translation_m:
            return _senseless(
                "absurd translation",
                f"step {index} asks for {translation:.3g} m, more than {config.reject_translation_m:g} m is absurd",
            )
        rotation = float(np.linalg.norm(delta[ROTATION]))
        if rotation > config.reject_rotation_rad:
            return _senseless(
                "absurd rotation",
                f"step {index} asks for {rotation:.3g} rad, more than {config.reject_rotation_rad:g} rad is absurd",
            )
        if not -config.gripper_tolerance <= delta[GRIPPER] <= 1.0 + config.gripper_tolerance:
            return _senseless(
                "gripper out of range",
                f"step {index} asks for a gripper opening of {delta[GRIPPER]:.3g}, not in 0 ... 1",
            )
    return None


def refuse_state(state: EndEffectorState, config: ControllerConfig) -> Refusal | None:
    """Judges a report of the arm: frame, finite, unit quaternions, a plausible distance."""
    if state.frame != config.frame:
        return Refusal(
            "arm state in a wrong frame", f"end effector state is given in frame {state.frame!r}, not {config.frame!r}"
        )
    for name in ("position", "target_position"):
        value = getattr(state, name)
        # Not "greater than the limit", so that a NaN is refused too.
        if not bool(np.all(np.abs(value) <= MAX_PLAUSIBLE_REACH_M)):
            return _senseless("arm state makes no sense", f"end effector state: {name} is {_listed(value)}")
    for name in ("quaternion_xyzw", "target_quaternion_xyzw"):
        value = getattr(state, name)
        if not (np.all(np.abs(value) <= 2.0) and abs(float(np.linalg.norm(value)) - 1.0) <= QUATERNION_NORM_TOLERANCE):
            return _senseless("arm state makes no sense", f"end effector state: {name} is {_listed(value)}")
    for name in ("gripper", "gripper_target"):
        value = getattr(state, name)
        if not np.isfinite(value):
            return _senseless("arm state makes no sense", f"end effector state: {name} is {value}")
    return None


def refuse_jump(before: EndEffectorState, after: EndEffectorState, config: ControllerConfig) -> Refusal | None:
    """Compares two reports of the arm that follow each other. An arm cannot be somewhere else at once: it was moved by
    somebody else, the world was reset, or one of the reports is wrong. What was planned for the one place is not
    carried out in the other."""
    distance_m = float(np.linalg.norm(after.position - before.position))
    seconds = abs(after.stamp_ns - before.stamp_ns) * 1e-9
    allowed_m = STATE_JUMP_M + config.max_speed_m_s * seconds
    if distance_m <= allowed_m:
        return None
    return Refusal(
        "arm state jumped",
        f"the arm was reported {distance_m:.2f} m away from where it was {seconds:.2f} s before, it can have gone "
        f"{allowed_m:.2f} m: waiting for a frame from after that",
    )


def motion_time_s(since_last_s: float | None, config: ControllerConfig) -> float:
    """The time over which a command moves the arm, which its speed is counted by: one step period, or less when the
    last command was given less long ago. A world that waits for each command takes one period for each.

    Args:
        since_last_s: since the last command; None for the first one.
    """
    period_s = config.step_period_s
    if since_last_s is None or config.command_interval_s <= 0.0 or since_last_s >= period_s * (1.0 - 1e-6):
        return period_s
    return since_last_s


def limit(
    delta: NDArray[np.float64],
    targets: Sequence[NDArray[np.float64]],
    config: ControllerConfig,
    period_s: float | None = None,
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Shortens one sensible delta until it satisfies every limit.

    Args:
        delta: (7,), finite.
        targets: each (3,), metres, base frame: where the arm's target may be when the delta is added to it. Every one
            of them must end inside the workspace box.
        period_s: the time that the motion takes, see `motion_time_s`; None = one step period.

    Returns:
        The delta (7,), and the names of the limits that shortened it. A target that is already outside the box may
        move inwards or stay, never farther out. The length of translation and rotation never grows.
    """
    result = np.array(delta, dtype=np.float64)
    result[:GRIPPER] *= config.bring_up_scale
    clips: list[str] = []
    for part, step_limit, speed_limit, step_name, speed_name in (
        (TRANSLATION, config.max_step_translation_m, config.max_speed_m_s, "step translation", "speed"),
        (ROTATION, config.max_step_rotation_rad, config.max_angular_speed_rad_s, "step rotation", "angular speed"),
    ):
        length = float(np.linalg.norm(result[part]))
        allowed = min(step_limit, speed_limit * (config.step_period_s if period_s is None else period_s))
        scaled = allowed * config.bring_up_scale
        if length > scaled:
            result[part] *= scaled / length
            clips.append(step_name if allowed == step_limit else speed_name)
    inside = keep_inside(result[TRANSLATION], targets, config)
    if not np.array_equal(inside, result[TRANSLATION]):
        result[TRANSLATION] = inside
        clips.append("workspace")
    gripper = min(1.0, max(0.0, float(result[GRIPPER])))
    if gripper != result[GRIPPER]:
        result[GRIPPER] = gripper
        clips.append("gripper")
    return result, tuple(clips)


def keep_inside(
    translation: NDArray[np.float64], targets: Sequence[NDArray[np.float64]], config: ControllerConfig
) -> NDArray[np.float64]:
    """The translation (3,), cut so that it leads from none of the targets (3,) out of the workspace box, nor from one
    that is outside farther out."""
    # Numbers one by one: for three of them numpy takes ten times as long.
    result, low, high = translation.tolist(), config.lowest_corner_m, config.workspace_max_m
    for target in targets:
        for axis, at in enumerate(target.tolist()):
            end = at + result[axis]
            inside = min(max(end, min(low[axis], at)), max(high[axis], at))
            # Rounding must not turn a step that fits into one that is a little different.
            if inside != end:
                result[axis] = inside - at
    return np.array(result)


def limit_change(
    delta: NDArray[np.float64], last: NDArray[np.float64], config: ControllerConfig
) -> tuple[NDArray[np.float64], bool]:
    """Brings a delta (7,) so near to the last one (7,) that the speed between two steps changes by no more than allowed
    after a change between operator and policy. Returns it, and whether it was changed."""
    result = np.array(delta, dtype=np.float64)
    changed = False
    for part, allowed in (
        (TRANSLATION, config.max_takeover_speed_step_m_s * config.step_period_s),
        (ROTATION, config.max_takeover_angular_step_rad_s * config.step_period_s),
    ):
        change = result[part] - last[part]
        length = float(np.linalg.norm(change))
        if length > allowed:
            result[part] = last[part] + change * (allowed / length)
            changed = True
    return result, changed


def _senseless(code: str, text: str) -> Refusal:
    return Refusal(code, text, sender_broken=True)


def _listed(values: NDArray[np.float64]) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values) + "]"
