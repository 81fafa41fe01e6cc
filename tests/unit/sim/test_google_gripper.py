"""The sticky gripper rule of SimplerEnv's Google robot."""

from __future__ import annotations

import pytest

from magma_sim.backends.simpler_original.google_gripper import StickyGripper


def test_the_first_step_commands_nothing() -> None:
    assert StickyGripper().command(0.0) == 0.0


def test_closing_is_repeated_and_then_ends() -> None:
    gripper = StickyGripper(repeats=3)
    assert [gripper.command(value) for value in (1.0, 0.0, 0.0, 0.0, 0.0)] == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_a_change_during_the_repeats_waits_for_a_new_change() -> None:
    gripper = StickyGripper(repeats=3)
    said = [gripper.command(value) for value in (1.0, 0.0, 1.0, 1.0, 1.0, 0.0)]
    assert said == [0.0, 1.0, 1.0, 1.0, 0.0, 1.0]


def test_small_changes_pass_unlatched() -> None:
    gripper = StickyGripper(repeats=5)
    gripper.command(1.0)
    assert gripper.command(0.7) == pytest.approx(0.3)
    assert gripper.command(0.7) == 0.0


def test_reset_forgets_the_last_episode() -> None:
    gripper = StickyGripper(repeats=5)
    gripper.command(1.0)
    gripper.command(0.0)
    gripper.reset()
    assert gripper.command(1.0) == 0.0
    assert gripper.command(1.0) == 0.0


def test_no_repeats_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        StickyGripper(0)
