"""What pages ask of the model that points: only what could be answered gets through, and what comes back is plain."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from magma_interfaces.msg import NamedPlace, PhraseBoxes, PictureBox
from magma_interfaces.srv import Confirm, Describe, Ground, Refer
from vision_msgs.msg import Detection2D, ObjectHypothesisWithPose

from magma_common.conversions import ns_to_stamp, stamp_to_ns
from magma_console.robot.pointing import KINDS, PointingError, answer_of, request_of, shares_of

STAMP_NS = 1_700_000_000_123_456_789


def asked(**message):
    return request_of(message, "console1")


def test_a_frame_is_named_to_the_nanosecond():
    request = asked(type="refer", stamp=str(STAMP_NS), places=[[0.1, 0.2, 0.1, 0.2], [0.5, 0.5, 0.7, 0.9]])
    assert stamp_to_ns(request.stamp) == STAMP_NS
    assert request.places == [PictureBox(x1=0.1, y1=0.2, x2=0.1, y2=0.2), PictureBox(x1=0.5, y1=0.5, x2=0.7, y2=0.9)]
    assert stamp_to_ns(asked(type="describe").stamp) == 0


def test_phrases_are_told_apart_by_commas_and_a_confirmation_names_who():
    request = asked(type="ground", phrases=" the carrot,, the\n plate ,")
    assert (request.phrases, request.which) == (["the carrot", "the plate"], "one")
    assert asked(type="ground", phrases="x", all=True).which == "all"
    confirmation = asked(type="confirm", proposal=7)
    assert (confirmation.proposal, confirmation.asked_by) == (7, "console1")


WRONG = [
    {"type": "refer", "places": None},
    {"type": "refer", "places": []},
    {"type": "refer", "places": [[0, 0, 1, 1]] * 3},
    {"type": "refer", "places": [[0, 0, 1]]},
    {"type": "refer", "places": [[0, 0, 1, "1"]]},
    {"type": "refer", "places": [[0, 0, 1, True]]},
    {"type": "refer", "places": [[0, 0, 1, 1.01]]},
    {"type": "refer", "places": [[0.6, 0, 0.5, 1]]},
    {"type": "refer", "places": [[float("nan")] * 4]},
    {"type": "refer", "places": [[0, 0, 0, 10**400]]},
    {"type": "refer", "places": [[0, 0, 1, 1]], "stamp": STAMP_NS},
    {"type": "refer", "places": [[0, 0, 1, 1]], "stamp": "-5"},
    {"type": "refer", "places": [[0, 0, 1, 1]], "stamp": "٣"},
    {"type": "refer", "places": [[0, 0, 1, 1]], "stamp": "9" * 19},
    {"type": "refer", "places": [[0, 0, 1, 1]], "stamp": "9" * 5000},
    {"type": "ground"},
    {"type": "ground", "phrases": " , "},
    {"type": "ground", "phrases": ["the carrot"]},
    {"type": "ground", "phrases": "a," * 9},
    {"type": "ground", "phrases": "a" * 201},
    {"type": "describe", "question": 3},
    {"type": "confirm"},
    {"type": "confirm", "proposal": 0},
    {"type": "confirm", "proposal": -1},
    {"type": "confirm", "proposal": True},
    {"type": "confirm", "proposal": 1.0},
    {"type": "confirm", "proposal": 2**63},
]


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_asked_is_said_in_a_sentence(message):
    with pytest.raises(PointingError) as error:
        request_of(message, "console1")
    assert str(error.value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(["stamp", "places", "phrases", "question", "proposal"]), ANYTHING),
)
def test_any_message_is_a_request_or_refused(kind, fields):
    try:
        request = request_of({**fields, "type": kind}, "console1")
    except PointingError:
        return
    assert isinstance(request, (Refer.Request, Ground.Request, Describe.Request, Confirm.Request))


def test_answers_are_plain_and_bounded():
    box = PictureBox(x1=0.25, y1=float("nan"), x2=0.5, y2=float("inf"))
    refer = Refer.Response(success=True, stamp=ns_to_stamp(STAMP_NS), instruction="put <b> on a", proposal=3)
    refer.named = [NamedPlace(phrase="<b>" * 200, box=box, confidence=0.5)]
    told = answer_of(refer)
    assert (told["ok"], told["stamp"], told["proposal"], told["instruction"]) == (
        True,
        str(STAMP_NS),
        3,
        "put <b> on a",
    )
    assert told["marks"][0]["box"] == [0.25, 0.0, 0.5, 0.0] and len(told["marks"][0]["phrase"]) == 200
    ground = Ground.Response(success=True)
    ground.found = [PhraseBoxes(phrase="a", boxes=[box, box], confidences=[0.9, 0.1]), PhraseBoxes(phrase="no")]
    told = answer_of(ground)
    assert [mark["sure"] for mark in told["marks"]] == [0.9, 0.1] and told["nowhere"] == ["no"]
    assert answer_of(Describe.Response(success=True, text="two"))["text"] == "two"
    assert answer_of(Ground.Response(message="busy")) == {"ok": False, "text": "busy"}
    assert answer_of(Confirm.Response(accepted=True)) == {"ok": True, "text": ""}
    json.dumps(told, allow_nan=False)


def test_detections_in_pixels_become_shares_of_the_frame():
    one = Detection2D(id="0")
    one.bbox.center.position.x, one.bbox.center.position.y, one.bbox.size_x, one.bbox.size_y = 64.0, 32.0, 32.0, 64.0
    assert (
        shares_of([one], 128, 64)[0]["box"] == [0.375, 0.0, 0.625, 1.0]
        and shares_of([one], 128, 64)[0]["phrase"] == "0"
    )
    one.results = [ObjectHypothesisWithPose()]
    one.results[0].hypothesis.class_id = "the carrot"
    assert shares_of([one] * 100, 128, 64)[0]["phrase"] == "the carrot" and len(shares_of([one] * 100, 128, 64)) == 64
    assert shares_of([one], 0, 0) == []
