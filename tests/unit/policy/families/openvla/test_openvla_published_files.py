"""The files of a published OpenVLA repository: read as they stand, or refused with the reason."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import magma_policy
from magma_contracts.errors import ConfigError
from magma_policy.embodiments import robots
from magma_policy.errors import CheckpointError
from magma_policy.families import registry
from magma_policy.families.openvla import published_files
from magma_policy.families.openvla.config import dinov2_large, siglip_so400m
from magma_policy.files import weight_files
from tests.unit.policy.families.openvla.conftest import change_json, frame, openvla_7b_config

POOL = "vision_backbone.fused_featurizer.attn_pool.latent"
SECOND = "vision_backbone.featurizer.blocks.1.attn.qkv.weight"


def change_shard_of(directory, name, change):
    index = json.loads((directory / weight_files.INDEX).read_text())
    path = directory / index["weight_map"][name]
    tensors = load_file(str(path))
    change(tensors)
    save_file(tensors, str(path))


def load(directory, **options):
    return magma_policy.load(directory, device="cpu", **{"robot": "widowx", **options})


def test_round_trip(written, small_config, policy):
    index = json.loads((written / weight_files.INDEX).read_text())
    assert len(set(index["weight_map"].values())) > 3 and POOL in index["weight_map"]
    assert registry.family_of(written) == "openvla"
    assert policy.model.config == small_config
    assert policy.identity == load(written).identity and len(policy.identity) == 32


def test_the_published_config_says_openvla_7b(tmp_path, small_tokenizer):
    """The few entries of the published file; all else are the defaults of the classes behind it."""
    config = {
        "_name_or_path": "openvla/openvla-7b", "model_type": "openvla",
        "auto_map": {"AutoConfig": "configuration_prismatic.OpenVLAConfig"},
        "vision_backbone_id": "dinosiglip-vit-so-224px", "llm_backbone_id": "llama2-7b-pure",
        "image_resize_strategy": "resize-naive", "use_fused_vision_backbone": True, "image_sizes": [224, 224],
        "timm_model_ids": ["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"],
        "pad_to_multiple_of": 64, "pad_token_id": 32000, "n_action_bins": 256,
        "text_config": {"model_type": "llama", "pad_token_id": 32000, "torch_dtype": "bfloat16", "vocab_size": 32064},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    small_tokenizer.tokenizer.save(str(tmp_path / "tokenizer.json"))
    images = {"use_fused_vision_backbone": True, "input_sizes": [[3, 224, 224]] * 2, "means": [[0.5] * 3] * 2}
    images |= {"stds": [[0.5] * 3] * 2, "interpolations": ["bicubic"] * 2, "image_resize_strategy": "resize-naive"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(images))
    shapes = {f"{name}patch_embed.proj.weight": (width, 3, 14, 14) for name, width in (
        ("vision_backbone.featurizer.", 1024), ("vision_backbone.fused_featurizer.", 1152))}  # fmt: skip
    assert published_files.read(tmp_path, shapes).config == openvla_7b_config()
    # The first release, one tower and Vicuna, is what the classes take for entries that are left out.
    for name in ("vision_backbone_id", "llm_backbone_id", "use_fused_vision_backbone", "image_sizes"):
        del config[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text("{}")
    found = published_files.read(tmp_path, {"vision_backbone.featurizer.patch_embed.proj.weight": (1152, 3, 14, 14)})
    assert found.config.towers == (siglip_so400m(224),) and found.config.prompt == "vicuna"
    assert found.images.letterbox == (127, 127, 127)
    assert dinov2_large(224).heads == 16


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(n_action_bins=128), "n_action_bins is 128"),
        (lambda c: c.update(vision_backbone_id="clip-vit-l"), "vision_backbone_id 'clip-vit-l' is none of"),
        (lambda c: c.update(llm_backbone_id="phi-2-3b"), "llm_backbone_id 'phi-2-3b' is none of"),
        (lambda c: c.update(use_fused_vision_backbone=False), "use_fused_vision_backbone contradicts"),
        (lambda c: c.update(timm_override_act_layers=[None, "quick_gelu"]), "only the exact GELU is known"),
        (lambda c: c.update(image_sizes=[56]), "image_sizes must have 2 entries"),
        (lambda c: c.update(image_sizes=[56, 70]), "fused ones need as many each"),
        (lambda c: c.update(pad_to_multiple_of=0), "pad_to_multiple_of must be a positive integer"),
        (lambda c: c.update(pad_to_multiple_of=128), "makes a vocabulary of 31936"),
        (lambda c: c["text_config"].pop("vocab_size"), "text_config.vocab_size must be a positive integer, got None"),
        (lambda c: c["text_config"].update(model_type="mistral"), "'mistral' is not 'llama'"),
        (lambda c: c["text_config"].update(rope_scaling={"type": "linear", "factor": 2}), "not of the default type"),
        (
            lambda c: c["text_config"].update(max_position_embeddings=64),
            "leave no room for 16 patches.*at least 87 are",
        ),
        (lambda c: c.update(text_config=7), "text_config must be an object"),
    ],
)
def test_a_config_that_asks_for_something_else_is_refused_with_the_entry(directory, change, said):
    change_json(directory / "config.json", change)
    with pytest.raises(ConfigError, match=rf"config\.json: .*{said}") as caught:
        load(directory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (SECOND, lambda t: t.pop(SECOND), "missing: vision_backbone.featurizer.blocks.1.attn.qkv.weight"),
        (POOL, lambda t: t.pop(POOL), "missing: vision_backbone.fused_featurizer.attn_pool.latent"),
        (POOL, lambda t: t.update({POOL: torch.zeros(1, 2, 128)}), r"attn_pool.latent is \(1, 2, 128\)"),
        (POOL, lambda t: t.update({"another.weight": torch.zeros(1)}), "unexpected: another.weight"),
        (SECOND, lambda t: t.update({SECOND: t[SECOND] * np.inf}), f"tensor {SECOND} is not finite in float32"),
    ],
)
def test_tensors_that_do_not_fit_are_listed_and_nothing_is_loaded(directory, name, change, said):
    change_shard_of(directory, name, change)
    with pytest.raises(CheckpointError, match=said):
        load(directory)


def test_a_weight_beyond_float16_is_refused_in_it_and_read_in_bfloat16(directory):
    change_shard_of(directory, SECOND, lambda t: t[SECOND][0].fill_(1e6))
    with pytest.raises(
        CheckpointError, match=r"is not finite in float16: it holds 1e\+06, beyond 65504; take bfloat16"
    ):
        load(directory, dtype="float16")
    assert load(directory, dtype="bfloat16").model.decoder_dtype == torch.bfloat16


def test_another_number_of_layers_is_one_mistake(directory):
    change_json(directory / "config.json", lambda c: c["text_config"].update(num_hidden_layers=1000))
    with pytest.raises(CheckpointError, match=r"config\.json describes 1000 decoder layers, and the weights hold 2"):
        load(directory)


def test_weights_of_another_model_are_told_before_anything_else(directory):
    def rename(tensors):
        for name in list(tensors):
            tensors[f"module.{name}"] = tensors.pop(name)

    change_shard_of(directory, POOL, rename)
    with pytest.raises(CheckpointError, match="DistributedDataParallel"):
        load(directory)


@pytest.mark.parametrize(
    "name",
    [
        "action_head--50000_checkpoint.pt",
        "proprio_projector--50000_checkpoint.pt",
        # All that comes from the Hub, where pickles stay.
        "lora_adapter/adapter_config.json",
    ],
)
def test_what_openvla_oft_writes_is_refused(directory, name):
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_text("{}")
    with pytest.raises(CheckpointError, match=f"holds {name.partition('/')[0]}, as OpenVLA-OFT does"):
        load(directory)


def test_without_a_robot_it_is_refused_with_the_robots_and_the_statistics(written):
    with pytest.raises(
        ConfigError, match=r"name a robot \(google_robot, widowx.*statistics of \['bridge_orig', 'lab'\]"
    ):
        magma_policy.load(written, device="cpu")


def test_a_robot_whose_statistics_are_not_there_is_refused_with_those_that_are(written):
    with pytest.raises(ConfigError, match=r"'fractal20220817_data'; the checkpoint has \['bridge_orig', 'lab'\]"):
        load(written, robot="google_robot")
    with pytest.raises(ConfigError, match=r"'other'; the checkpoint has \['bridge_orig', 'lab'\]"):
        load(written, unnorm_key="other")


def test_the_key_that_is_named_decides(written, policy):
    named = load(written, unnorm_key="lab")
    assert named.spec.statistics_key == "lab" and named.robot().statistics.q99 == (0.5,) * 7
    assert named.identity != policy.identity
    # Nothing but the statistics differs: the same ids mean another motion.
    here, there = policy.act(frame(0), "go", None), named.act(frame(0), "go", None)
    assert np.array_equal(here.ids, there.ids) and not np.allclose(here.deltas, there.deltas)


def test_a_finetuned_checkpoints_own_statistics_win(directory, policy):
    bounds = {"action": {"q01": [-1.0] * 7, "q99": [1.0] * 7, "mean": [0.0] * 7}, "num_transitions": 3}
    (directory / "dataset_statistics.json").write_text(json.dumps({"bridge_orig": bounds}))
    loaded = load(directory)
    # The original takes a missing mask for one that exempts nothing.
    assert loaded.robot().statistics.q01 == (-1.0,) * 7 and all(loaded.robot().statistics.mask)
    assert loaded.identity != policy.identity
    other = directory / "mine.json"
    other.write_text(json.dumps({"bridge_orig": {"q01": [-2.0] * 7, "q99": [2.0] * 7, "mask": [True] * 7}}))
    assert load(directory, statistics=other).robot().statistics.q01 == (-2.0,) * 7


def test_no_statistics_at_all_are_refused(directory):
    change_json(directory / "config.json", lambda c: c.pop("norm_stats"))
    with pytest.raises(ConfigError, match=r"has no norm_stats, and there is no dataset_statistics\.json"):
        load(directory)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: change_shard_of(d, SECOND, lambda t: t[SECOND][0].add_(1)),
        lambda d: change_json(d / "config.json", lambda c: c["norm_stats"]["bridge_orig"]["action"]["q99"].reverse()),
        lambda d: change_json(d / "preprocessor_config.json", lambda c: c.update(image_resize_strategy="resize-crop")),
        lambda d: change_json(d / "action_spec.json", lambda c: c.update(camera="wrist")),
    ],
)
def test_the_identity_is_of_the_content(at_home, tmp_path, change):
    before = load(at_home, robot=None).identity
    copy = shutil.copytree(at_home, tmp_path / "elsewhere")
    (copy / "README.md").write_text("# Mine")
    assert load(copy, robot=None).identity == before
    change(copy)
    assert load(copy, robot=None).identity != before


def test_further_robots_lie_in_a_folder_of_their_own(at_home):
    second = at_home / robots.FOLDER / "second"
    second.mkdir(parents=True)
    shutil.copy(at_home / robots.ACTION_SPEC, second)
    loaded = load(at_home, robot=None)
    assert set(loaded.robots) == {"", "second"}
    with pytest.raises(ConfigError, match="knows no robot 'third', only"):
        loaded.new_session("third")
    # Statistics that are named are the default robot's, as with Magma; the others keep the checkpoint's.
    mine = at_home / "mine.json"
    mine.write_text(json.dumps({"bridge_orig": {"q01": [-2.0] * 7, "q99": [2.0] * 7, "mask": [True] * 7}}))
    named = load(at_home, robot=None, statistics=mine)
    assert named.robot().statistics.q01 == (-2.0,) * 7
    assert named.robot("second").statistics == loaded.robot("second").statistics == loaded.robot().statistics
    assert named.identity != loaded.identity
    # A change of either file is another policy.
    change_json(at_home / "config.json", lambda c: c["norm_stats"]["bridge_orig"]["action"]["q99"].reverse())
    assert load(at_home, robot=None, statistics=mine).identity != named.identity
