import json

from magma_bringup.results import EpisodeResult, append, rate_text, success_rule


def result(success: bool) -> EpisodeResult:
    return EpisodeResult(
        "carrot_on_plate", "eval", 3, "expert", "put …", success, None, 20, 60, "lockstep", 1.5, "rule"
    )


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


def test_success_rule_names_the_early_end():
    assert success_rule(0) == "goal holds at the last step"
    assert "5 steps in a row" in success_rule(5)
