"""A loaded checkpoint as a policy: image, instruction and measured state in, end-effector deltas out; and text."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

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
from magma_policy.families.interface import (
    ActionResult,
    ActRequest,
    Generated,
    GenerationSettings,
    Message,
    Piece,
    Proprioception,
)
from magma_policy.families.magma import checkpoint as checkpoints
from magma_policy.families.magma.action_tokens import ActionTokens
from magma_policy.families.magma.checkpoint import Checkpoint
from magma_policy.families.magma.processor import Processor, check_pixels
from magma_policy.families.magma.projector import visual_token_count
from magma_policy.families.magma.prompt import robot_prompt, split_head
from magma_policy.families.magma.tiling import choose_grid, tile_image
from magma_policy.files.hub import resolve
from magma_policy.files.weight_files import type_name
from magma_policy.inference.action_decoding import decode_action_ids
from magma_policy.inference.device import pick_device, pick_dtype
from magma_policy.inference.finite import REFUSED_ID
from magma_policy.inference.generation import generate_ids
from magma_policy.inference.kv_cache import KVCache
from magma_policy.inference.packed_linear import pack_linears
from magma_policy.inference.static_decoder import StaticDecoders
from magma_policy.marks.geometry import Cameras


class _Stopwatch:
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

    def __init__(self, robot: Robot, cameras: Cameras | None) -> None:
        """`cameras` is the robot's own camera, one row, on the policy's device."""
        self.robot = robot
        self.cameras = cameras
        self.reset()

    def reset(self) -> None:
        """Start a new episode."""
        self.adapter = make_adapter(self.robot.spec.adapter)
        self.prompt: tuple[str, list[int]] | None = None
        self.last_ids: Tensor | None = None


class Policy:
    """A model and what its actions mean.

    `act`, `chat` and the like must be called from one thread at a time. State between calls lies in sessions and in
    caches; `reset` starts a new episode of the session that `act` uses.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self.model = checkpoint.model
        self.tokenizer = checkpoint.tokenizer
        self.processor = Processor(checkpoint.tokenizer, self.model.config)
        self.stop_ids = checkpoint.stop_ids
        self.identity = checkpoint.identity
        self.device = device
        self.robots = dict(checkpoint.robots)
        self._cameras = {
            name: Cameras.of([robot.camera], device) for name, robot in self.robots.items() if robot.camera is not None
        }
        self._codec = ActionTokens(self.model.config.tokens.base_vocab_size)
        self._dtype = self.model.multi_modal_projector.row_seperator.dtype
        self._session = self.new_session() if self.robots else None
        self._decoders = StaticDecoders(self.model)
        # Everything before the image is the same in every prompt and is read once.
        self._head_ids, _ = self._split("act")
        with torch.inference_mode():
            self._head = self.model.read_head(torch.tensor([self._head_ids], device=device))

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "auto",
        dtype: torch.dtype | str | None = None,
        quantization: str | None = None,
        robot: str | Path | None = None,
        statistics: str | Path | None = None,
    ) -> Policy:
        """Load a checkpoint directory, or `owner/name` (`owner/name@revision`) from the Hugging Face Hub.

        `device` is "cpu", "cuda" (or "cuda:1"), "mps", or "auto", which takes the first GPU there is. `dtype` None
        means float32 on the CPU and bfloat16 elsewhere (and with fp8); names like "float16" do too. `quantization` is
        "int8", "int4" or "fp8" (`magma_policy.inference.quantisation`). `robot` and `statistics` as in
        `checkpoint.load`. Raises CheckpointError, ConfigError or HubError naming what does not fit.
        """
        place = pick_device(device)
        kind = pick_dtype(dtype, place, quantization)
        file = None if statistics is None else Path(statistics)
        checkpoint = checkpoints.load(resolve(path), place, kind, quantization, robot, file)
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
                f"{self.model.config.name} was loaded without an action spec and statistics, so it can only talk: name "
                f"a robot ({', '.join(robots.PUBLISHED)}, or a directory with {robots.ACTION_SPEC} and "
                f"{robots.STATISTICS})"
            )
        others = sorted(other for other in self.robots if other)
        raise ConfigError(f"{self.model.config.name} knows no robot {name!r}, only {others or 'its default one'}")

    @property
    def taught_to_act(self) -> bool:
        """Whether it has the modules that only robots' demonstrations teach; its answers in text are poor then."""
        return self.model.config.state is not None

    @property
    def can_act(self) -> bool:
        """Whether there is a robot."""
        return bool(self.robots)

    def compile(self, backend: str = "inductor") -> None:
        """Let torch.compile fuse the vision tower; the next image then takes a minute or so, all later ones less.

        The decoder needs none: on CUDA its steps are captured graphs.
        """
        self.model.vision_tower.compile(backend=backend, fullgraph=True)

    def new_session(self, robot: str = robots.DEFAULT) -> Session:
        """The episode state of one more robot, the default one or another of the checkpoint's (`robot`)."""
        return Session(self.robot(robot), self._cameras.get(robot))

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

    def _check_length(self, request: ActRequest) -> None:
        """Raises InstructionError unless the prompt, its image and the ids of an action fit the model's positions."""
        session, config = request.session, self.model.config
        if session is not None:
            rest, side = self._prompt_ids(session, request.instruction), session.adapter.image_side
        else:
            rest, side = self._split(request.instruction)[1], make_adapter(self.spec.adapter).image_side
        height, width = (side, side) if side is not None else request.image.shape[:2]
        grid = choose_grid(width, height, config.image.base_size, config.image.max_num_crops)
        text, visual = len(self._head_ids) + len(rest), visual_token_count(*grid, config.cells_per_tile) - 1
        own = DELTA_SIZE + (config.grounding.num_marks if config.grounding is not None else 0)
        limit = config.text.max_position_embeddings
        if text + visual + own > limit:
            raise InstructionError(
                f"the prompt has {text} tokens of text and {visual} of the picture; {config.name} reads {limit}, "
                f"{own} of which an action needs: say it in fewer words"
            )

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
        watch = _Stopwatch()
        for request in requests:
            self.check(request)
        sessions = [r.session if r.session is not None else self.new_session() for r in requests]
        if not requests or len({id(s) for s in sessions}) != len(sessions):
            raise ObservationError("a batch needs at least one request, and a session may occur in it once only")
        prompts = [self._prompt_ids(s, r.instruction) for s, r in zip(sessions, requests, strict=True)]
        tiled = [
            tile_image(s.adapter.image(r.image), self.model.config.image)
            for s, r in zip(sessions, requests, strict=True)
        ]
        watch.lap("preprocess")
        # Images of another grid have another number of tokens, and their rows end elsewhere: they are read apart.
        alike: dict[tuple[int, int], list[int]] = {}
        for row, (_, grid) in enumerate(tiled):
            alike.setdefault(grid, []).append(row)
        chosen: dict[int, tuple[Tensor, np.ndarray | None]] = {}
        for grid, rows in alike.items():
            tiles = torch.cat([tiled[row][0] for row in rows])
            states = [requests[row].proprioception for row in rows] if self.spec.proprioception else []
            found = self._choose(
                tiles, grid, [prompts[row] for row in rows], states, [sessions[row] for row in rows], watch
            )
            chosen |= dict(zip(rows, found, strict=True))
        if any(bool((ids == REFUSED_ID).any()) for ids, _ in chosen.values()):
            raise NotFiniteError.of(self.model.config.name, type_name(self._dtype))
        done = []
        for row, (session, request) in enumerate(zip(sessions, requests, strict=True)):
            session.last_ids, points = chosen[row]
            action_ids = session.last_ids.numpy()
            values = session.robot.statistics.unnormalise(self._codec.decode(action_ids))
            action = session.adapter.adapt(values)
            size = np.array([request.image.shape[1], request.image.shape[0]], dtype=np.float64)
            done.append((action, action_ids, points * size if points is not None else None))
        watch.lap("unnormalise")
        return [
            ActionResult(action.delta[None], dict(watch.ms), pixels, action_ids, action.simpler)
            for action, action_ids, pixels in done
        ]

    def _choose(
        self,
        tiles: Tensor,
        grid: tuple[int, int],
        prompts: list[list[int]],
        states: Sequence[Proprioception | None],
        sessions: list[Session],
        watch: _Stopwatch,
    ) -> list[tuple[Tensor, np.ndarray | None]]:
        """Per row the seven ids (7,), `REFUSED_ID` if there is nothing to act on, and its marks (K, 2) as fractions of
        the image. Rows are images of one grid, whose `tiles` lie one after the other."""
        ids, attention = self._pad(prompts)
        vectors = [state.as_vector() for state in states if state is not None]
        state = torch.from_numpy(np.stack(vectors)).to(self.device) if vectors else None
        visual, levels = self.model.encode_image(tiles.to(self.device, self._dtype), *grid)
        self._synchronise()
        watch.lap("vision")
        kv_cache, grounded = self.model.prefill(ids, visual, levels, attention, self._head)
        marks = grounded.marks if grounded is not None else None
        cameras = [session.cameras for session in sessions if session.cameras is not None]
        tokens = self.model.state_tokens(
            kv_cache.last_hidden, marks, state, Cameras.stack(cameras) if cameras else None
        )
        self._synchronise()
        watch.lap("prefill")
        chosen = self._decode(kv_cache, tokens, sessions)
        watch.lap("decode")
        points = marks.float().cpu().numpy().astype(np.float64) if marks is not None else [None] * len(chosen)
        return list(zip(chosen, points, strict=True))

    def chat(
        self,
        question: str,
        images: Sequence[np.ndarray] = (),
        settings: GenerationSettings | None = None,
        system: str | None = None,
    ) -> Generated:
        """The answer to one question about uint8 rgb images (H, W, 3) of any size, or about none."""
        return self.generate([Message(question, images, system)], settings)[0]

    def stream(
        self,
        question: str,
        images: Sequence[np.ndarray] = (),
        settings: GenerationSettings | None = None,
        system: str | None = None,
    ) -> Iterator[str]:
        """Like `chat`, piece by piece as the text comes; closing the iterator ends the work."""
        with closing(self.pieces(Message(question, images, system), settings or GenerationSettings())) as pieces:
            for piece in pieces:
                if piece.text:
                    yield piece.text

    def pieces(self, message: Message, settings: GenerationSettings) -> Generator[Piece, None, None]:
        """The answer to a message id by id, see `Talker`."""
        kv_cache = self._read([message])
        read, decoder = kv_cache.length, self.tokenizer.decoder()
        most = min(settings.max_new_tokens, self.model.sizes.positions - read)
        with closing(generate_ids(self.model, kv_cache, settings, self.stop_ids, self._decoders)) as steps:
            for number, (id_,) in enumerate(steps, 1):
                if id_ is None or id_ in self.stop_ids:
                    yield Piece("", "stop", read, number)
                else:
                    yield Piece(decoder.add(id_), "length" if number == most else None, read, number)

    def generate(self, messages: Sequence[Message], settings: GenerationSettings | None = None) -> list[Generated]:
        """Answers to several messages, read as one batch.

        Raises InstructionError or ObservationError for a message that cannot be asked, GenerationError for settings,
        NotFiniteError when the model computes nothing that could be said.
        """
        times = [time.perf_counter()]
        inputs = self.processor(messages)
        times.append(time.perf_counter())
        with torch.inference_mode():
            kv_cache = self.model.read_inputs(inputs)
        self._synchronise()
        times.append(time.perf_counter())
        rows: list[list[int]] = [[] for _ in messages]
        finish = ["length"] * len(rows)
        chosen = settings or GenerationSettings()
        for step in generate_ids(self.model, kv_cache, chosen, self.stop_ids, self._decoders):
            for row, id_ in enumerate(step):
                if id_ is not None and id_ in self.stop_ids:
                    finish[row] = "stop"
                elif id_ is not None:
                    rows[row].append(id_)
        times.append(time.perf_counter())
        names = ("preprocess", "prefill", "decode")
        stages = {n: (b - a) * 1e3 for n, a, b in zip(names, times[:-1], times[1:], strict=True)}
        return [Generated(self.tokenizer.decode(r), r, f, dict(stages)) for r, f in zip(rows, finish, strict=True)]

    @torch.inference_mode()
    def _read(self, messages: Sequence[Message]) -> KVCache:
        return self.model.read_inputs(self.processor(messages))

    def _split(self, instruction: str) -> tuple[list[int], list[int]]:
        prompt = robot_prompt(instruction, self.model.config.image_markers)
        return split_head(self.tokenizer.encode(prompt), self.tokenizer.tokens.image)

    def _prompt_ids(self, session: Session, instruction: str) -> list[int]:
        # A server checks one request of a session while it acts on another.
        prompt = session.prompt
        if prompt is None or prompt[0] != instruction:
            prompt = session.prompt = (instruction, self._split(instruction)[1])
        return prompt[1]

    def _pad(self, prompts: list[list[int]]) -> tuple[Tensor, Tensor | None]:
        """Ids (B, T) padded on the left, and what counts in them, None when everything does."""
        longest = max(map(len, prompts))
        pad = self.tokenizer.tokens.pad
        ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts], device=self.device)
        if min(map(len, prompts)) == longest:
            return ids, None
        lengths = torch.tensor([longest - len(p) for p in prompts], device=self.device)
        return ids, torch.arange(longest, device=self.device) >= lengths[:, None]

    def _decode(self, kv_cache: KVCache, tokens: Tensor | None, sessions: Sequence[Session]) -> Tensor:
        """The seven ids (B, 7) on the CPU, `REFUSED_ID` in rows that cannot be acted on."""
        if self.device.type == "cuda" and tokens is None:
            with self._decoders.lend(len(sessions), kv_cache.length + DELTA_SIZE) as decoder:
                decoder.load(kv_cache)
                return decoder.action_ids().cpu()
        # Reading seven ids at once costs a CPU hardly more than one, and those of the image before are a good guess.
        # Float32 alone tells the best id from the second best however many are read together; coarser types would not
        # always give the ids that one by one gives.
        draft: Tensor | None = None
        if tokens is None and self._dtype == torch.float32:
            last = [session.last_ids for session in sessions if session.last_ids is not None]
            draft = torch.stack(last).to(self.device) if len(last) == len(sessions) else None
        return decode_action_ids(self.model, kv_cache, tokens, draft).cpu()

    def _synchronise(self) -> None:
        # Without it a GPU's stage times would measure only the launching of kernels.
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
