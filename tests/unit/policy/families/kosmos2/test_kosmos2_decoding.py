"""Answers: each as it would be alone, well formed, and what the library's own loop gives where that is right."""

import dataclasses

import numpy as np
import pytest
import torch

from magma_policy.errors import NotFiniteError
from magma_policy.families.kosmos2 import network, prompts
from magma_policy.families.kosmos2.decoding import Decoder, Said
from magma_policy.families.kosmos2.grammar import AnswerRules, Kinds, Row
from magma_policy.families.kosmos2.images import PictureError, pixels_of
from magma_policy.families.kosmos2.locations import encode_boxes, neighbours
from magma_policy.families.kosmos2.model import CAPTION_TOKENS, NOT_FOUND, SPEAKER, Kosmos2
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
        alone = [decoder.run([prompt], [part], rules, cached=cached)[0] for cached in (True, False)]
        for answer in (*alone, decoder.run([prompt], decoder.read(part), rules)[0]):
            same(answer, found)


def same(answer, expected):
    assert answer.ids == expected.ids and answer.finished == expected.finished
    assert answer.corners.keys() == expected.corners.keys()
    np.testing.assert_allclose(answer.probabilities, expected.probabilities, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(answer.first, expected.first, rtol=1e-3, atol=1e-4)
    for place, likely in expected.corners.items():
        np.testing.assert_allclose(answer.corners[place], likely, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("form", ["box", "boxes", "words", "grounded words", "anything"])
def test_a_picture_that_was_read_is_answered_about_the_same(model, words, pictures, form):
    decoder, rules = Decoder(model.network, words), AnswerRules(form, max_new_tokens=12, must_begin=True)
    features = model.features(pictures[0])
    found = decoder.run(asked(words), [features] * 4, rules)
    for answer, expected in zip(decoder.run(asked(words), decoder.read(features), rules), found, strict=True):
        same(answer, expected)
    np.testing.assert_allclose(
        decoder.last_logits(asked(words), decoder.read(features), 2),
        decoder.last_logits(asked(words), [features] * 4, 2),
        rtol=1e-3,
        atol=1e-4,
    )
    other = Prompt((words.bos, *asked(words)[0].ids[2:]), 1)
    with pytest.raises(PromptError, match="does not begin with it"):
        decoder.run([other], decoder.read(features), rules)


def test_what_can_only_go_on_in_one_way_is_not_asked_for(model, words, pictures, monkeypatch):
    """A box needs two looks: at where it begins, which tells whether it does, and at where it ends."""
    read = []
    original = Network.hidden
    model.features(pictures[0])
    monkeypatch.setattr(
        Network, "hidden", lambda self, ids, *more: read.append(ids.shape) or original(self, ids, *more)
    )
    model.ground(pictures[0], ["the carrot", "the plate"])
    locate = max(len(prompts.locate(words, phrase).ids) for phrase in ("the carrot", "the plate"))
    assert read == [(2, locate - 1 - len(words.image_ids) + 1), (2, 1)]
    # Also where there is no room for more than that it begins.
    rules = AnswerRules("box", max_new_tokens=1, must_begin=True)
    cut = model._run(pictures[0], [prompts.locate(words, "the carrot")], rules)[0]
    assert cut.ids == (words.object_open,) and not cut.finished and cut.probabilities.tolist() == [1.0]
    assert len(read) == 3 and np.isfinite(cut.first).all()


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


def heard(search):
    """All answers of a search to its end; each is told at the earliest when none that comes later exceeds it."""
    told, bounds = [], []
    for said, left in search:
        assert all(one.probability <= bound * (1 + 1e-12) for one in said for bound in bounds)
        assert all(one.probability >= left * (1 - 1e-12) for one in said)
        told += said
        bounds.append(left)
    return told


def weighing(random_network, words, count):
    geometry = dataclasses.replace(random_network.geometry, names_weighed=count)
    return Kosmos2(network.Network(geometry, random_network.model), words)


def probability(model, prompt, ids, picture, rules):
    """Of an answer, asked for id by id without any search."""
    found = 1.0
    for place, id_ in enumerate(ids):
        so_far = Prompt((*prompt.ids, *ids[:place]), prompt.pictures)
        row = Row(model.vocabulary, Kinds(model.vocabulary, model.network.geometry.vocabulary), rules, so_far.ids, 99)
        logits = Decoder(model.network, model.vocabulary).last_logits([so_far], [model.features(picture)], 1)[0, 0]
        among = np.where(row.allowed(), logits, -np.inf)
        found *= float(np.exp(among[id_] - np.logaddexp.reduce(among)))
    return found


@pytest.mark.parametrize("form", ["words", "box"])
def test_the_likeliest_answers_are_found_in_order_with_their_probabilities(model, words, pictures, form):
    prompt, features = prompts.refer(words, np.array([0.1, 0.2, 0.5, 0.6])), model.features(pictures[0])
    rules = AnswerRules(form, max_new_tokens=5, stop_at_sentence=True)
    decoder = Decoder(model.network, words)
    greedy = decoder.run([prompt], [features], rules)[0]
    alone = heard(decoder.likeliest(prompt, [features], rules, 1))
    assert [one.ids for one in alone] == [greedy.ids]
    assert alone[0].probability == pytest.approx(float(np.prod(greedy.probabilities)), rel=1e-4)
    found = heard(decoder.likeliest(prompt, [features], rules, 6))
    assert heard(decoder.likeliest(prompt, decoder.read(features), rules, 6)) == [
        Said(one.ids, pytest.approx(one.probability, rel=1e-3)) for one in found
    ]
    assert len({one.ids for one in found}) == len(found) > 1
    assert found[0].probability >= alone[0].probability * (1 - 1e-5)
    assert (np.diff([one.probability for one in found]) <= 0).all()
    for one in found[:3]:
        assert one.probability == pytest.approx(probability(model, prompt, one.ids, pictures[0], rules), rel=1e-3)


def test_per_token_the_search_agrees_with_the_librarys_beams(model, words, pictures):
    """transformers' own search by equal rules: five beams, a length penalty of 1, no early end. One prompt has no pads,
    so that its faults with positions do not show."""
    prompt = prompts.describe(words, grounded=False)
    features = model.features(pictures[0])
    rules = AnswerRules("anything", max_new_tokens=6, ngram=0)
    ((found, _),) = Decoder(model.network, words).likeliest(prompt, [features], rules, 5, per_token=True)
    ids = torch.tensor([prompt.ids])
    places = torch.zeros_like(ids)
    places[0, 2 : 2 + words.latents] = 1
    theirs = model.network.model.text_model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), image_embeds=features, image_embeds_position_mask=places,
        num_beams=5, num_return_sequences=5, max_new_tokens=6, do_sample=False, length_penalty=1.0,
        early_stopping=False, eos_token_id=words.eos, pad_token_id=words.pad, bos_token_id=words.bos,
    )  # fmt: skip
    said = [tuple(id_ for id_ in row if id_ != words.pad) for row in theirs[:, ids.shape[1] :].tolist()]
    assert said[0] == found[0].ids and {*said} == {one.ids for one in found}


