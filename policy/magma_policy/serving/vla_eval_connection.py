"""The policy's server as vla-eval's harness asks it: version 1 of its protocol, as version 0.8.0 speaks it.

One observation is answered by one action, as of that harness's own model servers; of a policy that answers several the
first counts, and the next observation is looked at anew. Its states hold what is measured, so where the arm was last
told to go is followed from the start of the episode by the answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.server import ServerConnection

from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import GRIPPER, ROTATION, TRANSLATION
from magma_contracts.arm_state import ArmState
from magma_contracts.geometry.rotation_forms import quaternions
from magma_contracts.geometry.rotations import multiply, quaternion_from_axis_angle
from magma_contracts.text import brief, sentence
from magma_policy.errors import CommandError, InstructionError, ObservationError
from magma_policy.files.image_files import decode_image, resize
from magma_policy.serving.batching import Batcher
from magma_policy.serving.front import GoneError, Visitor, send, text_of
from magma_policy.serving.metrics import Metrics
from magma_policy_client import ProtocolError
from magma_policy_client.codec import integer, short, text
from magma_policy_client.foreign.array_forms import VLA_EVAL, array_of, pack, unpack
from magma_policy_client.foreign.conventions import NUMBERS
from magma_policy_client.foreign.vla_eval import PROTOCOL_VERSION

BUDGET_S = 30.0
"""The harness waits so long for an answer; its protocol has no deadlines."""
STATE_NUMBERS = 8
"""Of `states`: position (m), quaternion w x y z in the base frame, gripper 0 closed .. 1 open, as its SimplerEnv
benchmark sends them."""
PICTURE_KEYS = ("primary",)
MOST_SEQ = 2**53
GRIPPER_SLACK = 0.01
"""By so much an opening may lie outside of 0..1; more is a gripper in other units."""


@dataclass(frozen=True)
class _Asked:
    """A message of the harness."""

    kind: str
    payload: Mapping[str, Any]
    seq: int


@dataclass(frozen=True)
class _Packed:
    """A picture as it came: only the one that is looked at is opened, which may take a thousand times its bytes."""

    form: Mapping[str, Any] = field(repr=False)


@dataclass
class _Episode:
    """What is known of an episode."""

    number: int
    session: Any
    target: ArmState | None = None
    """where the arm was last told to go"""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """of one observation after the other: each sets the target that the next one reads"""


class VlaEvalVisitor(Visitor):
    """One connection of the harness: one episode at a time."""

    refusals = (ObservationError, InstructionError)
    served = "policy"

    def __init__(
        self,
        connection: ServerConnection,
        policy: Any,
        spec: ActionSpec,
        batcher: Batcher,
        metrics: Metrics,
        identity: str,
        name: str,
    ) -> None:
        super().__init__(connection, batcher, metrics)
        self._policy, self._spec, self._identity, self._name = policy, spec, identity, name
        self._episode = _Episode(0, policy.new_session(""))

    async def greet(self, data: bytes) -> None:
        """Answers the first message. Raises GoneError when it was told why it is none."""
        try:
            asked = await asyncio.to_thread(_read, data)
            if asked.kind != "hello":
                raise ProtocolError(f"the first message must be a hello, got {asked.kind}")
        except ProtocolError as error:
            await self.refuse(self.sequence_of(data) or 0, "malformed", text_of(error))
            await self._connection.close(1002, "not a hello")
            raise GoneError from error
        await self._greet(asked)

    async def take(self, data: bytes) -> None:
        asked = await asyncio.to_thread(_read, data)
        if asked.kind == "hello":
            await self._greet(asked)
        elif asked.kind == "observation":
            episode, deadline_s = self._episode, time.monotonic() + BUDGET_S
            await self.begin(asked.seq, lambda: self._in_turn(asked, episode, deadline_s))
        else:  # an episode starts, or ends
            # A new object, not a cleared one: a call under way may still hold the old.
            self._batcher.forget((id(self), self._episode.number))
            self._episode = _Episode(self._episode.number + 1, self._policy.new_session(""))

    def forget(self) -> None:
        """The client is gone: its requests are not worth a call of the model."""
        self._batcher.forget((id(self), self._episode.number))
        super().forget()

    def failure(self, sequence: int | None, code: str, said: str) -> bytes:
        return _written("error", {"error": f"{code}: {sentence(said)}"}, sequence or 0)

    def sequence_of(self, data: bytes) -> int | None:
        with contextlib.suppress(ProtocolError):
            return integer(unpack(data, VLA_EVAL, picture=lambda value: None).get("seq"), "seq", 0, MOST_SEQ)
        return None

    async def _greet(self, asked: _Asked) -> None:
        version = asked.payload.get("protocol_version")
        if type(version) is not int or version != PROTOCOL_VERSION:
            said = f"the harness speaks version {brief(version)} of its protocol, this server {PROTOCOL_VERSION}"
            await self.refuse(asked.seq, "version", said)
            await self._connection.close(1002, "version")
            raise GoneError
        await send(self._connection, _written("hello", hello(self._spec, self._identity, self._name), asked.seq))

    async def _in_turn(self, asked: _Asked, episode: _Episode, deadline_s: float) -> None:
        async with episode.turn:
            await self._act(asked, episode, deadline_s)

    async def _act(self, asked: _Asked, episode: _Episode, deadline_s: float) -> None:
        image = await asyncio.to_thread(_picture, self._spec, asked.payload)
        instruction = asked.payload.get("task_description")
        if not isinstance(instruction, str):
            raise ObservationError(f"task_description is {brief(instruction)}, not what the robot shall do")
        state = None
        if self._spec.proprioception:
            measured = _measured(asked.payload)
            target = episode.target if episode.target is not None else measured
            state = replace(
                measured,
                target_position=target.target_position,
                target_quaternion_xyzw=target.target_quaternion_xyzw,
                gripper_target=target.gripper_target,
            )
        request = self._policy.request(image, instruction, state, episode.session)
        answer = await asyncio.wrap_future(self._batcher.submit((id(self), episode.number), request, deadline_s))
        step = np.asarray(answer.result.deltas[0], dtype=np.float64)
        if not np.isfinite(step).all():
            raise ValueError("the action is not finite")
        if state is not None:
            episode.target = _moved(state, step)
        stages = {name: float(value) for name, value in answer.result.stage_ms.items() if math.isfinite(value)}
        self._metrics.answered(answer.queue_ms, stages)
        told = {f"{name}_ms": value for name, value in {"queue": answer.queue_ms, **stages}.items()}
        payload = {"actions": step.astype(np.float32), "stage_ms": told}
        await send(self._connection, _written("action", payload, asked.seq))


def is_harness(data: bytes) -> bool:
    """Whether the first message of a client is that harness's, also one that is no hello. Raises ProtocolError."""
    return "payload" in unpack(data, VLA_EVAL, picture=lambda value: None)


