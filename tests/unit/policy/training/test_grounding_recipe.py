"""The recipe that teaches a small KOSMOS-2 to point."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from magma_contracts.errors import ConfigError
from magma_contracts.scenes import CLICKS, FORMAT_VERSION
from magma_policy.commands import train
from magma_policy.families.kosmos2 import Kosmos2, Vocabulary, build_small_tokenizer, prompts
from magma_policy.families.kosmos2.decoding import Decoder
from magma_policy.families.kosmos2.grammar import AnswerRules
from magma_policy.families.kosmos2.parser import parse
from magma_policy.grounding.expressions import PLACES, Thing, resolve
from magma_policy.grounding.scenes import Scene, SceneError, absent_phrase, read_scenes
from magma_policy.training.recipes.grounding.config import GroundingConfig, TextShares
from magma_policy.training.recipes.grounding.objective import grid_labels
from magma_policy.training.recipes.grounding.samples import HARD, NEAR, PLACED, Samples, words
from magma_policy.training.recipes.grounding.trainer import LATENTS, Trainer

COLOURS = {"orange": (240, 120, 20), "green": (20, 160, 40), "white": (240, 240, 240)}
NAMES = (("carrot", "orange"), ("block", "green"), ("plate", "white"))


def write_set(folder: Path, count: int = 12, split: str = "train") -> Path:
    """Coloured squares that are called things; the first scene has two alike, the last one a hidden one."""
    rng = np.random.default_rng(5 if split == "train" else 6)
    images = np.full((count, 96, 96, 3), 90, dtype=np.uint8)
    scene, kind, colour, box, clicks = [], [], [], [], []
    for row in range(count):
        chosen = [1, 1] if row == 0 else rng.permutation(3)[:2]
        for place, index in enumerate(chosen):
            x, y = (np.array((8 + 44 * place, rng.integers(8, 60))) + rng.integers(0, 8)).tolist()
            hidden = row == count - 1 and place == 1
            if not hidden:
                images[row, y : y + 20, x : x + 20] = COLOURS[NAMES[index][1]]
            corners = np.array((x, y, x + 20, y + 20)) / 96
            scene.append(row)
            kind.append(NAMES[index][0])
            colour.append(NAMES[index][1])
            box.append(np.full(4, np.nan) if hidden else corners)
            middle = (corners[:2] + corners[2:]) / 2
            clicks.append(np.full((CLICKS, 2), np.nan) if hidden else np.tile(middle, (CLICKS, 1)))
    (folder / "scenes").mkdir(parents=True)
    np.savez_compressed(
        folder / "scenes" / f"0000000-{count}.npz",
        images=images,
        scene=np.array(scene, np.int32),
        kind=np.array(kind),
        colour=np.array(colour),
        box=np.array(box, np.float32),
        clicks=np.array(clicks, np.float32),
    )
    (folder / "card.json").write_text(json.dumps({"format_version": FORMAT_VERSION, "split": split}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("scenes") / "set")


@pytest.fixture(scope="module")
def scenes(folder: Path):
    return read_scenes([folder], "train")


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary(build_small_tokenizer(words(NAMES), LATENTS), LATENTS)


def settings(folder, output, **changes):
    values = dict(
        scenes=(folder,), output=output, steps=4, dense_steps=2, dense_batch=2, picture_batch=2, texts_per_picture=3,
        checkpoint_steps=100, validation_steps=100,
    )  # fmt: skip
    return GroundingConfig(**{**values, **changes})


# Scenes.


def test_what_is_hidden_is_neither_there_nor_absent(scenes):
    last = scenes.scenes[-1]
    assert len(last.things) == 1 and len(last.hidden) == 1 and len(last.clicks) == 1
    rng = np.random.default_rng(0)
    ((kind, _),) = last.hidden
    absent = [absent_phrase(last, NAMES, rng) for _ in range(50)]
    assert all(phrase is not None and kind not in phrase.split() for phrase in absent)
    assert all(not resolve(last.things, phrase) for phrase in absent)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: (folder / "card.json").unlink(), "no card.json"),
        (lambda folder: (folder / "card.json").write_text("[" * 100_000), "cannot be read"),
        (lambda folder: (folder / "card.json").write_text('{"format_version": 9}'), "format_version 9"),
        (lambda folder: (folder / "card.json").write_text('{"format_version": 1, "split": "test"}'), "for test"),
        (lambda folder: (folder / "scenes" / "0000000-2.npz").write_bytes(b"PK\3\4"), "cannot be read"),
        (lambda folder: (folder / "scenes" / "0000000-2.npz").unlink(), "no scenes in it"),
    ],
)
def test_a_set_that_cannot_be_learned_from_is_refused(tmp_path, change, told):
    folder = write_set(tmp_path / "set", 2)
    change(folder)
    with pytest.raises(SceneError, match=told):
        read_scenes([folder], "train")


def rewrite(folder, **arrays):
    path = next((folder / "scenes").iterdir())
    with np.load(path) as found:
        np.savez(path, **{**found, **arrays})


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"box": np.full((4, 4), 2.0, np.float32)}, "boxes that are none"),
        ({"box": np.zeros((3, 4), np.float32)}, "box of another shape"),
        ({"scene": np.array([0, 0, 1, 9], np.int32)}, "not in it"),
        ({"images": np.zeros((2, 8, 8, 3))}, "images of another shape or type"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, told):
    folder = write_set(tmp_path / "set", 2)
    rewrite(folder, **arrays)
    with pytest.raises(SceneError, match=told):
        read_scenes([folder], "train")


# Texts.


def test_answers_are_what_the_model_may_say(scenes, vocabulary):
    """Every answer can be said under the rules it is decoded with, and reads as the truth."""
    samples = Samples(vocabulary, NAMES, TextShares())
    rng = np.random.default_rng(0)
    for scene in scenes.scenes:
        drawn = [*samples.draw(scene, 40, rng), *(samples.caption(scene, detailed=told) for told in (False, True))]
        for sample in drawn:
            answer = sample.ids[sample.asked :]
            assert answer[-1] == vocabulary.eos and vocabulary.unknown not in sample.ids
            assert all(
                sample.ids[place] == vocabulary.place(cell_of(corner)) for place, corner in sample.corners.items()
            )
            assert sum(map(vocabulary.is_place, answer)) == len(sample.corners)
            assert parse(vocabulary, answer).malformed == 0


def cell_of(corner, bins=32):
    x, y = (min(int(value * bins), bins - 1) for value in corner)
    return y * bins + x


def test_names_pick_out_their_thing_and_absent_ones_nothing(scenes, vocabulary):
    rng = np.random.default_rng(1)
    twins = scenes.scenes[0]
    for sample in Samples(vocabulary, NAMES, TextShares(0, 0, 0, 1, 0, 0)).draw(twins, 30, rng):
        said = vocabulary.decode(sample.ids[sample.asked :]).strip(" .")
        assert said.startswith("the block ") and said.removeprefix("the block ") in PLACES
    for sample in Samples(vocabulary, NAMES, TextShares(0, 1, 0, 0, 0, 0)).draw(twins, 30, rng):
        assert sample.ids[sample.asked :] == (vocabulary.eos,)
    for sample in Samples(vocabulary, NAMES, TextShares(0, 0, 1, 0, 0, 0)).draw(twins, 10, rng):
        assert len(sample.corners) == 4
    with pytest.raises(SceneError, match="nothing of the chosen kinds"):
        Samples(vocabulary, NAMES, TextShares(0, 0, 1, 0, 0, 0)).draw(scenes.scenes[-1], 1, rng)


def test_texts_begin_as_they_are_asked(scenes, vocabulary):
    """The ids in front of an answer are those of the family's own prompt."""
    sample = Samples(vocabulary, NAMES, TextShares()).caption(scenes.scenes[1], detailed=True)
    whole = prompts.describe(vocabulary, detailed=True).ids
    assert (vocabulary.bos, *vocabulary.image_ids, *sample.ids[: sample.asked]) == whole


