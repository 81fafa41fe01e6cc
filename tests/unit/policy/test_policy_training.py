import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import magma_policy
from magma_policy.action_tokens import bin_centres_by_id
from magma_policy.augmentation import jitter
from magma_policy.config import ConfigError
from magma_policy.demonstrations import (
    DataCard,
    DemonstrationError,
    gripper_onsets,
    is_held_out,
    list_episodes,
    read_demonstrations,
)
from magma_policy.losses import action_loss, heat_map_loss
from magma_policy.train import TrainConfig, Trainer, check_same_command
from magma_policy.training_state import TENSORS, TrainingStateError


def write_set(directory, overhead, names, steps=5, frames=True, seed=0):
    """A demonstration set with random contents in the on-disk format."""
    rng = np.random.default_rng(seed)
    (directory / "episodes").mkdir(parents=True)
    card = {
        "camera_intrinsics": overhead.intrinsics,
        "camera_extrinsics_base_to_optical": overhead.extrinsics,
        "image_size": 128,
        "table_height_m": 0.0,
        "step_period_s": 0.2,
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


@pytest.fixture
def pictures(tmp_path, overhead):
    return write_set(tmp_path / "pictures", overhead, held_out_names(2))


def test_reader_joins_sets_with_and_without_pictures(pictures, tmp_path, overhead):
    states = write_set(tmp_path / "states", overhead, ["spoon-1"], frames=False, seed=1)
    demos = read_demonstrations([pictures, states])
    assert len(demos) == 25
    assert demos.frames.shape == (20, 128, 128, 3)
    assert demos.frame_index.tolist() == [*range(20), *[-1] * 5]
    assert set(demos.instructions) == {"put the carrot on the plate", "put the spoon on the plate"}
    assert demos.marks.min() > 0.0 and demos.marks.max() < 1.0
    assert demos.onset.reshape(5, 5).tolist() == [[False, True, True, True, True]] * 5


def test_a_set_without_pictures_reads_but_cannot_train_the_vision_tower(tmp_path, overhead):
    states = write_set(tmp_path / "states", overhead, held_out_names(2), frames=False)
    demos = read_demonstrations([states])
    assert demos.frames.shape == (0, 128, 128, 3)
    with pytest.raises(ConfigError, match="no training episode has frames"):
        Trainer(small_run(tmp_path / "run", states))


def test_onsets_surround_the_flip():
    actions = np.zeros((8, 7))
    proprioception = np.zeros((8, 16))
    actions[:, 6] = [1, 1, 1, 1, 0, 0, 0, 0]
    proprioception[:, 15] = [1, 1, 1, 1, 1, 0, 0, 0]
    assert np.flatnonzero(gripper_onsets(actions, proprioception)).tolist() == [2, 3, 4, 5]


def test_bad_sets_are_refused_with_the_file_and_the_reason(pictures, tmp_path, overhead):
    with pytest.raises(DemonstrationError, match="no such data card"):
        DataCard.read(tmp_path / "nowhere")
    with pytest.raises(DemonstrationError, match="no episodes"):
        list_episodes([tmp_path / "nowhere"])
    other = write_set(tmp_path / "other", overhead, ["spoon-1"])
    card = json.loads((other / "card.json").read_text())
    (other / "card.json").write_text(json.dumps(card | {"table_height_m": 0.1}))
    with pytest.raises(DemonstrationError, match="camera, table or clock differs"):
        read_demonstrations([pictures, other])
    (other / "card.json").write_text(json.dumps({k: v for k, v in card.items() if k != "image_size"}))
    with pytest.raises(DemonstrationError, match="image_size"):
        DataCard.read(other)
    path = next(iter((pictures / "episodes").glob("*.npz")))
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, "actions": arrays["actions"][:, :6]})
    with pytest.raises(DemonstrationError, match="actions has shape"):
        read_demonstrations([pictures])
    np.savez(path, **{k: v for k, v in arrays.items() if k != "marks"})
    with pytest.raises(DemonstrationError, match="lacks"):
        read_demonstrations([pictures])
    path.write_bytes(b"not an archive")
    with pytest.raises(DemonstrationError, match="cannot be read"):
        read_demonstrations([pictures])


