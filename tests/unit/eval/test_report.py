"""Summaries, comparisons, merging and the page."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from magma_eval.compare import compare, text_table
from magma_eval.confidence_intervals import PairedOutcomes, Rate
from magma_eval.episodes import Episode
from magma_eval.policies.scripted import HoldPolicy
from magma_eval.report.charts import Bar, Curve, interval_plot, latency_plot
from magma_eval.report.clips import AFTER_SUCCESS_STEPS, Clip, choose, describe, film, film_all, steps_worth_seeing
from magma_eval.report.numbers import numbers
from magma_eval.report.page import render
from magma_eval.report.published import PublishedRate, published_rates
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.episode_result import EpisodeResult, Key, ResultsError, Stage, Success
from magma_eval.results.merge import merge
from magma_eval.results.run_folder import RUN_FORMAT, RunFolder, load, write_json
from magma_eval.results.store import ResultStore
from magma_eval.rollout.loop import rollout
from magma_eval.rollout.settings import RolloutSettings
from magma_eval.suites import SUITES
from magma_eval.summary import summarise

from .evaluation_fakes import FakeTask, make_task


def made(
    number: int, success: bool | None, *, policy: str = "hold", task: str = "widowx_stack_cube", **changes: object
) -> EpisodeResult:
    factor = str(changes.pop("factor", "base"))
    suite = str(changes.pop("suite", "simpler-bridge"))
    key = Key(suite, task, factor, number, 0, policy, f"c{changes.get('latency_ms')}", "1+2")
    result = EpisodeResult(
        key=key,
        episode=Episode(suite, task, factor, number, make=task, layout=number, factor=factor),
        status="ok" if success is not None else "error",
        rule="last",
        clock="lockstep",
        latency_ms=None,
        training="zero-shot <b>",
        success=None if success is None else Success(success, success, success),
        first_success_step=5 if success else None,
        steps=8,
        max_steps=8,
        stages={"policy": Stage.of([1.0, 2.0])},
        error="" if success is not None else "crashed <script>",
        seconds=1.0,
    )
    return replace(result, **changes)  # type: ignore[arg-type]


def folder(path: Path, results: list[EpisodeResult], name: str = "results.jsonl", **identity: object) -> Path:
    (path / "episodes").mkdir(parents=True, exist_ok=True)
    policy = results[0].key.policy
    content = {
        "format": RUN_FORMAT,
        "identity": {"policy": policy, "factory": "evaluation_fakes:make_task", **identity},
        "suite": "simpler-bridge",
        "training": "zero-shot",
        "rule": "last",
        "commands": [f"magma-eval run --policy {policy}"],
        "versions": {"numpy": "2"},
        "machine": {"cores": 2},
    }
    write_json(path / "run.json", content)
    with ResultStore(path / name) as store:
        for result in results:
            store.append(result)
    return path


def test_rates_leave_errors_out_and_count_them() -> None:
    (summary,) = summarise([made(0, True), made(1, False), made(2, None)])
    row = summary.tasks[0]
    assert row.rate("last") == Rate(1, 2) and row.errors == 1
    assert row.steps_to_success == 5 and summary.mean_of_tasks("last") == 0.5


def test_a_rule_unknown_for_some_episodes_gives_no_rate() -> None:
    unknown = replace(made(0, True), success=Success(None, True, None))
    (summary,) = summarise([unknown, made(1, False)])
    assert summary.total.rate("last") is None and summary.total.rate("first") == Rate(1, 2)
    assert summary.mean_of_tasks("ever") is None


def test_the_mean_of_tasks_weighs_tasks_alike() -> None:
    results = [made(n, True) for n in range(3)] + [made(0, False, task="widowx_carrot_on_plate")]
    (summary,) = summarise(results)
    assert [row.label for row in summary.tasks] == ["widowx_carrot_on_plate", "widowx_stack_cube"]  # the suite's order
    assert summary.total.rate("last") == Rate(3, 4) and summary.mean_of_tasks("last") == 0.5


def test_camera_variants_are_counted_apart() -> None:
    results = [made(0, True), made(1, False, factor="camera"), made(2, True, factor="table")]
    (summary,) = summarise(results)
    parts = {row.label.split(", ")[1]: row.rate("last") for row in summary.parts}
    assert parts == {
        "base": Rate(1, 1),
        "camera": Rate(0, 1),
        "table": Rate(1, 1),
        "without camera variants": Rate(2, 2),
    }


def test_different_settings_are_never_counted_together() -> None:
    results = [made(0, True), made(0, True, policy="expert"), made(0, True, clock="realtime", latency_ms=50.0)]
    results += [made(0, True, clock="realtime", latency_ms=0.0), made(0, False, clock="wall")]
    assert [s.setting.how for s in summarise(results) if s.setting.policy == "hold"] == [
        "lock-step",
        "real time, 0 ms latency",
        "real time, 50 ms latency",
        "wall clock",
    ]


def test_comparison_on_shared_episodes() -> None:
    first = [made(n, n < 8, policy="a") for n in range(10)]
    second = [made(n, n < 3, policy="b") for n in range(10)]
    (row,) = compare(first, second, "last")
    assert row.paired == PairedOutcomes(both=3, only_first=5, only_second=0, neither=2)
    assert row.method == "Newcombe, paired" and row.difference == row.paired.difference
    assert row.paired.mcnemar_p == pytest.approx(2 / 2**5)
    assert int(row.needed) > 5
    assert "+50.0" in text_table([row], "A", "B")


def test_comparison_of_different_episodes_is_independent() -> None:
    first = [made(n, True, policy="a") for n in range(10)]
    second = [made(n, False, policy="b") for n in range(5, 20)] + [made(30, None, policy="b")]
    (row,) = compare(first, second, "last")
    assert row.paired is not None and row.paired.count == 5 and row.method == "Newcombe, independent"
    assert row.needed.endswith("per policy")
    (apart,) = compare(first, [made(n, False, policy="b") for n in range(50, 60)], "last")
    assert apart.paired is None and "–" in text_table([apart], "A", "B")


def test_several_tasks_are_compared_one_by_one_and_together() -> None:
    first = [made(0, True), made(0, True, task="widowx_carrot_on_plate")]
    rows = compare(first, [replace(r, success=Success(False, False, False)) for r in first], "last")
    assert [row.label for row in rows] == ["widowx_stack_cube", "widowx_carrot_on_plate", "all"]
    same = compare(first, first, "last")[-1]
    assert same.needed == "–" and same.paired is not None and same.paired.mcnemar_p == 1.0


def test_comparisons_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ResultsError, match="no task in common"):
        compare([made(0, True)], [made(0, True, task="widowx_carrot_on_plate")], "last")
    with pytest.raises(ResultsError, match="occurs twice"):
        compare([made(0, True), made(0, True, latency_ms=5.0)], [made(0, True)], "last")
    with pytest.raises(ResultsError, match="no finished episode"):
        compare([made(0, None)], [made(0, True)], "last")
    with pytest.raises(ResultsError, match="under `first`"):
        compare([replace(made(0, True), success=Success(None, True, None))], [made(0, True)], "last")


def test_merge_joins_shards_and_finds_repetitions(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", [made(0, True, record="episodes/a.npz"), made(1, False)], "results-0-of-2.jsonl")
    (one / "episodes" / "a.npz").write_bytes(b"record")
    two = folder(tmp_path / "two", [made(1, False), made(2, None)], "results-1-of-2.jsonl")
    three = folder(tmp_path / "three", [made(2, True)])
    out = tmp_path / "out"
    assert merge(out, [one, two, three]) == (3, 1)
    assert [(r.key.episode_id, r.status) for r in load(out).results] == [(0, "ok"), (1, "ok"), (2, "ok")]
    assert (out / "episodes" / "a.npz").read_bytes() == b"record"
    before = (out / "results.jsonl").read_bytes()
    assert merge(out, [one, two, three])[0] == 3
    assert (out / "results.jsonl").read_bytes() == before


def test_merge_refuses_what_does_not_belong_together(tmp_path: Path) -> None:
    one = folder(tmp_path / "one", [made(0, True)])
    other = folder(tmp_path / "other", [made(0, True)], clock="realtime")
    contradiction = folder(tmp_path / "contradiction", [made(0, False)])
    with pytest.raises(ResultsError, match="different runs"):
        merge(tmp_path / "out", [one, other])
    with pytest.raises(ResultsError, match="two different results"):
        merge(tmp_path / "out2", [one, contradiction])
    with pytest.raises(ResultsError, match="not the folder of a run"):
        merge(tmp_path / "out3", [tmp_path])
    with pytest.raises(ResultsError, match="at least one"):
        merge(tmp_path / "out4", [])


class Page(HTMLParser):
    """Collects text and checks that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words = ""
        self.videos: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag == "video":
            self.videos.append(dict(attrs)["src"])

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_says_everything_and_escapes_what_it_is_given(tmp_path: Path) -> None:
    lock = [made(n, n % 2 == 0, notes=("rasterised, not comparable",)) for n in range(4)] + [made(9, None)]
    late = [
        made(n, latency < 200, clock="realtime", latency_ms=latency)
        for n in range(2)
        for latency in (0.0, 100.0, 400.0)
    ]
    run = RunFolder.read(folder(tmp_path / "run", lock + late))
    (tmp_path / "clip.mp4").write_bytes(b"video")
    clips = [Clip(lock[1], tmp_path / "clip.mp4", faithful=False), Clip(lock[0], tmp_path / "clip.mp4", faithful=True)]
    text = render([run], "last", clips, remarks=("no device",))
    page = Page(text)
    for words in (
        "2/4 = 50.0 %",
        "[15.0, 85.0]",
        "training: zero-shot <b>",
        "rasterised, not comparable",
        "crashed <script>",
        "no device",
        "1 episodes ended in an error",
        "magma-eval run --policy hold",
        "Success against latency",
        "Magma-8B",
        "the replay differs",
        "1, 3",
    ):
        assert words in page.words, words
    assert "<script" not in text and page.words.index("Failures") < page.words.index("Successes")
    assert page.videos == ["data:video/mp4;base64,dmlkZW8="] * 2
    beside = Page(render([run], "ever", clips, embed=False, page=tmp_path / "pages" / "a.html"))
    assert beside.videos == ["../clip.mp4"] * 2
    content = json.loads(json.dumps(numbers([run], "last")))
    assert content["settings"][0]["total"]["rates"]["last"]["successes"] == 2


