import itertools

import pytest

from magma_control.phases import ALLOWED, MOVING, Phase, TransitionError, check_transition

# Written out once more on purpose: changing the table must be a decision, made twice.
FORBIDDEN = {
    (Phase.TELEOP, Phase.AUTONOMOUS): "handing back needs a fresh frame, so it goes through HOLD",
    (Phase.ESTOP, Phase.AUTONOMOUS): "leaving the latch never moves",
    (Phase.ESTOP, Phase.TELEOP): "leaving the latch never moves",
    (Phase.ESTOP, Phase.FAULT): "the stronger latch stays",
    (Phase.FAULT, Phase.AUTONOMOUS): "leaving the latch never moves",
    (Phase.FAULT, Phase.TELEOP): "leaving the latch never moves",
}


@pytest.mark.parametrize(("current", "following"), itertools.product(Phase, Phase))
def test_the_table_is_complete_and_enforced(current, following):
    if current is following or (current, following) in FORBIDDEN:
        with pytest.raises(TransitionError, match=f"{current.name} to {following.name}"):
            check_transition(current, following)
    else:
        check_transition(current, following)


def test_emergency_stop_is_reachable_from_everywhere():
    assert all(Phase.ESTOP in ALLOWED[phase] for phase in Phase if phase is not Phase.ESTOP)


def test_only_two_phases_move():
    assert {Phase.AUTONOMOUS, Phase.TELEOP} == MOVING
