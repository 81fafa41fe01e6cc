"""Records in the published schema, and the sequences that are made of them."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_policy.families.kosmos2 import Vocabulary, build_small_tokenizer
from magma_policy.families.kosmos2.parser import parse
from magma_policy.families.kosmos2.prompts import mentioned
from magma_policy.grit import sequences
from magma_policy.grit.records import PhraseBox, Record, RecordError, outermost, similarities

PUBLISHED = {
    "key": "000373938",
    "clip_similarity_vitb32": 0.353271484375,
    "clip_similarity_vitl14": 0.2958984375,
    "id": 1795296605919,
    "url": "https://example.org/customerservice-1.jpg",
    "caption": "a wire hanger with a paper cover that reads we heart our customers",
    "width": 1024,
    "height": 693,
    "noun_chunks": [[19, 32, 0.0196, 0.3105, 0.9622, 0.9603, 0.7930], [0, 13, 0.0194, 0.0276, 0.9593, 0.9695, 0.6752]],
    "ref_exps": [[19, 66, 0.0196, 0.3105, 0.9622, 0.9603, 0.7930], [0, 66, 0.0194, 0.0276, 0.9593, 0.9695, 0.6752]],
}
"""In the schema of the dataset's card, with its spans."""
BOX = (0.1, 0.1, 0.5, 0.5)


def test_a_published_record_comes_back_as_it_was():
    assert Record.of(PUBLISHED).as_json() == PUBLISHED
    assert list(Record.of(PUBLISHED).as_json()) == list(PUBLISHED)


def test_of_expressions_within_others_only_the_outer_ones_make_a_sequence():
    record = Record.of(PUBLISHED)
    assert [(one.start, one.end) for one in outermost(record.expressions)] == [(0, 66)]
    assert sequences.text(record) == (
        "<grounding><phrase>a wire hanger with a paper cover that reads we heart our customers</phrase>"
        "<object><patch_index_0000><patch_index_1022></object>"
    )


def test_equal_spans_do_not_contain_each_other_and_share_one_phrase():
    rows = (PhraseBox(0, 5, BOX, 0.9), PhraseBox(0, 5, (0.6, 0.6, 0.9, 0.9), 0.8), PhraseBox(2, 5, BOX, 0.7))
    assert outermost(rows) == list(rows[:2])
    record = Record("k", "a dog runs", (10, 10), rows, rows)
    said = sequences.text(record)
    assert said.count("<phrase>") == 1 and said.count("</delimiter_of_multi_objects/>") == 1
    assert said.endswith("</object> runs")


def test_tags_never_cross():
    rows = (PhraseBox(0, 8, BOX, 0.9), PhraseBox(4, 12, BOX, 0.8))
    record = Record("k", "one two three", (10, 10), rows, rows)
    assert [(start, end) for start, end, _ in sequences.mentions(record)] == [(0, 8)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 12)), min_size=1, max_size=6))
def test_a_sequence_holds_the_caption_and_is_read_back_by_the_models_own_parser(spans):
    caption = "the dog and a cat on grass here"
    rows = tuple(PhraseBox(s, min(s + n, len(caption)), BOX, 0.9) for s, n in spans)
    rows = tuple(row for row in rows if caption[row.start : row.end].strip())
    if not rows:
        return
    record = Record("k", caption, (10, 10), rows, rows)
    words = Vocabulary(build_small_tokenizer(caption.split(), 9), 9)
    found = parse(words, mentioned(words, sequences.parts(record)))
    assert found.malformed == 0
    assert "".join(found.text.split()) == "".join(caption.split())
    told = ["".join(caption[s:e].split()) for s, e, _ in sequences.mentions(record)]
    assert ["".join(one.phrase.split()) for one in found.entities] == told


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("caption", "", "caption must be a text"),
        ("caption", None, "caption must be a text"),
        ("width", 0, "width must be a whole number"),
        ("width", "1024", "width must be a whole number"),
        ("id", -1, "id must be a whole number"),
        ("key", [], "key must be a text"),
        ("noun_chunks", None, "noun_chunks must be a list"),
        ("noun_chunks", [[0, 5, 0, 0, 1, 1]], r"noun_chunks\[0\] must be \[start"),
        ("noun_chunks", [[0, 500, 0, 0, 1, 1, 0.9]], r"noun_chunks\[0\]: \[0, 500\] is no part"),
        ("noun_chunks", [[0.5, 5, 0, 0, 1, 1, 0.9]], "is no part"),
        ("ref_exps", [[0, 5, 0.5, 0, 0.2, 1, 0.9]], "is no box"),
        ("ref_exps", [[0, 5, 0, 0, 640, 480, 0.9]], "is no box"),
        ("ref_exps", [[0, 5, 0, 0, float("nan"), 1, 0.9]], "must be"),
        ("ref_exps", [[0, 5, 0, 0, True, 1, 0.9]], "must be"),
        ("ref_exps", ["x"], "must be"),
        ("ref_exps", [[0, 5, 0, 0, 10**400, 1, 0.9]], "must be"),
        ("ref_exps", [[0, 10**400, 0, 0, 1, 1, 0.9]], "must be"),
        ("caption", "half \ud83d", "caption holds half a character"),
        ("key", "\udcff", "key must be a text"),
        ("url", "http://\udcff", "url must be a text"),
    ],
)
def test_a_damaged_record_is_refused_by_its_field(name, value, told):
    data = copy.deepcopy(PUBLISHED) | {name: value}
    with pytest.raises(RecordError, match=told) as error:
        Record.of(data)
    assert "\n" not in str(error.value)


def test_similarities_are_numbers():
    odd = {
        "clip_similarity_a": float("nan"),
        "clip_similarity_b": 10**400,
        "clip_similarity_\ud83d": 1,
        "clip_similarity_c": 0,
    }
    assert similarities(odd) == (("clip_similarity_c", 0.0),)


def test_a_box_a_little_over_the_edge_is_cut():
    record = Record.of(PUBLISHED | {"ref_exps": [[0, 5, -0.0005, 0, 1.0005, 1, 0.9]]})
    assert record.expressions[0].box == (0.0, 0.0, 1.0, 1.0)
    json.dumps(record.as_json(), allow_nan=False)
    assert np.isfinite(record.expressions[0].score)