def test_plots_hold_every_label() -> None:
    bars = [Bar.of("mine & yours", Rate(3, 4), 0), Bar("theirs", 0.5, None, None, "", own=False)]
    plot = interval_plot([("a < b", bars)])
    assert "mine &amp; yours" in plot and "a &lt; b" in plot and "75.0 %" in plot
    assert "800" in latency_plot([Curve("x", [(0.0, Rate(1, 2)), (800.0, Rate(0, 2))], 0)])


def test_videos_show_failures_first_from_every_task() -> None:
    results = [made(n, n % 2 == 0, task=task, record="r") for task in ("a", "b") for n in range(6)]
    chosen = choose(results, "last", failures=3, successes=1)
    assert [(r.key.task, r.key.episode_id) for r in chosen] == [("a", 1), ("b", 1), ("a", 3), ("a", 0)]
    assert choose([made(0, False)], "last", 5, 5) == []  # nothing was recorded


def test_film_writes_a_video_and_notices_a_replay_that_differs(tmp_path: Path) -> None:
    episode = Episode("fake", "reach", "eval", 0, make="reach", layout=0)
    played = rollout(FakeTask("reach"), HoldPolicy(), episode, RolloutSettings())
    result = replace(made(0, False), episode=episode, record="episodes/r.npz", max_steps=8)
    clip = film(FakeTask("reach"), result, played.record, tmp_path / "a.mp4", "last")
    assert clip.faithful and clip.path.read_bytes()[4:8] == b"ftyp"
    other = replace(played.record, success=~played.record.success)
    assert not film(FakeTask("reach"), result, other, tmp_path / "b.mp4", "last").faithful
    (tmp_path / "episodes").mkdir()
    played.record.write(tmp_path / "episodes" / "r.npz")
    said: list[str] = []
    missing = replace(result, key=replace(result.key, episode_id=7), record="episodes/none.npz")
    jobs = [(tmp_path, result), (tmp_path, missing)]
    clips = film_all(jobs, tmp_path / "videos", "last", make_task, said.append)
    assert [c.result for c in clips] == [result] and len(said) == 1 and "none.npz" in said[0]


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        ([False] * 10, 10),
        ([False] * 4 + [True] * 16, 4 + 1 + AFTER_SUCCESS_STEPS),
        ([True] * 2 + [False] * 3 + [True] * 15, 5 + 1 + AFTER_SUCCESS_STEPS),
        ([False] * 9 + [True], 10),
        ([False, True, False], 3),
        ([], 0),
    ],
)
def test_a_film_ends_shortly_after_the_goal_holds_for_good(flags, steps):
    assert steps_worth_seeing(flags) == steps


