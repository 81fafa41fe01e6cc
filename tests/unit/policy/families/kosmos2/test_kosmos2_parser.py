"""Reading answers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_policy.families.kosmos2.parser import parse, parse_corners


def ids_of(words, *parts):
    """Ids of parts: texts, numbers of cells, and the names of tags."""
    tags = {
        "(": words.phrase_open,
        ")": words.phrase_close,
        "[": words.object_open,
        "]": words.object_close,
        ",": words.delimiter,
        "end": words.eos,
    }
    ids = []
    for part in parts:
        if isinstance(part, int):
            ids.append(words.place(part))
        else:
            ids += [tags[part]] if part in tags else words.encode(part)
    return ids


def corners(words, *parts):
    return parse_corners(words, ids_of(words, *parts))[1]


def read(words, *parts):
    return parse(words, ids_of(words, *parts))


def test_a_caption_with_two_entities(words):
    found = read(
        words,
        "An image of",
        "(",
        "a carrot",
        ")",
        "[",
        44,
        863,
        "]",
        "on",
        "(",
        "the plate",
        ")",
        "[",
        5,
        911,
        "]",
        "end",
    )
    assert found.text == "An image of a carrot on the plate"
    assert [(entity.phrase, entity.span) for entity in found.entities] == [
        ("a carrot", (12, 20)),
        ("the plate", (24, 33)),
    ]
    assert found.entities[0].boxes.tolist() == [[0.390625, 0.046875, 0.984375, 0.828125]]
    assert found.malformed == 0
    assert all(found.text[slice(*entity.span)] == entity.phrase for entity in found.entities)


def test_several_boxes_of_a_phrase(words):
    found = read(words, "(", "a block", ")", "[", 0, 33, ",", 66, 99, "]")
    assert found.entities[0].boxes.shape == (2, 4)
    start = len(ids_of(words, "(", "a block", ")", "["))
    found_at = corners(words, "(", "a block", ")", "[", 0, 33, ",", 66, 99, "]")[0]
    assert (found_at - start).tolist() == [[0, 1], [3, 4]]


def test_a_group_behind_no_phrase_is_an_entity_without_words(words):
    found = read(words, "[", 0, 33, "]", "the carrot")
    assert (found.entities[0].phrase, found.text) == ("", "the carrot")


@pytest.mark.parametrize(
    ("parts", "boxes", "malformed"),
    [
        (("[", 33, 0, "]"), 0, 1),  # turned round
        (("[", 1, 32, "]"), 0, 1),  # the second left of the first
        (("[", 33, 0, ",", 0, 33, "]"), 1, 1),  # one of two turned round
        (("[", 0, "]"), 0, 1),
        (("[", 0, 33, 66, "]"), 0, 1),
        (("[", 0, 33, ",", "]"), 0, 1),
        (("[", "]"), 0, 1),
        (("[", 0, 33, ",", 66), 1, 0),  # cut: the first box was said whole
        (("[", 0, 33), 1, 0),
        (("[", 0), 0, 1),
        (("[", 0, 33, "the"), 0, 1),
        ((7, 8), 0, 1),  # places in no group
        (("]", ")", "("), 0, 0),
    ],
)
def test_what_is_no_box_is_counted_and_not_repaired(words, parts, boxes, malformed):
    found = read(words, "(", "a block", ")", *parts)
    assert sum(len(entity.boxes) for entity in found.entities) == boxes
    assert found.malformed == malformed
    assert found.text.startswith("a block")


def test_the_places_of_a_picture_are_no_words(words):
    found = parse(words, [words.bos, *words.image_ids, words.grounding, *words.encode("the carrot")])
    assert found.text == "the carrot"


def test_parsing_takes_any_ids(words):
    # A million strings: tests/benchmarks/grounding_fuzz.py.
    @settings(max_examples=1000)
    @given(
        st.lists(
            st.integers(-5, words.size + 5)
            | st.sampled_from(
                [words.object_open, words.object_close, words.delimiter, words.phrase_open, words.phrase_close]
            )
            | st.integers(words.first_place, words.first_place + 70),
            max_size=30,
        )
    )
    def check(ids):
        found, places = parse_corners(words, ids)
        assert len(places) == len(found.entities)
        for entity, at in zip(found.entities, places, strict=True):
            assert found.text[slice(*entity.span)] == entity.phrase
            assert (entity.boxes[:, :2] < entity.boxes[:, 2:]).all() and len(at) == len(entity.boxes)
            assert all(words.is_place(ids[place]) for place in at.ravel())

    check()
