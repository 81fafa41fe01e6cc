"""Checkpoints of KOSMOS-2: read whole, or refused in one sentence."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessorPil, Kosmos2ForConditionalGeneration

from magma_contracts.errors import ConfigError
from magma_policy.errors import CheckpointError
from magma_policy.families.kosmos2 import network
from magma_policy.families.kosmos2.images import MEAN, STD, pixels_of
from magma_policy.families.kosmos2.model import Kosmos2
from magma_policy.families.kosmos2.network import Geometry


@pytest.fixture(scope="module")
def saved(random_network, words, tmp_path_factory):
    directory = tmp_path_factory.mktemp("kosmos")
    network.save(directory, random_network, words, torch.float32)
    return directory


@pytest.fixture
def copy(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "copy")
    return tmp_path / "copy"


def change_config(directory, section=None, **values):
    path = directory / "config.json"
    found = json.loads(path.read_text())
    (found[section] if section else found).update(values)
    path.write_text(json.dumps(found))


def change_weights(directory, change):
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors")


def test_what_is_saved_loads_alike(saved, model, pictures):
    again = Kosmos2.load(saved)
    assert again.network.geometry == model.network.geometry
    for image in pictures:
        assert (
            again.describe(image) == model.describe(image) or again.describe(image).text == model.describe(image).text
        )
        np.testing.assert_allclose(again.features(image), model.features(image), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("own", [{"between_cells": True}, {"names_weighed": 8}])
def test_a_checkpoint_says_how_it_is_to_be_asked(random_network, words, tmp_path, own):
    geometry = dataclasses.replace(random_network.geometry, **own)
    fine = network.build(geometry)
    fine.model.load_state_dict(random_network.model.state_dict())
    network.save(tmp_path / "fine", fine, words, torch.float32)
    assert network.load(tmp_path / "fine", torch.device("cpu"), None)[0].geometry == geometry
    theirs = Kosmos2ForConditionalGeneration.from_pretrained(tmp_path / "fine").config
    assert {name: getattr(theirs, name) for name in own} == own


def test_the_library_reads_it_too(saved, random_network):
    theirs = Kosmos2ForConditionalGeneration.from_pretrained(saved)
    for name, value in random_network.model.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], value), name


def test_the_head_may_stand_in_the_file_once_more(copy, pictures):
    expected = Kosmos2.load(copy).describe(pictures[0]).text

    def double(tensors):
        tensors[network.HEAD] = tensors[network.EMBEDDING].clone()

    change_weights(copy, double)
    assert Kosmos2.load(copy).describe(pictures[0]).text == expected
    change_weights(copy, lambda tensors: tensors[network.HEAD].add_(1.0))
    with pytest.raises(CheckpointError, match="one table"):
        Kosmos2.load(copy)


def test_published_sizes():
    """The model that microsoft/kosmos-2-patch14-224 holds: 1,664,485,376 numbers."""
    published = Geometry(224, 14, 1024, 4096, 24, 16, 2048, 8192, 24, 32, 65037, 2048, 64)
    assert network.parameters(published) == 1_664_485_376


def test_pictures_are_prepared_as_the_library_does(pictures):
    theirs = CLIPImageProcessorPil(
        size={"height": 224, "width": 224}, do_center_crop=False, image_mean=MEAN, image_std=STD, resample=3
    )
    for image in pictures:
        expected = theirs(image, return_tensors="np")["pixel_values"][0]
        np.testing.assert_allclose(pixels_of(image, 224), expected, atol=2e-6)


@pytest.mark.parametrize(
    ("section", "values", "told"),
    [
        (None, {"model_type": "llava"}, "model_type is 'llava'"),
        (None, {"auto_map": {}}, "never run"),
        (None, {"latent_query_num": 0}, "latents"),
        (None, {"between_cells": 1}, "between_cells must be true or false"),
        (None, {"names_weighed": 0}, "names_weighed must be a whole number from 1"),
        (None, {"names_weighed": True}, "names_weighed must be a whole number from 1"),
        (None, {"names_weighed": 65}, "at most 64 names are weighed"),
        (None, {"latent_query_num": "64"}, "latents"),
        ("text_config", {"attention_heads": 5}, "5 heads"),
        ("text_config", {"activation_function": "relu"}, "activation_function"),
        ("text_config", {"layers": 3}, "describes 3 text layers, and the weights hold 2"),
        ("text_config", {"layers": 1_000_000}, "describes 1000000 text layers"),
        ("vision_config", {"num_hidden_layers": 1_000_000}, "describes 1000000 vision layers"),
        ("text_config", {"max_position_embeddings": 1_000_000}, "positions are more than"),
        ("text_config", {"vocab_size": 12}, "12"),
        ("vision_config", {"patch_size": 5}, "patches of 5"),
        ("vision_config", {"hidden_size": 10**9}, "1,000,000"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(copy, section, values, told):
    change_config(copy, section, **values)
    with pytest.raises((ConfigError, CheckpointError), match=told):
        network.load(copy, torch.device("cpu"), None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.pop("text_model.model.layer_norm.weight"), "missing: text_model.model.layer_norm.weight"),
        (lambda t: t.update(extra=torch.zeros(1)), "unexpected: extra"),
        (lambda t: t.update({"image_to_text_projection.latent_query": torch.zeros(2, 2)}), "the model needs"),
        (lambda t: t["text_model.model.layer_norm.bias"].fill_(float("inf")), "not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(copy, change, told):
    change_weights(copy, change)
    with pytest.raises(CheckpointError, match=told):
        network.load(copy, torch.device("cpu"), None)


def test_an_overflow_of_the_type_asked_for_is_refused(copy):
    change_weights(copy, lambda t: t["text_model.model.layer_norm.bias"].fill_(1e6))
    with pytest.raises(CheckpointError, match="float16"):
        network.load(copy, torch.device("cpu"), torch.float16)


def test_folders_that_are_no_checkpoint_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        Kosmos2.load(tmp_path / "nothing")
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(CheckpointError, match="pickled"):
        Kosmos2.load(tmp_path)
