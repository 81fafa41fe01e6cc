"""Checkpoint folders as other tools leave them: what is harmless is read the same, what contradicts is one sentence."""

import dataclasses
import json
import shutil
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer

import magma_policy
from magma_contracts.errors import ConfigError
from magma_contracts.files.typed_tables import from_dict
from magma_contracts.text import LONGEST_SENTENCE
from magma_policy.embodiments import robots
from magma_policy.errors import CheckpointError
from magma_policy.families.magma import checkpoint, published_files
from magma_policy.families.magma.config import MagmaConfig
from magma_policy.families.magma.model import Magma
from magma_policy.families.magma.prompt import robot_prompt
from magma_policy.families.magma.tokenizer import MagmaTokenizer, build_small_tokenizer
from magma_policy.files import weight_files
from magma_policy.files.json_dataclasses import to_dict
from tests.unit.policy.conftest import STATISTICS, spec_of

CPU = torch.device("cpu")
PICTURE = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 4980000000\n"


@pytest.fixture(scope="module")
def written(tmp_path_factory, plain_config):
    """A plain Magma in the published layout, with a robot."""
    torch.manual_seed(0)
    home = tmp_path_factory.mktemp("published") / "Magma-plain"
    tokenizer = build_small_tokenizer(plain_config.tokens)
    published_files.write(
        home, Magma(plain_config).state_dict(), plain_config, tokenizer, torch.float32, shard_bytes=50_000
    )
    robots.write(robots.Robot(spec_of(plain_config), STATISTICS), home)
    return home


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "c")


@pytest.fixture(scope="module")
def expected(written):
    return ids(written)


def ids(folder):
    return magma_policy.load(folder, device="cpu").act(PICTURE, "put the carrot on the plate", None).ids.tolist()


def refused(folder, *words):
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        magma_policy.load(folder, device="cpu")
    text = str(caught.value)
    assert text.isprintable() and len(text) <= LONGEST_SENTENCE + 10
    for word in words:
        assert word in text.replace(str(folder), "DIR"), text


def change(path, how):
    data = json.loads(path.read_text())
    how(data)
    path.write_text(json.dumps(data))


def tensors_of(folder):
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def in_one_file(folder, tensors):
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")


# --- State in tokenizer.json


def truncated(data):
    data["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}


def padded(data):
    data["padding"] = {
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "<pad>",
    }  # fmt: skip


def dropping(data):
    data["model"]["dropout"] = 0.5


def swallowing(data):
    for token in data["added_tokens"]:
        token |= {"lstrip": True, "rstrip": True}


STATES = {"truncation": truncated, "padding": padded, "dropout": dropping, "white space": swallowing}


@pytest.mark.parametrize("states", [*([name] for name in STATES), list(STATES)], ids="+".join)
@given(words=st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=60).filter(str.strip))
@settings(max_examples=20, deadline=None)
def test_ids_are_those_of_a_clean_file(tokenizers, states, words):
    clean, stained = tokenizers(tuple(states))
    text = robot_prompt(words) if "<|" not in words and "<image" not in words else words
    assert stained.encode(text) == clean.encode(text)
    assert stained.encode(text) == stained.encode(text)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory, plain_config):
    """Of a clean file and of one with these states in it."""
    clean = build_small_tokenizer(plain_config.tokens)
    known = {}

    def pair(states):
        if states not in known:
            path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
            clean.save(path)
            for state in states:
                change(path, STATES[state])
            known[states] = MagmaTokenizer.load(path, plain_config.tokens)
        return clean, known[states]

    return pair


def test_the_library_does_obey_such_states(plain_config):
    """Otherwise the test above would show nothing."""
    text = robot_prompt("put the carrot on the plate")
    clean = build_small_tokenizer(plain_config.tokens)
    for state in STATES.values():
        data = json.loads(clean.tokenizer.to_str())
        state(data)
        obeyed = [Tokenizer.from_str(json.dumps(data)).encode(text).ids for _ in range(3)]
        assert obeyed != [clean.encode(text)] * 3


def test_a_published_folder_is_read_past_them(folder, expected):
    for state in STATES.values():
        change(folder / "tokenizer.json", state)
    assert ids(folder) == expected


