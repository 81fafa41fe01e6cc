"""A page as an operator's device: when what it wants counts, and when it no longer does."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_console.connections.operator_session import HeldPress, Intent, IntentError, Limits, OperatorSession
from magma_teleop.operator_device import ArmPose

LIMITS = Limits(step_period_s=0.2, max_speed_m_s=0.1, max_angular_speed_rad_s=0.5, expiry_s=0.3)
DOWN = np.array([1.0, 0.0, 0.0, 0.0])
ARM = ArmPose(DOWN, 0.8)
FORWARD = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class Page:
    """Says things in order, and takes the commands."""

    def __init__(self):
        self.session, self.sequence = OperatorSession(), 0

    def says(self, now_s, held, as_of_s=None, **rest):
        self.sequence += 1
        as_of_s = now_s if as_of_s is None else as_of_s
        self.session.hear(Intent(self.sequence, as_of_s, held, **rest), now_s, LIMITS)

    def command(self, now_s, arm=ARM, camera=None):
        motion = self.session.command(now_s, LIMITS, arm, lambda: camera)
        return None if motion is None else motion.delta

    def takes_hold(self, now_s=0.0, **rest):
        self.says(now_s, False)
        self.says(now_s, True, **rest)


def test_holding_moves_the_arm_once_per_step_period():
    page = Page()
    page.takes_hold(motion=FORWARD, speed=0.5)
    assert page.command(0.0) == pytest.approx([0.01, 0, 0, 0, 0, 0, 0.8])
    page.says(0.1, True, motion=FORWARD)
    assert page.command(0.1) is None
    page.says(0.2, True, motion=FORWARD, speed=1.0)
    assert page.command(0.2) == pytest.approx([0.02, 0, 0, 0, 0, 0, 0.8])


def test_holding_without_moving_keeps_the_arm_and_letting_go_says_nothing_more():
    page = Page()
    page.takes_hold()
    assert page.command(0.0) == pytest.approx([0, 0, 0, 0, 0, 0, 0.8])
    page.says(0.1, False)
    assert not page.session.engaged and page.command(0.5) is None


def test_a_page_that_opens_with_something_held_moves_nothing_until_it_was_let_go():
    page = Page()
    page.says(0.0, True, motion=FORWARD)
    assert page.command(0.0) is None and "let go" in page.session.notice
    page.says(0.1, False)
    page.says(0.2, True, motion=FORWARD)
    assert page.command(0.2) is not None


@pytest.mark.parametrize("silence_s", [0.31, 1.0, 3600.0])
def test_silence_is_a_hold_until_a_hand_begins_anew(silence_s):
    page = Page()
    page.takes_hold(motion=FORWARD)
    assert page.command(0.0) is not None
    assert page.command(silence_s) is None and not page.session.engaged
    page.says(silence_s, True, motion=FORWARD)
    assert page.command(silence_s) is None, "what is still held is not a new grip"
    page.says(silence_s + 0.1, False)
    page.says(silence_s + 0.2, True, motion=FORWARD)
    assert page.command(silence_s + 0.2) is not None


def test_what_was_said_long_ago_does_not_count_when_it_arrives_now():
    """A laptop that wakes up, or a network that was stuck, delivers what was wanted before."""
    page = Page()
    page.takes_hold()
    for late_s in (0.31, 0.5, 60.0):
        page.says(100.0, True, as_of_s=100.0 - late_s, motion=FORWARD)
        assert page.command(100.0) is None and "stalled" in page.session.notice
    page.says(100.0, True, motion=FORWARD)
    assert page.command(100.0) is None


def test_the_command_is_stamped_by_what_the_page_knew():
    page = Page()
    page.says(1.0, False)
    page.says(1.2, True, as_of_s=1.05, motion=FORWARD)
    motion = page.session.command(1.2, LIMITS, ARM, lambda: None)
    assert motion is not None and motion.as_of_s == 1.05


def test_messages_out_of_order_and_from_the_future_are_refused():
    page = Page()
    page.takes_hold(now_s=1.0, motion=FORWARD)
    with pytest.raises(IntentError, match="came after"):
        page.session.hear(Intent(2, 1.0, True, FORWARD), 1.0, LIMITS)
    with pytest.raises(IntentError, match="not come yet"):
        page.says(1.1, True, as_of_s=9.0, motion=FORWARD)
    assert page.command(1.1) is None, "a page that lies about the time has no hold"


def test_after_a_stop_or_a_hand_back_what_is_held_must_be_let_go():
    page = Page()
    page.takes_hold(motion=FORWARD)
    page.session.let_go("the emergency stop was pressed")
    page.says(0.05, True, motion=FORWARD)
    assert page.command(0.3) is None and page.session.notice == "the emergency stop was pressed"
    page.says(0.35, False)
    assert page.session.notice == ""


def test_the_gripper_keeps_what_it_holds_until_it_is_toggled():
    page = Page()
    page.says(0.0, False, gripper_toggles=3)
    page.says(0.0, True, gripper_toggles=3)
    assert page.command(0.0)[6] == 0.8
    page.says(0.2, True, gripper_toggles=4)
    assert page.command(0.2)[6] == 0.0
    page.says(0.4, True, gripper_toggles=6)
    assert page.command(0.4)[6] == 0.0, "twice is not at all"
    page.says(0.6, False, gripper_toggles=7)
    page.says(0.6, True, gripper_toggles=7)
    assert page.command(0.6)[6] == 0.0, "what was pressed with nothing held does not wait for the next grip"


def test_without_a_report_of_the_arm_nothing_is_sent():
    page = Page()
    page.takes_hold(motion=FORWARD)
    assert page.command(0.0, arm=None) is None and "arm does not report" in page.session.notice


def test_frames_turn_the_motion_and_an_unknown_camera_moves_nothing():
    page = Page()
    page.takes_hold(motion=(0.0, 0.0, 1.0, 0.0, 0.0, 0.0), speed=1.0, frame="tool")
    assert page.command(0.0)[:3] == pytest.approx([0, 0, -0.02]), "the tool looks down"
    page.says(0.2, True, motion=FORWARD, speed=1.0, frame="camera")
    assert page.command(0.2) is None and "camera" in page.session.notice
    assert page.command(0.2, camera=DOWN)[:3] == pytest.approx([0, 0, -0.02]), "into the picture of a camera above"


GOOD = {"seq": 1, "as_of": 5.0, "held": True, "motion": [0, 0, 0, 0, 0, 1], "speed": 1, "frame": "base", "gripper": 0}


def test_a_message_becomes_an_intent():
    assert Intent.from_message(GOOD) == Intent(1, 0.005, True, (0.0, 0.0, 0.0, 0.0, 0.0, 1.0), 1.0, "base", 0)


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 1.5},
        {"seq": True},
        {"as_of": None},
        {"as_of": math.inf},
        {"held": 1},
        {"motion": [0, 0, 0]},
        {"motion": [0, 0, 0, 0, 0, math.nan]},
        {"motion": [0, 0, 0, 0, 0, 1.01]},
        {"motion": [0, 0, 0, 0, 0, "1"]},
        {"motion": "000000"},
        {"speed": 1.1},
        {"speed": -0.1},
        {"speed": math.nan},
        {"frame": "world"},
        {"frame": ["base"]},
        {"gripper": 0.5},
    ],
)
def test_what_is_no_intent_is_refused(change):
    with pytest.raises(IntentError):
        Intent.from_message({**GOOD, **change})


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), st.one_of(st.none(), st.booleans(), st.floats(), st.text())))
def test_any_message_is_an_intent_or_refused(message):
    try:
        intent = Intent.from_message({**GOOD, **message})
    except IntentError:
        return
    assert all(abs(value) <= 1.0 for value in intent.motion) and 0.0 <= intent.speed <= 1.0


SAID = st.tuples(
    st.floats(0.0, 0.6), st.booleans(), st.floats(0.0, 0.6), st.floats(-1.0, 1.0), st.sampled_from(["base", "tool"])
)


@given(st.lists(SAID, max_size=40))
def test_whatever_a_page_says_commands_are_small_rare_and_fresh(said):
    page, now_s, last_s = Page(), 10.0, -1.0
    let_go = False
    for pause_s, held, age_s, forward, frame in said:
        now_s += pause_s
        before = page.session.engaged
        page.says(now_s, held, as_of_s=now_s - age_s, motion=(forward, 0.0, 0.0, 0.0, 0.0, 0.0), frame=frame)
        let_go = let_go or not held
        assert not page.session.engaged or (held and age_s <= LIMITS.expiry_s and let_go)
        motion = page.session.command(now_s, LIMITS, ARM, lambda: None)
        if motion is None:
            continue
        assert before or page.session.engaged
        assert np.linalg.norm(motion.delta[:3]) <= 0.02 + 1e-9 and now_s - motion.as_of_s <= LIMITS.expiry_s
        assert now_s - last_s >= LIMITS.step_period_s * 0.999
        last_s = now_s


def test_a_held_press_counts_once_and_only_when_it_was_held():
    press = HeldPress()
    assert not press.held_for(1.0, 5.0)
    press.press(5.0)
    press.press(5.5)
    assert not press.held_for(1.0, 5.9)
    press.release()
    press.press(6.0)
    assert not press.held_for(1.0, 6.9) and press.held_for(1.0, 7.0) and not press.held_for(1.0, 7.1)


def test_a_session_says_how_it_is():
    page = Page()
    assert not page.session.ever_held and not page.session.status(True).engaged
    page.takes_hold()
    status = page.session.status(True)
    assert status.engaged and page.session.ever_held and dataclasses.asdict(status)["text"] == "moving the arm"
    assert page.session.fresh(0.2, LIMITS) and not page.session.fresh(0.4, LIMITS)
