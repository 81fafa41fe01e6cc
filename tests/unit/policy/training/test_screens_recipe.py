"""The recipe that teaches a small Magma where to click."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from magma_contracts.errors import ConfigError
from magma_policy.commands import train
from magma_policy.errors import CheckpointError, ScreenError
from magma_policy.families import registry
from magma_policy.families.interface import Message
from magma_policy.families.magma import Magma, RandomCheckpoint, write_random
from magma_policy.files.image_files import read_image, write_image
from magma_policy.screens.actions import click_answer
from magma_policy.screens.agent import Form, question_words
from magma_policy.screens.form import asked_form
from magma_policy.screens.rows import Mark, Row, append_marks, append_rows, read_rows
from magma_policy.training.answered_texts import IGNORED
from magma_policy.training.recipes.screens.config import ScreensConfig
from magma_policy.training.recipes.screens.trainer import Trainer, small_config

SIDES = {"left": 16, "right": 48}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A dark box to the left or to the right, and the word for it; the mark is the box's number."""
    folder = tmp_path / "set"
    (folder / "pictures").mkdir(parents=True)
    for number in range(8):
        word = ("left", "right")[number % 2]
        image = np.full((64, 64, 3), 255, np.uint8)
        image[24:40, SIDES[word] - 8 : SIDES[word] + 8] = 30 * number
        write_image(folder / f"pictures/{number}.png", image)
        question = question_words(Form.CLICK, f"Click the {word} box{'.' * (number % 3)}", (), ())
        append_rows(folder, [Row(f"r{number}", f"pictures/{number}.png", question, click_answer(number % 2, 0.5, 0.5))])
    return folder


def config(rows: Path, output: Path, **options: object) -> ScreensConfig:
    return ScreensConfig(
        (rows,), output, **{"image_side": 64, "steps": 4, "batch": 3, "warmup_fraction": 0.0, **options}
    )


def test_labels_are_the_answers_ids_and_nothing_else(rows, tmp_path):
    trainer = Trainer(config(rows, tmp_path / "run"))
    batch = trainer._on_device_batch(trainer.rows)
    end = trainer.tokenizer.tokens.end_of_turn
    for ids, wanted, (_, row) in zip(batch.ids, batch.labels, trainer.rows, strict=True):
        asked = wanted[wanted != IGNORED]
        assert trainer.tokenizer.decode(asked.tolist()) == row.answer and asked[-1] == end
        assert ids[-len(asked) :].tolist() == asked.tolist()
    assert batch.tiles.shape == (8, 3, 64, 64) and batch.picture.tolist() == list(range(8))
    assert trainer.answers(batch).shape[:2] == batch.labels.shape


def test_a_picture_is_looked_at_once_for_all_that_is_asked_about_it(rows, tmp_path):
    """Together with other rows about its picture, and with other pictures, a row is answered as it is alone."""
    append_rows(rows, [Row(f"s{k}", "pictures/2.png", f"Which of {k}?", f"Mark: {k}") for k in range(5)])
    trainer = Trainer(config(rows, tmp_path / "run", questions=3))
    trainer.model.eval()
    assert [len(about) for about in trainer.pictures] == [1, 1, 6, 1, 1, 1, 1, 1]
    together = [*trainer.pictures[2][:4], trainer.rows[0]]
    with torch.no_grad():
        batch = trainer._on_device_batch(together)
        answers = trainer.answers(batch)
        assert len(batch.tiles) == 2 and batch.picture.tolist() == [0, 0, 0, 0, 1]
        for place, row in enumerate(together):
            alone = trainer.answers(trainer._on_device_batch([row]))[0]
            assert torch.allclose(answers[place, -len(alone) :], alone, atol=1e-4)


def test_a_step_asks_no_more_about_a_picture_than_it_is_told(rows, tmp_path):
    append_rows(rows, [Row(f"s{k}", "pictures/2.png", f"Which of {k}?", f"Mark: {k}") for k in range(5)])
    trainer = Trainer(config(rows, tmp_path / "run", batch=8, questions=3))
    for step in range(10):
        batch = trainer.draw_part(step, 0)
        assert batch.picture.bincount().max() <= 3 * 8 and len(batch.ids) <= 3 * 8
        again = trainer.draw_part(step, 0)
        assert torch.equal(batch.ids, again.ids) and torch.equal(batch.picture, again.picture)


def test_validation_takes_rows_from_the_whole_set(rows, tmp_path):
    trainer = Trainer(config(rows, tmp_path / "run", validation=(rows,), validation_rows=4))
    assert [row.id for _, row in trainer.validator._rows] == ["r0", "r2", "r4", "r6"]


def test_the_training_reads_what_the_checkpoint_will_be_asked(rows, tmp_path):
    """Logits of the training's batch against those of the loaded model's own way through one prompt."""
    trainer = Trainer(config(rows, tmp_path / "run"))
    trainer.model.eval()
    with trainer.average.in_place():
        trainer.write_checkpoint(last=True)
    policy = registry.load(tmp_path / "run/checkpoint", "cpu", torch.float32, None, None, None)
    weights = load_file(tmp_path / "run/checkpoint/model.safetensors")
    missing, unknown = trainer.model.load_state_dict({name: w.float() for name, w in weights.items()}, strict=False)
    assert not unknown and all(name.startswith("mark_reader.") for name in missing) and missing
    path, row = trainer.rows[0]
    with torch.no_grad():
        batch = trainer._on_device_batch([(path, row)])
        mine = trainer.answers(batch)[0, 0]
        theirs = policy.model.logits(policy._read([Message(row.question, [read_image(path)])]).last_hidden[0])
        said = trainer.tokenizer.decode(trainer.said(batch)[0].tolist())
        answered = policy.chat(row.question, [read_image(path)]).text
    assert torch.allclose(mine, theirs, atol=1e-4)
    shorter = min(len(said.strip()), len(answered))
    assert shorter and said.strip()[:shorter] == answered[:shorter]