def test_what_is_added_behind_every_text_is_told(folder):
    def add_end(data):
        end = "<|eot_id|>"
        data["post_processor"]["single"].append({"SpecialToken": {"id": end, "type_id": 0}})
        data["post_processor"]["special_tokens"][end] = {"id": end, "ids": [777], "tokens": [end]}

    change(folder / "tokenizer.json", add_end)
    refused(folder, "tokenizer.json", "nothing behind")


def test_a_tokenizer_with_more_tokens_than_the_weights_have_rows(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken("<mine>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    refused(folder, "knows the id 1029", "has 1029 rows")


# --- What config.json and generation_config.json may say

HARMLESS = {
    "rope_parameters": lambda c: c["text_config"].update(
        rope_parameters={"rope_theta": c["text_config"].pop("rope_theta"), "rope_type": "default"}
    ),
    "both, alike": lambda c: c["text_config"].update(
        rope_parameters={"rope_theta": c["text_config"]["rope_theta"], "rope_type": "default", "factor": None}
    ),
    "theta null beside it": lambda c: c["text_config"].update(
        rope_parameters={"rope_theta": c["text_config"]["rope_theta"], "rope_type": "default"}, rope_theta=None
    ),
    "scaling of the default type": lambda c: c["text_config"].update(rope_scaling={"rope_type": "default"}),
    "scaling by its old name": lambda c: c["text_config"].update(rope_scaling={"type": "default"}),
    "scaling null": lambda c: c["text_config"].update(rope_scaling=None),
    "markers null": lambda c: c.update(mm_use_image_start_end=None),
    "leftovers": lambda c: c.update(
        use_cache=False, auto_map={}, dtype="bfloat16", torch_dtype="float16", transformers_version="5.2.0"
    ),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_entries_change_nothing(folder, expected, name):
    change(folder / "config.json", HARMLESS[name])
    assert ids(folder) == expected


@pytest.mark.parametrize(
    "entries",
    [{"pad_token_id": 777}, {"pad_token_id": None}, {"eos_token_id": None}, {"do_sample": True}],
)
def test_harmless_generation_settings_change_nothing(folder, expected, entries):
    change(folder / "generation_config.json", lambda data: data.update(entries))
    policy = magma_policy.load(folder, device="cpu")
    assert policy.stop_ids == (777,)
    assert ids(folder) == expected


@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        ("text_config.rope_parameters", {"rope_theta": 7.0}, ("rope_theta 500000", "rope_parameters.rope_theta 7")),
        ("text_config.rope_parameters", [1], ("rope_parameters [1]",)),
        ("text_config.rope_scaling", {"rope_type": "llama3", "factor": 8.0}, ("rope_scaling", "default type")),
        ("text_config.rope_scaling", {"rope_type": "default", "factor": 8.0}, ("rope_scaling", "scales")),
        ("text_config.rope_theta", 10**400, ("rope_theta must be a positive number",)),
        ("text_config.num_hidden_layers", 10**7, ("num_hidden_layers", "at most 1024")),
        ("text_config.num_hidden_layers", 1000, ("1000 decoder layers", "the weights hold 2")),
        ("text_config.hidden_size", 2**31, ("hidden_size", "at most")),
        ("text_config.max_position_embeddings", 10**12, ("max_position_embeddings", "at most")),
        ("architectures", 5, ("config.json",)),
        ("model_type", None, ()),
        ("tokenizer_vocab_size", "many", ("tokenizer_vocab_size must be a positive integer",)),
        ("mm_use_image_start_end", "false", ("mm_use_image_start_end must be true or false",)),
        ("vision_config.vision_backbone", ["a"], ("vision_backbone ['a'] is unknown",)),
        ("vision_config.mm_hidden_size", "x" * 5000, ("mm_hidden_size is 'xxx", "5002 characters")),
    ],
)
def test_what_contradicts_is_one_sentence(folder, entry, value, words):
    *parts, last = entry.split(".")

    def put(data):
        for part in parts:
            data = data[part]
        data[last] = value

    change(folder / "config.json", put)
    if entry in ("architectures", "model_type"):
        # One of the two is enough to know whose file it is.
        assert ids(folder)
        change(folder / "config.json", lambda data: data.update(architectures=5, model_type=7))
        refused(folder, "config.json", "unknown keys")
    else:
        refused(folder, "config.json", *words)


@pytest.mark.parametrize(
    ("part", "entry", "value"),
    [
        ("vision", "depths", [10**7, 2, 4, 1]),
        ("vision", "dims", [2**31] * 4),
        ("vision", "dims", [0, 64, 128, 192]),
        ("text", "num_hidden_layers", 10**7),
        ("text", "num_attention_heads", 0),
        ("text", "num_key_value_heads", -1),
        ("text", "vocab_size", 10**12),
        ("text", "rms_norm_eps", float("nan")),
        ("text", "rope_theta", -1.0),
        ("image", "base_size", 10**9),
        ("image", "std", [1e400, 1, 1]),
        ("tokens", "image", 10**12),
        ("grounding", "map_size", 10**6),
        ("state", "fourier_bands", 10**6),
        (None, "name", "\x1b[2Jx"),
        (None, "name", ""),
        (None, "name", "../../x"),
        (None, "name", "n" * 4000),
    ],
)
def test_absurd_sizes_and_names_are_refused_before_anything_is_made_of_them(tiny_checkpoint, part, entry, value):
    change(tiny_checkpoint / "config.json", lambda data: (data if part is None else data[part]).update({entry: value}))
    refused(tiny_checkpoint, "config.json", entry)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("horizon", 4),
        ("horizon", 10**9),
        ("image_height", 10**9),
        ("step_period_s", float("nan")),
        ("step_period_s", float("inf")),
        ("step_period_s", 10**400),
        ("camera", "\x1b]0;title\x07"),
        ("statistics_key", "../../x"),
    ],
)
def test_a_robot_that_no_model_can_serve_is_refused_when_loading(folder, entry, value):
    change(folder / "action_spec.json", lambda data: data.update({entry: value}))
    words = ("no action statistics for",) if entry == "statistics_key" else (entry.removesuffix("_height"),)
    refused(folder, *words)


