"""The losses of one step, and their gradients.

Everything here runs on the device alone: no value is read back and nothing is copied from the CPU, so that a GPU can
record the work once and repeat it (`captured_gradients`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from magma_policy.families.magma import Magma
from magma_policy.inference.action_tokens import bin_centres_by_id
from magma_policy.inference.kv_cache import KVCache
from magma_policy.marks.geometry import Cameras
from magma_policy.training.config import TrainConfig
from magma_policy.training.recipes.robot_actions.batches import Prompts
from magma_policy.training.recipes.robot_actions.losses import action_cross_entropy, action_loss, heat_map_loss
from magma_policy.training.recipes.robot_actions.step_batch import ActionSamples, StepBatch, TextBatch


class Objective:
    """What a model is trained for; `cameras` are those of the robots, None without geometry."""

    def __init__(
        self, model: Magma, prompts: Prompts, cameras: Cameras | None, grid: tuple[int, int], config: TrainConfig
    ) -> None:
        self.model, self.prompts, self.cameras, self.grid, self.config = model, prompts, cameras, grid, config
        self.centres = torch.tensor(bin_centres_by_id(), dtype=torch.float32, device=prompts.ids.device)

    def backward(self, batch: StepBatch, with_actions: bool) -> dict[str, Tensor]:
        """Adds the gradients of a batch to those of the parameters; returns the losses by name."""
        # bfloat16 has float32's range, so the gradients need no scaling.
        with torch.autocast(batch.tiles.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            losses = self.losses(batch, with_actions)
        total = sum(self._weight(name) * loss for name, loss in losses.items())
        assert isinstance(total, Tensor)
        (total / self.config.accumulate).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def losses(self, batch: StepBatch, with_actions: bool) -> dict[str, Tensor]:
        """The losses by name; image samples teach actions only `with_actions`."""
        head = self.model.read_head(self.prompts.head)
        losses = self._image_losses(batch, with_actions, head)
        if batch.states is not None:
            losses["state"] = self._state_loss(batch.states, head)
        return losses

    def _weight(self, name: str) -> float:
        return {"marks": self.config.mark_weight, "text": self.config.text_weight}.get(name, 1.0)

    def _image_losses(self, batch: StepBatch, with_actions: bool, head: KVCache) -> dict[str, Tensor]:
        """Losses of samples with an image: marks, text and, once the marks have had their head start, actions on the
        model's own marks."""
        model, image = self.model, batch.image
        visual, levels = model.encode_image(batch.tiles, *self.grid)
        ids, attention = self.prompts.ids[image.instruction], self.prompts.attention[image.instruction]
        kv_cache, grounded = model.prefill(ids, visual, levels, attention, head)
        losses: dict[str, Tensor] = {}
        marks: Tensor | None = None
        if grounded is not None:
            losses["marks"] = heat_map_loss(grounded.logits, grounded.marks, image.marks, self.config.mark_sigma_cells)
            # Detached: the marks stay marks, and the action learns to live with the model's own pointing errors.
            marks = grounded.marks.detach()
        if with_actions:
            own = torch.arange(len(image.instruction), device=ids.device)
            losses["action"] = self._action_losses(kv_cache, own, marks, image)
        if batch.texts is not None:
            losses["text"] = self._text_loss(batch.texts, visual[: len(batch.texts.ids)], head)
        return losses

    def _text_loss(self, texts: TextBatch, visual: Tensor, head: KVCache) -> Tensor:
        """Cross entropy of the answers to one question per image, encoded to `visual` (B, N, H)."""
        merged, positions, visible = self.model.merge(texts.ids, visual, texts.attention, head.length)
        hidden, _ = self.model.read(merged, positions, visible, head.expand(len(visual)))
        count = texts.labels.shape[1]
        logits = self.model.logits(hidden[:, -count - 1 : -1])
        return F.cross_entropy(logits.flatten(0, 1), texts.labels.flatten())

    def _state_loss(self, states: ActionSamples, head: KVCache) -> Tensor:
        """Action losses from recorded marks; every instruction's prompt is read once and shared by its samples."""
        text = self.model.read_text_only(self.prompts.ids, self.prompts.attention, head)
        return self._action_losses(text, states.instruction, states.marks, states)

    def _action_losses(self, kv_cache: KVCache, which: Tensor, marks: Tensor | None, samples: ActionSamples) -> Tensor:
        """Loss of the decoder on the first `decoder_batch` samples, plus that of the early read-out on all of them.

        Sample i stands behind row `which[i]` of `kv_cache`.
        """
        model = self.model
        state: Tensor | None = None
        early: Tensor | None = None
        if model.state_encoder is not None:
            measured = samples.proprioception if model.config.proprioception else None
            cameras = self.cameras.select(samples.robot) if self.cameras is not None else None
            state = model.state_tokens(kv_cache.last_hidden[which], marks, measured, cameras)
            assert state is not None
            early = self._action_loss(model.early_action_logits(state), samples)
            # Without an early read-out the decoder alone can teach a sample, so none is left out.
            samples = samples.first(self.config.decoder_batch)
        count = len(samples.ids)
        logits = model.teacher_forced_action_logits(
            kv_cache.select(which[:count]), state[:count] if state is not None else None, samples.ids
        )
        loss = self._action_loss(logits, samples)
        return loss if early is None else early + loss

    def _action_loss(self, logits: Tensor, samples: ActionSamples) -> Tensor:
        """Loss of logits (B, 7, 256) against the samples' actions."""
        config = self.config
        if config.action_loss == "cross_entropy":
            return action_cross_entropy(logits, samples.ids - self.model.first_action_id)
        return action_loss(logits, samples.values, self.centres, config.action_sigma_bins, config.regression_weight)
