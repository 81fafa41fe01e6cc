"""Chunks and expressions of captions: the paper's figure, the published record, and what is never looked for."""

from __future__ import annotations

import pytest

from magma_policy.errors import CommandError
from magma_policy.grit.nouns import ABSTRACT, PLACES
from magma_policy.grit.phrases import Parser, PhraseSettings

pytest.importorskip("spacy")


@pytest.fixture(scope="module")
def parser():
    return Parser()


@pytest.fixture(scope="module")
def conjoined():
    return Parser(settings=PhraseSettings(expand_conjoined=True))


def told(parser: Parser, caption: str) -> list[tuple[str, str]]:
    """Chunks that are looked for, with their expressions."""
    (chunks,) = parser.chunks([caption])
    return [(caption[c.start : c.end], caption[slice(*c.expression)]) for c in chunks if c.dropped is None]


def test_the_papers_figure(parser):
    assert told(parser, "a dog in a field of flowers") == [
        ("a dog", "a dog in a field of flowers"),
        ("a field", "a field of flowers"),
        ("flowers", "flowers"),
    ]


def test_the_published_record(parser):
    caption = "a wire hanger with a paper cover that reads we heart our customers"
    (chunks,) = parser.chunks([caption])
    spans = [c.expression for c in chunks if c.dropped is None]
    assert spans[:2] == [(0, 66), (19, 66)]
    assert [caption[c.start : c.end] for c in chunks if c.dropped == "pronoun"] == ["that", "we"]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("two dogs and a cat", {"two dogs": "two dogs", "a cat": "a cat"}),
        ("a man with a hat and a vest", {"a man": "a man", "a hat": "a hat", "a vest": "a vest"}),
        ("the red ball that rolled away", {"the red ball": "the red ball that rolled away"}),
        ("the carrot next to the plate is small.",
         {"the carrot": "the carrot next to the plate", "the plate": "the plate"}),
        ("the orange carrot on the left of the blue plate",
         {"the orange carrot": "the orange carrot on the left of the blue plate", "the blue plate": "the blue plate"}),
        ("love and freedom in time of war", {}),
        ("it is here", {}),
        ("a view of a house", {"a house": "a house"}),
        ("a moment of silence with the block on the right", {"the block": "the block on the right"}),
    ],
)  # fmt: skip
def test_what_is_looked_for_and_what_it_grows_into(parser, caption, expected):
    assert dict(told(parser, caption)) == expected


def test_no_expression_reaches_into_a_conjunct(parser):
    caption = "A man in a blue hard hat and orange safety vest stands in an intersection"
    for chunk, expression in told(parser, caption):
        assert " and" not in expression, (chunk, expression)


LISTS = (
    "the blue block, the block in front and the carrot",
    "the block on the left, the spoon and the plate",
    "the red spoon, the towel on the left and the plate",
    "a dog, a cat and a bird in a cage",
    "a bowl of soup, a spoon and a napkin",
    "the red cup, the blue cup, the green cup",
    "a woman, a man, a child",
    "two cups; a jug",
    "a dog, a cat",
)


@pytest.mark.parametrize("caption", LISTS)
def test_members_of_a_list_are_conjuncts_also_where_the_parser_sees_an_apposition(parser, conjoined, caption):
    for expressions in (told(parser, caption), told(conjoined, caption)):
        assert len(expressions) > 1
        for _, expression in expressions:
            assert not {",", ";"} & set(expression) and " and" not in expression, (caption, expression)


@pytest.mark.parametrize(
    ("caption", "expression"),
    [
        ("the spoon, a shiny thing, lies here", "the spoon, a shiny thing"),
        ("a dog, the best friend of men, runs", "a dog, the best friend of men"),
        ("My brother, a tall man with a hat, is here", "My brother, a tall man with a hat"),
        ("Paris, the capital of France", "Paris, the capital of France"),
        ("Fido, a brown dog with a bone", "Fido, a brown dog with a bone"),
        ("a dog (a poodle) on a bed", "a dog (a poodle) on a bed"),
    ],
)
def test_another_name_for_a_thing_belongs_to_its_expression(parser, caption, expression):
    assert told(parser, caption)[0][1] == expression


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("the block on the left and the red spoon", ["the block on the left", "the red spoon"]),
        # The parser hangs both places on the first block.
        ("the block on the left, the red spoon and the block on the right",
         ["the block on the left", "the red spoon", "the block on the right"]),
        ("the blue block, the block in front and the carrot", ["the blue block", "the block in front", "the carrot"]),
        # Here it takes the left and the second block for two of a kind.
        ("the block on the left and the block on the right", ["the block on the left", "the block on the right"]),
        ("a man with a hat and a vest", ["a man with a hat", "a hat", "a vest"]),
    ],
)  # fmt: skip
def test_nouns_with_conjuncts_can_grow_by_what_stands_right_behind_them(conjoined, caption, expected):
    assert [expression for _, expression in told(conjoined, caption)][: len(expected)] == expected


def test_nouns_with_conjuncts_stay_as_they_are_unless_that_is_asked_for(parser):
    assert told(parser, "the block on the left and the red spoon") == [
        ("the block", "the block"),
        ("the red spoon", "the red spoon"),
    ]


def test_an_expression_is_one_run_of_the_caption_and_ends_with_a_word(parser):
    caption = "a spoon, which is shiny, lies here; a bowl of soup, hot."
    for chunk, expression in told(parser, caption):
        assert expression.startswith(chunk[:2]) and expression[-1].isalnum() and expression in caption


@pytest.mark.parametrize("caption", ["", " ", "\n", "🙂", "<phrase>", "a" * 4000, "a dog\u2028a cat", "of of of"])
def test_any_caption_is_parsed(parser, caption):
    (chunks,) = parser.chunks([caption])
    for chunk in chunks:
        assert 0 <= chunk.start < chunk.end <= len(caption)
        assert chunk.expression[0] <= chunk.start and chunk.end <= chunk.expression[1] <= len(caption)


def test_steps_can_be_left_out_for_measuring():
    plain = Parser(settings=PhraseSettings(filter=False, expand=False))
    chunks = ["love", "the orange carrot", "the left", "the blue plate"]
    assert told(plain, "love, the orange carrot on the left of the blue plate") == [(one, one) for one in chunks]


def test_the_lists_hold_the_papers_words_and_no_things():
    assert {"time", "love", "freedom"} <= ABSTRACT and {"left", "front", "middle"} <= PLACES
    things = {"dog", "carrot", "plate", "spoon", "block", "towel", "table", "house", "car", "tree", "people", "ball"}
    assert not things & (ABSTRACT | PLACES)


def test_an_unknown_model_is_told_in_a_sentence():
    with pytest.raises(CommandError, match="--spacy-model nothing_of_it: it cannot be loaded"):
        Parser("nothing_of_it")
