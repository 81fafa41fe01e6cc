"""`magma-eval` with wrong input: one line that says what is wrong, nothing played."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from magma_eval.command import main
from magma_eval.compare import compare
from magma_eval.compare import text_table as comparison_table
from magma_eval.episodes import Episode, write_suite_file
from magma_eval.results.episode_result import EpisodeResult, Key, Success
from magma_eval.summary import summarise, text_table


def said(monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["magma-eval", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return str(ended.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--suite", "tabletoop", "--policy", "hold"), "unknown suite 'tabletoop'"),
        (("run", "--suite", "tabletop", "--policy", "expurt"), "unknown policy 'expurt'"),
        (("run", "--suite", "tabletop", "--policy", "hold", "--tasks", "carot"), "no episode has the task carot"),
        (("run", "--suite", "tabletop", "--policy", "hold", "--seeds", "1.5"), "whole numbers"),
        (("run", "--suite", "tabletop", "--policy", "hold", "--latency-ms", "0,x"), "numbers with commas"),
        (("run", "--suite", "tabletop", "--policy", "hold", "--shard", "4/4"), "a shard is i/n"),
        (("run", "--suite", "tabletop", "--policy", "hold", "--image-size", "480"), "HEIGHTxWIDTH"),
        (("merge",), "at least one folder"),
    ],
)
def test_wrong_words_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    assert message in said(monkeypatch, *words, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_out_that_is_a_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    words = said(monkeypatch, "run", "--suite", "tabletop", "--policy", "hold", "--out", str(tmp_path / "out"))
    assert words.startswith("magma-eval: ") and str(tmp_path / "out") in words


def test_a_policy_server_that_is_not_there_stops_the_run_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ("run", "--suite", "tabletop", "--policy", "ws://127.0.0.1:9", "--out", str(tmp_path))
    assert "the policy server ws://127.0.0.1:9 cannot be used" in said(monkeypatch, *words)
    assert not list((tmp_path / "logs").iterdir())


def test_a_page_that_is_a_folder_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_fakes(monkeypatch, tmp_path, run)
    words = said(monkeypatch, "report", str(run), "--out", str(tmp_path), "--failures", "0", "--successes", "0")
    assert "is a folder; give the name of a page" in words


def run_fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, out: Path, policy: str = "hold") -> str:
    """Plays two episodes of a simulator that is none."""
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(here)
    episodes = [Episode("fake", "reach", "eval", n, make="reach", layout=n) for n in range(2)]
    write_suite_file(tmp_path / "suite.json", episodes)
    words = ("run", "--suite", str(tmp_path / "suite.json"), "--policy", policy, "--out", str(out))
    return said(monkeypatch, *words, "--task-factory", "evaluation_fakes:make_task")


def test_a_run_ends_with_its_table_and_the_command_for_the_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a run"
    assert run_fakes(monkeypatch, tmp_path, out) == "0"
    shown = capsys.readouterr()
    assert "all episodes" in shown.out and "0/2 [0, 66]" in shown.out
    assert shown.out.rstrip().endswith(f"magma-eval report '{out}'")
    assert "building the world" in shown.err or "starting the simulator" in shown.err


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_tables_of_reports_and_comparisons_fit_the_terminal(columns: int) -> None:
    rows = [
        EpisodeResult(
            key=Key("simpler-widowx", task, "eval", n, 0, "magma:some-policy", f"{n}", "0.1.0+abc"),
            episode=Episode("simpler-widowx", task, "eval", n, make=task, layout=n),
            status="ok",
            rule="last",
            clock="lockstep",
            latency_ms=None,
            training="in-domain simulation (tabletop demonstrations, then two rounds of an operator's corrections)",
            success=Success(last=n > 3, first=True, ever=True),
        )
        for task in ("widowx_put_eggplant_in_basket", "a_task_with_a_name_that_is_longer_than_most_names_are")
        for n in range(24)
    ]
    report = text_table(summarise(rows), columns)
    comparison = comparison_table(compare(rows, rows, "last"), "first run", "second run", columns)
    for line in (report + "\n" + comparison).splitlines():
        assert len(line) <= columns, line
    assert "20/24 [64, 93]" in report and "McNemar p" in comparison
