"""A small KOSMOS-2 learns to point: from phrases to boxes, from boxes to expressions, descriptions, presence.

First the vision tower alone learns what each patch shows and where its thing begins and ends (`dense_steps`): that
stands for the pretraining that the published model's tower has. Then the resampler is aligned with it, and everything
is trained on texts; each picture is read once for several of them.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from magma_contracts.errors import ConfigError
from magma_policy.families import kosmos2
from magma_policy.families.kosmos2 import Network, Vocabulary, build_small_tokenizer, small_network, stretched
from magma_policy.grounding.scenes import Scenes, read_scenes
from magma_policy.training.loop import processes
from magma_policy.training.loop.nested_tensors import transformed
from magma_policy.training.loop.training_loop import TrainingLoop, batch_seed
from magma_policy.training.recipes.grounding.config import GroundingConfig
from magma_policy.training.recipes.grounding.objective import (
    LOSSES,
    Learner,
    Objective,
    StepBatch,
    collate_texts,
    grid_labels,
    pixels,
)
from magma_policy.training.recipes.grounding.samples import Sample, Samples, words
from magma_policy.training.recipes.grounding.validation import Validator
from magma_policy_client.checkpoint_paths import find_checkpoint
from magma_policy_client.content import digest_of, file_digests

LATENTS = kosmos2.LATENT_GRID**2
ALIGNED_ON = 64
"""Pictures to which the resampler is fitted."""


class Trainer(TrainingLoop[Learner, StepBatch]):
    """One run of a new small KOSMOS-2 on scenes."""

    config: GroundingConfig
    drawn = ("found_percent", "found_hard_percent", "named_percent", "refused_percent", "falsely_refused_percent")

    def __init__(self, config: GroundingConfig) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config = config
        device = processes.device(config.device)
        self.scenes = read_scenes(config.scenes, "train")
        self.names = self.scenes.names
        if not self.names:
            raise ConfigError("nothing stands in any of the scenes")
        self.start = start_of(config)
        self.network, self.vocabulary = self._begun(device)
        self.images = self._stretched(self.scenes.images)
        learner = Learner(
            self.network, 1 + len(self.names), self.vocabulary.bins, features=config.feature_weight > 0
        ).to(device)
        super().__init__(config, learner, device, LOSSES, captures=False)
        self.samples = Samples(self.vocabulary, self.names, config.texts)
        self.objective = Objective(learner, self.network, self.vocabulary, config.dense_weight, config.feature_weight)
        if config.validation:
            held = read_scenes(config.validation, "validation")
            self.validator = Validator(self.network, self.vocabulary, held, self.names, config.validation_scenes)

    def _begun(self, device: torch.device) -> tuple[Network, Vocabulary]:
        """A new network, or the one of the checkpoint that is gone on from."""
        if self.start is None:
            vocabulary = new_vocabulary(self.scenes)
            network = small_network(vocabulary, self.config.picture_side or kosmos2.SIDE)
            network.model.to(device)
        else:
            network, vocabulary = kosmos2.load_network(self.start, device, torch.float32)
            network = kosmos2.continued(network, self.config.picture_side or network.geometry.image_side)
            network.model.requires_grad_(True)
        return network, vocabulary

    def _stretched(self, images: np.ndarray) -> np.ndarray:
        side = self.network.geometry.image_side
        if images.shape[1:3] == (side, side):
            return images
        return np.stack([stretched(image, side) for image in images])

    # What a step learns from.

    def draw_part(self, step: int, part: int) -> StepBatch:
        config = self.config
        rng = np.random.default_rng(batch_seed(config.seed, step, part, processes.rank()))
        dense_only = step < config.head_start
        rows = rng.integers(len(self.scenes), size=config.dense_batch if dense_only else config.picture_batch)
        scenes = [self.scenes.scenes[row] for row in rows]
        geometry, bins = self.network.geometry, self.vocabulary.bins
        patches = grid_labels(scenes, self.names, geometry.image_side // geometry.patch, bins)
        seen = pixels(self.images[rows])
        if dense_only:
            return self._on_device(StepBatch(seen, patches, None, None))
        asked = config.feature_weight > 0
        features = grid_labels(scenes, self.names, math.isqrt(geometry.latents), bins) if asked else None
        drawn: list[Sample] = []
        described = rng.random() < config.caption_fraction
        for scene in scenes:
            if described:
                drawn += [self.samples.caption(scene, detailed=detailed) for detailed in (False, True)]
            else:
                drawn += self.samples.draw(scene, config.texts_per_picture, rng)
        return self._on_device(StepBatch(seen, patches, features, collate_texts(drawn, self.vocabulary)))

    def _on_device(self, batch: StepBatch) -> StepBatch:
        return transformed(batch, lambda tensor: tensor.to(self.device))

    def train_step(self) -> None:
        if self.start is None and self.step == self.config.head_start:
            self._align()
        super().train_step()

    def _align(self) -> None:
        """Fits the resampler to what the vision tower has learned."""
        seed = batch_seed(self.config.seed, self.step, -1 % (1 << 31), 0)
        rows = np.random.default_rng(seed).integers(len(self.scenes), size=ALIGNED_ON)
        with torch.no_grad():
            seen = self.network.patch_features(pixels(self.images[rows])).cpu()
        kosmos2.align_resampler(self.network, seen, torch.Generator().manual_seed(seed))

    def gradients(self, batch: StepBatch) -> dict[str, Tensor]:
        return self.objective.backward(batch, self.sigma(), 1.0 / self.config.accumulate)

    def sigma(self) -> float:
        """Softness of the location labels now, in cells."""
        config = self.config
        done = min(1.0, self.progress / config.place_sigma_until)
        return config.place_sigma_first + done * (config.place_sigma_last - config.place_sigma_first)

    # What is kept.

    def write_checkpoint(self, last: bool) -> None:
        kosmos2.save(self.config.output / "checkpoint", self.network, self.vocabulary)

    def fingerprint(self) -> str:
        """Of the scenes, and of the checkpoint that was gone on from: with others it would be another run."""
        if self.start is None:
            return self.scenes.identity
        digests = file_digests(sorted(self.start.glob("*.safetensors")))
        return digest_of({"scenes": self.scenes.identity, **{path.name: found for path, found in digests.items()}})


def start_of(config: GroundingConfig) -> Path | None:
    """The folder of the checkpoint that is gone on from. Raises CheckpointNotFoundError."""
    return None if config.init is None else find_checkpoint(config.init)


def told(scenes: Scenes) -> str:
    """The data in one line."""
    things = sum(len(scene.things) for scene in scenes.scenes)
    return f"{len(scenes)} scenes of {things} things, {len(scenes.names)} kinds and colours, contents {scenes.identity}"


def new_vocabulary(scenes: Scenes) -> Vocabulary:
    """Whole words for all that is said about scenes, letters for the rest."""
    return Vocabulary(build_small_tokenizer(words(scenes.names), LATENTS), LATENTS)


def size(scenes: Scenes) -> int:
    """How many numbers a new model for scenes has."""
    return kosmos2.parameters(small_network(new_vocabulary(scenes)).geometry)
