"""A loaded checkpoint that acts: robots and their episodes, batches of requests, ids to actions.

What all acting families share. A family says what its prompts are, what it reads in an image, and in what order.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from magma_contracts.actions import DELTA_SIZE
from magma_contracts.errors import ConfigError
from magma_policy.embodiments import robots
from magma_policy.embodiments.action_spec import ActionSpec
from magma_policy.embodiments.registry import make_adapter
from magma_policy.embodiments.robots import Robot
from magma_policy.errors import InstructionError, NotFiniteError, ObservationError
from magma_policy.families.images import check_pixels
from magma_policy.families.interface import ActionResult, ActRequest, Proprioception
from magma_policy.files.hub import resolve
from magma_policy.files.weight_files import type_name
from magma_policy.inference.action_decoder import ActionDecoder
from magma_policy.inference.action_decoding import decode_action_ids
from magma_policy.inference.action_tokens import NUM_BINS, ActionTokens
from magma_policy.inference.device import pick_device, pick_dtype
from magma_policy.inference.finite import REFUSED_ID
from magma_policy.inference.kv_cache import KVCache
from magma_policy.inference.packed_linear import pack_linears
from magma_policy.inference.static_decoder import StaticDecoders


class Stopwatch:
    """Wall time in ms by stage; stages that come again add up."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}
        self._last_s = time.perf_counter()

    def lap(self, name: str) -> None:
        """The time since the last lap belongs to `name`."""
        now_s = time.perf_counter()
        self.ms[name] = self.ms.get(name, 0.0) + (now_s - self._last_s) * 1e3
        self._last_s = now_s


class Session:
    """What belongs to one robot's present episode: the encoded instruction, its adapter's gripper, the last ids."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self.reset()

    def reset(self) -> None:
        """Start a new episode."""
        self.adapter = make_adapter(self.robot.spec.adapter)
        self.prompt: tuple[str, list[int]] | None = None
        self.last_ids: Tensor | None = None


Chosen = tuple[Tensor, np.ndarray | None]
"""What a model chose for one request: seven ids (7,) on the CPU, all `REFUSED_ID` if there is nothing to act on, and
the marks (K, 2) it pointed at as fractions of the image, for models that point."""


class LoadedCheckpoint(Protocol):
    """What every family's checkpoint holds; `robots` by name has the default one under ""."""

    @property
    def model(self) -> ActionDecoder: ...
    @property
    def robots(self) -> Mapping[str, Robot]: ...
    @property
    def identity(self) -> str: ...


Loaded = TypeVar("Loaded", bound="ActingPolicy")


