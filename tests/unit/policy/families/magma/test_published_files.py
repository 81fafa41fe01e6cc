"""The files of a published Magma repository: read as they stand, or refused with the reason."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

import magma_policy
from magma_contracts.errors import ConfigError
from magma_policy.embodiments import action_normalization, robots
from magma_policy.errors import CheckpointError
from magma_policy.families.interface import Message
from magma_policy.families.magma import checkpoint, published_files
from magma_policy.families.magma.config import TokenConfig, VisionConfig, magma_8b_config
from magma_policy.families.magma.model import Magma
from magma_policy.families.magma.published_files import BACKBONES
from magma_policy.families.magma.tokenizer import build_small_tokenizer
from magma_policy.files import weight_files

CPU = torch.device("cpu")
PICTURE = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def written(tmp_path_factory, plain_model):
    """A small plain Magma in the published layout: eight shards or so and an index."""
    directory = tmp_path_factory.mktemp("published") / "Magma-small"
    tokenizer = build_small_tokenizer(plain_model.config.tokens)
    state = plain_model.state_dict()
    published_files.write(directory, state, plain_model.config, tokenizer, torch.float32, shard_bytes=60_000)
    return directory


@pytest.fixture
def directory(written, tmp_path):
    """A copy to damage."""
    return shutil.copytree(written, tmp_path / written.name)


def change_json(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def change_shard_of(directory, name, change):
    index = json.loads((directory / weight_files.INDEX).read_text())
    path = directory / index["weight_map"][name]
    tensors = load_file(str(path))
    change(tensors)
    save_file(tensors, str(path))


def published_tensors(rows):
    """Names and shapes of Magma-8B's tensors, written down from open_clip's, LLaVA's and Llama's layouts."""
    shapes = {}

    def layer(name, *weight, bias=True):
        shapes[f"{name}.weight"] = weight
        if bias:
            shapes[f"{name}.bias"] = weight[:1]

    visual = "vision_tower.clip_vision_model."
    layer(f"{visual}trunk.stem.0", 384, 3, 4, 4)
    layer(f"{visual}trunk.stem.1", 384)
    for stage, (width, depth) in enumerate([(384, 3), (768, 4), (1536, 30), (3072, 3)]):
        if stage:
            layer(f"{visual}trunk.stages.{stage}.downsample.0", width // 2)
            layer(f"{visual}trunk.stages.{stage}.downsample.1", width, width // 2, 2, 2)
        for number in range(depth):
            block = f"{visual}trunk.stages.{stage}.blocks.{number}"
            shapes[f"{block}.gamma"] = (width,)
            layer(f"{block}.conv_dw", width, 1, 7, 7)
            layer(f"{block}.norm", width)
            layer(f"{block}.mlp.fc1", 4 * width, width)
            layer(f"{block}.mlp.fc2", width, 4 * width)
    layer("multi_modal_projector.proj.0", 4096, 3072)
    layer("multi_modal_projector.proj.2", 4096, 4096)
    shapes["multi_modal_projector.row_seperator"] = (1, 1, 4096)
    layer("language_model.model.embed_tokens", rows, 4096, bias=False)
    for number in range(32):
        block = f"language_model.model.layers.{number}"
        for name, shape in [
            ("self_attn.q_proj", (4096, 4096)), ("self_attn.k_proj", (1024, 4096)),
            ("self_attn.v_proj", (1024, 4096)), ("self_attn.o_proj", (4096, 4096)),
            ("mlp.gate_proj", (14336, 4096)), ("mlp.up_proj", (14336, 4096)), ("mlp.down_proj", (4096, 14336)),
            ("input_layernorm", (4096,)), ("post_attention_layernorm", (4096,)),
        ]:  # fmt: skip
            layer(f"{block}.{name}", *shape, bias=False)
    layer("language_model.model.norm", 4096, bias=False)
    layer("language_model.lm_head", rows, 4096, bias=False)
    return shapes


@pytest.mark.parametrize("rows", [128261, 128320])
def test_every_tensor_of_magma_8b_by_name_and_shape(rows):
    config = magma_8b_config()
    config = dataclasses.replace(config, text=dataclasses.replace(config.text, vocab_size=rows))
    with torch.device("meta"):
        state = Magma(config).state_dict()
    expected = published_tensors(rows)
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected
    # 379 of CLIP's visual half less its three head tensors, 5 of the projector, 9 per layer and 3 more of Llama.
    assert len(expected) == 376 + 5 + 9 * 32 + 3
    assert len(checkpoint.UNUSED) == 3
    assert not checkpoint.UNUSED & set(expected)


def test_the_published_index_has_the_size_of_one_that_lists_the_unused_head():
    """The Hub shows 70.6 kB; without the three head tensors the same file would have 70.3 kB."""
    names = [*published_tensors(128261), *checkpoint.UNUSED]
    index = {
        "metadata": {"total_size": 17_812_000_000},
        "weight_map": dict.fromkeys(names, "model-00001-of-00004.safetensors"),
    }
    assert round(len(json.dumps(index, indent=2, sort_keys=True)) / 1000, 1) == 70.6


def test_round_trip_gives_equal_tensors_and_logits(written, plain_model):
    index = json.loads((written / weight_files.INDEX).read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert len(shards) > 3
    assert shards[0] == f"model-00001-of-{len(shards):05d}.safetensors"
    assert set(index["weight_map"]) == set(plain_model.state_dict())
    policy = magma_policy.load(written, device="cpu")
    for name, tensor in plain_model.state_dict().items():
        assert torch.equal(policy.model.state_dict()[name], tensor), name
    # All that the files can say is as it was; the vocabulary came from the embedding table.
    assert policy.model.config == plain_model.config
    inputs = policy.processor([Message("What is this?", [PICTURE, PICTURE[:100]]), Message("Hello")])
    arguments = (inputs.input_ids, inputs.pixel_values, inputs.image_sizes, inputs.attention_mask)
    with torch.inference_mode():
        assert torch.equal(policy.model(*arguments), plain_model(*arguments))


def test_without_an_action_spec_it_talks_but_does_not_act(written):
    policy = magma_policy.load(written, device="cpu")
    assert not policy.can_act
    assert policy.chat("What is this?", [PICTURE]).ids
    with pytest.raises(ConfigError, match="name a robot"):
        _ = policy.spec
    with pytest.raises(ConfigError, match="name a robot"):
        policy.act(PICTURE, "pick coke can", None)


@pytest.mark.parametrize(("robot", "key", "height"), [("widowx", "bridge_orig", 480), ("google_robot", None, 512)])
def test_robots_are_known_by_name(written, robot, key, height):
    policy = magma_policy.load(written, device="cpu", robot=robot)
    assert policy.spec.statistics_key == (key or "fractal20220817_data")
    assert policy.spec.policy == "plain"
    assert (policy.spec.image_height, policy.spec.image_width, policy.spec.adapter) == (height, 640, robot)
    frame = np.random.default_rng(1).integers(0, 256, (height, 640, 3), dtype=np.uint8)
    result = policy.act(frame, "pick coke can", None)
    assert result.deltas.shape == (1, 7)
    assert result.simpler.shape == (7,)


def test_unknown_robots_and_statistics_without_a_spec_are_refused(written, tmp_path):
    with pytest.raises(ConfigError, match="no robot 'franka'"):
        magma_policy.load(written, device="cpu", robot="franka")
    with pytest.raises(ConfigError, match=r"need an action_spec\.json"):
        magma_policy.load(written, device="cpu", statistics=tmp_path / "statistics.json")


def test_statistics_from_a_file_in_the_form_of_openvla(written, tmp_path):
    bounds = {"q01": [-0.5] * 7, "q99": [0.5] * 7, "mask": [True] * 6 + [False], "mean": [0.0] * 7, "std": [1.0] * 7}
    path = tmp_path / "dataset_statistics.json"
    path.write_text(json.dumps({"bridge_orig": {"action": bounds, "num_transitions": 7}}))
    policy = magma_policy.load(written, device="cpu", robot="widowx", statistics=path)
    with pytest.raises(ConfigError, match="no action statistics for 'fractal20220817_data'"):
        magma_policy.load(written, device="cpu", robot="google_robot", statistics=path)
    frame = np.zeros((480, 640, 3), dtype=np.uint8)
    assert (np.abs(policy.act(frame, "go", None).deltas[0, :3]) <= 0.5).all()
    del bounds["mask"]
    path.write_text(json.dumps({"bridge_orig": {"action": bounds}}))
    told = action_normalization.load(path)["bridge_orig"]
    assert told.mask == (True,) * 7, "as published code has it: without a mask no dimension is exempt"
    del bounds["q99"]
    path.write_text(json.dumps({"bridge_orig": {"action": bounds}}))
    with pytest.raises(ConfigError, match=r"missing keys \['q99'\]"):
        magma_policy.load(written, device="cpu", robot="widowx", statistics=path)


def test_an_action_spec_beside_the_published_files_makes_it_act(directory):
    home = robots.PUBLISHED_DIRECTORY / "widowx"
    for name in (robots.ACTION_SPEC, robots.STATISTICS):
        shutil.copy(home / name, directory / name)
    assert magma_policy.load(directory, device="cpu").spec.adapter == "widowx"
    (directory / robots.STATISTICS).unlink()
    with pytest.raises(ConfigError, match="no action statistics"):
        magma_policy.load(directory, device="cpu")


# --- shards


def test_missing_unexpected_and_mis_shaped_tensors_are_listed_and_refused(directory):
    def change(tensors):
        del tensors["multi_modal_projector.row_seperator"]
        tensors["multi_modal_projector.proj_segtok.weight"] = torch.zeros(3)
        tensors["multi_modal_projector.proj.0.bias"] = torch.zeros(5)

    change_shard_of(directory, "multi_modal_projector.row_seperator", change)
    with pytest.raises(CheckpointError) as caught:
        magma_policy.load(directory, device="cpu")
    text = str(caught.value)
    assert "missing: multi_modal_projector.row_seperator (1, 1, 32)" in text
    assert "unexpected: multi_modal_projector.proj_segtok.weight (3,)" in text
    assert "wrong shape: multi_modal_projector.proj.0.bias is (5,), the model needs (32,)" in text


def test_a_tower_of_the_named_width_must_be_whole(directory):
    """Depths are read from the tensors of an unknown width only; convnextlarge's first three stages are not enough."""
    small = VisionConfig(depths=(1, 1, 2, 1), dims=(192, 12, 16, 24))
    shapes = {published_files.TOWER + "stem.0.bias": (192,)}
    where = directory / "config.json"
    assert published_files._vision({"vision_backbone": "convnextlarge"}, shapes, where) == BACKBONES["convnextlarge"]
    assert published_files._vision({"vision_backbone": "convnextlarge"}, shapes, where) != small


