"""Numbers of the original modelling code, kept as data, against this package's.

`golden/openvla.json` holds what the OpenVLAForActionPrediction and PrismaticProcessor of github.com/openvla/openvla
(transformers 4.40.1, timm 0.9.16, torchvision's transforms, float32) gave for weights and pictures of a recipe: the
fused model of openvla-7b with its rounded colours, one that crops, and the single tower, border and Vicuna prompt of
the first release. Drift of any part shows here.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from magma_policy.embodiments import action_normalization
from magma_policy.families.openvla import checkpoint, published_files
from magma_policy.families.openvla.model import IMAGE_ID, OpenVLA
from magma_policy.families.openvla.prompt import robot_prompt
from magma_policy.families.openvla.vision import unused_tensors
from magma_policy.files.weight_files import WEIGHTS
from magma_policy.inference.action_decoding import decode_action_ids
from magma_policy.inference.action_tokens import ActionTokens
from tests.unit.policy.families.openvla.conftest import whole_logits
from tests.unit.policy.recipe import picture, recipe

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "openvla.json").read_text())
TOWERS = {
    "dinosiglip-vit-so-224px": (
        {"patch": 14, "width": 64, "depth": 3, "inner": 128},
        {"patch": 14, "width": 128, "depth": 4, "inner": 192},
    ),
    "siglip-vit-so400m": ({"patch": 14, "width": 128, "depth": 4, "inner": 192},),
}


def weights(name, shape):
    """The recipe, with louder action ids: the original generates freely, and would say others."""
    x = np.ascontiguousarray(recipe(name, shape), dtype=np.float32)
    if "lm_head" in name:
        x[31744:32000] *= 4
    return torch.from_numpy(x)


@pytest.fixture(scope="module", params=GOLDEN["models"], ids=lambda model: model["name"])
def model(request, tmp_path_factory, small_tokenizer):
    """One of the models, read from files."""
    case = request.param
    directory = tmp_path_factory.mktemp("golden")
    (directory / "config.json").write_text(json.dumps(case["config"]))
    (directory / "preprocessor_config.json").write_text(json.dumps(case["preprocessor"]))
    small_tokenizer.tokenizer.save(str(directory / "tokenizer.json"))
    towers, backbone = TOWERS[case["config"].get("vision_backbone_id", "siglip-vit-so400m")], "vision_backbone."
    hints = {}
    for prefix, tower in zip(("featurizer.", "fused_featurizer."), towers, strict=False):
        home, width = backbone + prefix, tower["width"]
        hints[f"{home}patch_embed.proj.weight"] = (width, 3, tower["patch"], tower["patch"])
        hints[f"{home}blocks.0.mlp.fc1.weight"] = (tower["inner"], width)
        hints[f"{home}reg_token"] = (1, 4, width)
        hints |= {f"{home}blocks.{number}.norm1.bias": (width,) for number in range(tower["depth"])}
    config = published_files.read(directory, hints).config
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in OpenVLA(config).state_dict().items()}
    shapes |= unused_tensors(config.towers)
    assert len(shapes) == case["tensors"]
    save_file({name: weights(name, shape) for name, shape in shapes.items()}, str(directory / WEIGHTS))
    found = published_files.read(directory, shapes)
    bounds = action_normalization.load(published_files.statistics_file(directory))
    return case, found, checkpoint.load_model(directory, found.config, torch.device("cpu"), None), bounds


# Another processor, or another version of its linear algebra, adds up float32 numbers in another order: features of up
# to 26 then differ by some 1e-5, and logits of up to 5 by some 1e-4. What is chosen from them stays exactly the same.
FEATURES = {"rel": 1e-5, "abs": 1e-4}
LOGITS = {"rel": 1e-4, "abs": 1e-3}
NORM = {"rel": 1e-5}


@torch.inference_mode()
def test_numbers_of_the_original(model):
    case, found, network, bounds = model
    for one in case["cases"]:
        pixels = found.images.pixels(picture(one["seed"], *one["size"]))
        assert pixels.flatten()[::997].numpy() == pytest.approx(np.array(one["pixels"]), abs=1e-6)
        begin, *rest = found.tokenizer.encode(robot_prompt(one["instruction"], found.config.prompt))
        assert [len(rest) + 1, rest[-1]] == [one["ids"], 29871]
        features = network.vision_backbone(pixels[None])
        assert features.flatten()[::211].numpy() == pytest.approx(np.array(one["features"]), **FEATURES)
        logits = whole_logits(network, torch.tensor([[begin, *rest]]), pixels[None])[0]
        assert logits[-1, ::2003].numpy() == pytest.approx(np.array(one["last_logits"]), **LOGITS)
        assert float(logits.double().norm()) == pytest.approx(one["norm"], **NORM)
        prompt = torch.tensor([[begin, IMAGE_ID, *rest]])
        ids = decode_action_ids(network, network.prefill(prompt, network.encode_image(pixels[None])))[0]
        assert ids.tolist() == one["generated"]
        statistics = action_normalization.select(bounds, one["key"])
        actions = statistics.unnormalise(ActionTokens(found.config.base_vocab_size).decode(ids.numpy()))
        assert actions.tolist() == one["action"]
