"""Answers: each as it would be alone, well formed, and what the library's own loop gives where that is right."""

import dataclasses

import numpy as np
import pytest
import torch

from magma_policy.errors import NotFiniteError
from magma_policy.families.kosmos2 import network, prompts
from magma_policy.families.kosmos2.decoding import Decoder
from magma_policy.families.kosmos2.grammar import AnswerRules
from magma_policy.families.kosmos2.images import PictureError, pixels_of
from magma_policy.families.kosmos2.model import Kosmos2
from magma_policy.families.kosmos2.network import Network
from magma_policy.families.kosmos2.parser import parse
from magma_policy.families.kosmos2.prompts import Example, Prompt, PromptError


def asked(words):
    """Prompts of different lengths."""
    return [
        prompts.locate(words, "the carrot"),
        prompts.describe(words),
        prompts.answer(words, "Is there a very long question about the plate and the block?"),
        prompts.refer(words, np.array([0.1, 0.2, 0.5, 0.6])),
    ]


def features_of(model, picture, count):
    return [model.features(picture)] * count


@pytest.mark.parametrize("form", ["box", "boxes", "words", "grounded words", "anything"])
def test_a_batch_is_its_rows_and_a_cache_changes_nothing(model, words, pictures, form):
    rules = AnswerRules(form, max_new_tokens=12)
    decoder = Decoder(model.network, words)
    features = [model.features(pictures[i % 3]) for i in range(4)]
    together = decoder.run(asked(words), features, rules)
    for prompt, part, found in zip(asked(words), features, together, strict=True):
        for cached in (True, False):
            alone = decoder.run([prompt], [part], rules, cached=cached)[0]
            assert alone.ids == found.ids
            np.testing.assert_allclose(alone.probabilities, found.probabilities, rtol=1e-3, atol=1e-6)


def test_one_row_says_what_the_library_says(model, words, pictures):
    for prompt in asked(words):
        found = Decoder(model.network, words).run(
            [prompt], [model.features(pictures[0])], AnswerRules("anything", max_new_tokens=20)
        )[0]
        ids = torch.tensor([prompt.ids])
        places = torch.zeros_like(ids, dtype=torch.bool)
        start = prompt.ids.index(words.image_open) + 1
        places[0, start : start + words.latents] = True
        theirs = model.network.model.generate(
            pixel_values=torch.from_numpy(pixels_of(pictures[0], 32))[None],
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            image_embeds_position_mask=places,
            max_new_tokens=20,
            no_repeat_ngram_size=3,
            do_sample=False,
        )
        assert tuple(theirs[0, len(prompt.ids) :].tolist()) == found.ids


def test_attention_by_hand_and_by_the_library_agree(random_network, words, pictures):
    """The resampler sees its whole picture whichever computes it."""
    pixels = torch.from_numpy(pixels_of(pictures[0], 32))[None]
    by_hand = network.build(random_network.geometry, "eager")
    by_hand.model.load_state_dict(random_network.model.state_dict())
    by_hand.model.eval()
    with torch.inference_mode():
        torch.testing.assert_close(by_hand.features(pixels), random_network.features(pixels), rtol=1e-4, atol=1e-5)
    a, b = (Kosmos2(n, words).describe(pictures[0]) for n in (by_hand, random_network))
    assert a.text == b.text


@pytest.mark.parametrize("form", ["box", "boxes", "grounded words"])
def test_no_malformed_box_can_be_said(words, pictures, form):
    for seed in range(12):
        torch.manual_seed(seed)
        made = network.build(network.Geometry(32, 8, 16, 32, 1, 2, 16, 24, 1, 2, words.size + 3, 160, words.latents))
        made.model.eval()
        with torch.no_grad():
            for parameter in made.model.parameters():
                parameter.mul_(3.0)
        model = Kosmos2(made, words)
        for answer in Decoder(made, words).run(
            asked(words), features_of(model, pictures[0], 4), AnswerRules(form, max_new_tokens=24)
        ):
            found = parse(words, answer.ids)
            assert found.malformed == 0 or not answer.finished
            assert all(id_ < words.size for id_ in answer.ids)
            assert ((answer.probabilities > 0) & (answer.probabilities <= 1)).all()


def test_no_three_words_come_twice(model, words, pictures):
    ids = (
        Decoder(model.network, words)
        .run([prompts.describe(words)], [model.features(pictures[0])], AnswerRules("words", max_new_tokens=80))[0]
        .ids
    )
    triples = list(zip(ids, ids[1:], ids[2:], strict=False))
    assert len(triples) > 20 and len(set(triples)) == len(triples)


def test_an_answer_ends_where_the_model_has_no_more_places(model, words, pictures):
    room = model.network.geometry.positions
    prompt = prompts.describe(words)
    filled = Prompt((*prompt.ids, *words.encode("carrot " * (room - len(prompt.ids) - 5))), 1)
    rules = AnswerRules("words", max_new_tokens=50)
    answer = Decoder(model.network, words).run([filled], [model.features(pictures[0])], rules)[0]
    assert len(answer.ids) <= 5
    with pytest.raises(PromptError, match="shorten"):
        Decoder(model.network, words).run(
            [Prompt((*filled.ids, *words.encode("carrot " * 9)), 1)], [model.features(pictures[0])], rules
        )


