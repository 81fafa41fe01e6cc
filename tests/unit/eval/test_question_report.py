"""lmms-eval's samples as counts with intervals, beside chance and published figures."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_eval import command
from magma_eval.questions.benchmarks import SETS, published_scores, question_set
from magma_eval.questions.samples import find_samples, read_samples
from magma_eval.questions.summary import score_of, summarise_task
from magma_eval.results.episode_result import ResultsError

LETTERS = "ABCDE"


def row(number, answer, target, question="", **metrics):
    """A line as lmms-eval writes it."""
    return {"doc_id": number, "target": target, "filtered_resps": [answer], "doc_hash": f"{number:064x}",
            "input": question, **metrics}  # fmt: skip


def pope(number, answer, right):
    pred = answer.lower().strip()
    said = {"question_id": number, "score": float(pred == right), "prediction": pred, "ground_truth": right}
    return row(number, answer, right, "Is there a dog?", pope_accuracy=said, pope_f1_score=said)


def options(count):
    return "\n".join(["Which?", *(f"({letter}) thing {letter}" for letter in LETTERS[:count])])


def blink(number, answer, right, count=4, correct=None):
    said = {"id": f"val_{number}", "gt_content": right, "pred": answer}
    if correct is not None:
        said["is_correct"] = correct
    return row(number, answer, f"({right})", options(count), blink_acc=said)


def mvbench(number, answer, right, score):
    said = {"pred_answer": answer, "gt_answer": right, "score": score}
    return row(number, answer, f"thing {right}", options(4), mvbench_accuracy=said)


def nextqa(number, answer, right, correct):
    return row(number, answer, str(LETTERS.index(right)), options(5), exact_match=correct)


def write(folder, task, rows, model="magma-tiny"):
    path = folder / model / f"20261130_101500_samples_{task}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path


def summary(folder, task, rows):
    return summarise_task(read_samples(write(folder, task, rows)))


def test_the_whole_string_of_pope(tmp_path):
    rows = [pope(0, "yes", "yes"), pope(1, "Yes.", "yes"), pope(2, "no, there is none", "no"), pope(3, "maybe", "no")]
    told = summary(tmp_path, "pope", rows)
    assert told.set.name == "POPE" and told.set.slip == "whole string"
    assert told.score.value == 0.75 and told.unparsed == 1 and told.chance == 0.5 and told.majority == 0.5
    assert told.harness.value == 0.25 and told.differ == 2 and told.score.method == "Wilson"


def test_the_first_letter_of_blink(tmp_path):
    rows = [
        blink(0, "(B)", "B", correct=True),
        blink(1, "The answer is B", "B", correct=False),
        blink(2, "Because of it", "B", correct=True),
        blink(3, "C", "B", 2),
    ]
    told = summary(tmp_path, "blink_jigsaw", rows)
    assert told.score.value == 0.5 and told.harness.value == 0.5 and told.differ == 2 and told.unparsed == 2
    assert told.chance == pytest.approx((3 * 0.25 + 0.5) / 4)


def test_the_denominator_of_mvbench(tmp_path):
    rows = [mvbench(0, "(A)", "A", 1), mvbench(1, "", "A", 0), mvbench(2, "", "B", 0), mvbench(3, "B", "A", 0)]
    told = summary(tmp_path, "mvbench_action_count", rows)
    assert told.score.value == 0.25 and told.count == 4 and told.unparsed == 2
    assert told.harness.value == 0.5 and told.harness_count == 2


def test_the_random_guess_of_nextqa(tmp_path):
    rows = [nextqa(0, "C", "C", True), nextqa(1, "who knows", "A", True), nextqa(2, "A dog", "B", False)]
    told = summary(tmp_path, "nextqa_mc_test", rows)
    assert told.score.value == pytest.approx(1 / 3) and told.harness.value == pytest.approx(2 / 3) and told.differ == 1


def test_pairs_of_questions_about_one_picture_are_no_independent_news(tmp_path):
    rows = []
    for number in range(60):
        right = number // 2 % 2 == 0
        said = {"question_id": f"existence/{number // 2:06}.jpg", "category": "existence", "score": float(right)}
        rows.append(row(number, "Yes" if right else "No", "Yes", "Is it?", mme_perception_score=said))
    told = summary(tmp_path, "mme", rows)
    assert told.clusters == 30 and told.score.method == "bootstrap over clusters"
    alone = score_of([float(number // 2 % 2 == 0) for number in range(60)], [str(number) for number in range(60)])
    assert told.score.high - told.score.low > 1.2 * (alone.high - alone.low)


def test_answers_that_are_all_alike_are_not_certain():
    told = score_of([0.0] * 20, [str(number // 2) for number in range(20)])
    assert told.method == "Wilson over clusters" and (told.low, told.high) == (0.0, pytest.approx(0.2775, abs=1e-3))


def test_the_substring_of_spatialeval(tmp_path):
    rows = [row(n, "It is 10 or so", "B", options(4), spatialeval_accuracy={"answer": "B", "score": 0.0},
                spatialeval_substring={"answer": "B", "score": 1.0}) for n in range(4)]  # fmt: skip
    told = summary(tmp_path, "spatialeval_vqa", rows)
    assert told.set.slip == "substring" and told.score.value == 0.0 and told.harness.value == 1.0 and told.differ == 4


def test_shares_of_an_answer_get_a_bootstrap(tmp_path):
    rows = [row(n, "42", "42", "How many?", exact_match=[0.0, 0.3, 0.6, 1.0][n % 4]) for n in range(100)]
    told = summary(tmp_path, "textvqa_val", rows)
    assert told.score.value == pytest.approx(0.475) and told.score.low < 0.475 < told.score.high
    assert told.score.method == "bootstrap over clusters" and told.chance is None


def test_one_picture_alone_says_nothing():
    told = score_of([1.0, 1.0, 0.0], ["same"] * 3)
    assert (told.low, told.high) == (0.0, 1.0)


MAKERS = {
    "pope_adv": (lambda n, said, right: pope(n, said, right), ("yes", "no")),
    "vsr_zeroshot": (
        lambda n, said, right: row(n, said, right, "Is it?", exact_match=said == right),
        ("True", "False"),
    ),
    "blink_iq_test": (lambda n, said, right: blink(n, said, right), tuple("ABCD")),
    "spatialeval_vqa": (lambda n, said, right: row(n, said, right, options(4), score=said == right), tuple("ABCD")),
    "nextqa_mc_test": (lambda n, said, right: nextqa(n, said, right, said == right), tuple("ABCDE")),
    "intentqa": (lambda n, said, right: nextqa(n, said, right, said == right), tuple("ABCDE")),
    "mvbench_state_change": (lambda n, said, right: mvbench(n, said, right, int(said == right)), tuple("ABCD")),
    "videomme": (lambda n, said, right: row(n, said, right, options(4), score=said == right), tuple("ABCD")),
}


@pytest.mark.parametrize("task", MAKERS)
def test_guessing_meets_the_chance_level_and_a_constant_the_majority(tmp_path, task):
    make, choices = MAKERS[task]
    dice = random.Random(task)
    weights = [3, *[1] * (len(choices) - 1)]
    rights = dice.choices(choices, weights, k=2000)
    guessed = summary(tmp_path / "random", task, [make(n, dice.choice(choices), r) for n, r in enumerate(rights)])
    assert guessed.score.low <= guessed.chance <= guessed.score.high and guessed.unparsed == 0
    constant = summary(tmp_path / "majority", task, [make(n, choices[0], r) for n, r in enumerate(rights)])
    assert constant.score.value == pytest.approx(constant.majority)
    assert constant.score.low <= weights[0] / sum(weights) <= constant.score.high


def test_damaged_lines_are_left_out_and_named(tmp_path):
    path = write(tmp_path, "pope", [pope(0, "yes", "yes"), pope(1, "no", "no")])
    good = path.read_bytes()
    bad = [b"{", b"[]", b'{"doc_id": 7}', b'{"doc_id": "7", "target": "yes", "filtered_resps": ["no"]}', b"\xff\xfe",
           b'{"doc_id": 8, "target": "yes", "filtered_resps": [3]}', b"[" * 5000, b'{"doc_id": 0, "target": "yes", '
           b'"filtered_resps": ["yes"]}']  # fmt: skip
    path.write_bytes(good + b"\n".join(bad) + b"\n" + b'{"doc_id": 9, "targ')
    told = summarise_task(read_samples(path))
    assert told.count == 2 and len(told.problems) == len(bad) + 1
    assert all(f"line {3 + index}" in problem for index, problem in enumerate(told.problems))
    path.write_bytes(b"{}\n")
    with pytest.raises(ResultsError, match="no line of it can be read as a sample of lmms-eval"):
        read_samples(path)


def test_a_right_answer_that_is_none_is_told(tmp_path):
    told = summary(tmp_path, "pope", [pope(0, "yes", "yes"), row(1, "yes", "perhaps")])
    assert told.count == 1 and "neither yes nor no" in told.problems[0]
    with pytest.raises(ResultsError, match="no question of it can be judged"):
        summary(tmp_path, "pope", [row(1, "yes", "perhaps")])


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NAMES = [
    "doc_id",
    "target",
    "filtered_resps",
    "resps",
    "input",
    "pope_accuracy",
    "blink_acc",
    "doc_hash",
    "exact_match",
]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=30) | st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6), max_size=5),
    st.sampled_from(["pope", "blink_x", "mvbench_x", "nextqa_mc", "textvqa_val", "mine"]),
)
def test_any_lines_are_samples_or_told_why_not(tmp_path_factory, lines, task):
    path = tmp_path_factory.mktemp("any") / f"samples_{task}.jsonl"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    try:
        told = summarise_task(read_samples(path))
        assert told.count >= 1 and 0 <= told.score.low <= told.score.value <= told.score.high <= 1
    except ResultsError as error:
        assert str(path) in str(error)


def test_published_figures_belong_to_benchmarks_that_are_judged():
    names = {one.name for one in SETS}
    assert {score.set for score in published_scores()} <= names
    assert {s.model: s.score for s in published_scores("BLINK")}["Magma-8B"] == 41.0
    cells = [s.score for s in published_scores("ScreenSpot") if s.model == "Magma-8B" and s.part]
    whole = [s.score for s in published_scores("ScreenSpot") if s.model == "Magma-8B" and not s.part]
    assert sum(cells) / 6 == pytest.approx(whole[0], abs=0.05), "the plain mean of the six cells"
    assert question_set("somebody_elses").name == ""


def test_the_command_reports_questions_and_writes_numbers(tmp_path, monkeypatch, capsys):
    write(tmp_path, "pope", [pope(n, "Yes.", "yes") for n in range(10)])
    write(tmp_path, "blink_jigsaw", [blink(n, "A", "B") for n in range(10)])
    assert len(find_samples(tmp_path)) == 2

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["magma-eval", "report", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            command.main()
        return ended.value.code, capsys.readouterr().out

    status, text = run(tmp_path)
    assert status == 0 and "100.0 [72.2, 100.0]" in text and "whole string" in text and "Magma-8B 87.4" in text
    numbers = json.loads((tmp_path / "questions.json").read_text())
    assert [one["task"] for one in numbers] == ["blink_jigsaw", "pope"] and numbers[1]["harness"]["value"] == 0.0
    status, _ = run(tmp_path, "--out", tmp_path / "elsewhere.json")
    assert status == 0 and (tmp_path / "elsewhere.json").is_file()
    (tmp_path / "empty").mkdir()
    assert "magma-eval" in str(run(tmp_path / "empty")[0])


def test_the_page_of_benchmarks_has_every_published_figure():
    lines = (Path(__file__).parents[3] / "docs" / "benchmarks.md").read_text(encoding="utf-8").splitlines()
    rows, name = {}, ""
    for cells in (line.split(" | ") for line in lines if line.startswith("| ") and line.count(" | ") == 3):
        name = cells[0].strip("| ") or name
        rows.setdefault((name, cells[1].strip()), []).append(cells[2])
    for score in published_scores():
        assert any(f"{score.score:.1f}" in text for text in rows[score.set, score.model]), score
