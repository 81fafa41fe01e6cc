"""The recipe that teaches KOSMOS-2 on records of GRIT."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_contracts.errors import ConfigError
from magma_policy.commands import train
from magma_policy.errors import CommandError
from magma_policy.families import kosmos2
from magma_policy.families.kosmos2 import Kosmos2, locate_prompt, prompts, refer_prompt
from magma_policy.families.kosmos2.decoding import Decoder
from magma_policy.families.kosmos2.grammar import AnswerRules
from magma_policy.families.kosmos2.parser import parse
from magma_policy.files.image_files import encoded_png
from magma_policy.grit import sequences
from magma_policy.grit.pairs import Pair
from magma_policy.grit.records import PhraseBox, Record
from magma_policy.grit.run import RecordTar
from magma_policy.training.loop.divergence import DivergedError
from magma_policy.training.recipes.grit.config import GritConfig, TokenShares
from magma_policy.training.recipes.grit.material import Material, read_material
from magma_policy.training.recipes.grit.mixture import Mixture
from magma_policy.training.recipes.grit.objective import Objective, collate
from magma_policy.training.recipes.grit.samples import TEMPLATES, Sample, Samples
from magma_policy.training.recipes.grit.trainer import Trainer, new_vocabulary

COLOURS = {"red": (200, 30, 30), "green": (20, 160, 40), "white": (240, 240, 240)}
PLACES = {"left": (0.1, 0.3, 0.4, 0.6), "right": (0.6, 0.2, 0.9, 0.5)}


def a_record(number: int = 0, side: int = 32) -> tuple[np.ndarray, Record]:
    """A picture of two squares, and a caption that names both: "a red block and a green block on the right"."""
    image = np.full((side, side, 3), 90, dtype=np.uint8)
    names = sorted(COLOURS)
    caption, rows = "", []
    for place, (where, box) in enumerate(PLACES.items()):
        colour = names[(number + place) % 3]
        x1, y1, x2, y2 = (round(value * side) for value in box)
        image[y1:y2, x1:x2] = COLOURS[colour]
        caption += " and " if place else ""
        start = len(caption)
        caption += f"a {colour} block" + (f" on the {where}" if place else "")
        rows.append(PhraseBox(start, len(caption), box, 1.0))
    return image, Record(f"picture-{number}", caption, (side, side), tuple(rows), tuple(rows))


def write_shard(path: Path, count: int = 5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with RecordTar(path) as shard:
        for number in range(count):
            image, record = a_record(number)
            shard.add(Pair(record.key, record.caption, encoded_png(image)), record)
    return path


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shard(tmp_path_factory.mktemp("grit") / "part-000000.tar")


@pytest.fixture(scope="module")
def vocabulary():
    return new_vocabulary([a_record(number)[1].caption for number in range(3)])


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, vocabulary) -> Path:
    """A checkpoint to begin with, whose vision tower looks at 32 pixels."""
    torch.manual_seed(1)
    network = kosmos2.small_network(vocabulary, 32, positions=256)
    folder = tmp_path_factory.mktemp("start") / "checkpoint"
    kosmos2.save(folder, network, vocabulary, torch.float32)
    return folder


def told(shard, output, **changes):
    values = dict(
        records=(shard,), output=output, steps=4, warmup_steps=2, tokens=300, longest=128, checkpoint_steps=100,
        validation_steps=100, dropout=0.1,
    )  # fmt: skip
    return GritConfig(**{**values, **changes})


# Sequences.


def words(vocabulary, ids):
    """Ids as people read them, tags and all."""
    return " ".join(vocabulary.tokenizer.id_to_token(id_) for id_ in ids).replace(" ▁", " ").replace("▁", "")


def test_a_grounded_caption_is_the_pipelines_own_sequence_and_is_learned_from_behind_the_picture(vocabulary):
    _, record = a_record()
    made = Samples(vocabulary, 256).grounded(record, 7)
    head = 1 + len(vocabulary.image_ids)
    assert made.ids[:head] == (vocabulary.bos, *vocabulary.image_ids) and made.pictures == (7,)
    assert made.ids[head] == vocabulary.grounding and made.ids[-1] == vocabulary.eos
    assert made.learned == (False,) * head + (True,) * (len(made.ids) - head)
    written = vocabulary.tokenizer.encode(sequences.text(record), add_special_tokens=False).ids
    assert list(made.ids[head:-1]) == written
    boxes = [box for _, _, every in sequences.mentions(record) for box in every]
    assert list(made.corners.values()) == [corner for box in boxes for corner in (box[:2], box[2:])]
    assert all(vocabulary.is_place(made.ids[place]) for place in made.corners)


def test_without_places_it_is_the_caption_alone(vocabulary):
    _, record = a_record()
    made = Samples(vocabulary, 256).caption(record.caption, 3)
    head = 1 + len(vocabulary.image_ids)
    assert vocabulary.decode(made.ids[head:]).strip() == record.caption and not made.corners
    assert (
        vocabulary.grounding not in made.ids
        and made.learned[-1]
        and sum(made.learned) == 1 + len(vocabulary.encode(record.caption))
    )


def test_an_expression_is_asked_for_as_the_model_is_asked_and_only_the_answer_is_learned(vocabulary):
    boxes = np.array([PLACES["left"], PLACES["right"]])
    made = Samples(vocabulary, 256).find("a red block", boxes, 0)
    asked = locate_prompt(vocabulary, "a red block").ids
    assert made.ids[: len(asked)] == asked and made.learned.index(True) == len(asked)
    answer = made.ids[len(asked) :]
    assert (answer[0], answer[3], answer[-2:]) == (
        vocabulary.object_open, vocabulary.delimiter, (vocabulary.object_close, vocabulary.eos),
    )  # fmt: skip
    assert all(made.learned[len(asked) :]) and len(made.corners) == 4


@pytest.mark.parametrize(
    ("template", "asked", "answered"),
    [
        (0, "What is <phrase> it </phrase> <object>…</object> ?", "It is a red block ."),
        (1, "What is <phrase> this </phrase> <object>…</object> ?", "This is a red block ."),
        (2, "Describe <phrase> this object </phrase> <object>…</object> .", "This object is a red block ."),
        (3, "<phrase> It </phrase> <object>…</object> is", "a red block ."),
        (4, "<phrase> This </phrase> <object>…</object> is", "a red block ."),
        (5, "<phrase> The object </phrase> <object>…</object> is", "a red block ."),
    ],
)
def test_a_place_is_named_in_the_papers_templates(vocabulary, template, asked, answered):
    assert len(TEMPLATES) == 6
    made = Samples(vocabulary, 256).name("a red block", np.array([PLACES["left"]]), 0, template)
    head, first = 1 + len(vocabulary.image_ids), made.learned.index(True)
    question = words(vocabulary, made.ids[head:first])
    before, _, behind = question.partition("<object> ")
    places, _, behind = behind.partition(" </object>")
    assert len(places.split()) == 2 and all(place.startswith("<patch_index_") for place in places.split())
    assert f"{before}<object>…</object>{behind}" == f"<grounding> {asked}"
    assert words(vocabulary, made.ids[first:]) == f"{answered} </s>"
    assert all(made.learned[first:]) and not made.corners


def test_the_fourth_template_is_how_the_model_is_asked_for_a_name(vocabulary):
    made = Samples(vocabulary, 256).name("a red block", np.array([PLACES["left"]]), 0, 3)
    asked = refer_prompt(vocabulary, np.array(PLACES["left"])).ids
    assert made.ids[: len(asked)] == asked and made.learned.index(True) == len(asked)


@settings(max_examples=40, deadline=None)
@given(longest=st.integers(85, 140), number=st.integers(0, 2))
def test_a_sequence_that_is_cut_holds_whole_places_or_none(vocabulary, longest, number):
    _, record = a_record(number)
    samples = Samples(vocabulary, longest)
    made = samples.grounded(record, 0)
    assert len(made.ids) <= longest and made.ids[-1] == vocabulary.eos
    assert parse(vocabulary, made.ids[1 + len(vocabulary.image_ids) :]).malformed == 0
    assert sum(map(vocabulary.is_place, made.ids)) == len(made.corners)
    assert len(samples.caption(record.caption * 9, 0).ids) == longest
    asked = samples.find("block " * 90, np.array([PLACES["left"]]), 0)
    assert asked is None and samples.name("block " * 90, np.array([PLACES["left"]]), 0, 0) is None


def test_texts_are_cut_in_pieces_and_nothing_is_lost(vocabulary):
    text = "a red block and a green block " * 30
    pieces = Samples(vocabulary, 90).texts(text)
    assert vocabulary.decode([id_ for piece in pieces for id_ in piece.ids]).split() == text.split()
    assert [piece.learned[-1] for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert all(piece.learned[1:-1] == (True,) * (len(piece.ids) - 2) and not piece.learned[0] for piece in pieces)


def test_of_documents_only_words_are_learned(vocabulary):
    made = Samples(vocabulary, 256).document((4, "a red block", 9, "a green block"))
    assert made.pictures == (4, 9)
    learned = [id_ for id_, counts in zip(made.ids, made.learned, strict=True) if counts]
    assert learned == [*vocabulary.encode("a red block"), *vocabulary.encode("a green block"), vocabulary.eos]
    short = Samples(vocabulary, 90).document((4, "a red block", 9, "a green block"))
    assert short.pictures == (4,) and len(short.ids) <= 90


# The mixture.


def material() -> Material:
    rows = [a_record(number) for number in range(4)]
    return Material(
        np.stack([image for image, _ in rows]),
        [(record, row) for row, (_, record) in enumerate(rows)],
        [(record.caption, row) for row, (_, record) in enumerate(rows)],
        ["a red block and a green block " * 20],
        [(0, "a red block", 1, "a green block")],
    )


def kind_of(sample: Sample, vocabulary) -> str:
    if len(sample.pictures) != 1:
        return "documents" if sample.pictures else "texts"
    if not sample.learned[1 + len(vocabulary.image_ids)]:
        return "instructions"
    return "records" if vocabulary.grounding in sample.ids else "pairs"


def test_kinds_are_mixed_by_their_tokens(vocabulary):
    shares = TokenShares(texts=4, pairs=2, records=2, documents=1, instructions=3)
    mixture = Mixture(material(), Samples(vocabulary, 200), shares, 1200, boxes_fraction=1.0)
    assert sum(mixture.budgets.values()) == pytest.approx(1200)
    rng = np.random.default_rng(0)
    tokens: Counter[str] = Counter()
    steps = 300
    for _ in range(steps):
        for sample in mixture.draw(rng):
            tokens[kind_of(sample, vocabulary)] += len(sample.ids)
    for kind, share in vars(shares).items():
        assert tokens[kind] / steps == pytest.approx(1200 * share / 12, rel=0.1), kind


def test_a_kind_without_data_leaves_its_tokens_to_the_others(vocabulary):
    bare = Material(material().pictures, material().records)
    mixture = Mixture(bare, Samples(vocabulary, 200), TokenShares(), 1000, 0.5)
    assert mixture.budgets == {"records": 1000.0}
    assert str(mixture) == "a step reads about 1000 tokens of records"
    with pytest.raises(ConfigError, match="no kind of sequences"):
        Mixture(Material(bare.pictures), Samples(vocabulary, 200), TokenShares(), 1000, 0.5)


def test_captions_of_records_are_told_with_their_places_half_of_the_time(vocabulary):
    bare = Material(material().pictures, material().records)
    mixture = Mixture(bare, Samples(vocabulary, 200), TokenShares(), 1000, 0.5)
    rng = np.random.default_rng(1)
    drawn = [sample for _ in range(60) for sample in mixture.draw(rng)]
    assert len(drawn) > 400
    assert sum(bool(one.corners) for one in drawn) / len(drawn) == pytest.approx(0.5, abs=0.08)


def test_no_step_is_empty(vocabulary):
    mixture = Mixture(material(), Samples(vocabulary, 200), TokenShares(), 1, 0.5)
    rng = np.random.default_rng(2)
    assert all(mixture.draw(rng) for _ in range(50))


# The loss.


def test_the_loss_is_that_of_what_is_learned_and_of_nothing_that_stands_for_pictures(vocabulary):
    torch.manual_seed(2)
    network = kosmos2.small_network(vocabulary, 32, positions=256)
    network.model.eval()
    samples = Samples(vocabulary, 200)
    images = np.stack([a_record(number)[0] for number in range(3)])
    drawn = [
        samples.grounded(a_record(0)[1], 0),
        samples.find("a red block", np.array([PLACES["left"]]), 0),
        samples.caption("a green block", 2),
        *samples.texts("a red block"),
        samples.document((1, "a red block", 2, "a green block")),
    ]
    batch = collate(drawn, images, vocabulary, 0)
    assert len(batch.pixels) == 3, "a picture of several sequences is looked at once"
    targets = [id_ for rows in batch.groups for id_ in rows.targets.tolist()]
    assert len(targets) == sum(sum(one.learned) for one in drawn)
    assert not {vocabulary.bos, vocabulary.pad, *(vocabulary.image_open, vocabulary.image_close)} & set(targets)
    assert vocabulary.grounding in targets and vocabulary.object_open in targets
    with torch.no_grad():
        words_, places = Objective(network, vocabulary, 0.0, sees=True, mixed=False).losses(batch)
        # The same, one id after the other, as answers are made.
        decoder, expected = Decoder(network, vocabulary), Counter()
        features = network.features(batch.pixels)
        for sample in (drawn[0], drawn[4]):
            for place, learned in enumerate(sample.learned):
                if learned and place > 1 + len(vocabulary.image_ids):
                    count = sample.ids[:place].count(vocabulary.image_open)
                    begun = prompts.Prompt(sample.ids[:place], count)
                    shown = features[list(sample.pictures[:count])]
                    answer = decoder.run([begun], [shown], AnswerRules("anything", ngram=0, max_new_tokens=1))[0]
                    loss = -torch.from_numpy(answer.first).log_softmax(0)[sample.ids[place]].item()
                    expected[vocabulary.is_place(sample.ids[place])] += 1
                    close = places if vocabulary.is_place(sample.ids[place]) else words_
                    assert (close - loss).abs().min() < 1e-3
    assert expected[True] == 4 and len(places) == 6 and len(words_) + len(places) == len(targets)


def test_soft_labels_are_centred_on_the_corner(vocabulary):
    torch.manual_seed(3)
    network = kosmos2.small_network(vocabulary, 32, positions=256)
    batch = collate(
        [Samples(vocabulary, 200).find("a red block", np.array([PLACES["left"]]), 0)],
        a_record()[0][None],
        vocabulary,
        0,
    )
    hard, soft = (Objective(network, vocabulary, sigma, sees=True, mixed=False) for sigma in (0.0, 1e-3))
    corner = np.array(PLACES["left"]) * 32
    # On the cell's middle a label that is soft in name alone is the cell itself.
    middles = torch.tensor(np.floor(corner) + 0.5, dtype=torch.float32).reshape(2, 2)
    (rows,) = batch.groups
    rows.corners[~rows.corners[:, 0].isnan()] = middles
    with torch.no_grad():
        torch.testing.assert_close(hard.losses(batch)[1], soft.losses(batch)[1], rtol=1e-4, atol=1e-4)


# Runs.


def test_an_interrupted_run_ends_with_the_same_weights(shard, start, tmp_path):
    whole = Trainer(told(shard, tmp_path / "whole", init=str(start)))
    whole.run()
    for stop in (1, 3):
        first = Trainer(told(shard, tmp_path / f"run-{stop}", init=str(start)))
        for _ in range(stop):
            first.train_step()
        first.save(last=False)
        # Whatever has been thrown in between, dropout is that of the step.
        torch.rand(17)
        second = Trainer(told(shard, tmp_path / f"run-{stop}", init=str(start)))
        assert second.restore() and second.step == stop
        second.run()
        for name, parameter in whole.parameters.items():
            assert torch.equal(parameter, second.parameters[name]), name
    loaded = Kosmos2.load(tmp_path / "whole" / "checkpoint", "cpu")
    assert loaded.ground(np.zeros((50, 60, 3), np.uint8), ["a red block"])[0].boxes.shape == (1, 4)
    assert not loaded.network.geometry.between_cells


def test_the_optimiser_is_the_papers(shard, start, tmp_path):
    settings_ = told(shard, tmp_path / "run", init=str(start), steps=10, warmup_steps=4, learning_rate=1e-3)
    trainer = Trainer(settings_)
    assert trainer.longest_gradient == 2.0 and trainer.optimizer.defaults["betas"] == (0.9, 0.98)
    assert trainer.optimizer.defaults["eps"] == 1e-6 and trainer.optimizer.param_groups[0]["weight_decay"] == 0.01
    rates = []
    for trainer.step in range(10):
        rates.append(trainer.learning_rate())
    assert rates[:4] == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3])
    assert rates[4:] == pytest.approx([1e-3 * left / 6 for left in (6, 5, 4, 3, 2, 1)])
    defaults = GritConfig(records=(shard,), output=tmp_path, init="x")
    assert (defaults.steps, defaults.warmup_steps, defaults.learning_rate) == (60_000, 375, 2e-4)
    assert (defaults.dropout, defaults.boxes_fraction, defaults.weight_decay) == (0.1, 0.5, 0.01)


def test_dropout_is_there_in_training_alone(shard, start, tmp_path):
    trainer = Trainer(told(shard, tmp_path / "run", init=str(start), dropout=0.3))
    batch = trainer.draw_part(0, 0)
    objective = trainer.objective

    def losses(seed):
        torch.manual_seed(seed)
        with torch.no_grad():
            return torch.cat(objective.losses(batch))

    trainer.model.train()
    assert torch.equal(losses(1), losses(1)) and not torch.equal(losses(1), losses(2))
    trainer.model.eval()
    assert torch.equal(losses(1), losses(2))


PLACE_TABLE = "text_model.model.embed_tokens.weight"


def test_what_is_new_is_what_was_asked_for(shard, start, tmp_path, vocabulary):
    begun, _ = kosmos2.load_network(start, torch.device("cpu"), torch.float32)
    before = begun.model.state_dict()

    def other(**changes):
        trainer = Trainer(told(shard, tmp_path / "run", init=str(start), **changes))
        after = trainer.network.model.state_dict()
        table = torch.equal(before[PLACE_TABLE][: vocabulary.first_place], after[PLACE_TABLE][: vocabulary.first_place])
        places = torch.equal(
            before[PLACE_TABLE][vocabulary.first_place :], after[PLACE_TABLE][vocabulary.first_place :]
        )
        changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
        return table, places, changed

    assert other(new="nothing") == (True, True, set())
    assert other() == (True, False, {"text_model"})
    assert other(new="text") == (False, False, {"text_model"})
    assert other(location_start="grid")[1], "the start's own embeddings are the grid's"


def test_a_frozen_vision_tower_stays(shard, start, tmp_path):
    trainer = Trainer(told(shard, tmp_path / "run", init=str(start), freeze_vision=True))
    before = {name: value.clone() for name, value in trainer.network.model.state_dict().items()}
    trainer.train_step()
    after = trainer.network.model.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"text_model", "image_to_text_projection"}


def test_the_loss_falls_from_scratch(shard, tmp_path):
    trainer = Trainer(
        told(shard, tmp_path / "run", from_scratch=True, steps=24, learning_rate=3e-3, place_sigma=1.0, dropout=0.0)
    )
    for _ in range(4):
        trainer.train_step()
    early = trainer.averages()
    for _ in range(20):
        trainer.train_step()
    late = trainer.averages()
    # Means of all steps, the early ones among them.
    assert late["words"] < 0.8 * early["words"] and late["places"] < early["places"]
    trainer.write_checkpoint(last=True)
    loaded = Kosmos2.load(tmp_path / "run" / "checkpoint", "cpu")
    assert loaded.network.geometry.between_cells and loaded.vocabulary.decode(loaded.vocabulary.encode("a red block"))


def test_steps_that_are_no_numbers_are_left_out_and_end_the_run(shard, start, tmp_path):
    trainer = Trainer(told(shard, tmp_path / "run", init=str(start), skip_limit=2))
    kept = {name: parameter.detach().clone() for name, parameter in trainer.parameters.items()}
    backward, trainer.objective.backward = (
        trainer.objective.backward,
        lambda batch, share: {name: loss * float("nan") for name, loss in backward(batch, share).items()},
    )
    trainer.train_step()
    assert trainer.skipped.total == 1
    assert all(torch.equal(kept[name], parameter) for name, parameter in trainer.parameters.items())
    with pytest.raises(DivergedError, match="lower learning_rate"):
        trainer.train_step()


def test_validation_is_measured_on_records(shard, start, tmp_path):
    trainer = Trainer(told(shard, tmp_path / "run", init=str(start), validation=(shard,), validation_records=2))
    trainer.report()
    noted = trainer.history["validation"][0]
    assert noted["expressions"] == 4 and 0 <= noted["found_percent"] <= 100


# What is read.


def read(tmp_path, **changes):
    return read_material(told(changes.pop("records", None), tmp_path / "none", init="x", **changes), 32)


def test_damaged_records_are_left_out_and_counted(tmp_path, shard):
    path = tmp_path / "bad.tar"
    with RecordTar(path) as bad:
        for number in range(5):
            image, record = a_record(number)
            data = encoded_png(image) if number != 1 else b"\x89PNG no picture"
            bad.add(Pair(record.key, record.caption, data), record)
    content = path.read_bytes().replace(b'"ref_exps": [[0, 13, ', b'"ref_exps": [[99, 13,', 1)
    path.write_bytes(content)
    found = read(tmp_path, records=path)
    assert len(found.records) == 3 and len(found.pictures) == 3
    assert found.dropped == {"dropped record: ref_exps": 1, "dropped picture: cannot be read": 1}
    assert "left out: dropped picture: cannot be read 1; dropped record: ref_exps 1" in str(found)
    assert found.identity != read(tmp_path, records=shard).identity


def test_nothing_but_damaged_records_is_an_error_in_a_sentence(tmp_path):
    path = tmp_path / "bad.tar"
    with RecordTar(path) as bad:
        _, record = a_record()
        bad.add(Pair(record.key, record.caption, b"\x89PNG"), record)
    with pytest.raises(
        CommandError, match=r"no record with its picture is in it \(dropped picture: cannot be read 1\)"
    ):
        read(tmp_path, records=path)
    with pytest.raises(CommandError, match="no such file or folder"):
        read(tmp_path, records=tmp_path / "nothing")


def test_outputs_of_magma_grit_and_published_files_are_read(tmp_path, shard):
    folder = tmp_path / "grit"
    write_shard(folder / "shards" / "part-000000.tar")
    (folder / "card.json").write_text("{}")
    assert len(read(tmp_path, records=folder).records) == 5
    (folder / "shards" / "part-000000.tar").rename(folder / "elsewhere.tar")
    (folder / "shards").rmdir()
    with pytest.raises(CommandError, match="--tars"):
        read(tmp_path, records=folder)
    rows = [a_record(number) for number in range(3)]
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for image, record in rows[:2]:
        (pictures / f"{record.key}.png").write_bytes(encoded_png(image))
    table = tmp_path / "coyo_0_snappy.parquet"
    pyarrow.parquet.write_table(pa.Table.from_pylist([record.as_json() for _, record in rows]), table)
    found = read(tmp_path, records=table, pictures=pictures)
    assert len(found.records) == 2 and found.dropped == {"dropped picture: missing": 1}


def test_texts_pairs_and_documents_are_read(tmp_path, shard):
    (tmp_path / "one.txt").write_text("a red block")
    (tmp_path / "many.jsonl").write_text('{"text": "a green block"}\n\nnot json\n{"text": 5}\n[]\n')
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a.png").write_bytes(encoded_png(a_record()[0]))
    (tmp_path / "secret.png").write_bytes(encoded_png(a_record()[0]))

    def document(name="a.png", place=1, sentences=("one", "two")):
        return {"text_list": list(sentences), "image_info": [{"image_name": name, "matched_text_index": place}]}

    rows = [
        document(),
        document("../secret.png"),
        document("\ud800.png"),
        document("b.png"),
        document(place="0"),
        document(sentences=(1,)),
        {},
    ]
    (tmp_path / "mmc4.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = read(
        tmp_path,
        records=shard,
        texts=(tmp_path / "one.txt", tmp_path / "many.jsonl"),
        pairs=(shard,),
        documents=(tmp_path / "mmc4.jsonl",),
        pictures=pictures,
    )
    assert found.texts == ["a red block", "a green block"] and len(found.pairs) == 5
    assert [[part for part in one if isinstance(part, str)] for one in found.documents] == [["one", "two"]]
    assert isinstance(found.documents[0][1], int)
    assert found.dropped["document: not as MMC4 has them, or without its pictures"] == 6
    assert found.dropped["line: no object of JSON"] == 2 and found.dropped["text: none in it"] == 1
    with pytest.raises(CommandError, match="--pictures"):
        read(tmp_path, records=shard, documents=(tmp_path / "mmc4.jsonl",))
    with pytest.raises(CommandError, match="cannot be read"):
        read(tmp_path, records=shard, texts=(tmp_path / "nothing.txt",))


# The command.


def test_the_command_trains_goes_on_and_refuses(shard, start, tmp_path, monkeypatch, capsys):
    def typed(*arguments):
        monkeypatch.setattr("sys.argv", ["magma-train", "--recipe", "grit", "--records", str(shard), *arguments])
        train.main()

    asked = ("--output", str(tmp_path / "run"), "--warmup-steps", "1", "--tokens", "200", "--longest", "128")
    for both in ((), ("--init", str(start), "--from-scratch")):
        with pytest.raises(SystemExit, match="either --init CHECKPOINT or --from-scratch"):
            typed(*asked, "--steps", "3", *both)
    asked = (*asked, "--init", str(start), "--shares.instructions", "100")
    typed(*asked, "--steps", "3", "--dry-run")
    said = capsys.readouterr().out
    assert "5 records, 5 pictures, 10 boxes" in said and "tokens of instructions" in said and "parameters" in said
    assert not (tmp_path / "run").exists()
    typed(*asked, "--steps", "3", "--stop-after", "2")
    assert "new run" in capsys.readouterr().out
    typed(*asked, "--steps", "3")
    assert "continued at step 2" in capsys.readouterr().out
    assert (tmp_path / "run" / "checkpoint" / "model.safetensors").is_file()
    with pytest.raises(SystemExit, match="other settings"):
        typed(*asked, "--steps", "4")
    with pytest.raises(SystemExit, match="no room"):
        typed(*asked, "--steps", "3", "--longest", "70", "--output", str(tmp_path / "other"))


def test_other_records_are_another_run(shard, start, tmp_path):
    Trainer(told(shard, tmp_path / "run", init=str(start))).save(last=False)
    other = write_shard(tmp_path / "other.tar", 3)
    with pytest.raises(RuntimeError, match="began from other weights"):
        Trainer(told(other, tmp_path / "run", init=str(start))).restore()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"boxes_fraction": 1.5}, "boxes_fraction must lie"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ({"warmup_steps": 4}, "leave none of 4 steps"),
        ({"longest": 3}, "longest must be at least"),
        ({"from_scratch": True, "freeze_vision": True}, "nothing that freeze_vision"),
        ({"records": ()}, "at least one set"),
        ({"shares": TokenShares(records=0)}, "nothing else has places"),
    ],
)
def test_settings_are_checked(shard, tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        told(shard, tmp_path, **{"init": "x", **changes})
    with pytest.raises(ConfigError, match=r"shares\.texts must be 0 or more"):
        TokenShares(texts=-1)
