from control_builders import FORWARD, chunk

from magma_control.schedule import ChunkSchedule


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
