import json

import pytest
from scipy.stats import binomtest

from magma_bringup.results import EpisodeResult, append, rate_text, wilson_interval


def result(success: bool) -> EpisodeResult:
    return EpisodeResult("carrot_on_plate", "eval", 3, "expert", "put …", success, 20, 60, "lockstep", 1.5, "rule")


@pytest.mark.parametrize(("successes", "count"), [(0, 1), (1, 1), (0, 24), (24, 24), (15, 24), (7, 10), (500, 1000)])
def test_wilson_interval_agrees_with_scipy(successes, count):
    expected = binomtest(successes, count).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "count"), [(0, 0), (-1, 3), (4, 3)])
def test_impossible_counts_are_refused(successes, count):
    with pytest.raises(ValueError, match="make no rate"):
        wilson_interval(successes, count)


def test_lines_are_appended_and_readable(tmp_path):
    path = tmp_path / "results.jsonl"
    append(path, result(True))
    append(path, result(False))
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["success"] for line in lines] == [True, False]
    assert lines[0]["layout"] == 3 and lines[0]["instruction"] == "put …"


def test_rate_text():
    assert rate_text([result(k < 7) for k in range(10)]) == "7/10 = 70%, Wilson 95 % interval 40 to 89 %"
    assert rate_text([]) == "no episode was completed"
