import json
from dataclasses import replace

from magma_bringup.results import (
    EpisodeResult,
    append,
    corrections_text,
    policy_text,
    rate_text,
    success_rule,
)


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


def test_a_policy_is_named_by_what_was_asked_for_and_by_its_content():
    asked = replace(result(True), policy="magma-tiny", policy_given="runs/init", policy_path="/a/runs/init")
    assert policy_text(replace(asked, policy_identity="0123456789abcdef")) == (
        "runs/init (called magma-tiny, content 0123456789ab, /a/runs/init)"
    )
    shipped = replace(asked, policy_given="magma-tiny", policy_identity="0123456789abcdef")
    assert policy_text(shipped) == "magma-tiny (content 0123456789ab, /a/runs/init)"
    assert policy_text(replace(result(True), policy_given="expert", policy_identity="expert")) == "expert"


def test_successes_that_an_operator_helped_to_are_told_apart():
    helped = [replace(result(True), corrected_by={"scripted": 30}), replace(result(True), corrected_by={"pad": 2})]
    first, second = corrections_text([*helped, result(False), result(True)])
    assert first == (
        "corrected    2 of 4 episodes, by pad (2 commands), scripted (30 commands): not the policy's success alone"
    )
    assert "without corrections: 1/2 = 50%" in second
    assert "no episode without corrections" in corrections_text(helped)[1]
    assert corrections_text([result(True)]) == []
