"""What an answer is worth, by this project's rules, and by the harness's own where those are known to slip.

Published figures were made with rules that differ; both are shown, so that a figure can be compared with the one and
believed by the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from magma_eval.questions.answers import chosen_letter, options_of, yes_or_no
from magma_eval.questions.samples import Sample


@dataclass(frozen=True)
class Judgement:
    """One answer.

    Attributes:
        value: 0 … 1, by this project's rule; an answer that cannot be read is worth nothing.
        parsed: whether it could be read.
        harness: 0 … 1 by the harness's rule, None where that leaves the question out.
        chance: what a guess among the answers that there are is worth.
        right: the right answer, as a constant guess would have to give it.
        cluster: questions about the same picture share it.
    """

    value: float
    parsed: bool
    harness: float | None
    chance: float | None
    right: str
    cluster: str


Judge = Callable[[Sample], Judgement]


def judge_yes_no(sample: Sample) -> Judgement:
    """POPE and its like. The harness compares the whole answer: "Yes." or "Yes, there is." is wrong to it."""
    right = yes_or_no(_metric_text(sample, "ground_truth") or sample.target)
    if right is None and sample.target.strip() in ("0", "1"):
        right = sample.target.strip() == "1"
    if right is None:
        raise ValueError(f"question {sample.number}: the right answer is {sample.target[:40]!r}, neither yes nor no")
    said, word = yes_or_no(sample.answer), "yes" if right else "no"
    harness = _recorded(sample)
    whole = float(sample.answer.strip().lower() == word)
    return Judgement(
        float(said is right), said is not None, whole if harness is None else harness, 0.5, word, cluster_of(sample)
    )


def judge_letter(sample: Sample) -> Judgement:
    """Multiple choice. The options are read from the question."""
    options = options_of(sample.question)
    right = _right_letter(sample, list(options))
    said = chosen_letter(sample.answer, options)
    count = len(options) or None
    return Judgement(
        float(said == right),
        said is not None,
        _recorded(sample),
        None if count is None else 1 / count,
        right,
        cluster_of(sample),
    )


def judge_first_letter(sample: Sample) -> Judgement:
    """BLINK. The harness takes the first letter of whatever the answer begins with: "The answer is B" is T to it."""
    ours = judge_letter(sample)
    match = re.match(r"[(\s]*([A-Za-z])", sample.answer.strip())
    first = match.group(1).upper() if match else ""
    recorded = ours.harness
    return Judgement(**(vars(ours) | {"harness": float(first == ours.right) if recorded is None else recorded}))


def judge_answered_only(sample: Sample) -> Judgement:
    """MVBench. The harness leaves questions with an empty answer out of its count."""
    ours = judge_letter(sample)
    return ours if sample.answer else Judgement(**(vars(ours) | {"harness": None}))


def judge_substring(sample: Sample) -> Judgement:
    """SpatialEval. The published scorer looks for the right words anywhere in the answer: "1" is in "10", and a long
    enough answer holds everything."""
    ours, inside = judge_letter(sample), _score(sample.metrics.get("spatialeval_substring"))
    return ours if inside is None else Judgement(**(vars(ours) | {"harness": inside}))


def judge_guessed(sample: Sample) -> Judgement:
    """NExT-QA. For an answer that cannot be read the harness draws a letter, which is right one time in five."""
    ours = judge_letter(sample)
    return ours if ours.harness is not None else Judgement(**(vars(ours) | {"harness": ours.value}))


def judge_recorded(sample: Sample) -> Judgement:
    """Free answers: the harness's own score of each question. An empty answer is one that cannot be read."""
    value = _recorded(sample)
    if value is None:
        raise ValueError(f"question {sample.number}: none of {sorted(sample.metrics)} is a score from 0 to 1")
    parsed = bool(sample.answer.strip())
    return Judgement(value, parsed, value, None, sample.target.strip().lower(), cluster_of(sample))


def cluster_of(sample: Sample) -> str:
    """Which questions hang together: those about one picture or video, where the harness names it."""
    for metric in sample.metrics.values():
        if isinstance(metric, dict):
            for name in ("video_id", "videoID", "video", "image_id", "image"):
                if isinstance(metric.get(name), (str, int)):
                    return str(metric[name])
            named = metric.get("question_id")
            # MME names the picture; Video-MME the video and, behind a dash, the question.
            if isinstance(named, str) and re.search(r"\.(png|jpe?g)$", named, re.IGNORECASE):
                return named
            if isinstance(named, str) and (match := re.fullmatch(r"(\d{3})-\d", named)):
                return match.group(1)
    return f"question {sample.number}"


def _right_letter(sample: Sample, letters: list[str]) -> str:
    target = (_metric_text(sample, "gt_content", "gt_answer", "answer") or sample.target).strip().strip("()").strip()
    if re.fullmatch(r"[A-Za-z]", target):
        return target.upper()
    if re.fullmatch(r"\d{1,2}", target) and int(target) < 26:
        return chr(ord("A") + int(target))
    by_text = chosen_letter(target, options_of(sample.question))
    if by_text is None:
        raise ValueError(f"question {sample.number}: the right answer {target[:40]!r} is none of {letters}")
    return by_text


def _recorded(sample: Sample) -> float | None:
    """The harness's score of the question, of the first metric that has one."""
    for metric in sample.metrics.values():
        found = _score(metric)
        if found is not None:
            return found
    return None


def _score(metric: Any) -> float | None:
    if isinstance(metric, dict):
        named = (metric.get(name) for name in ("score", "is_correct", "correct", "accuracy"))
        return next((value for one in named if (value := _score(one)) is not None), None)
    if isinstance(metric, (bool, int, float)) and 0 <= metric <= 1:
        return float(metric)
    return None


def _metric_text(sample: Sample, *names: str) -> str | None:
    for metric in sample.metrics.values():
        if isinstance(metric, dict):
            for name in names:
                if isinstance(metric.get(name), str) and metric[name].strip():
                    return str(metric[name])
    return None
