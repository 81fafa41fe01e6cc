"""What every family of models gives and takes: measured state and images in, actions or text out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from magma_contracts.arm_state import ArmState
from magma_contracts.grounding import Grounder
from magma_contracts.policies import Policy, PolicyResult
from magma_policy.embodiments.action_spec import ActionSpec
from magma_policy.embodiments.robots import Robot
from magma_policy.errors import GenerationError, ObservationError


@dataclass(frozen=True)
class Proprioception(ArmState):
    """An arm's state that a policy can act on. Raises ObservationError for one that has another shape, is not finite or
    turned by no unit quaternion."""

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
        except ValueError as error:
            raise ObservationError(str(error)) from error
        for item in fields(self):
            value = np.asarray(getattr(self, item.name))
            if not np.isfinite(value).all():
                raise ObservationError(f"proprioception {item.name} is not finite: {value.tolist()}")
            if "quaternion" in item.name and abs(np.linalg.norm(value) - 1.0) > 1e-2:
                raise ObservationError(f"proprioception {item.name} is not a unit quaternion: {value.tolist()}")


@dataclass(frozen=True)
class ActionResult(PolicyResult):
    """`deltas` float64 (horizon, 7), see `magma_contracts.actions`. In a batch the stage times are the whole batch's.

    `ids` int64 (7,) are the action ids; `simpler` float64 (7,) is SimplerEnv's own action of the robots that have one
    (`magma_policy.embodiments.adapter`).
    """

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
class Piece:
    """What one more id of an answer brought.

    `text` is what became certain with it, often nothing. `finish` is None until the answer ends: by itself ("stop") or
    at the limit ("length"). `prompt_tokens` counts what was read, images included, and `tokens` the ids so far, the
    stop id among them.
    """

    text: str
    finish: Literal["stop", "length"] | None
    prompt_tokens: int
    tokens: int


@dataclass(frozen=True)
class Turn:
    """A question that was asked before and what was answered; `images` counts those that came with it."""

    question: str
    answer: str
    images: int = 0


@dataclass(frozen=True)
class Message:
    """One question with the images it is about, in order; the frames of a video are images. `system` None is the
    family's own text in front of every question.

    `max_num_crops` limits the tiles per image below the model's own limit (Magma was trained with one for video).
    `earlier` are the turns of a conversation before this question; their images stand first among `images`. Markup of
    prompts in people's words is refused, or with `literal` read as the characters that it is made of.
    """

    question: str
    images: Sequence[np.ndarray] = ()
    system: str | None = None
    max_num_crops: int | None = None
    earlier: Sequence[Turn] = ()
    literal: bool = False


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


class ActionPolicy(Policy, Protocol):
    """A policy (`magma_contracts.policies`) for one robot or several, each with episodes of its own.

    `robots` by name has the default robot under ""; it is empty when the checkpoint does not say what its actions mean,
    and `spec` raises ConfigError then. `check` and `new_session` may be called while another thread acts.
    """

    robots: Mapping[str, Robot]

    @property
    def spec(self) -> ActionSpec: ...

    def robot(self, name: str = ...) -> Robot:
        """The default robot, or another. ConfigError when there is none of that name."""
        ...

    def new_session(self, robot: str = ...) -> Any:
        """State of one more robot's episode."""
        ...

    def check(self, request: ActRequest) -> None:
        """Raise the ObservationError or InstructionError that `act_batch` would."""
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


class Talker(Protocol):
    """A model whose answers can be followed id by id."""

    def pieces(self, message: Message, settings: GenerationSettings) -> Iterator[Piece]:
        """The answer to a message as it comes; the last piece has a `finish`, and closing the iterator ends the work.

        Raises, at the first step, InstructionError, ObservationError or GenerationError for what cannot be asked; at
        any step NotFiniteError when the model computes nothing that could be said.
        """
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
        unnorm_key: str | None,
    ) -> ActionPolicy:
        """Load a checkpoint folder. Raises CheckpointError or ConfigError that names what does not fit."""
        ...


class GroundingFamily(Protocol):
    """What the package of a family offers that points instead of acting."""

    def load_grounder(self, directory: Path, device: str, dtype: Any) -> Grounder:
        """Load a checkpoint folder. Raises CheckpointError or ConfigError that names what does not fit."""
        ...
