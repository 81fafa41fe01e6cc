"""The recipe of KOSMOS-2 on GRIT: sequences of several kinds, mixed by tokens, warm-up and linear decay, dropout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from magma_contracts.errors import ConfigError
from magma_policy.families import kosmos2
from magma_policy.families.kosmos2 import Network, Vocabulary, build_small_tokenizer, small_network
from magma_policy.training.loop import processes
from magma_policy.training.loop.training_loop import TrainingLoop, batch_seed
from magma_policy.training.recipes.grit.config import SHORTEST, GritConfig
from magma_policy.training.recipes.grit.material import Material, read_material, read_records
from magma_policy.training.recipes.grit.mixture import Mixture
from magma_policy.training.recipes.grit.objective import LOSSES, Objective, StepBatch, collate
from magma_policy.training.recipes.grit.samples import TEMPLATES, Samples
from magma_policy.training.recipes.grit.validation import Validator
from magma_policy_client.checkpoint_paths import find_checkpoint
from magma_policy_client.content import digest_of, file_digests

LATENTS = kosmos2.LATENT_GRID**2
ALIGNED_ON = 64
"""Pictures to which a new network's resampler is fitted."""
MOST_WORDS = 4000
"""That a new network's tokenizer knows whole: the commonest."""
EPS, POSITIONS = 1e-6, 1024


class Trainer(TrainingLoop[nn.Module, StepBatch]):
    """One run of a KOSMOS-2 on records."""

    config: GritConfig
    drawn = ("found_percent",)
    eps = EPS

    def __init__(self, config: GritConfig) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config = config
        self.longest_gradient = config.clip
        device = processes.device(config.device)
        self.start = start_of(config)
        self.material, self.network, self.vocabulary = self._begun(device)
        self.network.set_dropout(config.dropout)
        self.network.model.vision_model.requires_grad_(not config.freeze_vision)
        super().__init__(config, self.network.model, device, LOSSES, captures=False)
        longest = min(config.longest, self.network.geometry.positions)
        least = 1 + len(self.vocabulary.image_ids) + SHORTEST
        if longest < least:
            raise ConfigError(f"longest {longest} leaves a picture and its caption no room: at least {least} tokens")
        samples = Samples(self.vocabulary, longest)
        self.mixture = Mixture(self.material, samples, config.shares, config.tokens, config.boxes_fraction)
        self.objective = Objective(
            self.network,
            self.vocabulary,
            config.place_sigma,
            sees=not config.freeze_vision,
            mixed=config.precision == "bfloat16",
        )
        if config.validation:
            side = self.network.geometry.image_side
            held = read_records(config.validation, config.pictures, side)
            self.validator = Validator(self.network, self.vocabulary, held, config.validation_records)

    def _begun(self, device: torch.device) -> tuple[Material, Network, Vocabulary]:
        """What there is to learn, and a network that does not know it."""
        config, soft = self.config, self.config.place_sigma > 0
        if self.start is None:
            material = read_material(config, kosmos2.SIDE)
            vocabulary = new_vocabulary(material.words())
            network = small_network(vocabulary, positions=POSITIONS, scale=config.scale, soft=soft)
            self._align(network, material)
        else:
            network, vocabulary = kosmos2.load_network(self.start, torch.device("cpu"), torch.float32)
            network = kosmos2.continued(network, network.geometry.image_side, soft=soft)
            material = read_material(config, network.geometry.image_side)
            network.model.requires_grad_(True)
            if config.new == "text":
                kosmos2.renew_text(network)
        if self.start is None or config.new != "nothing":
            kosmos2.renew_places(network, vocabulary)
            if config.location_start == "grid":
                kosmos2.write_grid(network, vocabulary)
        network.model.to(device)
        return material, network, vocabulary

    def _align(self, network: Network, material: Material) -> None:
        """Lets the resampler of a new network look at each part of a picture first: its vision tower knows nothing but
        the patches' places, and that is what is needed here."""
        rows = np.random.default_rng(self.config.seed).integers(len(material.pictures), size=ALIGNED_ON)
        batch = torch.from_numpy(kosmos2.normalised(material.pictures[np.sort(rows)]))
        with torch.no_grad():
            seen = network.patch_features(batch)
        kosmos2.align_resampler(network, seen, torch.Generator().manual_seed(self.config.seed))

    # What a step learns from.

    def learning_rate(self) -> float:
        """Linear warm-up, then linear to 0."""
        config, done = self.config, self.step + 1
        if done <= config.warmup_steps:
            return config.learning_rate * done / config.warmup_steps
        return config.learning_rate * (config.steps - self.step) / (config.steps - config.warmup_steps)

    def draw_part(self, step: int, part: int) -> StepBatch:
        seed = batch_seed(self.config.seed, step, part, processes.rank())
        samples = self.mixture.draw(np.random.default_rng(seed))
        return collate(samples, self.material.pictures, self.vocabulary, seed).on(self.device)

    def gradients(self, batch: StepBatch) -> dict[str, Tensor]:
        return self.objective.backward(batch, 1.0 / self.config.accumulate)

    # What is kept.

    def write_checkpoint(self, last: bool) -> None:
        kosmos2.save(self.config.output / "checkpoint", self.network, self.vocabulary)

    def fingerprint(self) -> str:
        """Of the data, and of the checkpoint that was begun with: with others it would be another run."""
        if self.start is None:
            return self.material.identity
        digests = file_digests(sorted(self.start.glob("*.safetensors")))
        return digest_of({"data": self.material.identity, **{path.name: found for path, found in digests.items()}})

    def __str__(self) -> str:
        """Data, mixture and size in one line."""
        return f"{self.material}; {self.mixture}; {kosmos2.parameters(self.network.geometry):,} parameters"


def start_of(config: GritConfig) -> Path | None:
    """The folder of the checkpoint that is begun with. Raises CheckpointNotFoundError, or ConfigError where it is not
    said what to begin with."""
    if config.from_scratch == (config.init is not None):
        raise ConfigError("say what to begin with: either --init CHECKPOINT or --from-scratch")
    return None if config.init is None else find_checkpoint(config.init)


def new_vocabulary(texts: Iterable[str]) -> Vocabulary:
    """The commonest words of texts whole, and those of the templates; letters for the rest."""
    counts = Counter(word for text in texts for word in text.replace(",", " ,").replace(".", " .").split())
    asked = [word for template in TEMPLATES for part in template for word in part.split()]
    words = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_WORDS]]
    return Vocabulary(build_small_tokenizer([*dict.fromkeys([*asked, "An", "image", "of", *words])], LATENTS), LATENTS)
