import pytest

from magma_bringup.episodes.step_times import PENDING_KEPT, PERIOD, TOTAL, WITHOUT_MODEL, StepTimes

MS = 1_000_000


def test_stages_add_up_to_the_whole():
    times = StepTimes()
    times.chunk(1000 * MS, {"frame": 2.0, "wait": 1.0, "policy": 30.0, "vision": 20.0, "decode": 9.0})
    times.command(1000 * MS, 1036 * MS)
    table = {name: value.p50 for name, value in times.table().items()}
    assert table == pytest.approx(
        {
            "capture → frame at the policy": 2.0,
            "frame waits for the policy": 1.0,
            "policy": 30.0,
            "  vision": 20.0,
            "  decode": 9.0,
            "policy → command": 3.0,
            TOTAL: 36.0,
            WITHOUT_MODEL: 6.0,
        }
    )


def test_percentiles_and_period():
    times = StepTimes()
    for k in range(101):
        times.step(k * 10 * MS)
    assert times.table()[PERIOD].p50 == pytest.approx(10.0)
    assert times.table()[PERIOD].count == 100
    times.pause()
    times.step(10_000 * MS)
    assert times.table()[PERIOD].p95 == pytest.approx(10.0), "the pause between episodes is no step"


def test_commands_that_answer_no_chunk_are_left_out():
    times = StepTimes()
    times.command(5, 10)
    times.chunk(5, {"policy": 1.0})
    times.command(5, 5 + 3 * MS)
    times.command(5, 5 + 200 * MS)
    assert times.table()[TOTAL].count == 1
    for stamp in range(10, 11 + PENDING_KEPT):
        times.chunk(stamp, {"policy": 1.0})
    times.command(10, 11)
    assert times.table()[TOTAL].count == 1, "long forgotten"
