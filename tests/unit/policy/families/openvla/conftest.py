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
from magma_policy.families.openvla.config import TowerConfig
from magma_policy.families.openvla.initialise import build_small_tokenizer, openvla_small_config, random_state
from magma_policy.families.openvla.policy import Policy

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
