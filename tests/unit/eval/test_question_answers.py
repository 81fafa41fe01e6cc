"""Answers read as choices."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_eval.questions.answers import chosen_letter, options_of, yes_or_no

OPTIONS = {"A": "left of the cup", "B": "right of the cup", "C": "behind it", "D": "a dog"}


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        (" b ", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("B) right of the cup", "B"),
        ("B: right", "B"),
        ("**B**", "B"),
        ("The answer is B", "B"),
        ("The correct answer is (C).", "C"),
        ("Answer: D", "D"),
        ("I think it stands behind it, so (C).", "C"),
        ("right of the cup", "B"),
        ("Right of the cup.", "B"),
        ("A dog barks at it", None),
        ("a dog", "D"),
        ("The cup", None),
        ("Both (A) and (B)", None),
        ("E", None),
        ("", None),
        ("   \n", None),
        ("behind", None),
        ("Because of that", None),
        ("I don't know", None),
    ],
)
def test_an_option_is_named_by_its_letter_or_its_text(answer, letter):
    assert chosen_letter(answer, OPTIONS) == letter


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        ("yes", True),
        ("Yes.", True),
        ("Yes, there is no doubt", True),
        ("No", False),
        ("no, yes it may seem", False),
        ("True", True),
        ("It is false.", False),
        ("There is none", None),
        ("I know not", None),
        ("it may be yes or no", None),
        ("", None),
    ],
)
def test_yes_and_no(answer, meant):
    assert yes_or_no(answer) is meant


@pytest.mark.parametrize("form", ["{0}. {1}", "({0}) {1}", "{0}) {1}", " {0}: {1}"])
def test_options_are_read_from_the_question(form):
    lines = [form.format(letter, text) for letter, text in OPTIONS.items()]
    question = "\n".join(["A. Smith asks:", "Where is it?", *lines, "Answer with a letter."])
    assert options_of(question) == OPTIONS
    assert options_of("Where is it?") == {} and options_of("A. alone") == {}


@given(st.text(max_size=60), st.integers(2, 5))
def test_any_text_is_one_of_the_options_or_none(answer, count):
    options = {letter: f"option number {letter}" for letter in string.ascii_uppercase[:count]}
    assert chosen_letter(answer, options) in {None, *options}
    assert yes_or_no(answer) in (True, False, None)


@given(st.sampled_from("ABCD"), st.sampled_from(["{}", "({})", "{}.", "The answer is {}.", "Answer: ({})", "\n{}\n"]))
def test_every_plain_way_to_say_a_letter_is_understood(letter, form):
    assert chosen_letter(form.format(letter), OPTIONS) == letter