def test_long_answers_are_no_less_likely_per_token(model, words, pictures):
    prompt, features = prompts.describe(words, grounded=False), model.features(pictures[0])
    rules = AnswerRules("words", max_new_tokens=CAPTION_TOKENS)
    ((found, _),) = Decoder(model.network, words).likeliest(prompt, [features], rules, 4, per_token=True)
    weights = [np.log(one.probability) / len(one.ids) for one in found]
    assert (np.diff(weights) <= 1e-9).all()
    assert model.caption(pictures[0], 4) == parse(words, found[0].ids).text.strip()


def test_the_search_misses_nothing_that_is_short(model, words, pictures):
    """With a beam for every word, all answers of one word are weighed."""
    prompt, features = prompts.refer(words, np.array([0.1, 0.2, 0.5, 0.6])), model.features(pictures[0])
    rules = AnswerRules("words", max_new_tokens=1)
    logits = Decoder(model.network, words).last_logits([prompt], [features], 1)[0, 0]
    kinds = Kinds(words, model.network.geometry.vocabulary)
    among = np.where(Row(words, kinds, rules, prompt.ids, 99).allowed(), logits, -np.inf)
    found = heard(Decoder(model.network, words).likeliest(prompt, [features], rules, 5))
    assert [one.ids for one in found] == [(int(id_),) for id_ in np.argsort(-among)[:5]]


def test_of_several_names_the_one_is_said_that_leads_back_best(random_network, model, words, pictures):
    rules = AnswerRules("words", max_new_tokens=32, stop_at_sentence=True)
    changed = 0
    for x in (0.1, 0.3, 0.5):
        box = np.array([x, 0.2, x + 0.3, 0.6])
        said = weighing(random_network, words, 6).refer(pictures[0], box)
        beams = heard(
            Decoder(model.network, words).likeliest(prompts.refer(words, box), [model.features(pictures[0])], rules, 6)
        )
        scores = {}
        for one in beams:
            text = parse(words, one.ids).text.rstrip(" .")
            if not text:
                continue
            prompt = prompts.locate(words, text)
            answer = model._run(pictures[0], [prompt], AnswerRules("box", must_begin=True, max_new_tokens=5))[0]
            begins = answer.first[[words.object_open, words.eos]].astype(float)
            first, last = encode_boxes(box[None])[0]
            opened = Prompt((*prompt.ids, words.object_open, words.place(first)))
            second = model._run(pictures[0], [opened], AnswerRules("box", max_new_tokens=2))[0].corners[0]
            near = [answer.corners[1][neighbours(first)].sum(), second[neighbours(last)].sum()]
            back = float(np.prod([1 / (1 + np.exp(begins[1] - begins[0])), *near]))
            scores[text] = np.log(back + NOT_FOUND) + SPEAKER * np.log(one.probability)
        assert said.text == max(scores, key=scores.get)
        changed += said.text != model.refer(pictures[0], box).text
    assert changed, "the likeliest name led back best everywhere: nothing was shown"


def test_names_after_examples_are_taken_as_they_are(random_network, model, words, pictures):
    box, examples = np.array([0.1, 0.1, 0.4, 0.5]), [(pictures[1], Example(np.array([0.1, 0.1, 0.4, 0.5]), "a plate"))]
    assert weighing(random_network, words, 6).refer(pictures[0], box, examples) == model.refer(
        pictures[0], box, examples
    )


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
