"""A small OpenVLA with random weights, in the published files: for trying everything but skill."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from torch import Tensor

from magma_policy.embodiments import robots
from magma_policy.families.openvla import published_files
from magma_policy.families.openvla.config import OpenVLAConfig, TowerConfig
from magma_policy.families.openvla.model import OpenVLA
from magma_policy.families.openvla.tokenizer import BEGIN, LLAMA2_ENTRIES, LLAMA2_SPACE_ID, SPACE, OpenVLATokenizer
from magma_policy.families.openvla.vision import unused_tensors
from magma_policy.families.trial_robot import trial_robot
from magma_policy.inference.llama_config import TextConfig

UNKNOWN, END, PAD = "<unk>", "</s>", "<PAD>"
# Of the random weights that the library does not draw itself.
SPREAD = 0.02


def openvla_small_config() -> OpenVLAConfig:
    """OpenVLA's parts at small size: two towers of images of 224 pixels, and Llama-2's vocabulary."""
    return OpenVLAConfig(
        name="openvla-small",
        towers=(
            TowerConfig("dinov2", 64, 3, 1, 128, 14, 224, registers=4),
            TowerConfig("siglip", 128, 3, 2, 192, 14, 224),
        ),
        text=TextConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            vocab_size=LLAMA2_ENTRIES + published_files.PADDING_DEFAULT,
            rms_norm_eps=1e-6,
            rope_theta=10000.0,
            max_position_embeddings=2048,
        ),
        base_vocab_size=LLAMA2_ENTRIES,
        prompt="pure",
    )


def build_small_tokenizer() -> OpenVLATokenizer:
    """A tokenizer laid out as Llama-2's, with its first 259 ids, its id of a space and its action ids, that knows no
    words: every character is a token, or its bytes are."""
    vocab = {UNKNOWN: 0, BEGIN: 1, END: 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    signs = [SPACE, *string.ascii_letters, *string.digits, *string.punctuation]
    vocab |= {sign: LLAMA2_SPACE_ID + place for place, sign in enumerate(signs)}
    taken = set(vocab.values())
    vocab |= {f"<unused_{id_}>": id_ for id_ in range(LLAMA2_ENTRIES) if id_ not in taken}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token=UNKNOWN, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in (UNKNOWN, BEGIN, END, PAD)]
    )
    return OpenVLATokenizer(tokenizer)


def random_state(config: OpenVLAConfig, seed: int) -> dict[str, Tensor]:
    """All published tensors of a model of these sizes, those that are not used too."""
    torch.manual_seed(seed)
    model = OpenVLA(config)
    for name, parameter in model.named_parameters():
        if name.endswith(("pos_embed", "cls_token", "reg_token")):
            torch.nn.init.normal_(parameter, std=SPREAD)
    return model.state_dict() | {
        name: SPREAD * torch.randn(shape) for name, shape in unused_tensors(config.towers).items()
    }


def write_random(
    directory: Path, seed: int, step_period_s: float, max_translation_m: float, shard_bytes: int
) -> tuple[str, int]:
    """Write a checkpoint whose motion is meaningless but within `max_translation_m` (m; of rotations too, in rad) per
    step of `step_period_s`; the model's name and how many parameters it has."""
    config = openvla_small_config()
    state = random_state(config, seed)
    robot = trial_robot(config.name, config.towers[0].image_size, step_period_s, max_translation_m)
    bounds = {robot.spec.statistics_key: robot.statistics}
    published_files.write(directory, state, config, build_small_tokenizer(), bounds, shard_bytes=shard_bytes)
    robots.write(robot, directory)
    return config.name, sum(tensor.numel() for tensor in state.values())
