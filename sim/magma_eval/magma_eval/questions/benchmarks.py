"""Which benchmark a task of lmms-eval belongs to, how it is judged, and what others have published for it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import resources

from magma_eval.questions.scoring import (
    Judge,
    judge_answered_only,
    judge_first_letter,
    judge_guessed,
    judge_letter,
    judge_recorded,
    judge_substring,
    judge_yes_no,
)


@dataclass(frozen=True)
class QuestionSet:
    """A benchmark.

    Attributes:
        name: as papers have it; also the key of published figures.
        tasks: names of its tasks, a regular expression.
        judge: this project's rule.
        slip: what the harness's own rule is known to get wrong, "" where nothing is known.
        chance: of a guess, where the questions do not tell; None for free answers.
    """

    name: str
    tasks: str
    judge: Judge
    slip: str = ""
    chance: float | None = None


SETS = (
    QuestionSet("VSR", r"vsr(_.*)?", judge_yes_no, chance=0.5),
    QuestionSet("POPE", r"pope(_.*)?", judge_yes_no, "whole string", 0.5),
    QuestionSet("BLINK", r"blink(_.*)?", judge_first_letter, "first letter"),
    QuestionSet("SpatialEval", r"spatialeval(_.*)?", judge_substring, "substring"),
    QuestionSet("IntentQA", r"intentqa(_.*)?", judge_letter, chance=0.2),
    QuestionSet("NExT-QA", r"nextqa_mc(_.*)?", judge_guessed, "random guess", 0.2),
    QuestionSet("Video-MME", r"videomme(_.*)?", judge_letter, chance=0.25),
    QuestionSet("MVBench", r"mvbench(_.*)?", judge_answered_only, "denominator"),
    QuestionSet("MME", r"mme(_.*)?", judge_yes_no, chance=0.5),
    QuestionSet("VQAv2", r"vqav2(_.*)?", judge_recorded),
    QuestionSet("TextVQA", r"textvqa(_.*)?", judge_recorded),
    QuestionSet("GQA", r"gqa(_.*)?", judge_recorded),
    QuestionSet("ChartQA", r"chartqa(_.*)?", judge_recorded),
    QuestionSet("DocVQA", r"docvqa(_.*)?", judge_recorded),
    QuestionSet("ScreenSpot", r"screenspot(_.*)?", judge_recorded),
)
OTHER = QuestionSet("", r".*", judge_recorded)
"""Any other task: its own scores, with counts and intervals."""


def question_set(task: str) -> QuestionSet:
    """The benchmark of a task, by its name."""
    return next((one for one in SETS if re.fullmatch(one.tasks, task)), OTHER)


@dataclass(frozen=True)
class PublishedScore:
    """One figure of one source, in percent, with how it was made."""

    set: str
    model: str
    score: float
    protocol: str
    source: str
    part: str = ""
    """of the benchmark, where the figure is of a part"""

    def __post_init__(self) -> None:
        if not (self.set and self.model and self.protocol and self.source):
            raise ValueError(f"a published score has a set, a model, a protocol and a source: {self}")
        if not 0 <= self.score <= 100:
            raise ValueError(f"a published score lies in [0, 100], got {self.score} for {self.model}, {self.set}")


def published_scores(name: str = "", room: str = "magma_eval.questions") -> list[PublishedScore]:
    """The figures of a benchmark, or all, of the published.json in a room of this package."""
    text = resources.files(room).joinpath("published.json").read_text(encoding="utf-8")
    content = json.loads(text)
    found = [
        PublishedScore(
            row["set"],
            row["model"],
            row["score"],
            content["protocols"][row["protocol"]],
            content["sources"][row["source"]],
            row.get("part", ""),
        )
        for row in content["scores"]
    ]
    return [one for one in found if not name or one.set == name]
