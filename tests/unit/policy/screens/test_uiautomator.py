"""Candidates of Android's view hierarchies, in the form of `uiautomator dump`, and of what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_policy.errors import ScreenError
from magma_policy.screens.uiautomator import uiautomator_candidates

DUMP = """<?xml version='1.0' encoding='UTF-8' standalone='yes' ?><hierarchy rotation="0">
<node index="0" text="" resource-id="" class="android.widget.FrameLayout" package="app" content-desc=""
 checkable="false" checked="false" clickable="false" enabled="true" focusable="false" bounds="[0,0][1080,1920]">
 <node index="0" text="" class="android.widget.LinearLayout" clickable="true" enabled="true" focusable="true"
  bounds="[0,100][1080,260]">
  <node index="0" text="Wi-Fi" class="android.widget.TextView" clickable="false" enabled="true"
   bounds="[40,120][400,180]" />
  <node index="1" text="" class="android.widget.Switch" checkable="true" clickable="true" enabled="true"
   focusable="true" content-desc="Wi-Fi on" bounds="[900,120][1040,240]" />
 </node>
 <node index="1" text="carrots" class="android.widget.EditText" content-desc="Search" clickable="true" enabled="true"
  focusable="true" bounds="[0,300][1080,420]" />
 <node index="2" text="Off" class="android.widget.Button" clickable="true" enabled="false" bounds="[0,500][200,600]" />
 <node index="3" text="Gone" class="android.widget.Button" clickable="true" enabled="true" bounds="[0,0][0,0]" />
</node></hierarchy>"""


def test_what_can_be_touched_is_found_with_its_words():
    row, switch, field = uiautomator_candidates(DUMP + "\nUI hierchary dumped to: /dev/tty\n")
    assert (row.role, row.name, row.box) == ("button", "Wi-Fi", (0.0, 100.0, 1080.0, 260.0))
    assert (switch.role, switch.name, switch.inside) == ("switch", "Wi-Fi on", row.key)
    assert (field.role, field.name, field.value) == ("textbox", "Search", "carrots")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no XML"),
        ("ERROR: could not get idle state.", "no XML"),
        ("<hierarchy><node", "no XML"),
        ("<html></html>", "begins with <hierarchy>"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><hierarchy>&b;</hierarchy>', "no XML"),
        ("<hierarchy>" + "<node/>" * 20_001 + "</hierarchy>", "more than 20000 nodes"),
        ("x" * 4_000_001, "at most 4000000 characters"),
    ],
    ids=["empty", "an error", "cut", "a web page", "an entity", "too many", "too long"],
)
def test_what_is_no_dump_is_told_in_one_sentence(text, said):
    with pytest.raises(ScreenError, match=said) as caught:
        uiautomator_candidates(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_deep_dumps_are_read():
    deep = "".join(f'<node class="a.Button" clickable="true" bounds="[0,0][{k},9]">' for k in range(1, 3001))
    assert len(uiautomator_candidates(f"<hierarchy>{deep}{'</node>' * 3000}</hierarchy>")) == 3000


@given(st.data())
def test_a_damaged_dump_is_read_or_refused(data):
    start = data.draw(st.integers(0, len(DUMP)))
    end = data.draw(st.integers(start, min(len(DUMP), start + 60)))
    damaged = DUMP[:start] + data.draw(st.text(max_size=5)) + DUMP[end:]
    try:
        for candidate in uiautomator_candidates(damaged):
            assert candidate.box[0] < candidate.box[2]
    except ScreenError as error:
        assert "\n" not in str(error)