def test_a_gap_in_the_blocks_of_a_tower_is_refused(directory):
    name = "vision_tower.clip_vision_model.trunk.stages.2.blocks.0.gamma"
    change_shard_of(directory, name, lambda tensors: tensors.pop(name))
    with pytest.raises(ConfigError, match=r"stage 2 of the vision tower has blocks \[1\]"):
        magma_policy.load(directory, device="cpu")


def test_unused_head_tensors_are_accepted(directory, plain_model):
    def change(tensors):
        for name in checkpoint.UNUSED:
            tensors[name] = torch.zeros(3)

    change_shard_of(directory, "language_model.lm_head.weight", change)
    policy = magma_policy.load(directory, device="cpu")
    assert set(policy.model.state_dict()) == set(plain_model.state_dict())


def test_more_embedding_rows_than_tokens_are_read_from_the_shard(directory):
    for name in ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"):

        def pad(tensors, name=name):
            tensors[name] = torch.nn.functional.pad(tensors[name], (0, 0, 0, 59))

        change_shard_of(directory, name, pad)
    policy = magma_policy.load(directory, device="cpu")
    assert policy.model.config.text.vocab_size == 768 + 261 + 59
    assert policy.chat("Hello").ids


def test_fewer_embedding_rows_than_tokens_are_refused(directory):
    name = "language_model.model.embed_tokens.weight"
    change_shard_of(directory, name, lambda t: t.update({name: t[name][:1000].clone()}))
    with pytest.raises(CheckpointError, match="1000 embedding rows cannot hold 1029 tokens"):
        magma_policy.load(directory, device="cpu")