@pytest.mark.parametrize("side", [12, 4])
def test_every_cell_belongs_to_what_stands_in_it(scenes, side):
    labels = grid_labels(scenes.scenes[:2], NAMES, side, 32)
    assert labels.classes.shape == (2, side * side) and labels.edges.shape == (2, side * side, 4)
    for row, scene in enumerate(scenes.scenes[:2]):
        for thing in scene.things:
            x, y = thing.middle
            cell = int(y * side) * side + int(x * side)
            assert labels.classes[row, cell] == 1 + NAMES.index((thing.kind, thing.colour))
            np.testing.assert_allclose(labels.edges[row, cell], np.array(thing.box) * 32, rtol=1e-5)
    assert (labels.classes == 0).any()


# Runs.


def test_what_is_learned_is_what_is_asked(folder, tmp_path):
    """The scores that are trained are those that answers are chosen by, though texts share the reading of a picture."""
    trainer = Trainer(settings(folder, tmp_path / "run"))
    trainer.model.eval()
    batch = trainer.draw_part(3, 0)
    caught = []
    head, trainer.network.head = trainer.network.head, lambda hidden: caught.append(head(hidden)) or caught[0]
    with torch.no_grad():
        cache, _ = trainer.objective._read_picture(trainer.network.features(batch.pixels))
        trainer.objective._texts(cache, len(batch.pixels), batch.texts, 1.0)
        trainer.network.head = head
        decoder = Decoder(trainer.network, trainer.vocabulary)
        features = trainer.network.features(batch.pixels)
        length = batch.texts.ids.shape[1]
        for place, scores in zip(batch.texts.behind.tolist()[:9], caught[0], strict=False):
            row, column = divmod(place, length)
            ids = (trainer.vocabulary.bos, *trainer.vocabulary.image_ids, *batch.texts.ids[row, : column + 1].tolist())
            answer = decoder.run([prompts.Prompt(ids)], [features[row // 3][None]], AnswerRules("anything", ngram=0))[0]
            np.testing.assert_allclose(answer.first, scores.numpy(), rtol=1e-3, atol=1e-4)


def test_an_interrupted_run_ends_with_the_same_weights(folder, tmp_path):
    whole = Trainer(settings(folder, tmp_path / "whole"))
    whole.run()
    for stop in (1, 2):
        first = Trainer(settings(folder, tmp_path / f"run-{stop}"))
        for _ in range(stop):
            first.train_step()
        first.save(last=False)
        second = Trainer(settings(folder, tmp_path / f"run-{stop}"))
        assert second.restore() and second.step == stop
        second.run()
        for name, parameter in whole.parameters.items():
            assert torch.equal(parameter, second.parameters[name]), name
    loaded = Kosmos2.load(tmp_path / "whole" / "checkpoint", "cpu")
    assert loaded.ground(np.zeros((50, 60, 3), np.uint8), ["the carrot"])[0].boxes.shape == (1, 4)


def test_the_loss_falls(folder, tmp_path):
    trainer = Trainer(settings(folder, tmp_path / "run", steps=36, dense_steps=6, warmup_fraction=0.1))
    for _ in range(8):
        trainer.train_step()
    early = trainer.averages()
    while trainer.step < 36:
        trainer.train_step()
    late = trainer.averages()
    # Means of the last fifty steps, the early ones among them.
    assert late["words"] < 0.8 * early["words"]
    assert late["dense"] < early["dense"] and late["features"] < early["features"]


def test_a_run_goes_on_from_a_checkpoint(folder, tmp_path):
    first = Trainer(settings(folder, tmp_path / "first"))
    first.write_checkpoint(last=True)
    second = Trainer(settings(folder, tmp_path / "second", init=str(tmp_path / "first" / "checkpoint")))
    assert second.vocabulary.size == first.vocabulary.size and second.fingerprint() != first.fingerprint()
    kept = {name: parameter.detach().clone() for name, parameter in second.parameters.items()}
    for name, parameter in first.parameters.items():
        if name.startswith("model."):
            assert torch.equal(parameter.to(torch.bfloat16), kept[name].to(torch.bfloat16)), name
    second.train_step()
    assert "words" in second.averages()
    moved = [not torch.equal(kept[name], parameter) for name, parameter in second.parameters.items()]
    assert sum(moved) > 0.9 * len(moved)


def test_a_run_goes_on_with_larger_pictures(folder, tmp_path):
    first = Trainer(settings(folder, tmp_path / "first", picture_side=32))
    assert first.network.geometry.image_side == 32
    first.write_checkpoint(last=True)
    init = str(tmp_path / "first" / "checkpoint")
    assert json.loads(Path(init, "config.json").read_text())["between_cells"] is True
    assert Trainer(settings(folder, tmp_path / "same", init=init)).network.geometry.image_side == 32
    second = Trainer(settings(folder, tmp_path / "second", init=init, picture_side=64))
    assert second.network.geometry.image_side == 64 and second.images.shape[1:3] == (64, 64)
    places = "model.vision_model.model.embeddings.position_embedding.weight"
    for name, parameter in first.parameters.items():
        if name.startswith("model.") and name != places:
            assert torch.equal(parameter.to(torch.bfloat16), second.parameters[name].to(torch.bfloat16)), name
    small, large = first.parameters[places].detach(), second.parameters[places].detach()
    assert (len(small), len(large)) == (1 + 4 * 4, 1 + 8 * 8)
    # What lies in the middle of a quarter of four new patches is near what the old patch there had.
    averaged = torch.nn.functional.avg_pool2d(large[1:].T.reshape(1, -1, 8, 8), 2)[0].flatten(1).T
    assert torch.cosine_similarity(averaged, small[1:], dim=1).min() > 0.8
    second.train_step()
    assert all(np.isfinite(value) for value in second.averages().values())


def test_what_only_a_colour_or_a_place_tells_apart_is_asked_for_more_often(scenes, vocabulary):
    twins = next(scene for scene in scenes.scenes if len({thing.kind for thing in scene.things}) < len(scene.things))
    lonely = Thing("plate", "white", (0.8, 0.8, 0.95, 0.95))
    others = [Thing("carrot", colour, (x, 0.1, x + 0.1, 0.2)) for colour, x in (("orange", 0.1), ("green", 0.5))]
    for rivals, weight in ((twins.things, PLACED), (tuple(others), HARD)):
        scene = Scene((*rivals, lonely), np.zeros((3, CLICKS, 2)), frozenset())
        drawn = Samples(vocabulary, NAMES, TextShares(1, 0, 0, 0, 0, 0)).draw(scene, 400, np.random.default_rng(2))
        hard = sum(sample.corners[min(sample.corners)] != lonely.box[:2] for sample in drawn) / len(drawn)
        assert abs(hard - 2 * weight / (2 * weight + 1)) < 0.06


def test_absent_things_mostly_have_near_kin(vocabulary):
    carrot = Scene((Thing("carrot", "orange", (0.1, 0.1, 0.3, 0.3)),), np.zeros((1, CLICKS, 2)), frozenset())
    names = (("carrot", "orange"), ("carrot", "green"), ("plate", "white"), ("block", "green"))
    samples = Samples(vocabulary, names, TextShares(0, 1, 0, 0, 0, 0)).draw(carrot, 300, np.random.default_rng(3))
    near = ["carrot" in vocabulary.decode(sample.ids[: sample.asked]) for sample in samples]
    # One in three of those that are drawn from all that is absent is near, too.
    assert abs(np.mean(near) - (NEAR + (1 - NEAR) / 3)) < 0.08


def test_other_scenes_are_another_run(folder, tmp_path):
    first = Trainer(settings(folder, tmp_path / "run"))
    first.save(last=False)
    other = write_set(tmp_path / "other", 7)
    with pytest.raises(RuntimeError, match="began from other weights"):
        Trainer(settings(other, tmp_path / "run")).restore()


def test_validation_is_measured_and_told(folder, tmp_path):
    held = write_set(tmp_path / "held", 3, "validation")
    trainer = Trainer(settings(folder, tmp_path / "run", validation=(held,), validation_scenes=2))
    trainer.report()
    noted = trainer.history["validation"][0]
    assert noted["step"] == 0 and 0 <= noted["found_percent"] <= 100


# The command.


def test_the_command_trains_goes_on_and_refuses(folder, tmp_path, monkeypatch, capsys):
    def typed(*arguments):
        monkeypatch.setattr("sys.argv", ["magma-train", *arguments])
        train.main()

    asked = ("--recipe", "grounding", "--scenes", str(folder), "--output", str(tmp_path / "run"), "--dense-steps", "1")
    small = ("--picture-batch", "1", "--texts-per-picture", "1", "--dense-batch", "1")
    typed(*asked, *small, "--dry-run")
    assert "12 scenes of 23 things" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    typed(*asked, *small, "--steps", "2")
    assert (tmp_path / "run" / "checkpoint" / "model.safetensors").is_file()
    assert "new run" in capsys.readouterr().out
    typed(*asked, *small, "--steps", "2")
    assert "continued at step 2" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="other settings"):
        typed(*asked, *small, "--steps", "3")
    with pytest.raises(SystemExit, match="no recipe 'nosuch'; there are robot_actions, grounding"):
        typed("--recipe=nosuch")
    with pytest.raises(SystemExit, match="no set of scenes"):
        typed("--recipe", "grounding", "--scenes", str(tmp_path), "--output", str(tmp_path / "new"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"steps": 0}, "steps must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"picture_side": -8}, "picture_side must not be negative"),
        ({"dense_steps": 4}, "leave none of 4 steps"),
        ({"caption_fraction": 1.0}, r"caption_fraction must lie in \[0, 1\)"),
        ({"scenes": ()}, "at least one set"),
    ],
)
def test_settings_are_checked(folder, tmp_path, changes, told):
    with pytest.raises(ConfigError, match=told):
        settings(folder, tmp_path, **changes)
    with pytest.raises(ConfigError, match="at least one kind"):
        TextShares(0, 0, 0, 0, 0, 0)
