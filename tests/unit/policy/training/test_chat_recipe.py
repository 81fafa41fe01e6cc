"""The recipe that learns from conversations: rows in the published schema and damaged ones, labels, batches, runs."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from magma_contracts.errors import ConfigError
from magma_policy.commands import train
from magma_policy.families.interface import Message, Turn
from magma_policy.families.magma import Policy, Processor, build_small_tokenizer
from magma_policy.families.magma.checkpoint import Checkpoint
from magma_policy.families.magma.prompt import chat
from magma_policy.files.image_files import read_image
from magma_policy.training.answered_texts import IGNORED
from magma_policy.training.recipes.chat.buckets import POOL, batches
from magma_policy.training.recipes.chat.config import ChatTrainConfig
from magma_policy.training.recipes.chat.rows import Conversation, read_conversations, read_row
from magma_policy.training.recipes.chat.samples import collate, encode, grids_of, length
from magma_policy.training.recipes.chat.trainer import BAD_ROWS, Trainer, answer_loss

SHIPPED = Path(__file__).parents[4] / "policy" / "checkpoints" / "magma-tiny"


def say(*values):
    return [{"from": ("human", "gpt")[number % 2], "value": value} for number, value in enumerate(values)]


@pytest.fixture
def folder(tmp_path):
    """Pictures a.png (24x12), b.png (12x24) and one that is none."""
    Image.new("RGB", (24, 12), (255, 0, 0)).save(tmp_path / "a.png")
    Image.new("RGB", (12, 24), (0, 0, 255)).save(tmp_path / "b.png")
    (tmp_path / "none.png").write_text("no picture")
    return tmp_path


def test_rows_as_they_are_published(folder):
    several = {"id": "1", "image": ["a.png", "b.png"], "conversations": say("<image>\n<image>\nWhich?", "The first.")}
    turns = {"id": 2, "image": "a.png", "conversations": say("<image>\nWhat?", "Red.", "Sure?", "Yes.", "And now?")}
    text = {"id": "3", "conversations": say("Hello", "Hello to you.")}
    last = {"id": "4", "image": "b.png", "conversations": say("What is it?\n<image>", "Blue.")}
    bare = {"id": "5", "image": "b.png", "conversations": say("What is it?", "Blue.")}
    odd = {"id": "6", "conversations": [{"from": "gpt", "value": "Well"}, *say("Hello", "Hello.")]}
    assert read_row(several, folder) == Conversation(
        "1", (Turn("Which?", "The first.", 2),), (folder / "a.png", folder / "b.png"), ((24, 12), (12, 24))
    )
    assert read_row(turns, folder).turns == (Turn("What?", "Red.", 1), Turn("Sure?", "Yes.", 0)), "no answer, no lesson"
    assert read_row(text, folder).turns == (Turn("Hello", "Hello to you.", 0),)
    assert read_row(last, folder).turns == read_row(bare, folder).turns == (Turn("What is it?", "Blue.", 1),)
    assert read_row(odd, folder).turns == (Turn("Hello", "Hello.", 0),)


BAD = {
    "neither human nor gpt": {"conversations": [{"from": "tool", "value": "x"}]},
    "take turns": {"conversations": [*say("a"), *say("b", "c")]},
    "no question with an answer": {"conversations": say("a")},
    "both texts": {"conversations": [{"from": "human", "value": 3}]},
    "must be a list": {"conversations": "hello"},
    "<pad>": {"conversations": say("a<pad>", "b")},
    "an answer holds": {"image": "a.png", "conversations": say("a", "<image>")},
    "stands 2 times": {"image": "a.png", "conversations": say("<image><image>a", "b")},
    "stands 1 times": {"conversations": say("<image>a", "b")},
    "names no picture in": {"image": "../../etc/passwd", "conversations": say("<image>a", "b")},
    "an answer is empty": {"conversations": say("a", " ")},
    "question is empty": {"image": "a.png", "conversations": say("<image>", "b")},
    "control characters": {"conversations": say("a\x00", "b")},
    "must be a path": {"image": 5, "conversations": say("a", "b")},
    "No such file": {"image": "c.png", "conversations": say("<image>a", "b")},
    "cannot identify": {"image": "none.png", "conversations": say("<image>a", "b")},
    "expected an object": ["a"],
}


def test_a_picture_counts_as_it_will_be_shown(folder):
    turned = Image.Exif()
    turned[0x112] = 6
    Image.new("RGB", (24, 12)).save(folder / "turned.jpg", exif=turned)
    row = {"id": "1", "image": "turned.jpg", "conversations": say("What?", "That.")}
    assert read_row(row, folder).sizes == ((12, 24),)
    assert read_image(folder / "turned.jpg").shape == (24, 12, 3)


def test_bad_rows_are_left_out_and_named(folder):
    good = {"id": "good", "image": "a.png", "conversations": say("<image>\nWhat?", "Red.")}
    (folder / "rows.json").write_text(json.dumps([good, *BAD.values(), good]))
    found = read_conversations((folder / "rows.json",), None)
    assert [row.name for row in found.rows] == ["good", "good"] and len(found.problems) == len(BAD)
    for number, (reason, problem) in enumerate(zip(BAD, found.problems, strict=True), 1):
        assert f"row {number} " in problem and reason in problem, problem


def test_a_line_ends_where_json_says(folder):
    """Some texts hold separators that other readers of lines part at."""
    words = "Red.\u2028Or\x85green."
    row = json.dumps({"id": "odd", "conversations": say("What?", words)}, ensure_ascii=False)
    (folder / "rows.jsonl").write_text(f"{row}\r\n{row}\n", encoding="utf-8")
    found = read_conversations((folder / "rows.jsonl",), None)
    assert [row.turns[-1].answer for row in found.rows] == [words] * 2 and not found.problems


def test_files_that_are_no_rows(folder):
    for text, match in (("{}", "must hold a list"), ("[", "cannot be read"), ("[]", "nothing to learn from"),
                        ("[" * 100_000, "cannot be read"), ("[3]", "expected an object")):  # fmt: skip
        (folder / "rows.json").write_text(text)
        with pytest.raises(ConfigError, match=match):
            read_conversations((folder / "rows.json",), None)
    (folder / "rows.jsonl").write_text('{"id": "x", "conversations": []}\n{"id": "1", "conver')
    with pytest.raises(ConfigError, match="nothing to learn from"):
        read_conversations((folder / "rows.jsonl",), None)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9) | st.sampled_from(["human", "gpt"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["from", "value", "conversations", "image", "id"]), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150)
@given(JSON)
def test_any_row_is_a_conversation_or_told_why_not(row):
    try:
        assert read_row(row, Path("/nowhere")).turns
    except (ValueError, OSError) as error:
        assert str(error)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=300), st.integers(1, 9), st.integers(0, 3))
def test_batches_hold_every_row_once_and_rows_that_are_about_as_long(lengths, size, epoch):
    made = batches(lengths, size, 5, epoch)
    assert sorted(row for batch in made for row in batch) == list(range(len(lengths)))
    assert made == batches(lengths, size, 5, epoch) and max(map(len, made)) <= size
    if len(lengths) <= size * POOL:
        spans = sorted((min(lengths[r] for r in b), max(lengths[r] for r in b)) for b in made)
        assert all(left[1] <= right[0] for left, right in itertools.pairwise(spans))


def test_passes_differ():
    assert batches(range(1, 100), 4, 0, 0) != batches(range(1, 100), 4, 0, 1) != batches(range(1, 100), 4, 1, 1)


@pytest.fixture(scope="module")
def plain_policy(plain_model, plain_config):
    tokens = plain_config.tokens
    checkpoint = Checkpoint(plain_model, build_small_tokenizer(tokens), {}, (tokens.end_of_turn,))
    return Policy(checkpoint, torch.device("cpu"))


def test_answers_alone_are_taught_with_the_end_of_their_turn(plain_policy):
    processor: Processor = plain_policy.processor
    tokenizer = processor.tokenizer
    conversation = Conversation("x", (Turn("What is it?", "A <|eot_id|> red one.", 0), Turn("Sure?", "Yes.", 0)))
    one = encode(conversation, processor)
    taught = [id_ for id_, own in zip(one.ids, one.taught, strict=True) if own]
    end = tokenizer.tokens.end_of_turn
    assert taught == [*tokenizer.literal("A <|eot_id|> red one."), end, *tokenizer.literal("Yes."), end]
    assert taught.count(end) == 2, "what people write is no end of a turn"
    plain = encode(Conversation("x", (Turn("What is it?", "Red.", 0),)), processor)
    whole = f"{chat('What is it?')}Red.<|eot_id|>"
    assert plain.ids == tokenizer.encode(whole), "what is learned is what is asked for later"


def test_labels_stand_where_the_next_id_is_an_answer_s(plain_policy, folder):
    processor, model = plain_policy.processor, plain_policy.model
    row = read_row({"image": "a.png", "conversations": say("<image>\nWhat?", "Red.")}, folder)
    text = read_row({"conversations": say("Say hello to everybody who is here", "Hello.")}, folder)
    pictures = [[np.full((12, 24, 3), 9, np.uint8)], []]
    encoded = [encode(one, processor) for one in (row, text)]
    batch = collate(encoded, pictures, processor, 4)
    merged, _, _ = model.embed_inputs(batch.inputs)
    assert batch.labels.shape == merged.shape[:2]
    grids = [grids_of(one, processor.config, 4) for one in (row, text)]
    lengths = [length(one, grid, processor.config) for one, grid in zip(encoded, grids, strict=True)]
    assert max(lengths) == batch.labels.shape[1]
    for number, one in enumerate(encoded):
        learned = batch.labels[number][batch.labels[number] != IGNORED].tolist()
        assert learned == [id_ for id_, own in zip(one.ids, one.taught, strict=True) if own]
        # The picture's tokens stand in front of the answer, which ends the row.
        assert batch.labels[number][-len(learned) :].tolist() == learned


def test_a_batch_s_loss_is_that_of_its_rows(plain_policy, folder):
    processor, model = plain_policy.processor, plain_policy.model
    rows = [
        read_row({"image": "a.png", "conversations": say("<image>\nWhat?", "A red one, and large.")}, folder),
        read_row({"conversations": say("Hello", "Yes.")}, folder),
    ]
    pictures = [[np.random.default_rng(0).integers(0, 255, (12, 24, 3), dtype=np.uint8)], []]
    encoded = [encode(one, processor) for one in rows]
    with torch.no_grad():
        together = answer_loss(model, collate(encoded, pictures, processor, 4))
        alone = [answer_loss(model, collate([e], [p], processor, 4)) for e, p in zip(encoded, pictures, strict=True)]
    weights = torch.tensor([float(sum(one.taught)) for one in encoded])
    assert together == pytest.approx(float((torch.stack(alone) * weights).sum() / weights.sum()), rel=1e-4)


def colours(folder, count=24):
    """Questions about two plain pictures, and one row whose picture is damaged only deep inside."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:-4000])
    rows = []
    for number in range(count):
        name, answer = (("a.png", "Red."), ("b.png", "Blue."))[number % 2]
        rows.append({"id": f"{number}", "image": name, "conversations": say("<image>\nWhat colour is it?", answer)})
    rows += [{"id": "cut", "image": "cut.png", "conversations": say("<image>\nWhat?", "Noise.")}, {"id": "bad"}]
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder / "rows.json"