def test_what_a_model_says_does_not_depend_on_the_true_answers_or_on_other_rows(rows, tmp_path):
    """Rows of different lengths, together and alone: a question is pushed over its answer and no further."""
    append_rows(
        rows, [Row("long", "pictures/2.png", "Which of all these boxes here, please?", "Mark: 12 or so, I say")]
    )
    trainer = Trainer(config(rows, tmp_path / "run"))
    trainer.model.eval()
    together = [trainer.rows[0], trainer.rows[-1], trainer.rows[5]]
    said = trainer.said(trainer._on_device_batch(together))
    for ids, (path, row) in zip(said, together, strict=True):
        other = dataclasses.replace(row, answer="Mark: 3")
        alone = trainer.said(trainer._on_device_batch([(path, other)]))[0]
        assert torch.equal(alone, ids[: len(alone)])


def test_marks_are_known_from_answers_and_from_what_a_set_says(rows, tmp_path):
    append_marks(rows, "pictures/1.png", [Mark(0, 0.1, 0.2, ""), Mark(7, 0.9, 0.6, "left box"), Mark(99, 0.5, 0.5, "")])
    trainer = Trainer(config(rows, tmp_path / "run"))
    batch = trainer._on_device_batch(trainer.rows[:2])
    # A map of 2 x 2; of picture 0 its answer alone tells: mark 0 in the middle.
    assert batch.cell.tolist() == [3, 3]
    assert batch.marks.picture.tolist() == [0, 1, 1]
    assert batch.marks.cell.tolist() == [3, 0, 3] and batch.marks.number.tolist() == [0, 0, 7]
    assert batch.marks.place.tolist() == [[50, 50], [10, 20], [90, 60]]
    words = [ids[ids != IGNORED].tolist() for ids in batch.marks.words]
    assert words[:2] == [[], []] and trainer.tokenizer.decode(words[2]).strip() == "left box"


def test_an_answer_without_a_place_points_nowhere(rows, tmp_path):
    append_rows(rows, [Row("s", "pictures/2.png", "Which?", "Mark: 3")])
    trainer = Trainer(config(rows, tmp_path / "run"))
    batch = trainer._on_device_batch(trainer.rows[-1:])
    assert batch.cell.tolist() == [IGNORED]
    assert float(trainer.gradients(batch)["point"]) == 0.0


def test_another_word_at_a_mark_is_another_run(rows, tmp_path):
    before = Trainer(config(rows, tmp_path / "run")).fingerprint()
    append_marks(rows, "pictures/1.png", [Mark(0, 0.1, 0.2, "red")])
    assert Trainer(config(rows, tmp_path / "run")).fingerprint() != before


def test_an_interrupted_run_ends_with_the_same_weights_and_its_checkpoint_answers(rows, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train.train_screens(config(rows, whole, validation=(rows,))) == 0
    assert train.train_screens(config(rows, parts, validation=(rows,), stop_after=2)) == 0
    assert train.train_screens(config(rows, parts, validation=(rows,))) == 0
    one, other = (load_file(folder / "checkpoint/model.safetensors") for folder in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)
    policy = registry.load(whole / "checkpoint", "cpu", None, None, None, None)
    assert not policy.robots and not policy.taught_to_act
    assert isinstance(policy.chat("Which?", [np.zeros((64, 64, 3), np.uint8)]).text, str)
    assert asked_form(whole / "checkpoint") is Form.CLICK


def test_it_learns_a_handful_of_rows(rows, tmp_path):
    trainer = Trainer(config(rows, tmp_path / "run", steps=100, batch=4, learning_rate=2e-3))
    trainer.run()
    for name in ("answer", "marks", "point"):
        first, last = (trainer.history["loss"][place][name] for place in (0, -1))
        assert last < 0.5 * first, (name, first, last)


def test_a_new_model_fits_into_eight_megabytes():
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in Magma(small_config(320)).parameters())
    assert 2 * count < 8e6


def test_a_checkpoint_for_robots_must_still_say_for_which(tmp_path):
    write_random(tmp_path, RandomCheckpoint("magma-tiny", 0, 0.2, 0.01, 1 << 20))
    (tmp_path / "action_spec.json").unlink()
    with pytest.raises((CheckpointError, ConfigError), match="action_spec"):
        registry.load(tmp_path, "cpu", None, None, None, None)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"image_side": 100}, "multiple of 32"),
        ({"steps": 0}, "steps must be positive"),
        ({"questions": 0}, "questions must be positive"),
        ({"ema_decay": 1.0}, r"ema_decay must lie in \[0, 1\)"),
        ({"mark_weight": -0.1}, "mark_weight must not be negative"),
        ({"stop_after": -1}, "stop_after must not be negative"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, options, reason):
    with pytest.raises(ConfigError, match=reason):
        config(tmp_path, tmp_path / "run", **options)


def test_sets_that_are_not_there_are_told_before_anything_is_made(tmp_path):
    with pytest.raises(ScreenError, match="is no set of rows"):
        train.train_screens(config(tmp_path, tmp_path / "run", dry_run=True))
    assert not (tmp_path / "run").exists()


def test_other_rows_are_another_run(rows, tmp_path):
    trainer = Trainer(config(rows, tmp_path / "run"))
    before = trainer.fingerprint()
    append_rows(rows, [read_rows([rows])[0][1]])
    assert Trainer(config(rows, tmp_path / "run")).fingerprint() == before
    append_rows(rows, [Row("new", "pictures/0.png", "Which?", "Mark: 1")])
    assert Trainer(config(rows, tmp_path / "run")).fingerprint() != before
