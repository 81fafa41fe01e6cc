"""The controller's core and answers that come late: what is subtracted, within which limits, and what never is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from control_builders import FORWARD, STILL, acting, at, chunk, operator, ready, state

from magma_control.config import ControllerConfig
from magma_control.phases import Phase

SLOW = ControllerConfig(max_frame_age_s=2.0, watchdog_s=2.0)


def backward(metres):
    return (-metres, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def answers(controller, captured_s, now_s, delta=FORWARD):
    """The command of an answer that comes now."""
    assert controller.on_state(state(now_s), at(now_s)) is None
    assert controller.on_chunk(chunk(captured_s, delta), at(now_s)) is None
    return controller.tick(at(now_s))


def counted(controller):
    return controller.report(at(1.0)).counts.get("late answer: commanded since", 0)


def test_what_was_commanded_since_the_frame_is_subtracted_and_counted():
    controller, first = acting(SLOW)
    assert first.delta[0] == FORWARD[0]
    assert answers(controller, 0.06, 0.3).delta[0] == pytest.approx(0.0)
    assert answers(controller, 0.31, 0.5).delta[0] == FORWARD[0]
    assert counted(controller) == 1
    assert any(event.code == "late answer" and "20.0 mm" in event.text for event in controller.take_events())


def test_it_can_be_switched_off():
    controller, _ = acting(dataclasses.replace(SLOW, keep_references=False))
    assert answers(controller, 0.06, 0.3).delta[0] == FORWARD[0]
    assert counted(controller) == 0


def test_what_is_subtracted_keeps_every_limit():
    controller = ready(SLOW)
    answers(controller, 0.0, 0.1, (0.075, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    command = answers(controller, 0.05, 0.3, backward(0.075))
    assert command.delta[0] == pytest.approx(-SLOW.max_step_translation_m)
    assert command.asked[0] == pytest.approx(-0.15)
    # What the limit cut was not commanded, so the next late answer still asks for it.
    assert answers(controller, 0.06, 0.5, backward(0.075)).delta[0] == pytest.approx(-0.07)


def test_the_gripper_is_absolute():
    controller, _ = acting(SLOW)
    closed = (*FORWARD[:6], 0.0)
    assert answers(controller, 0.06, 0.3, closed).delta[6] == 0.0


def test_slowed_down_nothing_is_made_up_for_that_was_never_asked_for():
    controller, first = acting(dataclasses.replace(SLOW, bring_up_scale=0.1))
    assert first.delta[0] == pytest.approx(0.002)
    assert answers(controller, 0.06, 0.3).delta[0] == pytest.approx(0.0)


@pytest.mark.parametrize("what", ["take-over", "re-arm", "jump"])
def test_nothing_of_a_former_stream_is_subtracted(what):
    """With an answer under way the arm changes hands, or is somewhere else; the frames of before do not count, and what
    was commanded before is not subtracted from the answers to later ones, whatever stamps say."""
    controller, _ = acting(SLOW)
    assert controller.on_state(state(0.2), at(0.2)) is None
    if what == "take-over":
        assert controller.on_operator(operator(0.2), at(0.2)) is None
        assert controller.tick(at(0.3)) is not None
        assert controller.hand_back(at(0.35)).success
    elif what == "re-arm":
        controller.estop("test")
        assert controller.rearm(at(0.35)).success
    else:
        assert controller.on_state(state(0.35, target=(0.5, 0.4, 0.3)), at(0.35)) is None
    assert controller.phase is Phase.HOLD
    late = controller.on_chunk(chunk(0.06), at(0.4))
    assert late is not None and "from before" in late.code
    assert controller.tick(at(0.4)) is None
    place = (0.5, 0.4, 0.3) if what == "jump" else (0.5, 0.0, 0.3)
    assert controller.on_state(state(0.6, target=place), at(0.6)) is None
    assert controller.on_chunk(chunk(0.36), at(0.6)) is None
    command = controller.tick(at(0.6))
    assert command is not None and command.delta[0] == pytest.approx(FORWARD[0])
    assert counted(controller) == 0


def test_the_way_back_after_a_re_arm_is_no_wish_of_the_policy():
    controller, _ = acting(SLOW)
    controller.estop("test")
    assert controller.rearm(at(0.2)).success
    hanging = state(0.3, position=np.array([0.5, 0.0, 0.28]))
    assert controller.on_state(hanging, at(0.3)) is None
    assert controller.on_chunk(chunk(0.25, STILL), at(0.31)) is None
    command = controller.tick(at(0.31))
    assert command.delta[2] == pytest.approx(-0.02)
    # The frame of 0.26 did not show it; its policy stands where the arm was measured.
    late = answers(controller, 0.26, 0.55, FORWARD)
    np.testing.assert_allclose(late.delta[:3], [0.02, 0.0, 0.0], atol=1e-12)