def options(rows, output, **more):
    return ChatTrainConfig(
        (rows,), output, init=str(SHIPPED), **({"steps": 4, "batch": 4, "learning_rate": 1e-3, "seed": 3} | more)
    )


def test_a_run_goes_on_to_the_bit_and_keeps_the_robots(folder):
    rows = colours(folder)
    whole = Trainer(options(rows, folder / "whole"))
    assert whole.run() == 0
    half = Trainer(options(rows, folder / "half", stop_after=2))
    assert half.run() == 0 and half.step == 2
    resumed = Trainer(options(rows, folder / "half"))
    assert resumed.restore() and resumed.step == 2 and resumed.run() == 0
    for (name, left), (_, right) in zip(whole.parameters.items(), resumed.parameters.items(), strict=True):
        assert torch.equal(left, right), name
    assert not any(name.startswith("vision_tower.") for name in whole.parameters)
    from magma_policy import load

    policy, before = load(folder / "whole" / "checkpoint", device="cpu"), load(SHIPPED, device="cpu")
    assert set(policy.robots) == set(before.robots) and policy.spec == before.spec
    bad = (folder / "whole" / BAD_ROWS).read_text().splitlines()
    assert any("(id bad)" in line for line in bad) and len(bad) in (1, 2)
    assert all("(id cut)" in line for line in bad if "(id bad)" not in line)