def test_holding_out_goes_by_name_so_that_more_episodes_move_none():
    names = [f"carrot_on_plate-{i}.npz" for i in range(2000)]
    share = sum(is_held_out(n, 20) for n in names) / len(names)
    assert 0.03 < share < 0.07


def small_run(output, pictures, **changes):
    values = dict(
        demonstrations=(pictures,), output=output, minutes=1000.0, image_batch=2, state_batch=4, validation_every=2,
        validation_samples=4, marks_fraction=0.0,
    )  # fmt: skip
    return TrainConfig(**{**values, **changes})


def test_a_run_learns_saves_continues_and_its_checkpoint_acts(pictures, tmp_path):
    config = small_run(tmp_path / "run", pictures)
    trainer = Trainer(config)
    before = trainer.model.grounding.query.weight.clone()
    trainer.train_step()
    assert not torch.equal(before, trainer.model.grounding.query.weight)
    trainer.history["loss"].append({"elapsed_s": 1.0, "step": 1, **trainer.averages()})
    trainer.report()
    trainer.save()
    assert (config.output / "loss.png").is_file()
    again = Trainer(config)
    assert again.restore()
    assert again.step == 1
    trainer.train_step()
    again.train_step()
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    policy = magma_policy.load(config.output / "checkpoint", device="cpu")
    assert policy.spec.camera == "third_person"
    assert policy.model.config.geometry.plane_height_m == pytest.approx(0.02)


def test_another_command_does_not_continue_the_run(pictures, tmp_path):
    check_same_command(small_run(tmp_path / "run", pictures))
    check_same_command(small_run(tmp_path / "run", pictures))
    with pytest.raises(ConfigError, match="learning_rate"):
        check_same_command(small_run(tmp_path / "run", pictures, learning_rate=1.0))


def test_a_run_of_another_model_is_refused(pictures, tmp_path):
    trainer = Trainer(small_run(tmp_path / "run", pictures))
    trainer.save()
    path = tmp_path / "run" / "training" / TENSORS
    tensors = load_file(str(path))
    del tensors["model/grounding.query.bias"]
    save_file(tensors, str(path))
    with pytest.raises(TrainingStateError, match=r"(?s)another model.*grounding\.query\.bias"):
        trainer.restore()


@pytest.mark.parametrize(("name", "value"), [("minutes", 0.0), ("validation_every", 1), ("ema_decay", 1.0)])
def test_bad_settings_are_refused(name, value, tmp_path):
    with pytest.raises(ConfigError, match=name):
        small_run(tmp_path, tmp_path, **{name: value})


def test_jitter_keeps_type_and_differs():
    images = torch.full((2, 8, 8, 3), 128, dtype=torch.uint8)
    out = jitter(images, torch.Generator().manual_seed(0))
    assert out.dtype == torch.uint8
    assert not torch.equal(out[0], out[1])


def test_heat_map_loss_is_lowest_at_the_mark_and_ignores_marks_outside():
    target = torch.tensor([[[0.5, 0.25]]])
    grid = (torch.arange(32) + 0.5) / 32

    def loss(x, y):
        logits = -(((grid[None, :] - x) * 32) ** 2 + ((grid[:, None] - y) * 32) ** 2)[None, None] / 2
        return float(heat_map_loss(logits, torch.tensor([[[x, y]]]), target, 1.0))

    assert loss(0.5, 0.25) < loss(0.6, 0.25)
    assert loss(0.5, 0.25) < loss(0.25, 0.5)
    outside = torch.tensor([[[1.5, 0.25]]])
    assert float(heat_map_loss(torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 2), outside, 1.0)) == 0.0


def test_action_loss_is_lowest_at_the_value_and_never_teaches_the_first_id():
    centres = torch.tensor(bin_centres_by_id(), dtype=torch.float32)
    values = torch.tensor([[0.3, -1.0, 1.0, 0.0, 0.0, 0.0, 1.0]])

    def loss(guess):
        logits = -(((centres - guess[..., None]) / 0.02) ** 2)
        return float(action_loss(logits, values, centres, 2.0, 5.0))

    assert loss(values) < loss(values + 0.05)
    assert loss(values) < loss(values - 0.05)
    logits = torch.zeros(1, 7, 256, requires_grad=True)
    action_loss(logits, values, centres, 2.0, 0.0).backward()
    assert (logits.grad[..., 0] > 0).all()