def test_damaged_shards_are_refused(directory):
    shards = sorted(directory.glob("model-*.safetensors"))
    whole = shards[2].read_bytes()
    for damage, reason in [
        (whole[: len(whole) // 2], "cannot be read"),
        (b"", "cannot be read"),
        (b"\xff" * 64 + whole[64:], "cannot be read"),
    ]:
        shards[2].write_bytes(damage)
        with pytest.raises(CheckpointError, match=reason):
            magma_policy.load(directory, device="cpu")
    shards[2].unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        magma_policy.load(directory, device="cpu")


def test_a_tensor_in_two_shards_is_refused(directory):
    name = "multi_modal_projector.row_seperator"
    change_shard_of(directory, "language_model.lm_head.weight", lambda t: t.update({name: torch.zeros(1, 1, 32)}))
    with pytest.raises(CheckpointError, match="occurs in two shards"):
        magma_policy.load(directory, device="cpu")


def test_quantised_files_are_refused(directory):
    name = "language_model.lm_head.weight"
    change_shard_of(directory, name, lambda t: t.update({name: t[name].to(torch.int8)}))
    with pytest.raises(CheckpointError, match="stored as I8"):
        magma_policy.load(directory, device="cpu")


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": {"a": "../b"}}', '{"weight_map": {}}', '{"a": 1}'])
def test_a_bad_index_is_refused(directory, content):
    (directory / weight_files.INDEX).write_text(content)
    with pytest.raises(CheckpointError, match=r"index\.json"):
        magma_policy.load(directory, device="cpu")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks Linux what is mapped where")
def test_weights_stay_in_the_mapped_files_when_nothing_has_to_be_converted(written):
    loaded = checkpoint.load(written, CPU, None)
    spans = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(".safetensors"):
            start, end = line.split()[0].split("-")
            spans.append((int(start, 16), int(end, 16)))
    for name, parameter in loaded.model.named_parameters():
        assert any(start <= parameter.data_ptr() < end for start, end in spans), name


# --- JSON files

VISION, TEXT = "vision_config", "text_config"


@pytest.mark.parametrize(
    ("part", "entry", "value", "reason"),
    [
        (None, "image_token_index", 5, "image_token_index is 5, but <image> has id 1025"),
        (None, "image_token_index", None, "image_token_index is None"),
        (None, "vision_config", None, "vision_config must be an object"),
        (None, "text_config", [], "text_config must be an object"),
        (None, "tokenizer_vocab_size", 32000, "tokenizer_vocab_size 32000"),
        (VISION, "vision_backbone", "vit_large", "'vit_large' is unknown"),
        (VISION, "img_anyres_strategy", "global", "is not 'crop'"),
        (VISION, "mm_projector_type", "linear", "'linear' is not 'mlp2x_gelu'"),
        (VISION, "mm_projector_type", "mlp2x_gelu_segtokv9", "is not 'mlp2x_gelu'"),
        (VISION, "vision_feature_layer", "res4", "'res4'"),
        (VISION, "mm_use_im_start_end", True, "mm_use_im_start_end"),
        (VISION, "mm_hidden_size", 99, "mm_hidden_size is 99"),
        (TEXT, "hidden_size", "32", "hidden_size must be a positive integer"),
        (TEXT, "num_hidden_layers", 0, "num_hidden_layers must be a positive integer"),
        (TEXT, "rms_norm_eps", -1, "rms_norm_eps must be a positive number"),
        (TEXT, "model_type", "mistral", "'mistral' is not 'llama'"),
        (TEXT, "hidden_act", "gelu", "hidden_act is 'gelu'"),
        (TEXT, "attention_bias", True, "attention_bias is True"),
        (TEXT, "tie_word_embeddings", True, "tie_word_embeddings is True"),
        (TEXT, "rope_scaling", {"factor": 2.0}, "rope_scaling"),
        (TEXT, "head_dim", 16, "head_dim is 16"),
    ],
)
def test_what_config_json_may_not_say(directory, part, entry, value, reason):
    def change(data):
        (data if part is None else data[part])[entry] = value

    change_json(directory / published_files.CONFIG, change)
    with pytest.raises(ConfigError, match=reason) as caught:
        magma_policy.load(directory, device="cpu")
    assert "config.json" in str(caught.value)


def test_entries_that_say_nothing_about_inference_are_passed_over(directory, plain_model):
    def change(data):
        data |= {"auto_map": {"AutoConfig": "configuration_magma.MagmaConfig"}, "mm_use_som_tom": True}
        data |= {"tokenizer_vocab_size": 768 + 261, "spatial_quant_size": 256, "torch_dtype": "bfloat16"}
        data[VISION] |= {"mm_projector_lr": None, "mm_vision_select_layer": -2}
        theta = data[TEXT].pop("rope_theta")
        data[TEXT]["rope_parameters"] = {"rope_type": "default", "rope_theta": theta}

    change_json(directory / published_files.CONFIG, change)
    assert magma_policy.load(directory, device="cpu").model.config == plain_model.config


def test_prompts_without_picture_markers(directory):
    change_json(directory / published_files.CONFIG, lambda data: data.update(mm_use_image_start_end=False))
    policy = magma_policy.load(directory, device="cpu", robot="widowx")
    assert "<image_start>" not in policy.processor.prompt(Message("What?", [PICTURE]))
    assert policy.act(np.zeros((480, 640, 3), dtype=np.uint8), "go", None).ids.shape == (7,)


def test_the_processor_file_says_how_pictures_are_cut(directory, plain_model):
    path = directory / published_files.PREPROCESSOR
    change_json(path, lambda data: data.update(num_crops=2, image_mean=[0.5, 0.5, 0.5]))
    image = magma_policy.load(directory, device="cpu").model.config.image
    assert (image.max_num_crops, image.mean, image.std) == (2, (0.5, 0.5, 0.5), plain_model.config.image.std)
    path.unlink()
    assert magma_policy.load(directory, device="cpu").model.config.image == plain_model.config.image


@pytest.mark.parametrize(
    ("entry", "value", "reason"),
    [
        ("anyres_strategy", "global", "is not 'crop'"),
        ("base_img_size", None, "base_img_size must be a positive integer"),
        ("base_img_size", 100, "not a multiple of the vision stride"),
        ("num_crops", 0, "num_crops must be a positive integer"),
        ("image_mean", [0.5], "three numbers"),
        ("image_std", [0.1, 0.0, 0.1], "must be a positive number"),
    ],
)
def test_what_the_processor_file_may_not_say(directory, entry, value, reason):
    change_json(directory / published_files.PREPROCESSOR, lambda data: data.update({entry: value}))
    with pytest.raises(ConfigError, match=reason):
        magma_policy.load(directory, device="cpu")


def test_stop_ids_come_from_the_generation_file(directory):
    path = directory / published_files.GENERATION_CONFIG
    change_json(path, lambda data: data.update(eos_token_id=[777, 769]))
    assert magma_policy.load(directory, device="cpu").stop_ids == (777, 769)
    change_json(path, lambda data: data.update(pad_token_id=3))
    with pytest.raises(ConfigError, match="pad_token_id is 3"):
        magma_policy.load(directory, device="cpu")
    path.write_text('{"eos_token_id": "x"}')
    with pytest.raises(ConfigError, match="eos_token_id"):
        magma_policy.load(directory, device="cpu")
    path.unlink()
    assert magma_policy.load(directory, device="cpu").stop_ids == (777,)


def test_tokens_that_only_the_tokenizer_configuration_declares_are_added(directory, written):
    whole = Tokenizer.from_file(str(written / published_files.TOKENIZER))
    data = json.loads((directory / published_files.TOKENIZER).read_text())
    data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] not in ("<image_start>", "<image_end>")]
    (directory / published_files.TOKENIZER).write_text(json.dumps(data))
    with pytest.raises(ConfigError, match="has no token <image_start>"):
        magma_policy.load(directory, device="cpu")
    declared = {
        str(whole.token_to_id(name)): {"content": name, "special": True, "normalized": False}
        for name in ("<image_start>", "<image_end>")
    }
    config = directory / published_files.TOKENIZER_CONFIG
    config.write_text(json.dumps({"added_tokens_decoder": declared}))
    policy = magma_policy.load(directory, device="cpu")
    text = policy.processor.prompt(Message("What?", [PICTURE]))
    assert policy.tokenizer.encode(text) == whole.encode(text).ids
    declared["999"] = {"content": "<image_end>"}
    config.write_text(json.dumps({"added_tokens_decoder": declared}))
    with pytest.raises(ConfigError, match="'<image_end>' is declared as 999"):
        magma_policy.load(directory, device="cpu")


def test_a_tokenizer_that_begins_once_only_is_refused(directory):
    change_json(directory / published_files.TOKENIZER, lambda data: data.update(post_processor=None))
    with pytest.raises(ConfigError, match="must put one"):
        magma_policy.load(directory, device="cpu")


@pytest.mark.parametrize("name", [published_files.CONFIG, published_files.TOKENIZER])
def test_files_that_are_needed(directory, name):
    (directory / name).write_text("{broken")
    with pytest.raises(ConfigError, match=name):
        magma_policy.load(directory, device="cpu")
    (directory / name).unlink()
    with pytest.raises(ConfigError, match=f"{name}: no such file"):
        magma_policy.load(directory, device="cpu")


def test_models_with_additions_have_no_published_form(tmp_path, tiny_model):
    tokenizer = build_small_tokenizer(TokenConfig.magma_layout(1024))
    with pytest.raises(ConfigError, match="does not know"):
        published_files.write(tmp_path, tiny_model.state_dict(), tiny_model.config, tokenizer)


def test_the_known_robots_are_well_formed():
    for name in robots.PUBLISHED:
        robot = robots.read(robots.PUBLISHED_DIRECTORY / name)
        assert robot.spec.adapter == name
        assert not robot.spec.proprioception and robot.camera is None
