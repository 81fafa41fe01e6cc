"""`magma-eval` with wrong input: one line that says what is wrong, nothing played."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from magma_sim.evaluation.command import main


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
