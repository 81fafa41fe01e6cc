"""A very small KOSMOS-2 with random weights."""

import numpy as np
import pytest
import torch

from magma_policy.families.kosmos2 import network, vocabulary
from magma_policy.families.kosmos2.model import Kosmos2

LATENTS = 9
SENTENCES = (
    "the a carrot plate spoon block on left right of in yes no Is there image An It is Question: Answer: Describe this "
    "detail: ."
)
WORDS = SENTENCES.split(" ")


@pytest.fixture(scope="session")
def words():
    """The vocabulary of the small model."""
    return vocabulary.Vocabulary(vocabulary.build_small_tokenizer(WORDS, LATENTS), LATENTS)


def small_geometry(words):
    return network.Geometry(32, 8, 16, 32, 2, 2, 32, 48, 2, 4, words.size, 160, LATENTS)


@pytest.fixture(scope="session")
def random_network(words):
    torch.manual_seed(3)
    made = network.build(small_geometry(words))
    with torch.no_grad():
        # The library's start is so small that all answers are alike.
        for parameter in made.model.parameters():
            parameter.mul_(2.0)
    made.model.eval()
    return made


@pytest.fixture
def model(random_network, words):
    return Kosmos2(random_network, words)


@pytest.fixture(scope="session")
def pictures():
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, size, dtype=np.uint8) for size in ((48, 64, 3), (40, 40, 3), (30, 90, 3))]
