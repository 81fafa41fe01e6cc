import numpy as np
import pytest

from magma_contracts.arm_state import EndEffectorState
from magma_sim_ros.scripted_operator import OperatorRules, ScriptedOperator

DOWN = np.array([1.0, 0.0, 0.0, 0.0])
RULES = OperatorRules(tolerated_m=0.01, patience_steps=3, late_after_steps=20, correction_steps=4)
EXPERT = np.array([0.02, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
ASTRAY = np.array([0.0, 0.02, 0.0, 0.0, 0.0, 0.0, 1.0])


class Always:
    """An expert that always does the same."""

    def __init__(self, action):
        self.action = action

    def reset(self, instruction):
        self.instruction = instruction

    def act(self, state, objects):
        return self.action


class Game:
    """A policy, and the operator who watches it."""

    def __init__(self, instruction="go", wanted=EXPERT):
        self.wanted = wanted
        self.operator = ScriptedOperator(Always(wanted), RULES)
        self.operator.begin(instruction)
        self.step = 0

    def play(self, *policy, success=False):
        """Who acted in each step: the policy with the given deltas, or the operator."""
        hands = ""
        for delta in policy:
            self.step += 1
            self.operator.on_progress(self.step, success)
            position = np.zeros(3)
            state = EndEffectorState(self.step, position, DOWN, position, DOWN, 1.0, 1.0)
            correction = self.operator.act(state, {})
            if correction is None:
                self.operator.on_policy_command(self.step, delta)
            else:
                np.testing.assert_array_equal(correction, self.wanted)
            hands += "p" if correction is None else "o"
        return hands


def test_mistakes_in_a_row_are_corrected_for_a_while():
    game = Game()
    assert game.play(*[EXPERT] * 3, *[ASTRAY] * 2, EXPERT, *[ASTRAY] * 2) == "p" * 8
    assert game.play(*[ASTRAY] * 8) == "poooo" + "ppp"
    assert game.operator.engaged
    assert game.play(ASTRAY) == "o"


@pytest.mark.parametrize("wanted, done", [(1.0, 0.2), (0.0, 0.8)])
def test_a_gripper_that_does_the_opposite_is_a_mistake(wanted, done):
    game = Game(wanted=np.append(EXPERT[:6], wanted))
    assert game.play(*[np.append(EXPERT[:6], done)] * 4) == "pppo"


def test_small_errors_are_let_pass_and_commands_for_unknown_frames_too():
    game = Game()
    assert game.play(*[EXPERT + 0.005] * 10) == "p" * 10
    for stamp_ns in range(1000, 1010):
        game.operator.on_policy_command(stamp_ns, ASTRAY)
    assert not game.operator.engaged


def test_what_takes_too_long_is_finished_and_success_ends_it():
    game = Game()
    assert game.play(*[EXPERT] * 30) == "p" * 19 + "o" * 11
    assert game.play(EXPERT, success=True) == "p"
    assert game.play(EXPERT, success=False) == "o"


def test_a_new_task_begins_with_the_policy_and_none_is_not_watched():
    game = Game()
    game.play(*[ASTRAY] * 4)
    assert game.operator.engaged
    game.operator.begin("again")
    assert not game.operator.engaged
    assert Game("").play(*[ASTRAY] * 30) == "p" * 30
