"""Actions on a screen in the evaluator's files: equal after a round, refused when damaged."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("magma_eval", reason="magma-eval is not installed beside magma-policy")

from magma_policy.screens.actions import DIRECTIONS, ENDS, Kind, ScreenAction
from magma_policy.screens.miniwob.action_type import SCREEN_ACTIONS

texts = st.text(st.characters(blacklist_categories=("Cc", "Cs")), min_size=1, max_size=80).filter(str.strip)
marks = st.integers(0, 500)
shares = st.floats(0.0, 1.0)
actions = st.one_of(
    st.none(),
    st.builds(ScreenAction, st.just(Kind.CLICK), marks),
    st.builds(ScreenAction, st.sampled_from([Kind.TYPE, Kind.SELECT]), marks, text=texts),
    st.builds(ScreenAction, st.just(Kind.TAP), point=st.tuples(shares, shares)),
    st.builds(ScreenAction, st.just(Kind.SWIPE), text=st.sampled_from(DIRECTIONS)),
    st.builds(ScreenAction, st.just(Kind.STATUS), text=st.sampled_from(ENDS)),
)


@given(st.lists(actions, max_size=8))
def test_what_was_packed_is_unpacked_and_needs_no_pickle(wanted):
    packed = SCREEN_ACTIONS.pack(wanted)
    assert packed.dtype == np.uint8 and len(packed) == len(wanted)
    assert SCREEN_ACTIONS.unpack(packed) == wanted


@given(st.lists(actions.filter(bool), min_size=1, max_size=3), st.data())
def test_a_damaged_record_is_an_action_still_or_a_value_error(wanted, data):
    packed = SCREEN_ACTIONS.pack(wanted)
    row = data.draw(st.integers(0, len(packed) - 1))
    packed[row, data.draw(st.integers(0, packed.shape[1] - 1))] = data.draw(st.integers(0, 255))
    try:
        found = SCREEN_ACTIONS.unpack(packed)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert all(action is None or isinstance(action, ScreenAction) for action in found)


@pytest.mark.parametrize(
    "row",
    [
        {"kind": "CLICK"},
        {"kind": "DANCE", "mark": 0},
        {"kind": "CLICK", "mark": -1},
        {"kind": "CLICK", "mark": True},
        {"kind": "CLICK", "mark": 0, "further": 1},
        {"kind": "TYPE", "mark": 0, "text": 7},
        {"kind": "TYPE", "mark": 0, "text": "a\nb"},
        {"kind": "TAP", "point": [0.5, 2.0]},
        {"kind": "TAP", "point": [0.5]},
        ["CLICK"],
        3,
    ],
)
def test_rows_that_are_no_action_are_refused(row):
    packed = np.frombuffer(json.dumps(row).encode(), np.uint8)[None]
    with pytest.raises(ValueError, match="is no action on a screen"):
        SCREEN_ACTIONS.unpack(packed)


@pytest.mark.parametrize("packed", [np.zeros((2, 7)), np.zeros(3, np.uint8), np.zeros((1, 70_000), np.uint8)])
def test_arrays_of_other_forms_are_refused(packed):
    with pytest.raises(ValueError, match="uint8 of shape"):
        SCREEN_ACTIONS.unpack(packed)


def test_an_answer_is_one_action_or_several_and_nothing_else():
    click = ScreenAction(Kind.CLICK, 1)
    assert SCREEN_ACTIONS.checked(click) == [click]
    assert SCREEN_ACTIONS.checked([click, click]) == [click, click]
    for answer in ([], [click, None], np.zeros(7), "CLICK"):
        with pytest.raises(ValueError, match="an answer is one or several actions on a screen"):
            SCREEN_ACTIONS.checked(answer)


def test_steps_are_told_in_words():
    packed = SCREEN_ACTIONS.pack([None, ScreenAction(Kind.TYPE, 3, text="Ann")])
    assert [SCREEN_ACTIONS.described(packed, step) for step in (0, 1)] == ["nothing", "TYPE mark 3: Ann"]
