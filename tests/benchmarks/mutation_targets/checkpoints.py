"""The files of a checkpoint, in both layouts: loaded as every command loads them, then one action and a few words."""

from __future__ import annotations

import dataclasses
import functools
import json
import random
import unittest.mock
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from file_mutations import Edit, Reading, Target, digest
from mutation_edits import bytes_edits, json_edits, line_edits, safetensors_edits
from safetensors.torch import save_file

import magma_policy
from magma_contracts.errors import ConfigError
from magma_policy.embodiments import robots
from magma_policy.embodiments.action_normalization import ActionStatistics
from magma_policy.embodiments.action_spec import ActionSpec
from magma_policy.embodiments.camera import CameraCalibration
from magma_policy.errors import CheckpointError, GenerationError, InstructionError, NotFiniteError, ObservationError
from magma_policy.families.interface import GenerationSettings, Proprioception
from magma_policy.families.magma import checkpoint, published_files
from magma_policy.families.magma.config import (
    ImageConfig,
    MagmaConfig,
    StateConfig,
    TokenConfig,
    VisionConfig,
    magma_tiny_config,
)
from magma_policy.families.magma.model import Magma
from magma_policy.families.magma.policy import Policy
from magma_policy.families.magma.tokenizer import MagmaTokenizer, build_small_tokenizer
from magma_policy.files import weight_files
from magma_policy.inference.llama_config import TextConfig

torch.set_num_threads(1)

ERRORS = (ConfigError, CheckpointError, NotFiniteError, ObservationError, InstructionError, GenerationError)
TEXT_EDITS: tuple[Edit, ...] = (json_edits, json_edits, line_edits, bytes_edits)
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
DOWN = np.array([1.0, 0.0, 0.0, 0.0])
HOME = Proprioception(np.array([0.45, 0.0, 0.2]), DOWN, np.array([0.45, 0.0, 0.2]), DOWN, 1.0, 1.0)
BOUNDS = ActionStatistics((-0.05,) * 6 + (0.0,), (0.05,) * 6 + (1.0,), (True,) * 6 + (False,))
SPEC = ActionSpec("small", 1, 0.2, "base", "axis_angle", "absolute_open_1", "mine", "third_person", 64, 64, False)
OVERHEAD = CameraCalibration(
    intrinsics=((75.0, 0.0, 32.0), (0.0, 75.0, 32.0), (0.0, 0.0, 1.0)),
    extrinsics=((0.0, -1.0, 0.0, 0.0), (-1.0, 0.0, 0.0, 0.5), (0.0, 0.0, -1.0, 0.8), (0.0, 0.0, 0.0, 1.0)),
    image_height=64,
    image_width=64,
    plane_height_m=0.02,
)


def _text(tokens: TokenConfig) -> TextConfig:
    return TextConfig(16, 24, 1, 2, 1, vocab_size=tokens.total_size, max_position_embeddings=512)


@functools.cache
def _plain() -> tuple[Magma, MagmaTokenizer]:
    """As small as a plain Magma can be, so that every mutant is quick."""
    tokens = TokenConfig.magma_layout(600)
    vision = VisionConfig(depths=(1, 1), dims=(4, 6))
    torch.manual_seed(0)
    model = Magma(MagmaConfig("small", vision, ImageConfig(32, 2), _text(tokens), tokens))
    return model, build_small_tokenizer(tokens)


@functools.cache
def _pointing() -> tuple[Magma, MagmaTokenizer]:
    """The same with marks, state and a camera."""
    tokens = TokenConfig.magma_layout(600)
    config = dataclasses.replace(
        magma_tiny_config("table_plane"),
        vision=VisionConfig(depths=(1, 1, 1, 1), dims=(4, 6, 8, 10)),
        image=ImageConfig(64, 1),
        text=_text(tokens),
        tokens=tokens,
        state=StateConfig(hidden_size=8, num_blocks=1, fourier_bands=2),
    )
    torch.manual_seed(0)
    return Magma(config), build_small_tokenizer(tokens)


def _published(name: str) -> Callable[[Path], Path]:
    def seed(folder: Path) -> Path:
        model, tokenizer = _plain()
        home = folder / "small"
        published_files.write(home, model.state_dict(), model.config, tokenizer, torch.float32, shard_bytes=20_000)
        robots.write(robots.Robot(SPEC, BOUNDS), home)
        token = json.loads((home / "tokenizer.json").read_text())["added_tokens"][-1]
        (home / "tokenizer_config.json").write_text(
            json.dumps({"added_tokens_decoder": {str(token.pop("id")): token}, "model_max_length": 4096})
        )
        return home / name

    return seed


