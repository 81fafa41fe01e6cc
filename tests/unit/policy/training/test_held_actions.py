"""What keeps a robot's actions while its model learns to talk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from magma_contracts.errors import ConfigError
from magma_policy.training.recipes.chat.config import ChatTrainConfig
from magma_policy.training.recipes.chat.trainer import Trainer

SHIPPED = Path(__file__).parents[4] / "policy" / "checkpoints" / "magma-tiny"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """One question, answered by the colour of the picture."""
    talk = []
    for name, colour in (("Red.", (255, 0, 0)), ("Blue.", (0, 0, 255))):
        Image.new("RGB", (24, 24), colour).save(tmp_path / f"{name}png")
        question = {"from": "human", "value": "<image>\nWhat colour is it?"}
        talk.append({"id": name, "image": f"{name}png", "conversations": [question, {"from": "gpt", "value": name}]})
    (tmp_path / "rows.json").write_text(json.dumps(talk))
    return tmp_path / "rows.json"


def trainer(rows: Path, output: Path, *hold: Path, **options: object) -> Trainer:
    chosen = {"steps": 12, "batch": 2, "learning_rate": 1e-3, "frozen": (), "hold": hold, "hold_batch": 4, **options}
    return Trainer(ChatTrainConfig((rows,), output, init=str(SHIPPED), **chosen))


def test_words_are_learned_and_actions_are_held(rows, write_set, tmp_path):
    demos = write_set(tmp_path / "demos", ["carrot-1", "carrot-2"])
    held, free = trainer(rows, tmp_path / "held", demos, hold_weight=5.0), trainer(rows, tmp_path / "free")
    judge = held.held
    batch = judge.draw(8, torch.Generator().manual_seed(1))
    with torch.no_grad():
        begun = float(judge.loss(held.model, batch))
    assert begun == pytest.approx(0.0, abs=1e-5), "it begins as what it is compared with"
    assert held.run() == free.run() == 0
    with torch.no_grad():
        kept, lost = float(judge.loss(held.model, batch)), float(judge.loss(free.model, batch))
    assert kept < 0.8 * lost, (kept, lost)
    for made in (held, free):
        first, last = (made.running["text"][place].item() for place in (0, -1))
        assert last < 0.5 * first
    assert len(free.running["held"]) == 0 and len(held.running["held"]) == 12


def test_a_step_is_drawn_alike_again_and_other_demonstrations_are_another_run(rows, write_set, tmp_path):
    made = trainer(rows, tmp_path / "run", write_set(tmp_path / "demos", ["carrot-1"]))
    one, again, other = (made.draw_part(step, 0).held for step in (3, 3, 4))
    assert torch.equal(one.tiles, again.tiles) and torch.equal(one.ids, again.ids)
    assert not torch.equal(one.tiles, other.tiles)
    more = trainer(rows, tmp_path / "run", write_set(tmp_path / "more", ["carrot-1", "spoon-1"]))
    assert len({made.fingerprint(), more.fingerprint(), trainer(rows, tmp_path / "run").fingerprint()}) == 3


def test_sets_of_a_robot_that_the_checkpoint_does_not_know_are_refused(rows, write_set, tmp_path):
    with pytest.raises(ConfigError, match=r"of the robot 'tea_maker'; the checkpoint knows panda, widowx"):
        trainer(rows, tmp_path / "run", write_set(tmp_path / "demos", ["carrot-1"], robot="tea_maker"))


def test_sets_without_pictures_hold_nothing(rows, write_set, tmp_path):
    with pytest.raises(ConfigError, match=r"held on pictures, and .* has none"):
        trainer(rows, tmp_path / "run", write_set(tmp_path / "demos", ["carrot-1"], frames=False))


def test_weights_that_make_no_sense_are_refused(rows, tmp_path):
    with pytest.raises(ConfigError, match="hold_weight must not be negative"):
        trainer(rows, tmp_path / "run", hold_weight=-1.0)
    with pytest.raises(ConfigError, match="hold_batch must be positive"):
        trainer(rows, tmp_path / "run", hold_batch=0)
