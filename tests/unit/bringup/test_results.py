from dataclasses import replace

from magma_bringup.episodes.results import corrections_text, line, policy_text, rate_text, success_rule, summary
from magma_bringup.episodes.step_times import StepTimes
from magma_eval.episodes import Episode
from magma_eval.results.episode_result import EpisodeResult, Key, Success


def result(success: bool, layout: int = 3, policy: str = "expert", identity: str = "expert") -> EpisodeResult:
    task = "carrot_on_plate"
    return EpisodeResult(
        key=Key("tabletop", task, "eval", layout, 0, policy, "c", "0.1.0+abc", identity),
        episode=Episode("tabletop", task, "eval", layout, make=task, layout=layout),
        status="ok",
        rule="last",
        clock="lockstep",
        latency_ms=None,
        training="none (scripted)",
        settings={"arm": "sim_delta", "teleop": "none"},
        success=Success(success, success, success),
        first_success_step=20 if success else None,
        steps=60,
        max_steps=60,
        instruction="put …",
        seconds=1.5,
    )


def test_rate_text():
    assert rate_text([result(k < 7) for k in range(10)]) == "7/10 = 70%, Wilson 95 % interval 40 to 89 %"
    assert rate_text([]) == "no episode was completed"


def test_an_episode_is_one_line():
    said = line(result(True), 2, 10)
    assert said == "episode   2/10  carrot_on_plate eval   3  success   60 steps    1.5 s"


def test_success_rule_names_the_early_end():
    assert success_rule(0) == "goal holds at the last step"
    assert "5 steps in a row" in success_rule(5)


def test_a_policy_is_named_by_what_was_asked_for_and_by_its_content():
    tiny = result(True, policy="magma-tiny", identity="0123456789abcdef")
    assert policy_text(tiny, "runs/init", "/a/runs/init") == (
        "runs/init (called magma-tiny, content 0123456789ab, /a/runs/init)"
    )
    assert policy_text(tiny, "magma-tiny", "/a/runs/init") == "magma-tiny (content 0123456789ab, /a/runs/init)"
    assert policy_text(result(True), "expert", "") == "expert"


def test_successes_that_an_operator_helped_to_are_told_apart():
    helped = [replace(result(True), corrected_by=("scripted",)), replace(result(True), corrected_by=("pad",))]
    first, second = corrections_text([*helped, result(False), result(True)], {"scripted": 30, "pad": 2})
    assert first == (
        "corrected    2 of 4 episodes, by pad (2 commands), scripted (30 commands): not the policy's success alone"
    )
    assert "without corrections: 1/2 = 50%" in second
    assert "no episode without corrections" in corrections_text(helped, {})[1]
    assert corrections_text([result(True)], {}) == []


def test_the_table_says_what_was_played_by_whom_and_how_often_it_succeeded(tmp_path):
    results = [result(layout < 2, layout) for layout in range(4)]
    said = summary(
        results, StepTimes(), tmp_path, policy="expert", rule=success_rule(0), commands={}, videos=True
    ).splitlines()
    assert "task         carrot_on_plate (eval layouts 0 to 3, lockstep)" in said
    assert "success      2/4 = 50%, Wilson 95 % interval 15 to 85 %" in said
    assert "steps        goal first reached after 20 (median); played 60 to 60" in said
    assert f"results      {tmp_path}  (magma-eval report {tmp_path})" in said and said[-1].startswith("videos")
    other = [replace(r, key=replace(r.key, task="stack_blocks")) for r in results]
    suite = summary(
        [*results, *other], StepTimes(), tmp_path, policy="", rule="", commands={}, videos=False
    ).splitlines()
    assert "suite        tabletop (2 tasks, lockstep)" in suite
    assert sum("2/4 = 50%" in part for part in suite) == 2
