"""A task's answers as a few numbers, each with its interval."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from magma_eval.confidence_intervals import Rate
from magma_eval.questions.benchmarks import QuestionSet, question_set
from magma_eval.questions.samples import SampleFile
from magma_eval.questions.scoring import Judgement
from magma_eval.results.episode_result import ResultsError

RESAMPLES = 2_000
SEED = 0


@dataclass(frozen=True)
class Score:
    """A mean of scores 0 … 1 with a 95 % interval, and how that was made."""

    value: float
    low: float
    high: float
    method: str


@dataclass(frozen=True)
class TaskSummary:
    """What one model made of one task.

    Attributes:
        count: questions that were judged; `clusters` pictures or videos that they are about.
        score: by this project's rules.
        unparsed: answers that name nothing; each is worth 0.
        harness: by the harness's rules, None where it recorded none; `harness_count` questions that it counts.
        differ: questions that both judge differently.
        chance: of a guess; `majority` of always giving the commonest right answer.
        problems: lines and questions that were left out.
    """

    model: str
    task: str
    set: QuestionSet
    count: int
    clusters: int
    score: Score
    unparsed: int
    harness: Score | None
    harness_count: int
    differ: int
    chance: float | None
    majority: float
    problems: tuple[str, ...]


def summarise_task(file: SampleFile) -> TaskSummary:
    """Raises ResultsError when no question of the file can be judged."""
    chosen, judged, problems = question_set(file.task), [], list(file.problems)
    for sample in file.samples:
        try:
            judged.append(chosen.judge(sample))
        except ValueError as error:
            problems.append(f"{file.path}: {error}")
    if not judged:
        raise ResultsError(f"{file.path}: no question of it can be judged as {chosen.name or file.task}: {problems[0]}")
    counted = [one for one in judged if one.harness is not None]
    chances = [one.chance for one in judged if one.chance is not None]
    commonest = Counter(one.right for one in judged).most_common(1)[0][1]
    return TaskSummary(
        model=file.model,
        task=file.task,
        set=chosen,
        count=len(judged),
        clusters=len({one.cluster for one in judged}),
        score=score_of([one.value for one in judged], [one.cluster for one in judged]),
        unparsed=sum(not one.parsed for one in judged),
        harness=score_of([float(one.harness or 0) for one in counted], [one.cluster for one in counted])
        if counted
        else None,
        harness_count=len(counted),
        differ=sum(_differs(one) for one in judged),
        chance=float(np.mean(chances)) if len(chances) == len(judged) else chosen.chance,
        majority=commonest / len(judged),
        problems=tuple(problems),
    )


def score_of(values: Sequence[float], clusters: Sequence[str]) -> Score:
    """Wilson's interval where each question stands alone and is right or wrong, else a bootstrap over clusters."""
    mean = float(np.mean(values))
    if len(set(clusters)) == len(clusters) and all(value in (0.0, 1.0) for value in values):
        low, high = Rate(int(sum(values)), len(values)).interval
        return Score(mean, low, high, "Wilson")
    sums: dict[str, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] += value
    counts = Counter(clusters)
    totals = np.array([[sums[cluster], counts[cluster]] for cluster in sums])
    if mean in (0.0, 1.0) and len(totals) > 1:
        # No resample of answers that are all alike differs from them, however few they are.
        low, high = Rate(int(mean) * len(totals), len(totals)).interval
        return Score(mean, low, high, "Wilson over clusters")
    if len(totals) == 1:
        return Score(mean, 0.0, 1.0, "one cluster: nothing is known of others")
    drawn = np.random.default_rng(SEED).multinomial(len(totals), np.full(len(totals), 1 / len(totals)), RESAMPLES)
    means = (drawn @ totals[:, 0]) / (drawn @ totals[:, 1])
    low, high = np.quantile(means, [0.025, 0.975])
    return Score(mean, float(min(low, mean)), float(max(high, mean)), "bootstrap over clusters")


def _differs(one: Judgement) -> bool:
    return one.harness is None or abs(one.harness - one.value) > 1e-9