def hello(spec: ActionSpec, identity: str, name: str) -> dict[str, Any]:
    """What the harness is told of the policy: its content, and its conventions in the harness's own words."""

    def part(component: str, dims: int, form: str) -> dict[str, Any]:
        return {"name": component, "dims": dims, "format": form}

    observation = {"image": part("image", 0, "rgb_hwc_uint8"), "language": part("language", 0, "language")}
    if spec.proprioception:
        observation["state"] = part("state", STATE_NUMBERS, "eef_pos3_quat4_gripper1")
    return {
        "harness_version": name,
        "protocol_version": PROTOCOL_VERSION,
        "model_server": spec.policy,
        "capabilities": {},
        "identity": identity,
        "action_spec": {
            "position": part("position", 3, "delta_xyz"),
            "rotation": part("rotation", 3, "axis_angle"),
            "gripper": {**part("gripper", 1, "continuous_01"), "range": [0.0, 1.0], "description": "1 is open"},
        },
        "observation_spec": observation,
        **({"observation_params": {"send_state": True}} if spec.proprioception else {}),
    }


def _read(data: bytes) -> _Asked:
    message = unpack(data, VLA_EVAL, picture=_Packed)
    kind = text(message.get("type"), "type")
    payload, seq = message.get("payload"), integer(message.get("seq"), "seq", 0, MOST_SEQ)
    if kind not in ("hello", "observation", "episode_start", "episode_end"):
        raise ProtocolError(f"a client may send hello, observation, episode_start and episode_end, got {short(kind)}")
    if not isinstance(payload, Mapping):
        raise ProtocolError(f"the payload of {kind} is {short(payload)}, not a map")
    return _Asked(kind, payload, seq)


