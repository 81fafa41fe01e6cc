"""Errors on held-out episodes, decoded greedily as a robot would."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from magma_policy.demonstrations.reader import Demonstrations
from magma_policy.embodiments.registry import make_adapter
from magma_policy.embodiments.robots import Robot
from magma_policy.errors import NotFiniteError
from magma_policy.families.interface import GenerationSettings
from magma_policy.families.magma import Magma, MagmaTokenizer
from magma_policy.files.weight_files import type_name
from magma_policy.inference.action_decoding import decode_action_ids
from magma_policy.inference.action_tokens import ActionTokens
from magma_policy.inference.finite import REFUSED_ID
from magma_policy.inference.generation import generate_ids
from magma_policy.inference.static_decoder import StaticDecoders
from magma_policy.marks.geometry import Cameras
from magma_policy.training.answered_texts import encode
from magma_policy.training.recipes.robot_actions.batches import Batches, Prompts
from magma_policy.training.recipes.robot_actions.text_samples import TextSamples

BATCH_PIXELS = 64 * 128 * 128
"""Pixels that are looked at together: 64 images of magma-tiny, one or a few of a large model."""
TEXT_SAMPLES = 32
NUMBER = re.compile(r"\d+")


@dataclass
class Validation:
    """Marks in pixels, translation in mm, rotation in degrees, gripper in percent wrong; None where a model has no such
    output. `text_percent` is the share of answers that are right but for numbers, `text_grid` how far the numbers of
    those are off on average, in grid units (256 to an image)."""

    mark_px: list[float] | None
    mark_px_p95: float | None
    action_mm: float
    rotation_deg: float
    gripper_percent: float
    state_only_mm: float | None
    state_only_gripper_percent: float | None
    text_percent: float | None
    text_grid: float | None

    def __str__(self) -> str:
        parts = [
            f"action {self.action_mm:.2f} mm",
            f"rotation {self.rotation_deg:.2f} deg",
            f"gripper {self.gripper_percent:.2f} %",
        ]
        if self.mark_px is not None:
            marks = "/".join(f"{v:.2f}" for v in self.mark_px)
            parts.insert(0, f"marks {marks} px (p95 {self.mark_px_p95:.1f})")
        if self.state_only_mm is not None:
            parts.append(f"state only {self.state_only_mm:.2f} mm {self.state_only_gripper_percent:.2f} %")
        if self.text_percent is not None:
            parts.append(f"text {self.text_percent:.0f} % right, numbers off by {self.text_grid:.1f}")
        return ", ".join(parts)


class Validator:
    """Measures a model on the held-out steps of `data`."""

    def __init__(
        self,
        demos: Demonstrations,
        data: Batches,
        robots: Sequence[Robot],
        prompts: Prompts,
        cameras: Cameras | None,
        tokenizer: MagmaTokenizer,
        texts: TextSamples | None,
        samples: int,
        seed: int,
    ) -> None:
        self._demos, self._data, self._robots = demos, data, robots
        self._prompts, self._cameras = prompts, cameras
        self._tokenizer, self._texts = tokenizer, texts
        self._samples, self._seed = samples, seed

    @torch.inference_mode()
    def measure(self, model: Magma) -> Validation:
        """Errors of `model`, in evaluation mode, on always the same steps."""
        data = self._data
        generator = torch.Generator().manual_seed(self._seed)
        pick = torch.randint(len(data.image_rows), (self._samples,), generator=generator)
        device = self._prompts.ids.device
        image = model.config.image
        _, grid = data.images(data.image_rows[:1], image, device)
        batch = max(1, BATCH_PIXELS // (grid[0] * grid[1] * image.base_size**2))
        head = model.read_head(self._prompts.head)
        distances: list[Tensor] = []
        errors: list[np.ndarray] = []
        state_errors: list[np.ndarray] = []
        for rows in data.image_rows[pick].split(batch):
            which = data.instruction[rows].to(device)
            tiles, grid = data.images(rows, image, device)
            visual, levels = model.encode_image(tiles, *grid)
            ids, attention = self._prompts.ids[which], self._prompts.attention[which]
            kv_cache, grounded = model.prefill(ids, visual, levels, attention, head)
            truth = data.marks[rows].to(device)
            if grounded is not None:
                px = ((grounded.marks - truth) * image.base_size).norm(dim=-1)
                inside = ((truth >= 0) & (truth <= 1)).all(dim=-1)
                distances.append(px.masked_fill(~inside, float("nan")).cpu())
            state = data.proprioception[rows].to(device) if model.config.proprioception else None
            cameras = self._cameras.select(data.robot[rows].to(device)) if self._cameras is not None else None
            own = grounded.marks if grounded is not None else None
            tokens = model.state_tokens(kv_cache.last_hidden, own, state, cameras)
            decoded = decode_action_ids(model, kv_cache, tokens, model.draft(tokens))
            errors.append(self._action_errors(model, decoded, rows))
            if grounded is not None and bool(truth.isfinite().all()):
                text = model.read_text_only(ids, attention, head)
                tokens = model.state_tokens(text.last_hidden, truth, state, cameras)
                decoded = decode_action_ids(model, text, tokens, model.draft(tokens))
                state_errors.append(self._action_errors(model, decoded, rows))
        px = torch.cat(distances) if distances else None
        means = np.concatenate(errors).mean(axis=0)
        states = np.concatenate(state_errors).mean(axis=0) if state_errors else None
        text_percent, text_grid = self._text_errors(model, data.image_rows[pick][:TEXT_SAMPLES])
        return Validation(
            mark_px=[float(v) for v in px.nanmean(dim=0)] if px is not None else None,
            mark_px_p95=float(px.nanquantile(0.95)) if px is not None else None,
            action_mm=float(means[0]),
            rotation_deg=float(means[1]),
            gripper_percent=float(means[2]),
            state_only_mm=float(states[0]) if states is not None else None,
            state_only_gripper_percent=float(states[2]) if states is not None else None,
            text_percent=text_percent,
            text_grid=text_grid,
        )

    def _action_errors(self, model: Magma, ids: Tensor, rows: Tensor) -> np.ndarray:
        """(B, 3): distance of the translations in mm, of the rotation vectors in degrees, gripper wrong in percent.

        Raises NotFiniteError when the model gave no ids."""
        if bool((ids == REFUSED_ID).any()):
            raise NotFiniteError.of(model.config.name, type_name(model.language_model.lm_head.weight.dtype))
        values = ActionTokens(model.config.tokens.base_vocab_size).decode(ids.cpu().numpy())
        robots = self._data.robot[rows].tolist()
        predicted = np.stack([self._delta(r, v) for r, v in zip(robots, values, strict=True)])
        difference = predicted - self._demos.actions[rows.numpy()]
        translation = np.linalg.norm(difference[:, :3], axis=1) * 1e3
        rotation = np.degrees(np.linalg.norm(difference[:, 3:6], axis=1))
        gripper = 100.0 * (np.abs(difference[:, 6]) > 0.5)
        return np.stack([translation, rotation, gripper], axis=1)

    def _delta(self, robot: int, values: np.ndarray) -> np.ndarray:
        """What a robot would do with normalised values (7,)."""
        known = self._robots[robot]
        return make_adapter(known.spec.adapter).adapt(known.statistics.unnormalise(values)).delta

    def _text_errors(self, model: Magma, rows: Tensor) -> tuple[float | None, float | None]:
        """Share of answers whose words are right, in percent, and the mean error of their numbers."""
        if self._texts is None:
            return None, None
        samples = self._texts.draw(rows.tolist(), torch.Generator().manual_seed(self._seed))
        device = self._prompts.ids.device
        head = model.read_head(self._prompts.head)
        decoders = StaticDecoders(model)
        right, offsets = 0, []
        for row, sample in zip(rows, samples, strict=True):
            tiles, grid = self._data.images(row[None], model.config.image, device)
            visual, _ = model.encode_image(tiles, *grid)
            (ids,), (length,) = encode([sample], self._tokenizer, model.config.image_markers)
            prompt = torch.tensor([ids[: len(ids) - length]], device=device)
            merged, positions, _ = model.merge(prompt, visual, None, head.length)
            _, kv_cache = model.read(merged, positions, None, head)
            end = self._tokenizer.tokens.end_of_turn
            chosen: list[int] = []
            settings = GenerationSettings(max_new_tokens=2 * length)
            for (id_,) in generate_ids(model, kv_cache, settings, (end,), decoders):
                if id_ is not None and id_ != end:
                    chosen.append(id_)
            answer = self._tokenizer.decode(chosen).strip()
            if NUMBER.sub("#", answer) == NUMBER.sub("#", sample.answer):
                right += 1
                pairs = zip(NUMBER.findall(answer), NUMBER.findall(sample.answer), strict=True)
                offsets += [abs(int(a) - int(b)) for a, b in pairs]
        return 100.0 * right / len(samples), float(np.mean(offsets)) if offsets else 0.0