def test_weights_that_overflow_are_told(random_network, words, pictures):
    broken = network.build(random_network.geometry)
    broken.model.eval()
    with torch.no_grad():
        broken.model.text_model.model.layers[0].ffn.fc1.bias[0] = float("nan")
    with pytest.raises(NotFiniteError, match="float32"):
        Kosmos2(broken, words).describe(pictures[0])


def test_grounding_names_every_phrase_and_a_confidence(model, pictures):
    phrases = ["the carrot", "a block on the left", "</phrase> tags"]
    for which in ("one", "several", "all"):
        found = model.ground(pictures[0], phrases, which)
        assert [each.phrase for each in found] == phrases
        for each in found:
            assert len(each.boxes) == len(each.confidences) >= 1
            assert (each.boxes[:, :2] < each.boxes[:, 2:]).all()
            assert ((each.confidences > 0) & (each.confidences <= 1)).all() and 0 <= each.presence <= 1
            assert (np.diff(each.confidences) <= 0).all()
    assert len(model.ground(pictures[0], phrases[:1])[0].boxes) == 1
    assert len(model.ground(pictures[0], phrases[:1], "all")[0].boxes) > 1


def test_places_between_cells_are_told_only_where_they_were_learned(random_network, words, pictures):
    whole = Kosmos2(random_network, words)
    geometry = dataclasses.replace(random_network.geometry, between_cells=True)
    fine = Kosmos2(network.Network(geometry, random_network.model), words)
    phrases = ["the carrot", "the plate on the left", "the spoon", "the block in the plate"]
    moved = []
    for which in ("one", "several", "all"):
        for cells, between in zip(
            whole.ground(pictures[0], phrases, which), fine.ground(pictures[0], phrases, which), strict=True
        ):
            steps = cells.boxes * 2 * words.bins
            np.testing.assert_allclose(steps, steps.round(), atol=1e-9)
            assert len(between.boxes) and (between.boxes[:, :2] < between.boxes[:, 2:]).all()
            assert between.presence == cells.presence
            if which == "one":
                # Less than the neighbourhood that is looked at, and the same confidence: the same cells were said.
                # A box whose corners would come to stand the wrong way round stays that of its cells.
                moved.append(np.abs(between.boxes - cells.boxes).max())
                np.testing.assert_array_equal(between.confidences, cells.confidences)
    assert 0 < max(moved) <= 2.5 / words.bins


def test_presence_is_told_by_the_run_that_finds_the_place(model, words, pictures, monkeypatch):
    """A place is named whatever the model would say, and what it would have said is its presence."""
    prompt = prompts.locate(words, "the carrot")
    features = [model.features(pictures[0])]
    decoder = Decoder(model.network, words)
    free = decoder.run([prompt], features, AnswerRules("box", max_new_tokens=1))[0]
    opened = Prompt((*prompt.ids, words.object_open))
    forced = decoder.run([opened], features, AnswerRules("box"))[0]
    runs = []
    original = Decoder.run
    monkeypatch.setattr(Decoder, "run", lambda self, *given, **more: runs.append(1) or original(self, *given, **more))
    found = model.ground(pictures[0], ["the carrot"])[0]
    assert len(runs) == 1
    logits = free.first[[words.object_open, words.eos]].astype(float)
    assert found.presence == pytest.approx(1 / (1 + np.exp(logits[1] - logits[0])), rel=1e-5)
    np.testing.assert_array_equal(found.boxes[0], parse(words, [words.object_open, *forced.ids]).entities[0].boxes[0])


def test_referring_with_examples_looks_at_their_pictures(model, pictures):
    box = np.array([0.1, 0.1, 0.4, 0.5])
    plain = model.refer(pictures[0], box)
    shown = model.refer(pictures[0], box, [(pictures[1], Example(box, "a carrot"))])
    others = model.refer(pictures[0], box, [(pictures[2], Example(box, "a carrot"))])
    assert plain.probability != shown.probability != others.probability
    assert not plain.text.endswith(".")


def test_features_of_a_frame_are_computed_once(model, pictures, monkeypatch):
    calls = []
    original = Network.features
    monkeypatch.setattr(Network, "features", lambda self, pixels: calls.append(1) or original(self, pixels))
    first = model.ground(pictures[0], ["the carrot"])
    again = model.ground(pictures[0].copy(), ["the carrot"])
    assert len(calls) == 1
    np.testing.assert_array_equal(first[0].boxes, again[0].boxes)
    model.ground(pictures[1], ["the carrot"])
    assert len(calls) == 2


@pytest.mark.parametrize("picture", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture_is_refused(model, picture):
    with pytest.raises(PictureError, match="uint8"):
        model.describe(picture)
