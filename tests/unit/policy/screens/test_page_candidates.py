"""Candidates of a web page, from what Chromium 156 said of a page of ours (recorded), and from damaged answers."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_policy.errors import ScreenError
from magma_policy.screens.candidates import tidied
from magma_policy.screens.page_candidates import accessibility_candidates, page_candidates
from magma_policy.screens.page_snapshot import read_snapshot

HERE = Path(__file__).parent
SNAPSHOT = json.loads((HERE / "page_snapshot.json").read_text(encoding="utf-8"))
TREE = json.loads((HERE / "accessibility_tree.json").read_text(encoding="utf-8"))


def test_controls_boxes_that_listen_shadows_and_frames_are_found_and_hidden_ones_are_not():
    found = tidied(page_candidates(read_snapshot(SNAPSHOT)), 640, 480)
    assert [(item.role, item.name) for item in found] == [
        ("textbox", "Name"),
        ("checkbox", "Agree to all"),
        ("combobox", ""),
        ("textbox", ""),
        ("button", "Pay now"),
        ("button", "Div"),
        ("button", "Listener"),
        ("button", "In frame"),
        ("link", "Leave icon"),
        ("button", "In shadow"),
        ("button", "Under"),  # covered: that only the browser can say
    ]
    by_name = {item.name: item for item in found}
    assert by_name["Name"].value == "Bob" and by_name["Name"].focusable
    assert by_name["In frame"].box[:2] == (308.0, 108.0)  # the frame's place and the place in it
    assert found[2].options == ("One", "Two") and found[2].value == "Two"


def test_the_accessibility_tree_offers_what_a_screen_reader_would():
    found = tidied(accessibility_candidates(TREE, read_snapshot(SNAPSHOT)), 640, 480)
    names = {item.name for item in found}
    assert {"Name", "Agree to all", "Pay now", "Leave icon", "In shadow"} <= names
    assert not {"Div", "Listener", "far below"} & names


def test_what_scrolled_away_keeps_its_distance():
    moved = copy.deepcopy(SNAPSHOT)
    moved["documents"][0]["scrollOffsetY"] = 40.0
    before, after = (
        {item.key: item.box for item in page_candidates(read_snapshot(answer))} for answer in (SNAPSHOT, moved)
    )
    assert all(after[key][1] == pytest.approx(box[1] - 40.0) for key, box in before.items())


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


PLACES = [path for path in places(SNAPSHOT) if path]
ODD = st.one_of(
    st.none(), st.integers(-(10**9), 10**9), st.floats(), st.text(max_size=3), st.sampled_from([[], {}, [-5], True])
)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(PLACES), ODD), min_size=1, max_size=4))
def test_a_damaged_snapshot_is_read_or_refused_in_one_sentence(changes):
    answer = copy.deepcopy(SNAPSHOT)
    for path, odd in changes:
        place = answer
        try:
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = odd
        except (KeyError, IndexError, TypeError):
            continue
    try:
        elements = read_snapshot(answer)
    except ScreenError as error:
        assert "\n" not in str(error)
        return
    page_candidates(elements)
    accessibility_candidates(TREE, elements)
