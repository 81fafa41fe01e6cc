"""Finetuning of existing checkpoints: both layouts, whole or by adapters, in every type of weights."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from scipy.spatial.transform import Rotation

import magma_policy
from magma_contracts.errors import ConfigError
from magma_policy.commands.train import check_same_command, main
from magma_policy.embodiments import robots
from magma_policy.embodiments.euler_angles import euler_angles, rotation_vector
from magma_policy.embodiments.registry import make_adapter
from magma_policy.families.magma import checkpoint, published_files
from magma_policy.families.magma.config import magma_8b_config
from magma_policy.families.magma.model import Magma
from magma_policy.families.magma.tiling import tile_image, tile_images
from magma_policy.families.magma.tokenizer import build_small_tokenizer
from magma_policy.training import lora
from magma_policy.training.loop.memory import Memory
from magma_policy.training.loop.optimizer import RoundingAdamW, round_by_chance
from magma_policy.training.loop.saved_run import FILE, SavedRunError
from magma_policy.training.recipes.robot_actions.trainer import Trainer
from magma_policy.training.starting_point import StartingPoint, memory

HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="module")
def published_magma(tmp_path_factory, plain_config):
    """A very small plain Magma in the published layout, bfloat16 in several shards."""
    directory = tmp_path_factory.mktemp("published") / "small"
    torch.manual_seed(0)
    tokenizer = build_small_tokenizer(plain_config.tokens)
    published_files.write(directory, Magma(plain_config).state_dict(), plain_config, tokenizer, shard_bytes=200_000)
    return directory


@pytest.fixture
def wide(write_set, held_out_names, tmp_path):
    """Frames that are not square, which the small plain Magma sees in two tiles or more."""
    rng = np.random.default_rng(3)
    frames = rng.integers(0, 256, (5, HEIGHT, WIDTH, 3), dtype=np.uint8)
    made = write_set(tmp_path / "wide", held_out_names(1), frames=False)
    card = json.loads((made / "card.json").read_text())
    (made / "card.json").write_text(json.dumps(card | {"image_size": [HEIGHT, WIDTH]}))
    for path in (made / "episodes").glob("*.npz"):
        arrays = dict(np.load(path))
        np.savez(path, **arrays, frames=frames)
    return made


@pytest.fixture
def finetune(small_run, published_magma, wide, tmp_path):
    """Makes the config of a run that finetunes the small plain Magma; `name` is its output."""

    def make(name="run", **changes):
        return small_run(tmp_path / name, wide, **{"init": str(published_magma), **changes})

    return make


def test_a_published_checkpoint_learns_actions_and_text_from_frames_of_any_size(finetune, published_magma):
    config = finetune(action_loss="cross_entropy", marks_fraction=0.12)
    trainer = Trainer(config)
    _, grid = trainer.train.images(trainer.train.image_rows[:2], trainer.model_config.image, torch.device("cpu"))
    assert grid[0] * grid[1] > 1
    trainer.train_step()
    assert set(trainer.averages()) == {"action", "text"}, "no marks to teach, so actions from the first step"
    before = checkpoint.load(published_magma, torch.device("cpu"), torch.float32).model.state_dict()
    changed = [name for name, tensor in trainer.model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert len(changed) > 0.9 * len(before)
    trainer.report()
    trainer.save()
    policy = magma_policy.load(config.output / "checkpoint", device="cpu")
    assert (policy.spec.image_height, policy.spec.image_width, policy.spec.proprioception) == (HEIGHT, WIDTH, False)
    picture = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    assert policy.act(picture, "put the carrot on the plate", None).deltas.shape == (1, 7)
    stored = load_file(str(config.output / "checkpoint" / "model.safetensors"))
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}, "the type of the checkpoint it began from"


def test_several_pictures_are_tiled_as_one_by_one(plain_config):
    images = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH, 3), dtype=np.uint8)
    together, grid = tile_images(torch.from_numpy(images), plain_config.image)
    single = [tile_image(image, plain_config.image) for image in images]
    assert {one for _, one in single} == {grid}
    assert torch.equal(together, torch.cat([tiles for tiles, _ in single]))


def test_this_projects_own_checkpoint_keeps_its_marks_and_states(tiny_checkpoint, small_run, write_set, held_out_names,
                                                                 tmp_path):  # fmt: skip
    pictures = write_set(tmp_path / "pictures", held_out_names(1))
    config = small_run(tmp_path / "run", pictures, init=str(tiny_checkpoint), statistics="init", frozen=("vision",))
    trainer = Trainer(config)
    vision = trainer.model.vision_tower.clip_vision_model.trunk.stem[0].weight.clone()
    trainer.train_step()
    assert set(trainer.averages()) == {"marks", "action", "state", "text"}
    assert torch.equal(vision, trainer.model.vision_tower.clip_vision_model.trunk.stem[0].weight)
    assert not any(name.startswith("vision_tower") for name in trainer.parameters)
    assert trainer.robots[0].statistics == robots.read(tiny_checkpoint).statistics
    trainer.save()
    assert magma_policy.load(config.output / "checkpoint", device="cpu").spec.statistics_key == "tabletop"


def test_bins_keep_the_meaning_that_a_published_robot_gives_them(finetune):
    trainer = Trainer(finetune(statistics="widowx"))
    spec, known = trainer.robots[0].spec, robots.read(robots.find(trainer.config.output, "widowx"))
    assert (spec.adapter, spec.statistics_key) == ("widowx", "bridge_orig")
    assert (spec.image_height, spec.image_width) == (HEIGHT, WIDTH), "what the camera gives"
    assert trainer.demos.frames.shape[1:3] == (256, 256), "what the published evaluation squashes it to"
    row = 2
    values = known.statistics.unnormalise(trainer.train.values[row].numpy())
    inside = np.abs(trainer.train.values[row].numpy()) < 1
    delta = make_adapter("widowx").adapt(values).delta
    assert delta[:3][inside[:3]] == pytest.approx(trainer.demos.actions[row][:3][inside[:3]], abs=1e-6)


def test_euler_angles_invert_the_rotation_vector():
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 1.0, (200, 3))
    angles = euler_angles(vectors)
    expected = Rotation.from_rotvec(vectors).as_matrix()
    assert Rotation.from_euler("xyz", angles).as_matrix() == pytest.approx(expected, abs=1e-9)
    edges = np.stack([rotation_vector(0.3, sign * np.pi / 2, 0.4) for sign in (1, -1)])
    back = Rotation.from_euler("xyz", euler_angles(edges)).as_matrix()
    assert back == pytest.approx(Rotation.from_rotvec(edges).as_matrix(), abs=1e-6)
    assert euler_angles(np.zeros((1, 3))).tolist() == [[0.0, 0.0, 0.0]]


def lora_run(finetune, name="run", **changes):
    pytest.importorskip("peft")
    return finetune(name, **{"lora_rank": 4, "lora_alpha": 8, "learning_rate": 0.05, **changes})


def test_adapters_alone_learn_and_the_merged_checkpoint_computes_the_same(finetune, published_magma):
    config = lora_run(finetune, lora_parts=("language", "projector", "vision"))
    trainer = Trainer(config)
    base = checkpoint.load(published_magma, torch.device("cpu"), torch.float32).model.state_dict()
    for _ in range(2):
        trainer.train_step()
    assert all(lora.is_adapter(name) for name in trainer.parameters)
    for name, tensor in trainer.model.state_dict().items():
        if not lora.is_adapter(name):
            assert torch.equal(tensor, base[name.replace(".base_layer.", ".")]), name
    layer = trainer.model.language_model.model.layers[0].self_attn.q_proj
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert up.abs().max() > 0
    merged = dict(lora.merged(trainer.model, torch.float32))
    name = "language_model.model.layers.0.self_attn.q_proj.weight"
    assert torch.allclose(merged[name], base[name] + 8.0 / 4 * up @ down, atol=1e-6)
    plain = Magma(trainer.model_config)
    plain.load_state_dict(merged)
    ids = torch.randint(0, 500, (1, 9), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(plain(ids), trainer.model(ids), atol=1e-4)


def test_the_saved_run_holds_the_adapters_and_peft_reads_them(finetune, published_magma):
    peft = pytest.importorskip("peft")
    config = lora_run(finetune)
    trainer = Trainer(config)
    trainer.train_step()
    trainer.save(last=False)
    assert not (config.output / "checkpoint").exists()
    with safe_open(str(config.output / "training" / FILE), framework="pt") as file:
        assert all(".lora_" in name for name in file.keys())  # noqa: SIM118 - no mapping
    trainer.save()
    policy = magma_policy.load(config.output / "checkpoint", device="cpu", dtype="float32")
    model = checkpoint.load(published_magma, torch.device("cpu"), torch.float32).model
    settings = peft.LoraConfig.from_pretrained(str(config.output / "adapter"))
    assert settings.base_model_name_or_path == str(published_magma)
    adapted = peft.PeftModel(model, settings)
    weights = load_file(str(config.output / "adapter" / lora.WEIGHTS))
    missing = peft.set_peft_model_state_dict(adapted, weights)
    assert not missing.unexpected_keys
    ids = torch.randint(0, 500, (1, 9), generator=torch.Generator().manual_seed(0))
    # The merged checkpoint was rounded to bfloat16.
    assert torch.allclose(policy.model(ids), model(ids), atol=0.05)


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_rank": 4, "learning_rate": 0.05},
        {"precision": "bfloat16", "weights": "bfloat16"},
        {"precision": "bfloat16", "lora_rank": 4, "ema_decay": 0.0, "gradient_checkpointing": True},
    ],
)
def test_every_kind_of_finetuning_goes_on_to_the_bit(finetune, changes):
    pytest.importorskip("peft")
    whole = Trainer(finetune("whole", **changes))
    for _ in range(2):
        whole.train_step()
    first = Trainer(finetune(**changes))
    first.train_step()
    first.report()
    first.save()
    again = Trainer(finetune(**changes))
    assert again.restore() and again.step == 1
    again.train_step()
    for name, parameter in whole.parameters.items():
        assert torch.equal(parameter, again.parameters[name]), name
    for name, tensor in whole.average.tensors.items():
        assert torch.equal(tensor, again.average.tensors[name]), name
    moments = [tensor for state in again.optimizer.state.values() for key, tensor in state.items() if key != "step"]
    assert {tensor.dtype for tensor in moments} == {torch.float32}
    if "weights" in changes:
        assert {p.dtype for p in again.parameters.values()} == {torch.bfloat16}


def test_a_run_that_began_from_other_weights_is_not_continued(finetune, published_magma, tmp_path):
    trainer = Trainer(finetune())
    trainer.save()
    trainer.start = dataclasses.replace(trainer.start, directory=trainer.config.output / "checkpoint")
    with pytest.raises(SavedRunError, match="other weights"):
        trainer.restore()


def test_without_an_average_none_is_allocated_and_the_weights_themselves_are_written(finetune):
    trainer = Trainer(finetune(ema_decay=0.0))
    trainer.train_step()
    assert trainer.average.tensors == {}
    trainer.save()
    stored = load_file(str(trainer.config.output / "checkpoint" / "model.safetensors"))
    name, parameter = next(iter(trainer.parameters.items()))
    assert torch.equal(stored[name], parameter.detach().to(stored[name].dtype))


def test_recomputed_gradients_are_the_same(finetune):
    runs = [Trainer(finetune(name, gradient_checkpointing=name == "thrifty")) for name in ("plain", "thrifty")]
    for trainer in runs:
        trainer.train_step()
    for name, parameter in runs[0].parameters.items():
        assert torch.equal(parameter, runs[1].parameters[name]), name


def test_the_average_takes_the_place_of_the_weights_only_while_it_is_asked_for(finetune):
    trainer = Trainer(finetune(learning_rate=0.1))
    for _ in range(2):
        trainer.train_step()
    name = "multi_modal_projector.proj.0.weight"
    weight = trainer.parameters[name].detach().clone()
    with trainer._averaged():
        assert torch.equal(trainer.model.multi_modal_projector.proj[0].weight, trainer.average.tensors[name])
    assert torch.equal(trainer.parameters[name], weight)
    assert not torch.equal(weight, trainer.average.tensors[name])


# Memory.


def test_memory_is_computed_without_allocating_and_is_what_a_run_has(finetune):
    for changes in ({}, {"ema_decay": 0.0, "precision": "bfloat16", "weights": "bfloat16"}):
        config = finetune(**changes)
        computed = memory(StartingPoint.of(config), config)
        trainer = Trainer(config)
        trainer.train_step()
        real = Memory.of(trainer.model, config.ema_decay > 0, config.precision == "bfloat16")
        assert computed == real
        sizes = [t.numel() * t.element_size() for state in trainer.optimizer.state.values() for t in state.values()]
        assert computed.moments == sum(sizes) - 4 * len(trainer.optimizer.state), "but for the counts of steps"
        assert computed.gradients == sum(p.grad.numel() * p.grad.element_size() for p in trainer.parameters.values())
        assert computed.average == sum(t.numel() * 4 for t in trainer.average.tensors.values())


@pytest.mark.parametrize(
    ("changes", "total_gb"),
    [
        ({}, 159.2),
        ({"weights": "bfloat16"}, 106.9),
        ({"weights": "bfloat16", "frozen": ("vision",)}, 98.4),
        ({"lora_rank": 32}, 19.3),
    ],
)
def test_magma_8b_takes_what_the_documentation_says(finetune, changes, total_gb):
    if "lora_rank" in changes:
        pytest.importorskip("peft")
    config = finetune(precision="bfloat16", ema_decay=0.0, **changes)
    whole = magma_8b_config()
    text = dataclasses.replace(whole.text, vocab_size=128320)
    start = StartingPoint(dataclasses.replace(whole, text=text))
    assert memory(start, config).total / 1e9 == pytest.approx(total_gb, abs=0.06)


def test_a_dry_run_prints_counts_and_memory_and_writes_nothing(finetune, capsys, monkeypatch):
    config = finetune()
    arguments = [
        "magma-train", "--dry-run", "--demonstrations", str(config.demonstrations[0]), "--output", str(config.output),
        "--init", config.init, "--frozen", "vision",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", arguments)
    main()
    printed = capsys.readouterr().out
    assert f"frames of {WIDTH}x{HEIGHT}" in printed
    assert re.search(r"M trained; memory per process .* MB and activations \(weights", printed)
    assert not config.output.exists()


# The optimiser.


def test_on_float32_weights_it_is_adamw():
    torch.manual_seed(0)
    weights = [torch.randn(4, 3), torch.randn(5)]
    mine, theirs = ([torch.nn.Parameter(w.clone()) for w in weights] for _ in range(2))
    groups = [{"params": [mine[0]], "weight_decay": 0.1}, {"params": [mine[1]], "weight_decay": 0.0}]
    ours = RoundingAdamW(groups, 0.01, (0.9, 0.98), 0)
    groups = [{"params": [theirs[0]], "weight_decay": 0.1}, {"params": [theirs[1]], "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.98))
    for _ in range(5):
        for one, other in zip(mine, theirs, strict=True):
            one.grad = other.grad = torch.randn(one.shape)
        ours.step()
        reference.step()
    for one, other in zip(mine, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_small_changes_of_bfloat16_weights_are_not_lost():
    weight = torch.nn.Parameter(torch.ones(20_000, dtype=torch.bfloat16))
    optimizer = RoundingAdamW([{"params": [weight]}], 1e-4, (0.9, 0.98), 0)
    for _ in range(10):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert float(weight.detach().float().mean()) == pytest.approx(1.0 - 10 * 1e-4, abs=1e-4)


def test_rounding_by_chance_goes_to_a_neighbour_and_keeps_what_is_exact_or_not_finite():
    values = torch.tensor([1.0, -0.5, 0.0, float("inf"), float("nan")])
    out = round_by_chance(values, torch.Generator().manual_seed(0))
    assert out[:4].tolist() == values[:4].tolist() and out[4].isnan()
    between = torch.full((20_000,), 1.0 + 1.0 / 512)
    rounded = round_by_chance(between, torch.Generator().manual_seed(0)).float()
    assert set(rounded.unique().tolist()) == {1.0, 1.0 + 1.0 / 128}
    assert float(rounded.mean()) == pytest.approx(1.0 + 1.0 / 512, abs=1e-4)


# Settings.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_rank": 4, "frozen": ("vision",)}, "no frozen parts"),
        ({"init": None, "lora_rank": 4}, "go with an init checkpoint"),
        ({"weights": "bfloat16"}, "precision bfloat16"),
        ({"lora_rank": -1}, "lora_rank"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(finetune, changes, message):
    with pytest.raises(ConfigError, match=message):
        finetune(**changes)


def test_nothing_left_to_train_and_unknown_robots_are_refused(finetune):
    with pytest.raises(ConfigError, match="nothing is left to train"):
        Trainer(finetune(frozen=("vision", "projector", "language")))
    with pytest.raises(ConfigError, match="no robot 'nobody'"):
        Trainer(finetune(statistics="nobody"))


def test_a_run_from_before_a_setting_existed_goes_on(finetune):
    config = finetune()
    check_same_command(config)
    path = config.output / "train.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in stored.items() if k != "lora_rank"}))
    check_same_command(config)
    with pytest.raises(ConfigError, match="lora_rank"):
        check_same_command(dataclasses.replace(config, lora_rank=2))
