"""Small models and checkpoints for the policy tests."""

import dataclasses
import json
import sys

import numpy as np
import pytest
import torch

from magma_policy.demonstrations.reader import is_held_out
from magma_policy.embodiments.action_normalization import ActionStatistics
from magma_policy.embodiments.action_spec import ActionSpec
from magma_policy.embodiments.camera import CameraCalibration
from magma_policy.embodiments.robots import Robot
from magma_policy.families.magma import checkpoint, published_files
from magma_policy.families.magma.config import (
    ImageConfig,
    MagmaConfig,
    TokenConfig,
    VisionConfig,
    magma_tiny_config,
)
from magma_policy.families.magma.model import Magma
from magma_policy.families.magma.tokenizer import build_small_tokenizer
from magma_policy.inference.llama_config import TextConfig
from magma_policy.training.config import TrainConfig

torch.set_num_threads(1)

# A camera 0.8 m above the table at x = 0.5, looking straight down; picture up is the robot's forward direction.
OVERHEAD = CameraCalibration(
    intrinsics=((150.0, 0.0, 64.0), (0.0, 150.0, 64.0), (0.0, 0.0, 1.0)),
    extrinsics=((0.0, -1.0, 0.0, 0.0), (-1.0, 0.0, 0.0, 0.5), (0.0, 0.0, -1.0, 0.8), (0.0, 0.0, 0.0, 1.0)),
    image_height=128,
    image_width=128,
    plane_height_m=0.02,
)
STATISTICS = ActionStatistics((-0.05,) * 6 + (0.0,), (0.05,) * 6 + (1.0,), (True,) * 6 + (False,))


@pytest.fixture
def run(monkeypatch, capsys):
    """Calls a command's module with arguments as a shell does."""

    def command(module, *arguments):
        """Exit status, stdout, stderr."""
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            module.main()
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return command


@pytest.fixture(scope="session")
def overhead():
    return OVERHEAD


@pytest.fixture(scope="session")
def plain_config():
    """Plain Magma, very small: four 64 px tiles at most, no additions."""
    tokens = TokenConfig.magma_layout(768)
    return MagmaConfig(
        name="plain",
        vision=VisionConfig(depths=(1, 1, 2, 1), dims=(8, 12, 16, 24)),
        image=ImageConfig(base_size=64, max_num_crops=4),
        text=TextConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=tokens.total_size,
            max_position_embeddings=512,
        ),
        tokens=tokens,
    )


@pytest.fixture(scope="session")
def plain_model(plain_config):
    torch.manual_seed(0)
    return Magma(plain_config).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def wide_checkpoint(tmp_path_factory, plain_config):
    """A plain Magma with random weights in the published layout, its layers wide enough for the blocks of 64 and the
    multiples of 16 of weights in fewer bits."""
    text = dataclasses.replace(plain_config.text, hidden_size=128, intermediate_size=192, num_attention_heads=4)
    config = dataclasses.replace(plain_config, text=text)
    torch.manual_seed(0)
    home = tmp_path_factory.mktemp("wide") / "Magma-wide"
    tokenizer = build_small_tokenizer(config.tokens)
    published_files.write(home, Magma(config).state_dict(), config, tokenizer, torch.bfloat16, shard_bytes=200_000)
    return home


def random_tiny():
    """A randomly initialised magma-tiny, its language model narrowed for speed."""
    config = magma_tiny_config("table_plane")
    text = dataclasses.replace(config.text, hidden_size=48, intermediate_size=64, num_hidden_layers=2)
    config = dataclasses.replace(config, text=text)
    torch.manual_seed(1)
    return Magma(config).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def tiny_model():
    return random_tiny()


def spec_of(config):
    return ActionSpec(
        policy=config.name,
        horizon=1,
        step_period_s=0.2,
        frame="base",
        rotation="axis_angle",
        gripper="absolute_open_1",
        statistics_key="tabletop",
        camera="third_person",
        image_height=128,
        image_width=128,
        proprioception=config.proprioception,
    )


@pytest.fixture
def tiny_checkpoint(tmp_path, tiny_model):
    """Directory of a saved random magma-tiny."""
    config = tiny_model.config
    tokenizer = build_small_tokenizer(config.tokens)
    state = tiny_model.state_dict()
    robot = Robot(spec_of(config), STATISTICS, OVERHEAD)
    checkpoint.save(tmp_path / "tiny", state, config, tokenizer, {"": robot}, torch.float32)
    return tmp_path / "tiny"


def write_set(directory, names, steps=5, frames=True, seed=0, robot="", camera=OVERHEAD, **more):
    """A demonstration set with random contents in the on-disk format; `more` are further arrays of every episode."""
    rng = np.random.default_rng(seed)
    (directory / "episodes").mkdir(parents=True)
    card = {
        "camera_intrinsics": camera.intrinsics,
        "camera_extrinsics_base_to_optical": camera.extrinsics,
        "image_size": 128,
        "table_height_m": 0.0,
        "step_period_s": 0.2,
        "robot": robot,
        "objects": {"rabbit_food": {"noun": "carrot", "colour": "orange"}},
        "suite": "anything else may stand in the card",
    }
    (directory / "card.json").write_text(json.dumps(card))
    for name in names:
        proprioception = rng.normal(0, 0.1, (steps, 16)).astype(np.float32)
        proprioception[:, [3, 10]] = 1.0
        proprioception[:, 14:] = 1.0
        actions = rng.uniform(-0.05, 0.05, (steps, 7)).astype(np.float32)
        actions[:, 6] = np.arange(steps) < steps - 2
        arrays = {
            "proprioception": proprioception,
            "actions": actions,
            "marks": rng.uniform(10, 118, (steps, 4, 2)).astype(np.float32),
            "instruction": np.array(f"put the {name.split('-')[0]} on the plate"),
            "object_names": np.array(["rabbit_food"]),
            "object_positions": np.tile(np.array([0.5, 0.0, 0.02], dtype=np.float32), (steps, 1, 1)),
            **more,
        }
        if frames:
            arrays["frames"] = rng.integers(0, 256, (steps, 128, 128, 3), dtype=np.uint8)
        np.savez_compressed(directory / "episodes" / f"{name}.npz", **arrays)
    return directory


def held_out_names(count):
    """Episode names of which some are held out and some are not, whatever the rule."""
    names = [f"carrot-{i}" for i in range(200)]
    held = [n for n in names if is_held_out(f"{n}.npz", 2)]
    free = [n for n in names if not is_held_out(f"{n}.npz", 2)]
    return held[:count] + free[:count]


def small_run(output, pictures, **changes):
    values = dict(
        demonstrations=(pictures,), output=output, steps=100, image_batch=2, state_batch=4, text_batch=1,
        validation_every=2, validation_samples=4, marks_fraction=0.0,
    )  # fmt: skip
    return TrainConfig(**{**values, **changes})


@pytest.fixture(scope="session", name="write_set")
def write_set_fixture():
    return write_set


@pytest.fixture(scope="session", name="held_out_names")
def held_out_names_fixture():
    return held_out_names


@pytest.fixture(scope="session", name="small_run")
def small_run_fixture():
    return small_run
