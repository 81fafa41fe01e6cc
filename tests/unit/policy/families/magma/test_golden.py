"""Numbers of the original modelling code, kept as data, against this package's.

`golden/plain_magma.json` holds what the MagmaForCausalLM and MagmaImageProcessor of microsoft/Magma (transformers 4.49,
timm's ConvNeXt, float32) gave for weights, pictures and ids that follow the recipes below: all eight grids, and a batch
with several pictures, none and one. Drift of any part shows here.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from magma_policy.families.interface import GenerationSettings
from magma_policy.families.magma.config import ImageConfig, MagmaConfig, TokenConfig, VisionConfig
from magma_policy.families.magma.model import Magma
from magma_policy.families.magma.model_inputs import ModelInputs
from magma_policy.families.magma.tiling import tile_image
from magma_policy.inference.generation import generate_ids
from magma_policy.inference.llama_config import TextConfig
from magma_policy.inference.static_decoder import StaticDecoder, StaticDecoders
from tests.unit.policy.recipe import picture, recipe

CASES = json.loads((Path(__file__).parents[2] / "golden" / "plain_magma.json").read_text())
BASE = 768


def words(seed, count):
    return np.random.RandomState(seed).randint(0, BASE - 256, count).tolist()


@pytest.fixture(scope="module")
def model():
    tokens = TokenConfig.magma_layout(BASE)
    config = MagmaConfig(
        name="golden",
        vision=VisionConfig(depths=(1, 1, 2, 1), dims=(8, 12, 16, 24)),
        image=ImageConfig(base_size=64, max_num_crops=4),
        text=TextConfig(32, 48, 2, 4, 2, vocab_size=tokens.total_size, max_position_embeddings=512),
        tokens=tokens,
    )
    built = Magma(config).eval().requires_grad_(False)
    shapes = {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}
    state = {name: torch.from_numpy(np.asarray(recipe(name, s), dtype=np.float32)) for name, s in shapes.items()}
    built.load_state_dict(state)
    return built


def inputs_of(case, config):
    ids, tiles, grids = [], [], []
    for row in case["rows"]:
        line = [BASE, BASE, *words(row["seed"], 5)]
        mine, own_grids = [torch.zeros(0, 3, 64, 64)], []
        for number, (width, height) in enumerate(row["pictures"]):
            line += [config.tokens.image, *words(100 + 10 * row["seed"] + number, 2)]
            part, grid = tile_image(picture(10 * row["seed"] + number, width, height), config.image)
            mine.append(part)
            own_grids.append(grid)
        ids.append([*line, *words(1000 + row["seed"], 4)])
        tiles.append(torch.cat(mine))
        grids.append(torch.tensor(own_grids, dtype=torch.int64).reshape(-1, 2))
    longest = max(map(len, ids))
    padded = torch.tensor([[config.tokens.pad] * (longest - len(row)) + row for row in ids])
    pad = torch.nn.utils.rnn.pad_sequence
    sizes = pad(grids, batch_first=True)
    return ModelInputs.of(padded, pad(tiles, batch_first=True), sizes, padded != config.tokens.pad, config), tiles


@pytest.mark.parametrize("case", CASES, ids=lambda case: "+".join(str(len(r["pictures"])) for r in case["rows"]))
def test_numbers_of_the_original(model, case):
    inputs, tiles = inputs_of(case, model.config)
    assert inputs.image_sizes.tolist() == case["grids"]
    for part, expected in zip([t for t in tiles if len(t)], case["pixels"], strict=True):
        assert part.flatten()[::4999].numpy() == pytest.approx(expected, abs=1e-5)
    with torch.inference_mode():
        logits = model(inputs.input_ids, inputs.pixel_values, inputs.image_sizes, inputs.attention_mask)
    assert logits.shape[1] == case["tokens"]
    assert logits[:, -1, ::97].numpy() == pytest.approx(np.array(case["last_logits"]), abs=1e-4)
    assert logits[:, -1].norm(dim=-1).numpy() == pytest.approx(case["last_norm"], abs=1e-3)
    assert logits[:, -6:].norm(dim=-1).numpy() == pytest.approx(np.array(case["last_row_norms"]), abs=1e-3)


@pytest.mark.parametrize("case", CASES[-2:], ids=["one", "batch"])
def test_texts_of_the_original(model, case):
    inputs, _ = inputs_of(case, model.config)
    with torch.inference_mode():
        prefix = model.read_inputs(inputs)
    steps = list(generate_ids(model, prefix, GenerationSettings(9), (), StaticDecoders(model)))
    assert np.array(steps).T.tolist() == case["generated"]


def test_actions_are_what_reading_the_whole_sequence_again_gives(model):
    """Constrained greedy ids by the published forward alone, without any cache."""
    inputs, _ = inputs_of(CASES[-1], model.config)
    first, last = model.first_action_id, BASE
    expected = []
    for row in range(len(inputs.input_ids)):
        ids = inputs.input_ids[row][inputs.attention_mask[row]][None]
        chosen = []
        for _ in range(7):
            with torch.inference_mode():
                logits = model(ids, inputs.pixel_values[row : row + 1], inputs.image_sizes[row : row + 1])
            chosen.append(int(logits[0, -1, first:last].argmax()) + first)
            ids = torch.cat([ids, torch.tensor([[chosen[-1]]])], dim=1)
        expected.append(chosen)
    with torch.inference_mode():
        prefix = model.read_inputs(inputs)
    decoder = StaticDecoder(model, len(expected), 128)
    decoder.load(prefix)
    assert decoder.action_ids().tolist() == expected
