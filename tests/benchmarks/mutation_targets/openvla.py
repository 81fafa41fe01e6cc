"""The files of an OpenVLA checkpoint, as it is published and as finetuning leaves it: loaded as every command loads
them, then one action."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from file_mutations import Edit, Reading, Target, digest
from mutation_edits import bytes_edits, json_edits, line_edits
from tokenizers import Tokenizer
from torch import Tensor

import magma_policy
from magma_contracts.errors import ConfigError
from magma_policy.embodiments import action_normalization, robots
from magma_policy.errors import CheckpointError, InstructionError, NotFiniteError, ObservationError
from magma_policy.families.interface import ActRequest
from magma_policy.families.openvla import published_files
from magma_policy.families.openvla.config import OpenVLAConfig, TowerConfig
from magma_policy.families.openvla.initialise import PAD, build_small_tokenizer, random_state
from magma_policy.families.openvla.tokenizer import OpenVLATokenizer
from magma_policy.families.trial_robot import trial_robot
from magma_policy.inference.action_tokens import NUM_BINS
from magma_policy.inference.llama_config import TextConfig

torch.set_num_threads(1)

ERRORS = (ConfigError, CheckpointError, NotFiniteError, ObservationError, InstructionError)
TEXT_EDITS: tuple[Edit, ...] = (json_edits, json_edits, line_edits, bytes_edits)
SIDE, PADDING = 28, 64
WORDS = "Put the Möhre on the plate"
PICTURE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def _tokenizer() -> OpenVLATokenizer:
    """The small one without the entries that only fill Llama-2's vocabulary up, so that every mutant is quick."""
    data = json.loads(build_small_tokenizer().tokenizer.to_str())
    vocab = data["model"]["vocab"]
    words = [word for word in sorted(vocab, key=vocab.__getitem__) if not word.startswith("<unused")]
    words += [f"<action_{place}>" for place in range(NUM_BINS)]
    data["model"]["vocab"] = {word: id_ for id_, word in enumerate(words)}
    next(token for token in data["added_tokens"] if token["content"] == PAD)["id"] = len(words)
    return OpenVLATokenizer(Tokenizer.from_str(json.dumps(data)))


@functools.cache
def _small() -> tuple[OpenVLAConfig, OpenVLATokenizer, dict[str, Tensor]]:
    words = _tokenizer()
    towers = (TowerConfig("dinov2", 64, 2, 1, 32, 14, SIDE, registers=1), TowerConfig("siglip", 64, 2, 1, 32, 14, SIDE))
    text = TextConfig(16, 24, 1, 2, 1, words.base_vocab_size + PADDING, max_position_embeddings=512)
    config = OpenVLAConfig("small", towers, text, words.base_vocab_size, "pure")
    return config, words, random_state(config, 0)


def _checkpoint(name: str) -> Callable[[Path], Path]:
    def seed(folder: Path) -> Path:
        config, words, state = _small()
        home = folder / "small"
        robot = trial_robot(config.name, SIDE, 0.2, 0.02)
        bounds = {robot.spec.statistics_key: robot.statistics}
        published_files.write(home, state, config, words, bounds, torch.float32)
        robots.write(robot, home)
        if name == published_files.DATASET_STATISTICS:
            action_normalization.save(bounds, home / name)
        return home / name

    return seed


def _read(path: Path) -> Reading:
    policy = magma_policy.load(path.parent, device="cpu")
    (result,) = policy.act_batch([ActRequest(PICTURE, WORDS, None, policy.new_session())])
    if not np.isfinite(result.deltas).all():
        raise AssertionError(f"an action that is not finite: {result.deltas}")
    acted = digest(result.ids.tobytes(), result.deltas.tobytes())
    content = (policy.spec, policy.robot().statistics, policy.tokenizer.encode(WORDS), acted)
    return Reading(content, policy.identity)


TARGETS = [
    Target("openvla-config", _checkpoint(published_files.CONFIG), _read, ERRORS, TEXT_EDITS),
    Target("openvla-preprocessor", _checkpoint(published_files.PREPROCESSOR), _read, ERRORS, TEXT_EDITS),
    Target("openvla-tokenizer", _checkpoint(published_files.TOKENIZER), _read, ERRORS, TEXT_EDITS),
    Target("openvla-statistics", _checkpoint(published_files.DATASET_STATISTICS), _read, ERRORS, TEXT_EDITS),
]
