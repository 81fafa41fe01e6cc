"""What the evaluator reads: lines of results and run.json as `magma-eval report` makes a page of them, records of
episodes, suite files; and traces as `magma-track` leaves them."""

from __future__ import annotations

import html.parser
import json
from pathlib import Path

import numpy as np
from file_mutations import Reading, Target, digest
from mutation_edits import bytes_edits, json_edits, jsonl_edits, line_edits, npy_edits, zip_edits

from magma_eval.episodes import Episode, read_suite_file, short_hash, write_suite_file
from magma_eval.report.numbers import numbers
from magma_eval.report.page import render
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.episode_result import EpisodeResult, Key, ResultsError, Stage, Success
from magma_eval.results.run_folder import RUN_FORMAT, RunFolder, without_repetitions, write_json
from magma_policy.marks.clip_marks import ClipMarks
from magma_policy.marks.trace_files import TraceFileError, TrackedVideo, read_traces, write_traces
from magma_policy_client.content import file_digests

TAGS = frozenset(
    {"html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "span", "table", "thead", "tbody", "tr"}
    | {"th", "td", "div", "br", "ul", "li", "b", "pre", "svg", "g", "text", "line", "rect", "circle", "path"}
    | {"polyline", "figure", "figcaption", "video", "a"}
)
"""what a page of ours is made of; anything else came out of a file"""


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.strange: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.strange.add(tag)
        self.strange |= {name for name, _ in attrs if name.startswith("on")}


def _episode(number: int) -> Episode:
    return Episode("tabletop", "carrot_on_plate", "eval", number, make="carrot_on_plate", layout=number)


def _result(number: int) -> EpisodeResult:
    failed = number == 2
    return EpisodeResult(
        key=Key("tabletop", "carrot_on_plate", "eval", number, 0, "magma:tiny", "c0ffee", "0.1.0+1", "0a" * 16),
        episode=_episode(number),
        status="error" if failed else "ok",
        rule="last",
        clock="lockstep",
        latency_ms=None,
        training="in-domain <simulation>",
        success=None if failed else Success(number == 0, True, True),
        settings={"actions per answer": "4"},
        first_success_step=None if failed else 5,
        steps=8,
        max_steps=8,
        notes=("rasterised",),
        record=f"episodes/{number}.npz",
        error="the simulator ended" if failed else "",
        stages={"policy": Stage.of([1.0, 2.0])},
    )


def _run(folder: Path) -> Path:
    content = {
        "format": RUN_FORMAT,
        "identity": {"policy": "magma:tiny", "policy_identity": "0a" * 16, "factory": "magma_sim:make_task"},
        "suite": "tabletop",
        "training": "in-domain <simulation>",
        "rule": "last",
        "commands": ["magma-eval run --policy magma-tiny"],
        "versions": {"numpy": "2"},
        "machine": {"cores": 2},
    }
    write_json(folder / "run.json", content)
    lines = "".join(json.dumps(_result(number).as_json()) + "\n" for number in range(4))
    (folder / "results.jsonl").write_text(lines, encoding="utf-8")
    return folder


def _report(path: Path) -> Reading:
    runs, remarks = without_repetitions([RunFolder.read(path.parent)])
    rule = runs[0].run["rule"]
    page = render(runs, rule, remarks=remarks)
    tags = _Tags()
    tags.feed(page)
    if tags.strange:
        raise AssertionError(f"{sorted(tags.strange)} came out of a file into the page")
    found = numbers(runs, rule)
    return Reading([found["settings"], found["rule"]], runs[0].content)


def _record(folder: Path) -> Path:
    path = folder / "0.npz"
    steps, flags = np.zeros((6, 7)), np.array([False] * 5 + [True])
    EpisodeRecord(steps, flags, np.zeros(6), flags, np.arange(6), np.ones(6)).write(path)
    return path


def _read_record(path: Path) -> Reading:
    record = EpisodeRecord.read(path)
    content = digest(*(array.tobytes() for array in vars(record).values()))
    return Reading(content, file_digests([path])[path])


def _suite(folder: Path) -> Path:
    path = folder / "suite.json"
    write_suite_file(path, [_episode(number) for number in range(3)])
    return path


def _read_suite(path: Path) -> Reading:
    episodes = [episode.as_json() for episode in read_suite_file(path)]
    # Every episode is part of its results' keys.
    return Reading(episodes, short_hash(episodes))


def _traces(folder: Path) -> Path:
    path = folder / "film.npz"
    marks = ClipMarks(
        ids=np.array([1, 2]),
        points=np.zeros((3, 2, 2), dtype=np.float32),
        visible=np.ones((3, 2), dtype=bool),
        moving=np.array([True, False]),
        camera_moved=False,
    )
    write_traces(path, TrackedVideo((48, 64), "go", {0: marks, 8: marks}, "0a" * 32))
    return path


def _read_traces(path: Path) -> Reading:
    video = read_traces(path)
    clips = {
        start: digest(*(np.ascontiguousarray(a).tobytes() for a in (m.ids, m.points, m.visible, m.moving)))
        for start, m in video.clips.items()
    }
    return Reading((video.frame_size, video.instruction, clips), file_digests([path])[path])


ARRAYS = (bytes_edits, zip_edits(bytes_edits), zip_edits(npy_edits))
TARGETS = [
    Target(
        "results", lambda f: _run(f) / "results.jsonl", _report, (ResultsError,), (bytes_edits, line_edits, jsonl_edits)
    ),
    Target("run-json", lambda f: _run(f) / "run.json", _report, (ResultsError,), (bytes_edits, line_edits, json_edits)),
    Target("episode-record", _record, _read_record, (ResultsError,), ARRAYS),
    Target("suite-file", _suite, _read_suite, (ValueError,), (bytes_edits, line_edits, json_edits)),
    Target("traces", _traces, _read_traces, (TraceFileError,), ARRAYS),
]