def test_a_further_robot_is_judged_alike(tiny_checkpoint):
    home = tiny_checkpoint / "robots" / "second"
    robots.write(robots.read(tiny_checkpoint), home)
    change(home / "action_spec.json", lambda data: data.update(horizon=2))
    refused(tiny_checkpoint, "second", "horizon=2", "set 1")


@pytest.mark.parametrize("name", ["\udcff", "\x1b[2J", "two\nlines"])
def test_robots_have_names_that_can_be_said(tiny_checkpoint, name):
    robots.write(robots.read(tiny_checkpoint), tiny_checkpoint / "robots" / name)
    refused(tiny_checkpoint, "robots", "rename the folder")


def test_a_checkpoint_has_no_more_robots_than_a_server_can_offer(tiny_checkpoint):
    one = robots.read(tiny_checkpoint)
    for number in range(robots.MAX_ROBOTS + 1):
        robots.write(one, tiny_checkpoint / "robots" / f"r{number}")
    refused(tiny_checkpoint, "65 robots", "at most 64")


# --- Files of weights


def test_a_single_file_beside_an_index_is_a_question(folder, expected):
    tensors = tensors_of(folder)
    save_file(tensors, folder / "model.safetensors")
    refused(folder, "model.safetensors and, in model.safetensors.index.json", "which of them")
    (folder / "model.safetensors.index.json").unlink()
    assert ids(folder) == expected
    index = {"weight_map": dict.fromkeys(tensors, "model.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert ids(folder) == expected, "an index of the single file itself"


@pytest.mark.parametrize("name", ["", ".", "..", "../b", "/etc/passwd", "a\0b", "x" * 5000, 5, None, ["a"], {"a": 1}])
def test_shards_are_names_of_files_beside_the_index(folder, name):
    change(folder / "model.safetensors.index.json", lambda data: data["weight_map"].update(surprise=name))
    refused(folder, "model.safetensors.index.json", "'surprise'")


@pytest.mark.parametrize("content", [b'{"a":' * 100_000, b"[]", b'{"weight_map": NaN}', b"\xff\xfe{\0}\0", b""])
def test_an_index_that_is_none(folder, content):
    (folder / "model.safetensors.index.json").write_bytes(content)
    refused(folder, "model.safetensors.index.json")


@pytest.mark.parametrize(
    "name", ["model-00001-of-", "tokenizer.json", "config.json", "statistics.json", weight_files.INDEX]
)
def test_pointers_of_git_lfs_are_told(folder, name):
    for file in folder.glob(name + "*"):
        file.write_text(LFS)
    refused(folder, name, "git-lfs", "git lfs pull")


WRAPPED = {
    "DistributedDataParallel": lambda name: "module." + name,
    "FullyShardedDataParallel": lambda name: "_fsdp_wrapped_module." + name,
    "torch.compile": lambda name: "_orig_mod." + name,
    "peft": lambda name: "base_model.model." + name,
    "transformers": lambda name: {
        "language_model.lm_head": "lm_head",
        "language_model.model": "model.language_model",
    }.get(".".join(name.split(".")[:2]), "model." + ".".join(name.split(".")[:2]))
    + "."
    + ".".join(name.split(".")[2:]),
}


@pytest.mark.parametrize("tool", WRAPPED)
def test_names_of_a_wrapper_are_one_sentence_about_the_wrapper(folder, tool):
    in_one_file(folder, {WRAPPED[tool](name): tensor for name, tensor in tensors_of(folder).items()})
    refused(folder, f"named as {tool}", "save the weights of the model inside")


def test_adapters_are_not_a_model(folder, tmp_path):
    tensors, name = tensors_of(folder), "language_model.model.layers.0.self_attn.q_proj"
    tensors[name + ".base_layer.weight"] = tensors.pop(name + ".weight")
    tensors[name + ".lora_A.default.weight"] = torch.zeros(4, 32)
    in_one_file(folder, tensors)
    refused(folder, "adapters (LoRA)", "merge")
    alone = tmp_path / "adapter"
    alone.mkdir()
    (alone / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    save_file({"base_model.model.x.lora_A.weight": torch.zeros(4, 4)}, alone / "adapter_model.safetensors")
    refused(alone, "no config.json", "adapter", "base model")


def test_folders_around_a_checkpoint_say_where_it_is(folder, tmp_path):
    root = tmp_path / "models--microsoft--Magma-8B"
    (root / "refs").mkdir(parents=True)
    shutil.copytree(folder, root / "snapshots" / "abc123")
    refused(root, "snapshot", "snapshots/abc123")
    assert magma_policy.load(root / "snapshots" / "abc123", device="cpu").can_act
    run = tmp_path / "run"
    shutil.copytree(folder, run / "checkpoint")
    refused(run, "training run", "give DIR/checkpoint")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04")
    refused(pickled, "no config.json", "pytorch_model.bin", "safetensors")
    shutil.copy(folder / "config.json", pickled)
    for name in ("tokenizer.json", "action_spec.json", "statistics.json"):
        shutil.copy(folder / name, pickled)
    refused(pickled, "model.safetensors: no such file", "pytorch_model.bin")


def test_hundreds_of_wrong_tensors_are_counted(folder):
    in_one_file(folder, {"a." + name: tensor for name, tensor in tensors_of(folder).items()})
    refused(folder, "none of its 87 tensors, such as 'a.", "vision tower")
    tensors = tensors_of(folder)
    renamed = {name.replace(".mlp.", ".ffn."): tensor for name, tensor in tensors.items()}
    in_one_file(folder, {name.removeprefix("a."): tensor for name, tensor in renamed.items()})
    refused(folder, "missing: language_model", "and 23 more; unexpected: language_model")


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]}}',
        b'{"a":' * 100_000,
        b'{"__metadata__":{"a":5}}',
        b'{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}',
    ],
)
def test_headers_that_lie(folder, header):
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0")
    refused(folder, "model.safetensors")


def test_the_config_survives_the_way_to_the_file_and_back(plain_config, tiny_model):
    for config in (plain_config, tiny_model.config):
        assert from_dict(MagmaConfig, to_dict(config)) == config
    with pytest.raises(ConfigError, match="layer_norm_eps must be positive"):
        dataclasses.replace(plain_config.vision, layer_norm_eps=0.0)
    assert checkpoint.WEIGHTS == "model.safetensors"
