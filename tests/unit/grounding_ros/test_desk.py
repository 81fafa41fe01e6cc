"""What is asked about, what still holds, what may be confirmed."""

import dataclasses

import numpy as np
import pytest

from magma_grounding_ros.desk import Desk, DeskSettings, RefusedError, checked_place
from magma_grounding_ros.frame_history import Frame, FrameGoneError

SECOND = 10**9
EMPTY = np.full((64, 64, 3), 90, np.uint8)
MOVED = EMPTY.copy()
MOVED[10:30, 10:30] = 250


def desk(**settings):
    one = Desk(dataclasses.replace(DeskSettings(), **settings))
    one.add_frame(Frame(SECOND, EMPTY))
    return one


def test_a_question_is_about_the_frame_that_was_looked_at():
    one = desk()
    one.add_frame(Frame(2 * SECOND, EMPTY))
    assert one.frame(SECOND, 2 * SECOND).stamp_ns == SECOND
    assert one.frame(0, 2 * SECOND).stamp_ns == 2 * SECOND
    with pytest.raises(FrameGoneError):
        one.frame(5, 2 * SECOND)


def test_a_scene_that_moved_has_no_answer():
    one = desk()
    frame = one.frame(0, SECOND)
    one.require_unchanged(frame, SECOND)
    one.add_frame(Frame(2 * SECOND, MOVED))
    with pytest.raises(RefusedError, match=r"not as it was: .* of the picture has changed"):
        one.require_unchanged(frame, 2 * SECOND)
    with pytest.raises(RefusedError, match="not as it was"):
        one.frame(SECOND, 2 * SECOND)


def test_a_camera_that_fell_silent_shows_nothing_of_now():
    one = desk(max_frame_age_s=2.0)
    one.frame(0, 3 * SECOND)
    with pytest.raises(RefusedError, match=r"3\.5 s old \(at most 2 s may be\)"):
        one.frame(0, int(4.5 * SECOND))
    desk(max_frame_age_s=0.0).frame(0, 1000 * SECOND)


def test_a_proposal_is_confirmed_once():
    one = desk()
    proposal = one.propose(one.frame(0, SECOND), "the carrot", "the plate", SECOND)
    assert proposal.instruction == "put the carrot on the plate"
    assert one.confirm(proposal.number, 2 * SECOND) == proposal
    with pytest.raises(RefusedError, match="does not wait to be confirmed, none does"):
        one.confirm(proposal.number, 2 * SECOND)


def test_only_the_last_proposal_can_be_confirmed():
    one = desk()
    frame = one.frame(0, SECOND)
    first = one.propose(frame, "the carrot", "the plate", SECOND)
    second = one.propose(frame, "the plate", "the carrot", SECOND)
    with pytest.raises(RefusedError, match="proposal 1 does not wait to be confirmed, number 2 does"):
        one.confirm(first.number, SECOND)
    assert one.confirm(second.number, SECOND).instruction == "put the plate on the carrot"
    third = one.propose(frame, "the carrot", "the plate", SECOND)
    one.forget_proposal()
    with pytest.raises(RefusedError, match="none does"):
        one.confirm(third.number, SECOND)


def test_a_proposal_does_not_outlive_its_scene_or_its_time():
    one = desk()
    proposal = one.propose(one.frame(0, SECOND), "the carrot", "the plate", SECOND)
    one.add_frame(Frame(2 * SECOND, MOVED))
    with pytest.raises(RefusedError, match="not as it was"):
        one.confirm(proposal.number, 2 * SECOND)
    for late in (70 * SECOND, 0):
        one = desk()
        proposal = one.propose(one.frame(0, SECOND), "the carrot", "the plate", SECOND)
        with pytest.raises(RefusedError, match="holds for 60 s; click again"):
            one.confirm(proposal.number, late)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ((0.1, 0.1, float("nan"), 0.2), "no place in a picture"),
        ((-0.1, 0.1, 0.2, 0.2), "outside of the picture"),
        ((0.1, 0.1, 1.2, 0.2), "outside of the picture"),
        ((0.5, 0.1, 0.2, 0.2), "left of or above"),
        ((0.1, 0.5, 0.2, 0.2), "left of or above"),
        ((0.1, 0.1, 0.1, 0.2), "no area"),
        ((0.1, 0.1, float("-inf"), 0.2), "no place in a picture"),
    ],
)
def test_places_that_are_none(place, told):
    with pytest.raises(RefusedError, match=told):
        checked_place(*place)


def test_a_click_is_a_place():
    np.testing.assert_array_equal(checked_place(0.0, 0.5, 0.0, 0.5), [0.0, 0.5, 0.0, 0.5])