def test_what_the_robot_is_told_in_words() -> None:
    actions = np.zeros((5, 7))
    actions[:, 6] = [1, 0, 0, 0, 1]
    actions[2, 0] = 0.02
    flags = np.ones(5, dtype=bool)
    flags[3] = False
    record = EpisodeRecord(actions, flags, np.zeros(5), flags, np.arange(5), np.zeros(5))
    assert [describe(record, step) for step in range(5)] == [
        "holding still, gripper open",
        "closing the gripper",
        "moving, gripper closed",
        "no command: the policy is late",
        "opening the gripper",
    ]


def test_published_rates_name_known_tasks_and_sources() -> None:
    rates = published_rates()
    tasks = {suite: {episode.task for episode in SUITES[suite].make()} for suite in SUITES}
    assert len(rates) > 60
    for rate in rates:
        if rate.task != "mean":
            assert rate.task in tasks[rate.suite], rate
        if rate.episodes:
            count = rate.rate * rate.episodes
            # Rates rounded to three decimals are whole counts, except where they are means of other means.
            assert abs(count - round(count)) < 0.0011 * rate.episodes, rate
    assert published_rates("simpler-bridge") == published_rates("simpler-widowx") != []
    assert published_rates("tabletop") == []
    with pytest.raises(ValueError):
        PublishedRate("m", "s", "t", 1.2, "x")
