"""A gamepad and a 3D mouse: taking over, moving, losing the device, and never engaging by chance."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_teleop.device_node import find_profile
from magma_teleop.joy_operator import JoyOperator, JoySample
from magma_teleop.keys import Request
from magma_teleop.operator_device import ArmPose

PERIOD_S = 0.2
ARM = ArmPose(np.array([1.0, 0.0, 0.0, 0.0]), 0.25)
DEAD_MAN, GRIPPER, HAND_BACK, ESTOP, REARM, SLOW = 10, 0, 6, 1, 4, 9


def pad(*held, **axes):
    """State of a gamepad as game_controller_node reports it; axes a0 ... a5."""
    values = [axes.get(f"a{index}", 0.0) for index in range(6)]
    return JoySample(tuple(values), tuple(int(index in held) for index in range(21)))


class Person:
    """Feeds an operator at 20 Hz and collects what it sends."""

    def __init__(self, profile="gamepad", **changes):
        self.operator = JoyOperator(dataclasses.replace(find_profile(profile), **changes), PERIOD_S)
        self.now_s = 100.0
        self.sent = []

    def does(self, sample, seconds=0.05, arm=ARM, camera=None):
        requests = []
        for _ in range(max(1, round(seconds / 0.05))):
            self.now_s += 0.05
            if sample is not None:
                requests += self.operator.on_sample(sample, self.now_s)
            delta = self.operator.command(self.now_s, arm, camera)
            if delta is not None:
                self.sent.append(delta)
        return requests

    @property
    def engaged(self):
        return self.operator.status(self.now_s).engaged


def test_the_arm_moves_while_the_dead_man_switch_is_held():
    person = Person()
    person.does(pad(a1=1.0), 1.0)
    assert person.sent == [] and not person.engaged, "a stick alone moves nothing"
    person.does(pad())
    person.does(pad(DEAD_MAN, a1=1.0), 1.0)
    assert person.engaged and len(person.sent) == 5, "one command per step period"
    np.testing.assert_allclose(person.sent[-1], [0.15 * PERIOD_S, 0, 0, 0, 0, 0, 0.25])
    person.does(pad(DEAD_MAN), 0.4)
    np.testing.assert_array_equal(person.sent[-1], [0, 0, 0, 0, 0, 0, 0.25])
    count = len(person.sent)
    person.does(pad(a1=1.0), 1.0)
    assert len(person.sent) == count and not person.engaged


def test_sticks_are_soft_near_the_middle_and_slow_with_the_shoulder():
    person = Person()
    person.does(pad())
    person.does(pad(DEAD_MAN, a0=0.09))
    assert person.sent[-1][1] == 0.0
    person.does(pad(DEAD_MAN, a0=0.55), 0.2)
    assert 0.0 < person.sent[-1][1] < 0.5 * 0.15 * PERIOD_S
    person.does(pad(DEAD_MAN, SLOW, a0=1.0), 0.2)
    assert person.sent[-1][1] == pytest.approx(0.3 * 0.15 * PERIOD_S)
    person.does(pad(DEAD_MAN, a5=-1.0), 0.2)
    assert person.sent[-1][2] == pytest.approx(0.15 * PERIOD_S), "the right trigger goes up"


def xpad(*held, **axes):
    """State of the same pad as joy_node reports it: triggers are 0 until they are touched, and then rest at 1."""
    values = [axes.get(f"a{index}", 0.0) for index in range(8)]
    return JoySample(tuple(values), tuple(int(index in held) for index in range(11)))


@pytest.mark.parametrize("touched", ["a5", "a2"])
def test_a_trigger_that_never_reported_moves_nothing(touched):
    person, dead_man = Person("gamepad_joy"), 5
    person.does(xpad())
    person.does(xpad(dead_man), 0.4)
    assert person.engaged
    person.does(xpad(dead_man, **{touched: 0.99}), 0.4)
    person.does(xpad(dead_man, **{touched: 1.0}), 0.4)
    assert all(not delta[:6].any() for delta in person.sent)
    person.does(xpad(dead_man, **{touched: -1.0}), 0.4)
    up = 1.0 if touched == "a5" else -1.0
    assert person.sent[-1][2] == pytest.approx(up * 0.15 * PERIOD_S)


def test_a_trigger_of_a_device_that_comes_back_is_unknown_again():
    person, dead_man = Person("gamepad_joy"), 5
    person.does(xpad(a5=1.0, a2=1.0))
    person.does(None, 2.0)
    person.does(xpad())
    person.does(xpad(dead_man, a5=1.0), 0.4)
    assert person.engaged and all(not delta[:6].any() for delta in person.sent)


def test_triggers_that_rest_at_one_end():
    person = Person("gamepad_joy")
    axes = [0.0] * 8
    axes[2] = axes[5] = 1.0
    person.does(JoySample(tuple(axes), (0,) * 11))
    axes[5] = -1.0
    person.does(JoySample(tuple(axes), tuple(int(index == 5) for index in range(11))), 0.2)
    assert person.sent[-1][2] == pytest.approx(0.15 * PERIOD_S)


@pytest.mark.parametrize("stuck", [pad(DEAD_MAN), pad(DEAD_MAN, a1=0.8), pad(a3=1.0)])
def test_a_device_that_comes_with_something_held_moves_nothing_until_it_is_let_go(stuck):
    person = Person()
    person.does(stuck, 1.0)
    person.does(pad(DEAD_MAN, a1=1.0), 0.5)
    assert person.sent == [] and "let go" in person.operator.status(person.now_s).text
    person.does(pad())
    person.does(pad(DEAD_MAN, a1=1.0))
    assert len(person.sent) == 1


def test_a_device_lost_while_it_moves_the_arm_has_to_take_over_anew():
    person = Person()
    person.does(pad())
    person.does(pad(DEAD_MAN, a1=1.0), 0.4)
    count = len(person.sent)
    person.does(None, 0.45)
    person.sent.clear()
    person.does(None, 2.0)
    assert count >= 2 and person.sent == []
    assert not person.operator.status(person.now_s).connected
    person.does(pad(DEAD_MAN, a1=1.0), 1.0)
    assert person.sent == [], "back with the switch held: nothing moves"
    person.does(pad())
    person.does(pad(DEAD_MAN))
    assert len(person.sent) == 1


def test_requests_come_once_per_press_and_re_arming_needs_the_dead_man_switch():
    person = Person()
    assert person.does(pad(ESTOP)) == [], "held when the device was found: not a press"
    person.does(pad())
    assert person.does(pad(ESTOP), 0.5) == [Request.ESTOP]
    person.does(pad())
    assert person.does(pad(REARM)) == []
    person.does(pad())
    person.does(pad(DEAD_MAN))
    assert person.does(pad(DEAD_MAN, REARM), 0.3) == [Request.REARM]


def test_handing_back_lets_go_at_once():
    person = Person()
    person.does(pad())
    person.does(pad(DEAD_MAN, a1=1.0), 0.4)
    person.sent.clear()
    assert person.does(pad(DEAD_MAN, HAND_BACK, a1=1.0), 1.0) == [Request.HAND_BACK]
    person.does(pad(DEAD_MAN, a1=1.0), 1.0)
    assert person.sent == []


def test_the_gripper_keeps_what_it_holds_until_it_is_toggled():
    person = Person()
    person.does(pad())
    person.does(pad(GRIPPER), 0.3)
    assert person.sent == [], "without the dead-man switch it does nothing"
    person.does(pad())
    person.does(pad(DEAD_MAN), 0.2)
    assert person.sent[-1][6] == 0.25
    person.does(pad(DEAD_MAN, GRIPPER), 0.4)
    assert person.sent[-1][6] == 1.0
    person.does(pad(DEAD_MAN), 0.2)
    person.does(pad(DEAD_MAN, GRIPPER), 0.4)
    assert person.sent[-1][6] == 0.0
    person.operator.let_go()
    person.does(pad())
    person.does(pad(DEAD_MAN), 0.2)
    assert person.sent[-1][6] == 0.25


def test_a_3d_mouse_takes_over_by_touch_and_holds_when_let_go():
    person = Person("spacemouse")
    rest, pushed = JoySample((0.0,) * 6, (0, 0)), JoySample((0.0, 0.0, 1.0, 0.0, 0.0, 0.0), (0, 0))
    person.does(rest, 0.2)
    person.does(pushed, 0.4)
    assert person.engaged and person.sent[-1][2] == pytest.approx(0.12 * PERIOD_S)
    person.does(rest, 0.4)
    np.testing.assert_array_equal(person.sent[-1][:6], np.zeros(6))
    count = len(person.sent)
    person.does(rest, 2.0)
    assert not person.engaged and len(person.sent) - count <= 1
    person.does(JoySample((0.0,) * 6, (1, 0)), 0.1)
    assert person.sent[-1][6] == 1.0


def test_motions_are_given_in_the_frame_of_the_profile():
    flipped = ArmPose(np.array([1.0, 0.0, 0.0, 0.0]), 1.0)  # half a turn about x: the tool looks down
    person = Person(frame="tool")
    person.does(pad())
    person.does(pad(DEAD_MAN, a5=-1.0), arm=flipped)
    np.testing.assert_allclose(person.sent[-1][:3], [0, 0, -0.15 * PERIOD_S], atol=1e-12)
    person = Person(frame="camera")
    person.does(pad())
    person.does(pad(DEAD_MAN, a1=1.0))
    assert person.sent == [] and "camera's pose" in person.operator.status(person.now_s).text


def test_a_device_that_does_not_fit_or_reports_nonsense_moves_nothing_and_says_so():
    person = Person()
    person.does(pad())
    person.does(pad(DEAD_MAN, a1=1.0))
    person.sent.clear()
    person.does(pad(DEAD_MAN, a1=float("nan")), 1.0)
    assert person.sent == [] and "not a number" in person.operator.status(person.now_s).text
    person.does(JoySample((0.0, 0.0), (0, 0)))
    assert "2 axes and 2 buttons" in person.operator.status(person.now_s).text
    person.does(pad(DEAD_MAN, a1=1.0), 0.5)
    assert person.sent == []


def test_without_an_arm_nothing_is_sent():
    person = Person()
    person.does(pad())
    person.does(pad(DEAD_MAN, a1=1.0), arm=None)
    assert person.sent == [] and "end effector state" in person.operator.status(person.now_s).text


samples = st.builds(
    lambda axes, buttons: JoySample(tuple(axes), tuple(buttons)),
    st.lists(st.floats(-1, 1), min_size=6, max_size=6),
    st.lists(st.integers(0, 1), min_size=21, max_size=21),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.one_of(st.none(), samples), st.floats(0.001, 0.8)), max_size=30))
def test_whatever_the_device_does_motions_are_bounded_and_need_the_switch(inputs):
    person = Person()
    last = None
    for sample, wait_s in inputs:
        person.now_s += wait_s
        if sample is not None:
            person.operator.on_sample(sample, person.now_s)
            last = (sample, person.now_s)
        delta = person.operator.command(person.now_s, ARM, None)
        if delta is not None:
            assert last is not None and last[0].buttons[DEAD_MAN] == 1 and person.now_s - last[1] <= 0.5
            assert np.isfinite(delta).all() and np.all(np.abs(delta[:3]) <= 0.15 * PERIOD_S + 1e-12)
            assert np.all(np.abs(delta[3:6]) <= 0.8 * PERIOD_S + 1e-12)
