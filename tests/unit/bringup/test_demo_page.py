"""What a demo leaves to look at."""

from __future__ import annotations

import json

from magma_bringup.demo_page import read_results, write_page

RESULT = {
    "task": "carrot_on_plate",
    "variant": "eval",
    "layout": 3,
    "policy": "magma <tiny>",
    "instruction": "put the carrot on the plate",
    "success": True,
    "steps": 60,
    "duration_s": 2.5,
    "times_ms": {"capture → command": {"p50": 27.2, "p95": 34.4}},
    "video": "carrot-003-success.mp4",
}


def test_the_page_holds_films_verdicts_and_times_and_escapes_what_it_is_given(tmp_path):
    failure = {**RESULT, "layout": 4, "success": False, "video": "", "times_ms": {}}
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in (RESULT, failure)))
    page = write_page(tmp_path, read_results(tmp_path), "success 1/2 <b>").read_text(encoding="utf-8")
    assert 'src="carrot-003-success.mp4"' in page and "no film" in page
    assert "27 ms (p95 34)" in page and "success 1/2 &lt;b&gt;" in page
    assert "magma &lt;tiny&gt;: put the carrot on the plate" in page and "<tiny>" not in page
    assert page.count("<figure>") == 2 and ">failure</b>" in page


def test_without_results_there_is_nothing_to_read(tmp_path):
    assert read_results(tmp_path) == []
