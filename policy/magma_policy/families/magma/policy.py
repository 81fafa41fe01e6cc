"""A loaded checkpoint as a policy: image, instruction and measured state in, end-effector deltas out; and text."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from magma_contracts.actions import DELTA_SIZE
from magma_policy.embodiments import robots
from magma_policy.embodiments.registry import make_adapter
from magma_policy.embodiments.robots import Robot
from magma_policy.families.acting import ActingPolicy, Chosen, Session, Stopwatch
from magma_policy.families.interface import (
    ActRequest,
    Generated,
    GenerationSettings,
    Message,
    Piece,
    Proprioception,
)
from magma_policy.families.magma import checkpoint as checkpoints
from magma_policy.families.magma.checkpoint import Checkpoint
from magma_policy.families.magma.processor import Processor
from magma_policy.families.magma.projector import visual_token_count
from magma_policy.families.magma.prompt import robot_prompt, split_head
from magma_policy.families.magma.tiling import choose_grid, tile_image
from magma_policy.inference.generation import generate_ids
from magma_policy.inference.kv_cache import KVCache
from magma_policy.marks.geometry import Cameras


class MagmaSession(Session):
    """A robot's present episode, and its camera."""

    def __init__(self, robot: Robot, cameras: Cameras | None) -> None:
        """`cameras` is the robot's own camera, one row, on the policy's device."""
        self.cameras = cameras
        super().__init__(robot)


class Policy(ActingPolicy):
    """A Magma and what its actions mean; see `ActingPolicy`. `chat` and the like, too, are for one thread at a time."""

    _read_checkpoint = staticmethod(checkpoints.load)

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self.model = checkpoint.model
        self.tokenizer = checkpoint.tokenizer
        self.processor = Processor(checkpoint.tokenizer, self.model.config)
        self.stop_ids = checkpoint.stop_ids
        self._cameras = {
            name: Cameras.of([robot.camera], device)
            for name, robot in checkpoint.robots.items()
            if robot.camera is not None
        }
        super().__init__(checkpoint, device)
        # Everything before the image is the same in every prompt and is read once.
        self._head_ids, _ = self._split("act")
        with torch.inference_mode():
            self._head = self.model.read_head(torch.tensor([self._head_ids], device=device))

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

    def new_session(self, robot: str = robots.DEFAULT) -> MagmaSession:
        """The episode state of one more robot, the default one or another of the checkpoint's (`robot`)."""
        return MagmaSession(self.robot(robot), self._cameras.get(robot))

    @property
    def _pad_id(self) -> int:
        return self.model.config.tokens.pad

    def _check_length(self, request: ActRequest) -> None:
        session, config = request.session, self.model.config
        adapter = session.adapter if session is not None else make_adapter(self.spec.adapter)
        rest, side = self._prompt_ids(request, session), adapter.image_side
        height, width = (side, side) if side is not None else request.image.shape[:2]
        grid = choose_grid(width, height, config.image.base_size, config.image.max_num_crops)
        text, visual = len(self._head_ids) + len(rest), visual_token_count(*grid, config.cells_per_tile) - 1
        own = DELTA_SIZE + (config.grounding.num_marks if config.grounding is not None else 0)
        self._require_room(text, visual, own)

    def _choose(self, requests: Sequence[ActRequest], sessions: Sequence[Session], watch: Stopwatch) -> list[Chosen]:
        prompts = [self._prompt_ids(r, s) for r, s in zip(requests, sessions, strict=True)]
        tiled = [
            tile_image(s.adapter.image(r.image), self.model.config.image)
            for s, r in zip(sessions, requests, strict=True)
        ]
        watch.lap("preprocess")
        # Images of another grid have another number of tokens, and their rows end elsewhere: they are read apart.
        alike: dict[tuple[int, int], list[int]] = {}
        for row, (_, grid) in enumerate(tiled):
            alike.setdefault(grid, []).append(row)
        chosen: dict[int, Chosen] = {}
        for grid, rows in alike.items():
            tiles = torch.cat([tiled[row][0] for row in rows])
            states = [requests[row].proprioception for row in rows] if self.spec.proprioception else []
            found = self._choose_alike(
                tiles, grid, [prompts[row] for row in rows], states, [sessions[row] for row in rows], watch
            )
            chosen |= dict(zip(rows, found, strict=True))
        return [chosen[row] for row in range(len(requests))]

    def _choose_alike(
        self,
        tiles: Tensor,
        grid: tuple[int, int],
        prompts: list[list[int]],
        states: Sequence[Proprioception | None],
        sessions: list[Session],
        watch: Stopwatch,
    ) -> list[Chosen]:
        """As `_choose` for images of one grid, whose `tiles` lie one after the other."""
        ids, attention = self._pad(prompts)
        vectors = [state.as_vector() for state in states if state is not None]
        state = torch.from_numpy(np.stack(vectors)).to(self.device) if vectors else None
        visual, levels = self.model.encode_image(tiles.to(self.device, self._dtype), *grid)
        self._synchronise()
        watch.lap("vision")
        kv_cache, grounded = self.model.prefill(ids, visual, levels, attention, self._head)
        marks = grounded.marks if grounded is not None else None
        cameras = [s.cameras for s in sessions if isinstance(s, MagmaSession) and s.cameras is not None]
        tokens = self.model.state_tokens(
            kv_cache.last_hidden, marks, state, Cameras.stack(cameras) if cameras else None
        )
        self._synchronise()
        watch.lap("prefill")
        chosen = self._decode(kv_cache, tokens, sessions, self.model.draft(tokens))
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

    def _instruction_ids(self, instruction: str) -> list[int]:
        return self._split(instruction)[1]
