"""Magma: vision tower, projector and Llama decoder, with the small model's optional modules beside them.

Module names are the published tensor names, so `state_dict()` is the checkpoint layout. The additions of `magma-tiny`
live under `grounding.` and `state_encoder.` and do not exist in a plain Magma.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from magma_policy.families.magma.config import MagmaConfig
from magma_policy.families.magma.model_inputs import ModelInputs
from magma_policy.families.magma.projector import MultiModalProjector, visual_token_count
from magma_policy.families.magma.state_tokens import StateEncoder
from magma_policy.families.magma.vision import VisionTower
from magma_policy.inference.action_decoder import ActionDecoder
from magma_policy.inference.kv_cache import KVCache
from magma_policy.marks.geometry import Cameras
from magma_policy.marks.mark_pointer import MarkPointer, local_soft_argmax


@dataclass
class Grounded:
    """Pointing result: heat-map logits (B, K, M, M) and marks (B, K, 2) as fractions (x, y) of the image."""

    logits: Tensor
    marks: Tensor


class Magma(ActionDecoder):
    """The model. All methods take batches; ids are int64, images are normalised tiles."""

    vision_modules = ("vision_tower", "multi_modal_projector")

    def __init__(self, config: MagmaConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_tower = VisionTower(config.vision)
        self.multi_modal_projector = MultiModalProjector(config.vision.dims[-1], config.text.hidden_size)
        self.add_decoder(config.name, config.text, config.tokens.base_vocab_size, config.tokens.image)
        self.grounding: MarkPointer | None = None
        self.state_encoder: StateEncoder | None = None
        if config.grounding is not None:
            self.grounding = MarkPointer(config.grounding, config.vision.dims, config.text.hidden_size)
        if config.state is not None:
            self.state_encoder = StateEncoder(config)

    def checkpoint_gradients(self, on: bool) -> None:
        """Whether training keeps the inputs of blocks and layers alone and computes their insides again for the
        gradients: slower by about a third, for a fraction of the memory. Results stay the same."""
        self.recompute = on
        for stage in self.vision_tower.clip_vision_model.trunk.stages:
            stage.recompute = on

    def encode_image(self, tiles: Tensor, rows: int, cols: int) -> tuple[Tensor, list[Tensor]]:
        """(B*rows*cols, 3, S, S) tiles to visual tokens (B, N, H) and the vision levels."""
        levels = self.vision_tower(tiles)
        return self.multi_modal_projector(levels[-1], rows, cols), levels

    def encode_images(self, tiles: Tensor, grids: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Tiles of several images, one after the other, to each image's visual tokens (N_i, H).

        tiles (sum of rows * cols, 3, S, S); `grids` are the (rows, cols). Raises ValueError when they do not add up.
        """
        counts = [rows * cols for rows, cols in grids]
        if sum(counts) != len(tiles):
            raise ValueError(f"pictures of {grids} tiles need {sum(counts)} tiles, got {len(tiles)}")
        if not grids:
            return []
        features = self.vision_tower(tiles)[-1].split(counts)
        return [
            self.multi_modal_projector(part, rows, cols)[0] for part, (rows, cols) in zip(features, grids, strict=True)
        ]

    def embed_inputs(self, inputs: ModelInputs) -> tuple[Tensor, Tensor, Tensor | None]:
        """Prompts with any number of images: (B, T, H) embeddings, (B, T) positions, bool (B, T) visible.

        Each `<image>` id is replaced by its image's visual tokens. Rows are padded on the left with zeros, which
        `visible` excludes; it is None when no row is padded. Positions count the visible tokens.
        """
        device = self.language_model.model.embed_tokens.weight.device
        dtype = self.multi_modal_projector.row_seperator.dtype
        tiles, grids = inputs.flat_images()
        visual = iter(self.encode_images(tiles.to(device, dtype), grids))
        rows: list[Tensor] = []
        for ids, attended in zip(inputs.input_ids, inputs.attention_mask, strict=True):
            ids = ids[attended]
            # As the original does: the placeholder is looked up as id 0, and that embedding is then replaced.
            places = (ids == self.config.tokens.image).nonzero().flatten().tolist()
            text = self.embed(ids.masked_fill(ids == self.config.tokens.image, 0).to(device))
            parts: list[Tensor] = []
            after = 0
            for place in places:
                parts += [text[after:place], next(visual).to(text.dtype)]
                after = place + 1
            rows.append(torch.cat([*parts, text[after:]]))
        lengths = [len(row) for row in rows]
        longest = max(lengths)
        merged = torch.stack([nn.functional.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
        steps = torch.arange(longest, device=device)
        padding = torch.tensor([longest - n for n in lengths], device=device)[:, None]
        positions = (steps - padding).clamp(min=0)
        visible = steps >= padding if min(lengths) < longest else None
        return merged, positions, visible

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        image_sizes: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, T, vocabulary), float32, of whole prompts, with the arguments of the published model.

        input_ids (B, L) with one `<image>` per image, padded on the left where `attention_mask` (B, L) is 0;
        pixel_values (B, tiles, 3, S, S); image_sizes (B, images, 2), the rows and columns of tiles, zero rows for
        padding. T counts the visual tokens, so it is longer than L. Raises ValueError for arguments that do not fit
        together.
        """
        inputs = ModelInputs.of(input_ids, pixel_values, image_sizes, attention_mask, self.config)
        hidden, positions, visible = self.embed_inputs(inputs)
        return self.logits(self.read(hidden, positions, visible)[0])

    def read_inputs(self, inputs: ModelInputs) -> KVCache:
        """Read prompts with their images, ready for what comes next."""
        hidden, positions, visible = self.embed_inputs(inputs)
        return self.read(hidden, positions, visible, last_only=True)[1]

    def prefill(
        self,
        ids: Tensor,
        visual: Tensor,
        levels: list[Tensor],
        attention: Tensor | None = None,
        head: KVCache | None = None,
    ) -> tuple[KVCache, Grounded | None]:
        """Prompts (B, T) with their images, and the mark tokens when grounding is on.

        `head` is an already read common beginning, which `ids` then do not repeat.
        """
        first = head.length if head is not None else 0
        merged, positions, visible = self.merge(ids, visual, attention, first)
        before = head.expand(len(ids)) if head is not None else None
        if self.grounding is None:
            _, kv_cache = self.read(merged, positions, visible, before, last_only=True)
            return kv_cache, None
        count = self.grounding.config.num_marks
        marks = self.grounding.mark_tokens.to(merged.dtype).expand(len(ids), -1, -1)
        steps = torch.arange(1, count + 1, device=ids.device)
        positions = torch.cat([positions, positions[:, -1:] + steps], dim=1)
        if visible is not None:
            visible = torch.cat([visible, torch.ones_like(visible[:, :1]).expand(-1, count)], dim=1)
        hidden, kv_cache = self.read(torch.cat([merged, marks], dim=1), positions, visible, before)
        logits = self.grounding(hidden[:, -count:], levels)
        return kv_cache, Grounded(logits, local_soft_argmax(logits, self.grounding.config.window))

    def read_text_only(self, ids: Tensor, attention: Tensor | None = None, head: KVCache | None = None) -> KVCache:
        """Prompts (B, T) and mark tokens without their image, whose positions are left free.

        Used in training on samples that have a state but no image: what follows stands at the same positions as
        behind an image. `attention` bool (B, T) is False on left padding; `head` as in `prefill`.
        """
        # The <image> id itself stands for the first visual token's position but is hidden from everything else.
        is_image = ids == self.config.tokens.image
        count = visual_token_count(1, 1, self.config.cells_per_tile)
        attention = torch.ones_like(is_image) if attention is None else attention
        positions = (attention.cumsum(dim=1) - 1).clamp(min=0) + (head.length if head is not None else 0)
        positions = positions + torch.where(is_image.cumsum(dim=1) > 0, count - 1, 0)
        before = head.expand(len(ids)) if head is not None else None
        _, kv_cache = self.read(self.embed(ids.masked_fill(is_image, 0)), positions, attention & ~is_image, before)
        if self.grounding is None:
            return kv_cache
        return self.extend(self.grounding.mark_tokens.expand(len(ids), -1, -1), kv_cache)[1]

    def state_tokens(
        self,
        prompt_hidden: Tensor,
        marks: Tensor | None,
        proprioception: Tensor | None,
        cameras: Cameras | None = None,
    ) -> Tensor | None:
        """State tokens (B, 7, H), one per action dimension; None when the model has none.

        `prompt_hidden` (B, H) is the prompt's `last_hidden`, which carries the instruction; `cameras` are the
        calibrations behind the marks.
        Raises ValueError when an input that the config switches on is missing, or one that it switches off is given.
        """
        if self.state_encoder is None:
            return None
        if (marks is None) != (self.grounding is None):
            raise ValueError("marks must be given exactly when grounding is on")
        if (proprioception is None) == self.config.proprioception:
            raise ValueError("proprioception must be given exactly when it is switched on")
        if (cameras is None) == (self.config.geometry is not None):
            raise ValueError("cameras must be given exactly when geometry is on")
        tokens: Tensor = self.state_encoder(prompt_hidden, marks, proprioception, cameras)
        return tokens

    def early_action_logits(self, state: Tensor) -> Tensor:
        """Logits (B, 7, 256) read from state tokens alone, past all decoder layers.

        Deep supervision in training: it teaches the state encoder at a fraction of the decoder's cost.
        """
        norm = self.language_model.model.norm
        normed = nn.functional.rms_norm(
            state.to(norm.weight.dtype), norm.weight.shape, norm.weight, norm.variance_epsilon
        )
        return self.action_logits(normed)

    def draft(self, state: Tensor | None) -> Tensor | None:
        """The action ids (B, 7) that state tokens alone suggest, for decoding to begin with; None without any."""
        return None if state is None else self.early_action_logits(state).argmax(dim=-1) + self.first_action_id