def _single(folder: Path) -> Path:
    model, tokenizer = _plain()
    home = folder / "small"
    published_files.write(home, model.state_dict(), model.config, tokenizer, torch.float32)
    robots.write(robots.Robot(SPEC, BOUNDS), home)
    for file in home.glob("*.safetensors*"):
        file.unlink()
    save_file(model.state_dict(), str(home / "model.safetensors"), {"format": "pt"})
    return home / "model.safetensors"


def _own(name: str) -> Callable[[Path], Path]:
    def seed(folder: Path) -> Path:
        model, tokenizer = _pointing()
        robot = robots.Robot(dataclasses.replace(SPEC, proprioception=True), BOUNDS, OVERHEAD)
        known = {"": robot, "second": robot}
        checkpoint.save(folder / "own", model.state_dict(), model.config, tokenizer, known, torch.float32)
        return folder / "own" / name

    return seed


def _in(levels: int) -> Callable[[Path], Reading]:
    """Reads the checkpoint so many folders above the damaged file.

    Three quarters of the time would go into building, again and again, the model of before and asking it the same.
    So a model of the same config, from the same bytes of weights, is built once, and what it does with the same
    tokenizer and robots is found out once; of one file in twenty all is done anew.
    """

    def read(path: Path) -> Reading:
        home = path.parents[levels]
        if zlib.crc32(path.read_bytes()) % 20 == 0:
            policy = magma_policy.load(home, device="cpu")
            return Reading(_does(policy), policy.identity)
        with unittest.mock.patch.object(checkpoint, "load_model", _built):
            policy = magma_policy.load(home, device="cpu")
        known = (policy.model.config, policy.stop_ids, sorted(policy.robots.items()))
        key = f"{id(policy.model)} {known} {policy.tokenizer.tokens} {policy.tokenizer.tokenizer.to_str()}"
        if key not in _done:
            _done[key] = _does(policy)
        return Reading(_done[key], policy.identity)

    return read


LOAD_MODEL = checkpoint.load_model
_models: dict[str, Magma] = {}
_done: dict[str, object] = {}


def _built(directory: Path, config: MagmaConfig, *options: Any) -> Magma:
    """`load_model`, but what is built of the same things as before is what was built before."""
    weights = digest(*(file.read_bytes() for file in weight_files.shards(directory)))
    key = f"{config} {weights} {options}"
    if key not in _models:
        _models[key] = LOAD_MODEL(directory, config, *options)
    return _models[key]


def _does(policy: Policy) -> object:
    content = [_acts(policy, name) for name in sorted(policy.robots)]
    answer = policy.chat("What is this?", [PICTURE], GenerationSettings(max_new_tokens=3))
    return content, answer.ids, answer.text, policy.stop_ids


def _acts(policy: Policy, robot: str) -> object:
    known = policy.robot(robot)
    session = policy.new_session(robot)
    side = (known.spec.image_height, known.spec.image_width)
    picture = PICTURE if side == (64, 64) else np.resize(PICTURE, (min(side[0], 512), min(side[1], 512), 3))
    state = HOME if known.spec.proprioception else None
    request = magma_policy.families.interface.ActRequest(picture, "put the carrot on the plate", state, session)
    (result,) = policy.act_batch([request])
    if not np.isfinite(result.deltas).all():
        raise AssertionError(f"an action that is not finite: {result.deltas}")
    return known.spec, known.statistics, known.camera, digest(result.ids.tobytes(), result.deltas.tobytes())


def _value_edits(data: bytes, rng: random.Random) -> bytes:
    """Numbers among the weights: NaN, infinity, the largest there are."""
    place = rng.randrange(len(data) // 8, len(data) // 4) * 4
    value = rng.choice((float("nan"), float("inf"), 3e38, -3e38, 1e-45, 0.0, rng.gauss(0, 1)))
    return data[:place] + np.float32(value).tobytes() + data[place + 4 :]


def _target(name: str, seed: Callable[[Path], Path], edits: tuple[Edit, ...] = TEXT_EDITS, levels: int = 0) -> Target:
    return Target(name, seed, _in(levels), ERRORS, edits)


TARGETS = [
    _target("published-config", _published("config.json")),
    _target("generation-config", _published("generation_config.json")),
    _target("preprocessor-config", _published("preprocessor_config.json")),
    _target("tokenizer", _published("tokenizer.json")),
    _target("tokenizer-config", _published("tokenizer_config.json")),
    _target("weight-index", _published("model.safetensors.index.json")),
    _target("weights", _single, (safetensors_edits, safetensors_edits, bytes_edits, _value_edits)),
    _target("config", _own("config.json")),
    _target("action-spec", _own("action_spec.json")),
    _target("statistics", _own("statistics.json")),
    _target("camera", _own("camera.json")),
    _target("further-robot", _own("robots/second/action_spec.json"), levels=2),
]
