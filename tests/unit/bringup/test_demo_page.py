"""What a demo leaves to look at."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from magma_bringup.episodes.demo_page import read_results, write_page
from magma_bringup.episodes.suite_run import film_name
from magma_eval.episodes import Episode
from magma_eval.results.episode_result import EpisodeResult, Key, Stage, Success
from magma_eval.run.recorder import Recorder, RunDescription


def played(layout: int, success: bool) -> EpisodeResult:
    task = "carrot_on_plate"
    return EpisodeResult(
        key=Key("tabletop", task, "eval", layout, 0, "magma <tiny>", "c", "0.1.0+abc", "0123"),
        episode=Episode("tabletop", task, "eval", layout, make=task, layout=layout),
        status="ok",
        rule="last",
        clock="lockstep",
        latency_ms=None,
        training="not stated",
        success=Success(success, success, success),
        steps=60,
        max_steps=60,
        instruction="put the carrot on the plate",
        stages={"capture → command": Stage(60, 28.0, 27.2, 34.4, 40.0)} if success else {},
        seconds=2.5,
    )


def run(folder: Path, *results: EpisodeResult) -> None:
    identity = {"policy": "magma <tiny>", "policy_identity": "0123", "factory": ""}
    description = RunDescription(identity, {"given": "magma-tiny", "where": ""}, "tabletop", "last", {})
    with Recorder(folder, "results.jsonl", description) as recorder:
        for result in results:
            recorder.keep(result)


def test_the_page_holds_films_verdicts_and_times_and_escapes_what_it_is_given(tmp_path):
    run(tmp_path, played(3, True), played(4, False))
    film = film_name(played(3, True).episode, success=True)
    assert film == shlex.quote(film) == "carrot_on_plate-eval-003-success.mp4"
    (tmp_path / film).touch()
    page = write_page(tmp_path, read_results(tmp_path), "success 1/2 <b>").read_text(encoding="utf-8")
    assert f'src="{film}"' in page and "no film" in page
    assert "27 ms (p95 34)" in page and "success 1/2 &lt;b&gt;" in page
    assert "magma &lt;tiny&gt;: put the carrot on the plate" in page and "<tiny>" not in page
    assert page.count("<figure>") == 2 and ">failure</b>" in page


def test_a_film_of_another_end_is_not_shown(tmp_path):
    (tmp_path / film_name(played(3, True).episode, success=True)).touch()
    assert "no film" in write_page(tmp_path, [replace(played(3, False))], "").read_text(encoding="utf-8")


def test_without_results_there_is_nothing_to_read(tmp_path):
    assert read_results(tmp_path) == []
