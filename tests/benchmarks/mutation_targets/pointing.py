"""The files of a KOSMOS-2 checkpoint: loaded as magma-ground loads them, then one box and a few words of a caption."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from file_mutations import Edit, Reading, Target
from mutation_edits import bytes_edits, json_edits, line_edits, safetensors_edits

from magma_contracts.errors import ConfigError
from magma_policy.errors import CheckpointError, NotFiniteError
from magma_policy.families.kosmos2 import network, vocabulary
from magma_policy.families.kosmos2.model import Kosmos2
from magma_policy_client.content import digest_of, file_digests

torch.set_num_threads(1)

ERRORS = (ConfigError, CheckpointError, NotFiniteError)
TEXT_EDITS: tuple[Edit, ...] = (json_edits, json_edits, line_edits, bytes_edits)
PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
BINS, LATENTS = 32, 4
WORDS = ("a", "carrot", "plate", "on", "the", "An", "image", "of")


@functools.cache
def _small() -> tuple[network.Network, vocabulary.Vocabulary]:
    words = vocabulary.Vocabulary(vocabulary.build_small_tokenizer(WORDS, LATENTS), LATENTS)
    torch.manual_seed(0)
    made = network.build(network.Geometry(16, 8, 8, 16, 1, 2, 8, 16, 1, 2, words.size, 160, LATENTS))
    return made, words


def _checkpoint(name: str) -> Callable[[Path], Path]:
    def seed(folder: Path) -> Path:
        network.save(folder / "small", *_small(), torch.float32)
        return folder / "small" / name

    return seed


def _read(path: Path) -> Reading:
    model = Kosmos2.load(path.parent, "cpu")
    (found,) = model.ground(PICTURE, ["a carrot"])
    # The commands show no identity of such a checkpoint: it is told apart by its files, as the policies' are.
    digests = file_digests(sorted(file for file in path.parent.iterdir() if file.is_file()))
    return Reading(repr(found), digest_of({file.name: value for file, value in digests.items()}))


TARGETS = [
    Target("pointing-config", _checkpoint("config.json"), _read, ERRORS, TEXT_EDITS),
    Target("pointing-tokenizer", _checkpoint("tokenizer.json"), _read, ERRORS, TEXT_EDITS),
    Target("pointing-weights", _checkpoint("model.safetensors"), _read, ERRORS, (safetensors_edits, bytes_edits)),
]