class ActingPolicy(ABC):
    """A model and what its actions mean.

    `act` and the like must be called from one thread at a time. State between calls lies in sessions and in caches;
    `reset` starts a new episode of the session that `act` uses.
    """

    def __init__(self, checkpoint: LoadedCheckpoint, device: torch.device) -> None:
        decoder = checkpoint.model
        self.identity = checkpoint.identity
        self.device = device
        self.robots = dict(checkpoint.robots)
        self._decoder = decoder
        self._codec = ActionTokens(decoder.first_action_id + NUM_BINS)
        self._dtype = decoder.decoder_dtype
        self._decoders = StaticDecoders(decoder)
        self._session = self.new_session() if self.robots else None

    @classmethod
    def load(
        cls: type[Loaded],
        path: str | Path,
        device: str = "auto",
        dtype: torch.dtype | str | None = None,
        quantization: str | None = None,
        robot: str | Path | None = None,
        statistics: str | Path | None = None,
        unnorm_key: str | None = None,
    ) -> Loaded:
        """Load a checkpoint directory, or `owner/name` (`owner/name@revision`) from the Hugging Face Hub.

        `device`, `dtype` and `quantization` as in `magma_policy.load`; the others as in the family's `checkpoint.load`.
        Raises CheckpointError, ConfigError or HubError naming what does not fit.
        """
        place = pick_device(device)
        kind = pick_dtype(dtype, place, quantization)
        file = None if statistics is None else Path(statistics)
        checkpoint = cls._read_checkpoint(resolve(path), place, kind, quantization, robot, file, unnorm_key)
        if place.type == "cpu":
            pack_linears(checkpoint.model)
        return cls(checkpoint, place)

    @property
    def spec(self) -> ActionSpec:
        """What the default robot's actions mean. ConfigError when the checkpoint has no robot and none was named."""
        return self.robot().spec

    def robot(self, name: str = robots.DEFAULT) -> Robot:
        """The default robot, or another of the checkpoint's. ConfigError when there is no such robot."""
        if name in self.robots:
            return self.robots[name]
        if not self.robots:
            raise ConfigError(
                f"{self._decoder.name} was loaded without an action spec and statistics, so it can only talk: name "
                f"a robot ({', '.join(robots.PUBLISHED)}, or a directory with {robots.ACTION_SPEC} and "
                f"{robots.STATISTICS})"
            )
        others = sorted(other for other in self.robots if other)
        raise ConfigError(f"{self._decoder.name} knows no robot {name!r}, only {others or 'its default one'}")

    def new_session(self, robot: str = robots.DEFAULT) -> Session:
        """The episode state of one more robot, the default one or another of the checkpoint's (`robot`)."""
        return Session(self.robot(robot))

    def reset(self) -> None:
        """Forget what belongs to the last episode."""
        if self._session is not None:
            self._session.reset()

    def check(self, request: ActRequest) -> None:
        """Raise the ObservationError or InstructionError that `act_batch` would; no action becomes another by it."""
        check_pixels(request.image)
        spec = request.session.robot.spec if request.session is not None else self.spec
        expected = (spec.image_height, spec.image_width, 3)
        if request.image.shape != expected:
            raise ObservationError(
                f"image must have shape {expected} (rgb), got {request.image.shape}; resize it to the spec's size"
            )
        if spec.proprioception and request.proprioception is None:
            raise ObservationError("this policy needs proprioception (action_spec.proprioception is true), got None")
        self._check_length(request)

    def act(self, image: np.ndarray, instruction: str, proprioception: Proprioception | None) -> ActionResult:
        """One action chunk of the default robot for an rgb image uint8 (H, W, 3) of the spec's size.

        `proprioception` is needed exactly when `spec.proprioception` says so; given otherwise, it is not used. Raises
        ObservationError or InstructionError on bad input, NotFiniteError when the model computes nothing that could be
        acted on; nothing is changed then.
        """
        return self.act_batch([ActRequest(image, instruction, proprioception, self._session)])[0]

    @torch.inference_mode()
    def act_batch(self, requests: Sequence[ActRequest]) -> list[ActionResult]:
        """One action chunk for each of several robots, read together; each as if it had been alone.

        Raises like `act` for the first bad request, and NotFiniteError when the model's numbers for one of them mean
        nothing; then nothing has changed for any of them. A session may occur once only.
        """
        watch = Stopwatch()
        for request in requests:
            self.check(request)
        sessions = [r.session if r.session is not None else self.new_session() for r in requests]
        if not requests or len({id(s) for s in sessions}) != len(sessions):
            raise ObservationError("a batch needs at least one request, and a session may occur in it once only")
        chosen = self._choose(requests, sessions, watch)
        if any(bool((ids == REFUSED_ID).any()) for ids, _ in chosen):
            raise NotFiniteError.of(self._decoder.name, type_name(self._dtype))
        done = []
        for request, session, (ids, points) in zip(requests, sessions, chosen, strict=True):
            session.last_ids = ids
            action_ids = ids.numpy()
            values = session.robot.statistics.unnormalise(self._codec.decode(action_ids))
            action = session.adapter.adapt(values)
            size = np.array([request.image.shape[1], request.image.shape[0]], dtype=np.float64)
            done.append((action, action_ids, points * size if points is not None else None))
        watch.lap("unnormalise")
        return [
            ActionResult(action.delta[None], dict(watch.ms), pixels, action_ids, action.simpler)
            for action, action_ids, pixels in done
        ]

    @staticmethod
    @abstractmethod
    def _read_checkpoint(
        directory: Path,
        device: torch.device,
        dtype: torch.dtype | None,
        quantization: str | None,
        robot: str | Path | None,
        statistics: Path | None,
        unnorm_key: str | None,
    ) -> LoadedCheckpoint:
        """The family's `checkpoint.load`; `dtype` None keeps the stored type."""

    @property
    @abstractmethod
    def _pad_id(self) -> int:
        """Fills the shorter prompts of a batch, unseen."""

    @abstractmethod
    def _instruction_ids(self, instruction: str) -> list[int]:
        """The part of the prompt's ids that an instruction decides. Raises InstructionError."""

    @abstractmethod
    def _check_length(self, request: ActRequest) -> None:
        """Raises InstructionError unless the prompt, its image and the ids of an action fit the model's positions."""

    @abstractmethod
    def _choose(self, requests: Sequence[ActRequest], sessions: Sequence[Session], watch: Stopwatch) -> list[Chosen]:
        """What the model chooses for each of these checked requests; laps preprocess, vision, prefill and decode."""

    def _prompt_ids(self, request: ActRequest, session: Session | None) -> list[int]:
        if session is None:
            return self._instruction_ids(request.instruction)
        # A server checks one request of a session while it acts on another.
        prompt = session.prompt
        if prompt is None or prompt[0] != request.instruction:
            prompt = session.prompt = (request.instruction, self._instruction_ids(request.instruction))
        return prompt[1]

    def _require_room(self, text: int, visual: int, own: int) -> None:
        """Raises InstructionError unless so many tokens fit: a prompt's text and image, and what an action needs."""
        limit = self._decoder.sizes.positions
        if text + visual + own > limit:
            raise InstructionError(
                f"the prompt has {text} tokens of text and {visual} of the picture; {self._decoder.name} reads "
                f"{limit}, {own} of which an action needs: say it in fewer words"
            )

    def _pad(self, prompts: Sequence[list[int]]) -> tuple[Tensor, Tensor | None]:
        """Ids (B, T) padded on the left, and what counts in them, None when everything does."""
        longest = max(map(len, prompts))
        ids = torch.tensor([[self._pad_id] * (longest - len(p)) + p for p in prompts], device=self.device)
        if min(map(len, prompts)) == longest:
            return ids, None
        lengths = torch.tensor([longest - len(p) for p in prompts], device=self.device)
        return ids, torch.arange(longest, device=self.device) >= lengths[:, None]

    def _decode(
        self, kv_cache: KVCache, tokens: Tensor | None, sessions: Sequence[Session], draft: Tensor | None = None
    ) -> Tensor:
        """The seven ids (B, 7) on the CPU, `REFUSED_ID` in rows that cannot be acted on.

        Args:
            kv_cache: the prompts, read.
            tokens: state tokens (B, 7, H) of a model that has them.
            sessions: of the requests.
            draft: what such a model guesses from its state tokens, (B, 7).
        """
        if self.device.type == "cuda" and tokens is None:
            with self._decoders.lend(len(sessions), kv_cache.length + DELTA_SIZE) as decoder:
                decoder.load(kv_cache)
                return decoder.action_ids().cpu()
        # Reading seven ids at once costs a CPU hardly more than one, and those of the image before are a good guess.
        # Float32 alone tells the best id from the second best however many are read together; coarser types would not
        # always give the ids that one by one gives.
        if tokens is None and self._dtype == torch.float32:
            last = [session.last_ids for session in sessions if session.last_ids is not None]
            draft = torch.stack(last).to(self.device) if len(last) == len(sessions) else None
        return decode_action_ids(self._decoder, kv_cache, tokens, draft).cpu()

    def _synchronise(self) -> None:
        # Without it a GPU's stage times would measure only the launching of kernels.
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
