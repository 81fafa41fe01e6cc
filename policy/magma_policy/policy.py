"""A loaded checkpoint as a policy: picture, instruction and measured state in, end-effector deltas out."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from magma_policy import checkpoint as checkpoints
from magma_policy import statistics as action_statistics
from magma_policy.action_tokens import ActionTokens
from magma_policy.checkpoint import Checkpoint
from magma_policy.config import ActionSpec
from magma_policy.decoding import decode_action_ids
from magma_policy.prompt import robot_prompt, split_head
from magma_policy.tiling import tile_image


class ObservationError(ValueError):
    """A picture or measured state that the policy cannot act on."""


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
    """

    deltas: np.ndarray
    stage_ms: dict[str, float]
    marks: np.ndarray | None


class Policy:
    """One robot's policy. Holds no state between calls except caches; `reset` starts a new episode."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self.spec: ActionSpec = checkpoint.spec
        self.model = checkpoint.model
        self.tokenizer = checkpoint.tokenizer
        self.device = device
        self._statistics = action_statistics.select(checkpoint.statistics, self.spec.statistics_key)
        self._codec = ActionTokens(self.model.config.tokens.base_vocab_size)
        self._dtype = next(self.model.parameters()).dtype
        self._prompt: tuple[str, torch.Tensor] | None = None
        # Everything before the picture is the same in every prompt and is read once.
        self._head_ids, _ = self._split("act")
        with torch.inference_mode():
            self._head = self.model.read_head(torch.tensor([self._head_ids], device=device))

    def _split(self, instruction: str) -> tuple[list[int], list[int]]:
        return split_head(self.tokenizer.encode(robot_prompt(instruction)), self.tokenizer.tokens.image)

    @classmethod
    def load(cls, path: str | Path, device: str = "auto", dtype: torch.dtype | None = None) -> Policy:
        """Load a checkpoint directory.

        `device` "auto" takes CUDA when there is one. `dtype` None means float32 on the CPU and bfloat16 on a GPU.
        Raises CheckpointError or ConfigError naming what does not fit.
        """
        name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        place = torch.device(name)
        kind = dtype if dtype is not None else (torch.float32 if place.type == "cpu" else torch.bfloat16)
        return cls(checkpoints.load(Path(path), place, kind), place)

    def reset(self) -> None:
        """Forget what belongs to the last episode (the encoded instruction is all there is)."""
        self._prompt = None

    def _prompt_ids(self, instruction: str) -> torch.Tensor:
        if self._prompt is None or self._prompt[0] != instruction:
            self._prompt = (instruction, torch.tensor([self._split(instruction)[1]], device=self.device))
        return self._prompt[1]

    def _check_image(self, image: np.ndarray) -> None:
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
            raise ObservationError(f"image must be a uint8 array, got {kind}")
        expected = (self.spec.image_height, self.spec.image_width, 3)
        if image.shape != expected:
            raise ObservationError(
                f"image must have shape {expected} (rgb), got {image.shape}; resize it to the spec's size"
            )

    @torch.inference_mode()
    def act(self, image: np.ndarray, instruction: str, proprioception: Proprioception | None) -> ActionResult:
        """One action chunk for an rgb picture uint8 (H, W, 3) of the spec's size.

        `proprioception` is needed exactly when `spec.proprioception` says so; given otherwise, it is not used. Raises
        ObservationError or InstructionError on bad input; nothing is changed then.
        """
        started = time.perf_counter()
        self._check_image(image)
        state: torch.Tensor | None = None
        if self.spec.proprioception:
            if proprioception is None:
                raise ObservationError(
                    "this policy needs proprioception (action_spec.proprioception is true), got None"
                )
            state = torch.from_numpy(proprioception.as_vector())[None].to(self.device)
        ids = self._prompt_ids(instruction)
        tiles, (rows, cols) = tile_image(image, self.model.config.image)
        tiles = tiles.to(self.device, self._dtype)
        times = [time.perf_counter()]
        visual, levels = self.model.encode_image(tiles, rows, cols)
        self._synchronise()
        times.append(time.perf_counter())
        prefix, grounded = self.model.read_prompt(ids, visual, levels, head=self._head)
        marks = grounded.marks if grounded is not None else None
        tokens = self.model.state_tokens(prefix.last_hidden, marks, state)
        self._synchronise()
        times.append(time.perf_counter())
        action_ids = decode_action_ids(self.model, prefix, tokens)[0].cpu().numpy()
        times.append(time.perf_counter())
        deltas = self._statistics.unnormalise(self._codec.decode(action_ids))
        # Bin centres of the unscaled gripper run from -0.996 to 0.996; the opening is defined on 0..1.
        deltas[6] = float(np.clip(deltas[6], 0.0, 1.0))
        pixels: np.ndarray | None = None
        if marks is not None:
            size = np.array([image.shape[1], image.shape[0]], dtype=np.float64)
            pixels = marks[0].float().cpu().numpy() * size
        times.append(time.perf_counter())
        names = ("preprocess", "vision", "prefill", "decode", "unnormalise")
        stages = {n: (b - a) * 1e3 for n, a, b in zip(names, [started, *times[:-1]], times, strict=True)}
        return ActionResult(deltas[None], stages, pixels)

    def _synchronise(self) -> None:
        # Without it a GPU's stage times would measure only the launching of kernels.
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
