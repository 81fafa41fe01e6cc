import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import magma_policy
from magma_contracts.errors import ConfigError
from magma_policy.embodiments import robots
from magma_policy.errors import CheckpointError, InstructionError, ObservationError
from magma_policy.families.interface import ActRequest, Proprioception
from magma_policy.families.magma import checkpoint
from magma_policy.files import weight_files

CPU = torch.device("cpu")
DOWN = np.array([1.0, 0.0, 0.0, 0.0])
HOME = Proprioception(np.array([0.45, 0.0, 0.2]), DOWN, np.array([0.45, 0.0, 0.2]), DOWN, 1.0, 1.0)
IMAGE = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)


def test_round_trip_gives_equal_tensors(tiny_checkpoint, tiny_model):
    loaded = checkpoint.load(tiny_checkpoint, CPU, None)
    assert loaded.model.config == tiny_model.config
    for name, tensor in tiny_model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor), name


def edit(directory, change):
    path = directory / checkpoint.WEIGHTS
    tensors = load_file(str(path))
    change(tensors)
    save_file(tensors, str(path))


def test_missing_unexpected_and_mis_shaped_tensors_are_all_listed(tiny_checkpoint):
    def change(tensors):
        del tensors["language_model.lm_head.weight"]
        tensors["surprise"] = torch.zeros(2)
        tensors["grounding.query.bias"] = torch.zeros(3)

    edit(tiny_checkpoint, change)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(tiny_checkpoint, CPU, None)
    text = str(caught.value)
    assert "missing: language_model.lm_head.weight" in text
    assert "unexpected: surprise (2,)" in text
    assert "wrong shape: grounding.query.bias is (3,), the model needs (48,)" in text
    assert "nothing was loaded" in text


def test_unused_clip_head_is_accepted(tiny_checkpoint):
    def change(tensors):
        tensors["vision_tower.clip_vision_model.head.proj.weight"] = torch.zeros(2, 2)

    edit(tiny_checkpoint, change)
    checkpoint.load(tiny_checkpoint, CPU, None)


def test_vocabulary_size_is_read_from_the_weights(tiny_checkpoint, tiny_model):
    path = tiny_checkpoint / checkpoint.CONFIG
    config = json.loads(path.read_text())
    rows = config["text"].pop("vocab_size")
    path.write_text(json.dumps(config))
    assert checkpoint.load(tiny_checkpoint, CPU, None).model.config.text.vocab_size == rows


def test_too_few_embedding_rows_are_refused(tiny_checkpoint):
    path = tiny_checkpoint / checkpoint.CONFIG
    config = json.loads(path.read_text())
    config["text"]["vocab_size"] = 1000
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="1000 embedding rows"):
        checkpoint.load(tiny_checkpoint, CPU, None)


def test_shards_with_an_index_load(tiny_checkpoint, tiny_model):
    tensors = load_file(str(tiny_checkpoint / checkpoint.WEIGHTS))
    (tiny_checkpoint / checkpoint.WEIGHTS).unlink()
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2])):
        shard = f"model-{number}.safetensors"
        save_file({n: tensors[n] for n in part}, str(tiny_checkpoint / shard))
        weight_map |= dict.fromkeys(part, shard)
    (tiny_checkpoint / weight_files.INDEX).write_text(json.dumps({"weight_map": weight_map}))
    loaded = checkpoint.load(tiny_checkpoint, CPU, None)
    assert torch.equal(loaded.model.grounding.query.weight, tiny_model.grounding.query.weight)
    (tiny_checkpoint / "model-1.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-1\.safetensors: no such file"):
        checkpoint.load(tiny_checkpoint, CPU, None)


@pytest.mark.parametrize(
    "name", [checkpoint.CONFIG, robots.STATISTICS, robots.ACTION_SPEC, robots.CAMERA, checkpoint.TOKENIZER]
)
def test_a_missing_file_is_named(tiny_checkpoint, name):
    (tiny_checkpoint / name).unlink()
    with pytest.raises(ConfigError, match=name):
        checkpoint.load(tiny_checkpoint, CPU, None)


def test_damaged_weights_are_refused(tiny_checkpoint):
    path = tiny_checkpoint / checkpoint.WEIGHTS
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load(tiny_checkpoint, CPU, None)


def test_spec_and_model_must_agree_on_proprioception(tiny_checkpoint):
    path = tiny_checkpoint / robots.ACTION_SPEC
    spec = json.loads(path.read_text())
    spec["proprioception"] = False
    path.write_text(json.dumps(spec))
    with pytest.raises(ConfigError, match="proprioception"):
        checkpoint.load(tiny_checkpoint, CPU, None)