def _decoded(value: Mapping[str, Any]) -> NDArray[np.uint8]:
    """A picture (H, W, 3) as the harness packs it. Raises ObservationError."""
    form, data = value.get("format"), value.get("data")
    if not isinstance(data, bytes) or not isinstance(form, str) or form not in ("raw", "png", "jpeg"):
        raise ObservationError(f"a picture of format {short(form)}; raw, png and jpeg are taken")
    try:
        return array_of(value, VLA_EVAL) if form == "raw" else decode_image(data, "the picture")
    except (CommandError, ProtocolError) as error:
        raise ObservationError(str(error)) from error


def _picture(spec: ActionSpec, payload: Mapping[str, Any]) -> NDArray[np.uint8]:
    """The picture to act on, shrunk to the policy's size. Raises ObservationError."""
    images = payload.get("images")
    if not isinstance(images, Mapping) or not images:
        raise ObservationError(f"images is {short(images)}, not pictures by name")
    name = next((key for key in (spec.camera, *PICTURE_KEYS) if key in images), None)
    if name is None and len(images) == 1:
        name = next(iter(images))
    if name is None:
        raise ObservationError(f"none of the pictures {short(list(images))} is called {spec.camera} or primary")
    image = images[name]
    if isinstance(image, _Packed):
        image = _decoded(image.form)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ObservationError(f"the picture {brief(name)} is {short(image)}, not uint8 (H, W, 3)")
    height, width = image.shape[:2]
    if height < spec.image_height or width < spec.image_width:
        raise ObservationError(
            f"the picture {brief(name)} has {height}x{width} pixels, the policy looks at "
            f"{spec.image_height}x{spec.image_width}; render a larger one"
        )
    if (height, width) == (spec.image_height, spec.image_width):
        return image
    return resize(image, spec.image_width, spec.image_height)


def _measured(payload: Mapping[str, Any]) -> ArmState:
    """The measured state. Raises ObservationError."""
    states = payload.get("states", payload.get("state"))
    try:
        told = np.asarray(states)
        if told.dtype.kind not in NUMBERS:
            raise TypeError
        numbers = told.astype(np.float64).reshape(-1)
        if numbers.shape != (STATE_NUMBERS,) or not np.isfinite(numbers).all():
            raise ValueError
        turn = quaternions(numbers[None, 3:7], "quaternion_wxyz")[0]
    except (TypeError, ValueError) as error:
        raise ObservationError(
            f"states is {short(states)}; the policy needs position, quaternion w x y z and gripper opening of the end "
            "effector in the base frame (send_state), eight finite numbers"
        ) from error
    if not -GRIPPER_SLACK <= numbers[7] <= 1.0 + GRIPPER_SLACK:
        raise ObservationError(f"states has the gripper opening {numbers[7]:g}; 0 is closed and 1 open")
    opening = float(np.clip(numbers[7], 0.0, 1.0))
    return ArmState(numbers[:3], turn, numbers[:3], turn, opening, opening)


def _moved(state: ArmState, step: NDArray[np.float64]) -> ArmState:
    """The state with the target to which a step leads."""
    turn = multiply(quaternion_from_axis_angle(step[ROTATION]), state.target_quaternion_xyzw)
    return replace(
        state,
        target_position=state.target_position + step[TRANSLATION],
        target_quaternion_xyzw=turn,
        gripper_target=float(step[GRIPPER]),
    )


def _written(kind: str, payload: Mapping[str, Any], seq: int) -> bytes:
    return pack({"type": kind, "payload": payload, "seq": seq, "timestamp": time.time()}, VLA_EVAL)
