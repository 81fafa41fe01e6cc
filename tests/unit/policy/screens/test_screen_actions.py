"""Answers about screens: whole and right, or refused with the reason."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_policy.errors import ScreenError
from magma_policy.screens.actions import (
    DIRECTIONS,
    ENDS,
    MOST_TYPED,
    PLACES,
    Kind,
    ScreenAction,
    phone_action,
    web_action,
)

words = st.text(st.characters(blacklist_categories=("Cc", "Cs"), blacklist_characters="{}\"'\\"), min_size=1).filter(
    lambda text: text.strip() and len(text) <= 400
)
marks = st.integers(0, 59)
web_actions = st.one_of(
    st.builds(ScreenAction, st.just(Kind.CLICK), marks),
    st.builds(ScreenAction, st.sampled_from([Kind.TYPE, Kind.SELECT]), marks, text=words),
    st.builds(ScreenAction, st.just(Kind.STATUS), text=st.sampled_from(ENDS)),
)
phone_actions = st.one_of(
    st.builds(ScreenAction, st.just(Kind.TAP), marks),
    st.builds(ScreenAction, st.just(Kind.TAP), point=st.tuples(st.floats(0, 1), st.floats(0, 1))),
    st.builds(ScreenAction, st.just(Kind.SWIPE), text=st.sampled_from(DIRECTIONS)),
    st.builds(ScreenAction, st.just(Kind.NAVIGATE), text=st.sampled_from(PLACES)),
    st.builds(ScreenAction, st.just(Kind.TYPE), text=words),
    st.builds(ScreenAction, st.just(Kind.STATUS), text=st.sampled_from(ENDS)),
)


@given(web_actions)
def test_what_is_written_on_the_web_is_read(action):
    assert web_action(action.as_answer(), 60) == action


@given(phone_actions)
def test_what_is_written_on_a_phone_is_read(action):
    assert phone_action(f"I think: {action.as_answer()} .", 60) == action


@given(st.one_of(st.text(), st.text(alphabet='{}"[]:,ACTIONMRKVLUETPSO 0123456789')), st.integers(0, 60))
def test_any_text_is_an_action_or_one_sentence(text, count):
    for read in (web_action, phone_action):
        try:
            action = read(text, count)
        except ScreenError as error:
            assert "\n" not in str(error) and len(str(error)) < 400
        else:
            assert action.mark is None or 0 <= action.mark < count


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("I would click on the search box.", "no action"),
        ('{"ACTION": "CLICK", "MARK": 3, "VALUE": None}', "mark 3 is not on the picture"),
        ('{"ACTION": "CLICK", "MARK": -1}', "names no mark"),
        ('{"ACTION": "CLICK", "MARK": 1.5}', "names no mark"),
        ('{"ACTION": "CLICK", "VALUE": "x"}', "names no mark"),
        ('{"ACTION": "TYPE", "MARK": 1}', "no value"),
        ('{"ACTION": "TYPE", "MARK": 1, "VALUE": "  "}', "empty value"),
        ('{"ACTION": "TYPE", "VALUE": "hello"}', "no mark to type into"),
        ('{"ACTION": "TYPE", "MARK": 1, "VALUE": "a\\nb"}', "control characters"),
        (json.dumps({"ACTION": "TYPE", "MARK": 1, "VALUE": "x" * (MOST_TYPED + 1)}), "at most"),
        ('{"ACTION": "SELECT", "MARK": 1, "VALUE": None}', "no value"),
        ('{"ACTION": "HOVER", "MARK": 1}', "no action"),
        ('{"ACTION": "TAP", "MARK": 1}', "TAP is no action here"),
        ('{"ACTION": "CLICK", "MARK": 1} or {"ACTION": "CLICK", "MARK": 2}', "2 different actions"),
    ],
)
def test_a_malformed_web_answer_is_refused_whole(answer, reason):
    with pytest.raises(ScreenError, match=reason):
        web_action(answer, 3)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"SWIPE": "SIDEWAYS"}', "UP, DOWN, LEFT, RIGHT"),
        ('{"NAVIGATE": "MENU"}', "BACK, HOME, ENTER"),
        ('{"SET_TASK_STATUS": "MAYBE"}', "COMPLETE, IMPOSSIBLE"),
        ('{"TAP": {"NORMALIZED_COORDINATE": [1.5, 0.2]}}', "a mark or a place"),
        ('{"TAP": {}}', "a mark or a place"),
        ('{"ACTION": "CLICK", "MARK": 1}', "CLICK is no action here"),
    ],
)
def test_a_malformed_phone_answer_is_refused_whole(answer, reason):
    with pytest.raises(ScreenError, match=reason):
        phone_action(answer, 3)


def test_the_same_action_said_twice_is_one():
    said = '{"ACTION": "CLICK", "MARK": 1}'
    assert web_action(f"{said}\n{said}", 3) == ScreenAction(Kind.CLICK, 1)


def test_published_spellings_are_read():
    assert web_action('{"ACTION": "TYPE", "MARK": 5, "VALUE": "10203"}', 6).text == "10203"
    assert web_action("{'ACTION': 'SELECT', 'MARK': 2, 'VALUE': 'Red'}", 6) == ScreenAction(Kind.SELECT, 2, text="Red")
    assert web_action('{"ACTION": "CLICK", "MARK": 0, "VALUE": None}', 1) == ScreenAction(Kind.CLICK, 0)
    assert phone_action('{"TAP": {"NORMALIZED_COORDINATE": [0.54, 0.88]}}', 0).point == (0.88, 0.54)
