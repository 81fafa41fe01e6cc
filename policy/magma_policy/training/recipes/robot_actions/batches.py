"""Random batches of demonstrations, and the prompts that go with them. Every draw follows from a given generator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from magma_contracts.errors import ConfigError
from magma_policy.demonstrations.reader import Demonstrations
from magma_policy.families.magma import ImageConfig, MagmaTokenizer, robot_prompt, split_head, tile_images
from magma_policy.training.answered_texts import pad_left
from magma_policy.training.config import TrainConfig
from magma_policy.training.recipes.robot_actions.augmentation import jitter


class Batches:
    """The steps `rows` of a demonstration set as tensors; `values` (N, 7) are all its actions, normalised."""

    def __init__(self, demos: Demonstrations, rows: np.ndarray, config: TrainConfig, values: np.ndarray) -> None:
        self.config = config
        self.rows = torch.from_numpy(rows)
        self.image_rows = torch.from_numpy(rows[demos.frame_index[rows] >= 0])
        if len(self.image_rows) == 0:
            raise ConfigError("no training episode has frames; the vision tower cannot be trained")
        weight = torch.from_numpy(demos.weight * (1.0 + config.onset_weight * demos.onset)).double()
        # Samples without an image take the recorded marks, so all of these must be known.
        known = torch.from_numpy(np.isfinite(demos.marks).all(axis=(1, 2)))
        self.cumulative = (weight * known)[self.rows].cumsum(0)
        self.image_cumulative = weight[self.image_rows].cumsum(0)
        if not self.image_cumulative[-1] > 0:
            raise ConfigError("all training steps with frames have the weight 0")
        self.has_states = bool(self.cumulative[-1] > 0)
        self.frames = torch.from_numpy(demos.frames)
        self.frame_index = torch.from_numpy(demos.frame_index)
        self.proprioception = torch.from_numpy(demos.proprioception)
        self.marks = torch.from_numpy(demos.marks)
        self.instruction = torch.from_numpy(demos.instruction)
        self.robot = torch.from_numpy(demos.robot)
        self.values = torch.from_numpy(values.astype(np.float32))
        sizes = torch.from_numpy(np.array([card.width_height for card in demos.cards], dtype=np.float32))
        self.fraction_per_px = 1.0 / sizes[self.robot]

    def draw(self, count: int, image: bool, generator: torch.Generator) -> Tensor:
        """Row numbers, onsets more often."""
        cumulative = self.image_cumulative if image else self.cumulative
        rows = self.image_rows if image else self.rows
        points = torch.rand(count, generator=generator, dtype=torch.float64) * cumulative[-1]
        return rows[torch.searchsorted(cumulative, points, right=True).clamp(max=len(rows) - 1)]

    def noisy_marks(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Recorded marks with noise like the model's own errors: mostly sub-pixel, a few wide ones."""
        marks = self.marks[rows]
        outlier = torch.rand((len(rows), marks.shape[1], 1), generator=generator) < self.config.mark_outlier_fraction
        sigma = torch.where(outlier, self.config.mark_outlier_px, self.config.mark_noise_px)
        noise = torch.randn(marks.shape, generator=generator) * sigma
        return marks + noise * self.fraction_per_px[rows][:, None, :]

    def images(
        self, rows: Tensor, image: ImageConfig, device: torch.device, generator: torch.Generator | None = None
    ) -> tuple[Tensor, tuple[int, int]]:
        """Tiles (B * rows * cols, 3, S, S) of the steps' frames on `device`, and their grid; `generator` augments them.

        Frames travel as bytes, a quarter of what the normalised tiles would be.
        """
        frames = self.frames[self.frame_index[rows]].to(device)
        if generator is not None:
            frames = jitter(frames, generator)
        return tile_images(frames, image)


class Prompts:
    """Ids of every instruction's prompt: the common `head` (1, H), the left-padded rest (I, T) and its attention."""

    def __init__(
        self, tokenizer: MagmaTokenizer, instructions: tuple[str, ...], markers: bool, device: torch.device
    ) -> None:
        encoded = [tokenizer.encode(robot_prompt(text, markers)) for text in instructions]
        parts = [split_head(ids, tokenizer.tokens.image) for ids in encoded]
        self.head = torch.tensor([parts[0][0]], device=device)
        self.ids, self.attention = pad_left([rest for _, rest in parts], tokenizer.tokens.pad, device)
