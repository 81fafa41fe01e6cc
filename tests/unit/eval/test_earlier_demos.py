"""Results of demos from before they were suites of the evaluator are read, reported and compared like others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from magma_eval.compare import compare
from magma_eval.report.page import render
from magma_eval.results.episode_result import ResultsError
from magma_eval.results.run_folder import RunFolder, load, read_run
from magma_eval.run.recorder import Recorder, RunDescription


def line(layout: int, success: bool, **changes: Any) -> dict[str, Any]:
    return {
        "task": "stack_blocks",
        "variant": "eval",
        "layout": layout,
        "policy": "magma-tiny",
        "instruction": "stack the green block on the yellow block",
        "success": success,
        "first_success_step": 16 if success else None,
        "steps": 60,
        "max_steps": 60,
        "clock": "lockstep",
        "duration_s": 3.3,
        "success_rule": "goal holds at the last step",
        "times_ms": {"capture → command": {"p50": 7.0, "p95": 19.1}},
        "video": "a.mp4",
        "shortened": {"no instruction": 1},
        "policy_identity": "0123456789abcdef",
        "arm": "sim_delta",
        "teleop": "none",
        "corrected_by": {},
        **changes,
    }


def folder(path: Path, *lines: dict[str, Any]) -> Path:
    path.mkdir()
    (path / "results.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    return path


def test_its_episodes_are_those_of_the_suite(tmp_path: Path) -> None:
    corrected = line(2, True, corrected_by={"scripted": 4}, success_rule="goal holds …; it held at 3 steps in a row")
    demo = folder(tmp_path / "demo", line(0, True), line(1, False), corrected)
    first, second, third = load(demo).results
    assert first.key.start == ("tabletop", "stack_blocks", "eval", 0, 0) and first.key.policy_identity.startswith("01")
    assert first.success is not None and first.success.last and second.success is not None and not second.success.ever
    assert third.corrected_by == ("scripted",) and "3 steps in a row" in third.settings["success rule"]
    run = RunFolder.read(demo)
    assert run.run["identity"]["policy"] == "magma-tiny" and run.run["suite"] == "tabletop"
    assert "by an earlier ./run demo" in render([run], "last")
    (row,) = compare(run.results, [first, second], "last")
    assert row.paired is not None and row.paired.count == 2


def test_other_files_and_damaged_lines_are_refused_and_nothing_new_is_added(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="not the folder of a run"):
        read_run(folder(tmp_path / "other", {"task": "stack_blocks"}))
    with pytest.raises(ResultsError, match="line 2: steps must be int"):
        load(folder(tmp_path / "damaged", line(0, True), line(1, True, steps="many")))
    demo = folder(tmp_path / "demo", line(0, True))
    with pytest.raises(ResultsError, match="results of another run"):
        Recorder(demo, "results.jsonl", RunDescription({"policy": "hold"}, {}, "tabletop", "last", {}))
