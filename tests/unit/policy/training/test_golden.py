"""A new magma-tiny learns what it always learned: two steps from one seed, against stored losses."""

import json
from pathlib import Path

import pytest

from magma_policy.training.recipes.robot_actions.trainer import Trainer

GOLDEN = Path(__file__).parents[1] / "golden" / "training_steps.json"


def test_two_steps_of_a_new_model_have_the_stored_losses(write_set, small_run, held_out_names, tmp_path):
    pictures = write_set(tmp_path / "pictures", held_out_names(2))
    trainer = Trainer(small_run(tmp_path / "run", pictures, image_batch=4, state_batch=8, text_batch=2, accumulate=2))
    for _ in range(2):
        trainer.train_step()
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    for name, losses in golden["losses"].items():
        # Other CPUs add in another order.
        assert list(trainer.running[name]) == pytest.approx(losses, rel=2e-3), name
    total = sum(float(tensor.double().abs().sum()) for tensor in trainer.model.state_dict().values())
    assert total == pytest.approx(golden["sum_of_absolute_weights"], rel=1e-5)
