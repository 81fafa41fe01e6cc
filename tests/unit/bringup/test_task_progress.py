import pytest

from magma_bringup.episodes.task_progress import TaskProgress


def progress(**changes):
    settings = {"first_step": 10, "max_steps": 5, "hold_steps": 2, "step_timeout_s": 3.0, "now_s": 0.0}
    return TaskProgress(**(settings | changes))


def test_done_when_the_goal_held_long_enough():
    task = progress()
    assert task.saw(11, True, False, 1.0) is None and task.holds
    assert task.saw(11, True, False, 1.1) is None, "the same step again"
    assert task.saw(12, False, False, 1.2) is None, "lost again"
    assert task.saw(13, True, False, 1.3) is None
    ending = task.saw(14, True, False, 1.4)
    assert ending.success and ending.steps == 4 and "2 steps in a row" in ending.reason


def test_ends_at_the_cap_with_what_holds_then():
    task = progress(hold_steps=9)
    for step in range(11, 15):
        assert task.saw(step, False, False, 1.0) is None
    ending = task.saw(15, True, False, 1.0)
    assert ending.success and ending.steps == 5 and "5 steps were taken" in ending.reason


def test_ends_with_the_episode_with_a_reset_and_with_silence():
    assert "episode has ended" in progress().saw(11, False, True, 0.1).reason
    reset = progress().saw(0, False, False, 0.1)
    assert not reset.success and "reset" in reset.reason
    task = progress()
    assert task.saw(11, False, False, 2.0) is None
    assert task.silent(4.9) is None
    assert "no step for 3 s" in task.silent(5.1).reason


def test_numbers_are_checked():
    for wrong in ({"max_steps": 0}, {"hold_steps": 0}, {"step_timeout_s": 0.0}):
        with pytest.raises(ValueError, match="above 0"):
            progress(**wrong)
