"""What every family of models gives and takes: measured state and pictures in, actions or text out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from magma_policy.embodiments.action_spec import ActionSpec
from magma_policy.embodiments.robots import Robot
from magma_policy.errors import GenerationError, ObservationError


@dataclass(frozen=True)
class Proprioception:
    """Measured and commanded state of the arm, base frame; metres, quaternions xyzw, gripper 0 closed .. 1 open."""

    position: np.ndarray
    quaternion_xyzw: np.ndarray
    target_position: np.ndarray
    target_quaternion_xyzw: np.ndarray
    gripper: float
    gripper_target: float

    def __post_init__(self) -> None:
        sizes = {"position": 3, "quaternion_xyzw": 4, "target_position": 3, "target_quaternion_xyzw": 4}
        for item in fields(self):
            value = np.asarray(getattr(self, item.name), dtype=np.float64)
            shape = (sizes[item.name],) if item.name in sizes else ()
            if value.shape != shape:
                raise ObservationError(f"proprioception {item.name} must have shape {shape}, got {value.shape}")
            if not np.isfinite(value).all():
                raise ObservationError(f"proprioception {item.name} is not finite: {value.tolist()}")
            if "quaternion" in item.name and abs(np.linalg.norm(value) - 1.0) > 1e-2:
                raise ObservationError(f"proprioception {item.name} is not a unit quaternion: {value.tolist()}")

    def as_vector(self) -> np.ndarray:
        """float32 (16,) in the order of the fields."""
        values = [np.asarray(getattr(self, f.name), dtype=np.float32).reshape(-1) for f in fields(self)]
        return np.concatenate(values)


@dataclass(frozen=True)
class ActionResult:
    """`deltas` float64 (horizon, 7): translation (m), rotation vector (rad) in the base frame, gripper 0..1 absolute.

    `stage_ms` has the wall time of preprocess, vision, prefill, decode and unnormalise. `marks` float64 (K, 2) are the
    pixels (u, v) the policy pointed at (source centre, source tip, target centre, gripper), None without grounding.
    `ids` int64 (7,) are the action ids; `simpler` float64 (7,) is SimplerEnv's own action of the robots that have one
    (`magma_policy.embodiments.adapter`). In a batch the stage times are those of the whole batch.
    """

    deltas: np.ndarray
    stage_ms: dict[str, float]
    marks: np.ndarray | None
    ids: np.ndarray
    simpler: np.ndarray | None


@dataclass(frozen=True)
class Generated:
    """A text that ended with a stop id ("stop") or at the limit ("length"). `ids` has no stop id.

    `stage_ms` has preprocess, prefill (vision and prompt) and decode, of the whole batch.
    """

    text: str
    ids: list[int]
    finish: str
    stage_ms: dict[str, float]


@dataclass(frozen=True)
class ActRequest:
    """One robot's turn in a batch; `session` is what the policy's `new_session` gave for its episode; None acts as if
    an episode of the default robot began now."""

    image: np.ndarray
    instruction: str
    proprioception: Proprioception | None = None
    session: Any = None


@dataclass(frozen=True)
class Message:
    """One question with the pictures it is about, in order; the frames of a video are pictures. `system` None is the
    family's own text in front of every question.

    `max_num_crops` limits the tiles per picture below the model's own limit (Magma was trained with one for video).
    """

    question: str
    images: Sequence[np.ndarray] = ()
    system: str | None = None
    max_num_crops: int | None = None


@dataclass(frozen=True)
class GenerationSettings:
    """How ids are chosen.

    `temperature` 0 takes the best id always. Otherwise logits are divided by it, then only the `top_k` best (0: all)
    are kept, then the smallest set whose probabilities reach `top_p`, in transformers' order; `seed` None draws anew
    each time. At most `max_new_tokens` ids, the stop id among them.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise GenerationError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise GenerationError(f"temperature must be a number of at least 0, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise GenerationError(f"top_p must lie in (0, 1], got {self.top_p}")
        if self.top_k < 0:
            raise GenerationError(f"top_k must not be negative, got {self.top_k}")


class ActionPolicy(Protocol):
    """Acts on a robot. Its methods are called from one thread at a time, but `check` and `new_session`.

    `robots` by name has the default robot under ""; it is empty when the checkpoint does not say what its actions mean.
    `identity` is a hash of all that decides its actions.
    """

    identity: str
    robots: Mapping[str, Robot]

    @property
    def spec(self) -> ActionSpec:
        """What the default robot's actions mean. ConfigError when there is no robot."""
        ...

    def robot(self, name: str = ...) -> Robot:
        """The default robot, or another. ConfigError when there is none of that name."""
        ...

    def new_session(self, robot: str = ...) -> Any:
        """State of one more robot's episode."""
        ...

    def reset(self) -> None:
        """Begin a new episode of the session that `act` uses."""
        ...

    def check(self, request: ActRequest) -> None:
        """Raise the ObservationError or InstructionError that `act_batch` would."""
        ...

    def act(self, image: np.ndarray, instruction: str, proprioception: Proprioception | None) -> ActionResult:
        """One action chunk of the default robot for a uint8 rgb image (H, W, 3) of the spec's size."""
        ...

    def act_batch(self, requests: Sequence[ActRequest]) -> list[ActionResult]:
        """One action chunk for each of several robots, each as if it had been alone."""
        ...


class TextModel(Protocol):
    """Answers questions about images in text; `processor` turns messages into what the model reads."""

    @property
    def processor(self) -> Callable[[Sequence[Message]], Any]: ...

    def chat(
        self,
        question: str,
        images: Sequence[np.ndarray] = ...,
        settings: GenerationSettings | None = ...,
        system: str | None = ...,
    ) -> Generated:
        """The answer to one question about uint8 rgb images (H, W, 3), or about none."""
        ...

    def stream(
        self,
        question: str,
        images: Sequence[np.ndarray] = ...,
        settings: GenerationSettings | None = ...,
        system: str | None = ...,
    ) -> Iterator[str]:
        """Like `chat`, piece by piece as the text comes."""
        ...

    def generate(self, messages: Sequence[Message], settings: GenerationSettings | None = ...) -> list[Generated]:
        """Answers to several messages, read as one batch."""
        ...


class LoadedPolicy(ActionPolicy, TextModel, Protocol):
    """A loaded checkpoint. `taught_to_act` says that text is not what it was made for."""

    @property
    def taught_to_act(self) -> bool: ...


class Family(Protocol):
    """What the package of a family offers under this name."""

    def load(
        self,
        directory: Path,
        device: str,
        dtype: Any,
        quantization: str | None,
        robot: str | Path | None,
        statistics: str | Path | None,
    ) -> LoadedPolicy:
        """Load a checkpoint folder. Raises CheckpointError or ConfigError that names what does not fit."""
        ...