def test_what_is_taught_is_learned(folder):
    rows = colours(folder)
    config = options(rows, folder / "run", steps=30, batch=4, validation=(rows,), validation_steps=1000, frozen=())
    trainer = Trainer(config)
    first = answer_loss(trainer.model, trainer.draw_part(0, 0)).item()
    assert trainer.run() == 0
    assert answer_loss(trainer.model, trainer.draw_part(0, 0)).item() < 0.2 * first
    said = trainer.history["validation"][-1]
    assert said["count"] == 24, "the row whose picture is damaged is not asked about"
    assert said["right_percent"] >= 90


def test_the_command_names_what_it_would_leave_out(folder):
    rows = colours(folder)
    arguments = ["--recipe", "chat", "--conversations", str(rows), "--output", str(folder / "run"), "--dry-run"]
    done = subprocess.run(
        [sys.executable, "-m", "magma_policy.commands.train", *arguments],
        capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "25 conversations of 25 answers about 25 pictures" in done.stdout and "1 rows left out" in done.stdout
    assert "row 25 (id bad)" in done.stdout and not (folder / "run").exists()


def test_runs_of_other_settings_are_kept_apart(folder):
    rows = colours(folder)
    train.check_same_command(options(rows, folder / "run"))
    train.check_same_command(options(rows, folder / "run", checkpoint_steps=7))
    with pytest.raises(ConfigError, match="other settings"):
        train.check_same_command(options(rows, folder / "run", batch=5))
    with pytest.raises(ConfigError, match="must be positive"):
        options(rows, folder / "run", batch=0)


def test_too_long_conversations_are_left_out(folder):
    rows = colours(folder)
    with pytest.raises(ConfigError, match="tokens, more than 10"):
        Trainer(options(rows, folder / "run", max_tokens=10))
    with pytest.raises(ConfigError, match="more than the model's own"):
        Trainer(options(rows, folder / "run", max_num_crops=9))


def test_earlier_turns_are_asked_as_they_were_taught(plain_policy):
    processor = plain_policy.processor
    conversation = Conversation("x", (Turn("What is it?", "Red.", 0), Turn("Sure?", "Yes.", 0)))
    taught = encode(conversation, processor).ids
    asked = processor.encode(Message("Sure?", (), earlier=[conversation.turns[0]]))
    assert taught[: len(asked)] == asked
