import numpy as np
import pytest
from control_builders import FORWARD, chunk

from magma_contracts.chunk_schedule import BLEND, ENSEMBLE, REPLACE, ChunkSchedule, OverlapRule


def steps(value, count=4, gripper=1.0):
    return [(value, 0.0, 0.0, 0.0, 0.0, 0.0, gripper)] * count


def executed(schedule, start_s, count):
    """What is due at successive periods; None where nothing is."""
    due = [schedule.due(start_s + 0.2 * k) for k in range(count)]
    return [None if step is None else round(float(step.delta[0]), 6) for step in due]


class TestOverlap:
    def test_a_blend_goes_over_gradually_on_one_grid(self):
        schedule = ChunkSchedule()
        schedule.add(chunk(0.0, *steps(0.03)), 0.0, 0, OverlapRule(BLEND, blend_steps=2))
        assert executed(schedule, 0.0, 1) == [0.03]
        assert schedule.add(chunk(0.1, *steps(-0.03)), 0.1, 1, OverlapRule(BLEND, blend_steps=2)) == pytest.approx(0.2)
        assert executed(schedule, 0.2, 4) == [0.01, -0.01, -0.03, None]

    def test_after_standing_still_nothing_is_skipped(self):
        """A slow first answer must not make the arm leap into the middle of a chunk."""
        schedule = ChunkSchedule()
        schedule.add(chunk(0.0, *steps(0.03)), 5.0, 0, OverlapRule(BLEND))
        assert executed(schedule, 5.0, 5) == [0.03] * 4 + [None]

    def test_a_chunk_that_was_overtaken_as_a_whole_still_gives_its_last_step(self):
        schedule = ChunkSchedule()
        schedule.add(chunk(0.0, *steps(0.03, 2)), 0.0, 7, OverlapRule(BLEND))
        assert executed(schedule, 0.0, 2) == [0.03, None]

    def test_replacing_begins_at_once_with_the_first_step(self):
        schedule = ChunkSchedule()
        schedule.add(chunk(0.0, *steps(0.03)), 0.0, 0, OverlapRule(REPLACE))
        executed(schedule, 0.0, 1)
        schedule.add(chunk(0.1, *steps(-0.03, 2)), 0.1, 1, OverlapRule(REPLACE))
        assert executed(schedule, 0.1, 3) == [-0.03, -0.03, None]

    def test_an_ensemble_averages_with_more_weight_for_the_older(self):
        schedule, rule = ChunkSchedule(), OverlapRule(ENSEMBLE, ensemble_decay=np.log(2.0))
        schedule.add(chunk(0.0, *steps(0.0)), 0.0, 0, rule)
        executed(schedule, 0.0, 1)
        schedule.add(chunk(0.1, *steps(0.03)), 0.1, 1, rule)
        assert executed(schedule, 0.2, 1) == [0.01]

    def test_the_gripper_is_the_newest_chunk_s(self):
        schedule = ChunkSchedule()
        schedule.add(chunk(0.0, *steps(0.03, gripper=1.0)), 0.0, 0, OverlapRule(BLEND))
        executed(schedule, 0.0, 1)
        schedule.add(chunk(0.1, *steps(0.03, gripper=0.0)), 0.1, 1, OverlapRule(BLEND))
        assert schedule.due(0.2).delta[6] == 0.0

    def test_the_step_after_this_one_is_told(self):
        schedule = ChunkSchedule()
        schedule.add(chunk(0.0, *steps(0.03, 2)), 0.0, 0, OverlapRule(BLEND))
        assert schedule.due(0.0).following[0] == 0.03
        assert schedule.due(0.2).following is None


def test_rounding_does_not_make_a_step_a_tick_late():
    schedule = ChunkSchedule()
    schedule.replace(chunk(0.0, FORWARD, FORWARD), 0.1)
    assert schedule.due(0.1).index == 0
    assert (0.3 - 0.1) / 0.2 < 1.0
    assert schedule.due(0.3).index == 1
    assert not schedule.pending


def test_before_the_start_nothing_is_due():
    schedule = ChunkSchedule()
    schedule.replace(chunk(0.0), 1.0)
    assert schedule.due(0.9) is None
    assert schedule.pending


def test_a_chunk_that_was_overtaken_as_a_whole_is_lost_and_counted():
    schedule = ChunkSchedule()
    schedule.replace(chunk(0.0, FORWARD, FORWARD), 0.0)
    assert schedule.due(0.5) is None
    assert schedule.overtaken == 2
    assert not schedule.pending
