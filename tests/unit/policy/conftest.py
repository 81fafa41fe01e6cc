"""Small models and checkpoints for the policy tests."""

import dataclasses

import pytest
import torch

from magma_policy import checkpoint
from magma_policy.config import (
    ActionSpec,
    CameraCalibration,
    ImageConfig,
    MagmaConfig,
    TextConfig,
    TokenConfig,
    VisionConfig,
    magma_tiny_config,
)
from magma_policy.model import Magma
from magma_policy.robots import Robot
from magma_policy.statistics import ActionStatistics
from magma_policy.tokenizer import build_small_tokenizer

torch.set_num_threads(1)

# A camera 0.8 m above the table at x = 0.5, looking straight down; picture up is the robot's forward direction.
OVERHEAD = CameraCalibration(
    intrinsics=((150.0, 0.0, 64.0), (0.0, 150.0, 64.0), (0.0, 0.0, 1.0)),
    extrinsics=((0.0, -1.0, 0.0, 0.0), (-1.0, 0.0, 0.0, 0.5), (0.0, 0.0, -1.0, 0.8), (0.0, 0.0, 0.0, 1.0)),
    image_height=128,
    image_width=128,
    plane_height_m=0.02,
)
STATISTICS = ActionStatistics((-0.05,) * 6 + (0.0,), (0.05,) * 6 + (1.0,), (True,) * 6 + (False,))


@pytest.fixture(scope="session")
def overhead():
    return OVERHEAD


@pytest.fixture(scope="session")
def plain_config():
    """Plain Magma, very small: four 64 px tiles at most, no additions."""
    tokens = TokenConfig.magma_layout(768)
    return MagmaConfig(
        name="plain",
        vision=VisionConfig(depths=(1, 1, 2, 1), dims=(8, 12, 16, 24)),
        image=ImageConfig(base_size=64, max_num_crops=4),
        text=TextConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=tokens.total_size,
            max_position_embeddings=512,
        ),
        tokens=tokens,
    )


@pytest.fixture(scope="session")
def plain_model(plain_config):
    torch.manual_seed(0)
    return Magma(plain_config).eval().requires_grad_(False)


def random_tiny():
    """A randomly initialised magma-tiny, its language model narrowed for speed."""
    config = magma_tiny_config("table_plane")
    text = dataclasses.replace(config.text, hidden_size=48, intermediate_size=64, num_hidden_layers=2)
    config = dataclasses.replace(config, text=text)
    torch.manual_seed(1)
    return Magma(config).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def tiny_model():
    return random_tiny()


def spec_of(config):
    return ActionSpec(
        policy=config.name,
        horizon=1,
        step_period_s=0.2,
        frame="base",
        rotation="axis_angle",
        gripper="absolute_open_1",
        statistics_key="tabletop",
        camera="third_person",
        image_height=128,
        image_width=128,
        proprioception=config.proprioception,
    )


@pytest.fixture
def tiny_checkpoint(tmp_path, tiny_model):
    """Directory of a saved random magma-tiny."""
    config = tiny_model.config
    tokenizer = build_small_tokenizer(config.tokens)
    state = tiny_model.state_dict()
    robot = Robot(spec_of(config), STATISTICS, OVERHEAD)
    checkpoint.save(tmp_path / "tiny", state, config, tokenizer, {"": robot}, torch.float32)
    return tmp_path / "tiny"