def test_one_checkpoint_acts_for_several_robots(tiny_checkpoint):
    """Each with its own bounds and camera, alone and together in a batch."""
    first = robots.read(tiny_checkpoint)
    wide = dataclasses.replace(
        first.statistics, q01=tuple(2 * v for v in first.statistics.q01), q99=tuple(2 * v for v in first.statistics.q99)
    )
    robots.write(dataclasses.replace(first, statistics=wide), tiny_checkpoint / robots.FOLDER / "wide")
    raised = dataclasses.replace(first.camera, plane_height_m=0.3)
    robots.write(dataclasses.replace(first, camera=raised), tiny_checkpoint / robots.FOLDER / "raised")
    policy = magma_policy.load(tiny_checkpoint, device="cpu")
    assert sorted(policy.robots) == ["", "raised", "wide"]
    turns = {
        name: ActRequest(IMAGE, "put the carrot on the plate", HOME, policy.new_session(name)) for name in policy.robots
    }
    alone = {name: policy.act_batch([turn])[0] for name, turn in turns.items()}
    assert alone["wide"].deltas[0, :6] == pytest.approx(2 * alone[""].deltas[0, :6])
    assert not np.array_equal(alone["raised"].ids, alone[""].ids)
    together = policy.act_batch(list(turns.values()))
    for name, result in zip(turns, together, strict=True):
        assert np.array_equal(result.ids, alone[name].ids)
        assert result.deltas == pytest.approx(alone[name].deltas)
    with pytest.raises(ConfigError, match=r"no robot 'tall'.*raised.*wide"):
        policy.new_session("tall")
    chosen = magma_policy.load(tiny_checkpoint, device="cpu", robot="wide")
    assert chosen.act(IMAGE, "put the carrot on the plate", HOME).deltas == pytest.approx(alone["wide"].deltas)


def test_no_statistics_for_the_key_is_an_error(tiny_checkpoint):
    path = tiny_checkpoint / robots.ACTION_SPEC
    spec = json.loads(path.read_text())
    spec["statistics_key"] = "bridge_orig"
    path.write_text(json.dumps(spec))
    with pytest.raises(ConfigError, match="bridge_orig"):
        checkpoint.load(tiny_checkpoint, CPU, None)


def test_policy_acts_deterministically_within_its_bounds(tiny_checkpoint):
    policy = magma_policy.load(tiny_checkpoint, device="cpu")
    first = policy.act(IMAGE, "put the carrot on the plate", HOME)
    assert first.deltas.shape == (1, 7)
    assert first.deltas.dtype == np.float64
    assert (np.abs(first.deltas[0, :6]) <= 0.05).all()
    assert 0.0 <= first.deltas[0, 6] <= 1.0
    assert list(first.stage_ms) == ["preprocess", "vision", "prefill", "decode", "unnormalise"]
    assert first.marks.shape == (4, 2)
    policy.act(IMAGE, "put the spoon on the towel", HOME)
    policy.reset()
    again = policy.act(IMAGE, "put the carrot on the plate", HOME)
    assert np.array_equal(first.deltas, again.deltas)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (IMAGE.astype(np.float32), "uint8"),
        (IMAGE[:64], r"shape \(128, 128, 3\)"),
        (IMAGE[..., :1], r"shape \(128, 128, 3\)"),
        (None, "uint8"),
    ],
)
def test_bad_images_are_refused(tiny_checkpoint, image, reason):
    policy = magma_policy.load(tiny_checkpoint, device="cpu")
    with pytest.raises(ObservationError, match=reason):
        policy.act(image, "put the carrot on the plate", HOME)


def test_missing_proprioception_and_bad_instructions_are_refused(tiny_checkpoint):
    policy = magma_policy.load(tiny_checkpoint, device="cpu")
    with pytest.raises(ObservationError, match="needs proprioception"):
        policy.act(IMAGE, "put the carrot on the plate", None)
    with pytest.raises(InstructionError, match="empty"):
        policy.act(IMAGE, " ", HOME)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("position", np.zeros(2), "shape"),
        ("target_position", np.array([0.0, np.nan, 0.0]), "finite"),
        ("quaternion_xyzw", np.zeros(4), "unit"),
        ("gripper", float("inf"), "finite"),
    ],
)
def test_bad_proprioception_is_refused(field, value, reason):
    values = {name: getattr(HOME, name) for name in HOME.__dataclass_fields__}
    with pytest.raises(ObservationError, match=reason):
        Proprioception(**{**values, field: value})
