"""A small OpenVLA with random weights, written as openvla/openvla-7b is published."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from magma_policy.embodiments import robots
from magma_policy.embodiments.action_normalization import ActionStatistics
from magma_policy.families.openvla import published_files
from magma_policy.families.openvla.config import OpenVLAConfig, TowerConfig, dinov2_large, siglip_so400m
from magma_policy.families.openvla.initialise import build_small_tokenizer, openvla_small_config, random_state
from magma_policy.families.openvla.model import IMAGE_ID
from magma_policy.families.openvla.policy import Policy
from magma_policy.inference.llama_config import TextConfig

SIDE = 56
STATISTICS = {
    "bridge_orig": ActionStatistics((-0.02,) * 6 + (0.0,), (0.03,) * 6 + (1.0,), (True,) * 6 + (False,)),
    "lab": ActionStatistics((-0.5,) * 7, (0.5,) * 7, (True,) * 7),
}


def frame(seed, width=640, height=480):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def change_json(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def openvla_7b_config():
    """openvla/openvla-7b: DINOv2 ViT-L/14 with registers and SigLIP SO400M/14 at 224 px, Llama-2-7B.

    Llama's entries that the published config.json leaves out have transformers' defaults, also the eps of its norms.
    """
    return OpenVLAConfig(
        name="openvla-7b",
        towers=(dinov2_large(224), siglip_so400m(224)),
        text=TextConfig(
            hidden_size=4096,
            intermediate_size=11008,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=32,
            vocab_size=32064,
            rms_norm_eps=1e-6,
            rope_theta=10000.0,
            max_position_embeddings=2048,
        ),
        base_vocab_size=32000,
        prompt="pure",
    )


def whole_logits(model, ids, pixels):
    """Logits (B, patches + T, vocabulary) of whole prompts (B, T), which begin with the begin of text, as the published
    model's `forward` gives them."""
    place = torch.full_like(ids[:, :1], IMAGE_ID)
    ids = torch.cat([ids[:, :1], place, ids[:, 1:]], dim=1)
    merged, positions, visible = model.merge(ids, model.encode_image(pixels), None)
    return model.logits(model.read(merged, positions, visible)[0])


@pytest.fixture(scope="session")
def small_config():
    """Sixteen patches an image, so that an action takes a few milliseconds."""
    towers = (
        TowerConfig("dinov2", 64, 3, 1, 96, 14, SIDE, registers=4),
        TowerConfig("siglip", 128, 4, 2, 160, 14, SIDE),
    )
    return dataclasses.replace(openvla_small_config(), name="openvla-test", towers=towers)


@pytest.fixture(scope="session")
def small_tokenizer():
    return build_small_tokenizer()


@pytest.fixture(scope="session")
def written(tmp_path_factory, small_config, small_tokenizer):
    """The published files alone: no robot is named."""
    directory = tmp_path_factory.mktemp("openvla") / "openvla-test"
    state = random_state(small_config, 0)
    published_files.write(directory, state, small_config, small_tokenizer, STATISTICS, torch.float32, 4_000_000)
    return directory


@pytest.fixture
def directory(written, tmp_path):
    """A copy to damage."""
    return shutil.copytree(written, tmp_path / written.name)


@pytest.fixture(scope="session")
def policy(written):
    return Policy.load(written, "cpu", robot="widowx")


@pytest.fixture
def at_home(directory):
    """A copy with a robot of its own beside the published files."""
    shutil.copy(robots.PUBLISHED_DIRECTORY / "widowx" / robots.ACTION_SPEC, directory)
    return directory
