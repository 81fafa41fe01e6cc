"""Lines on disk: round trip, torn ends, duplicates, one writer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_eval.episodes import Episode
from magma_eval.results.episode_record import EpisodeRecord
from magma_eval.results.episode_result import EpisodeResult, Key, ResultsError, Stage, Success
from magma_eval.results.run_folder import collect, read_lines
from magma_eval.results.store import ResultStore


def result(number: int, *, last: bool = True, status: str = "ok", **changes: object) -> EpisodeResult:
    episode = Episode("fake", "reach", "eval", number, make="reach", layout=number, options={"a": [1, None]})
    key = Key("fake", "reach", "eval", number, 0, "hold", "c0ffee", "1+2")
    made = EpisodeResult(
        key=key,
        episode=episode,
        status="ok",
        rule="last",
        clock="lockstep",
        latency_ms=None,
        training="none",
        success=Success(last, last, last),
        steps=8,
        max_steps=8,
        stages={"policy": Stage.of([1.0, 3.0])},
        notes=("rasterised, not comparable",),
    )
    if status == "error":
        made = replace(made, status="error", success=None, error="crashed")
    return replace(made, **changes)  # type: ignore[arg-type]


def test_round_trip() -> None:
    for made in (result(1), result(2, status="error")):
        assert EpisodeResult.from_json(json.loads(json.dumps(made.as_json()))) == made


@pytest.mark.parametrize(
    "change",
    [
        {"format": "x"},
        {"key": {}},
        {"episode": None},
        {"success": None},
        {"status": "lost"},
        {"rule": "best"},
        {"bogus": 1},
        {"stages": {"a": 1}},
    ],
)
def test_broken_lines_are_refused(tmp_path: Path, change: dict) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(result(1).as_json()) + "\n" + json.dumps(result(2).as_json() | change) + "\n")
    with pytest.raises(ResultsError, match="line 2"):
        list(read_lines(path))
    with pytest.raises(ResultsError, match="line 2"):
        ResultStore(path)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_file_cut_anywhere_keeps_every_whole_line_and_goes_on(tmp_path_factory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("cut") / "results.jsonl"
    with ResultStore(path) as store:
        for number in range(3):
            store.append(result(number))
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    with ResultStore(path) as store:
        assert [r.key.episode_id for r in store.results] == list(range(whole))
        for number in range(whole, 3):
            store.append(result(number))
    assert path.read_bytes() == content


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultStore(path), pytest.raises(ResultsError, match="another evaluation"):
        ResultStore(path)
    ResultStore(path).close()


def test_duplicates_are_counted_and_contradictions_refused() -> None:
    collected = collect([result(2), result(1), result(2, seconds=9.0, host="other")])
    assert [r.key.episode_id for r in collected.results] == [1, 2] and collected.duplicates == 1
    with pytest.raises(ResultsError, match="two different results"):
        collect([result(1), result(1, last=False)])


def test_on_the_wall_clock_nothing_repeats_exactly() -> None:
    first, second = result(1, clock="wall"), result(1, clock="wall", last=False)
    assert collect([first, second]).results == [first]


def test_a_result_replaces_an_error_and_never_the_other_way_round() -> None:
    good, bad = result(1), result(1, status="error")
    assert collect([bad, good]).results == [good] == collect([good, bad]).results
    assert collect([bad, bad]).results == [bad]


def test_keys_that_differ_in_anything_are_different_episodes() -> None:
    key = result(1).key
    others = [replace(key, **{name: "x"}) for name in ("suite", "task", "variant", "policy", "configuration", "code")]
    others += [replace(key, episode_id=2), replace(key, seed=1)]
    assert len({key, *others}) == 9
    assert len({k.name for k in (key, *others)}) == 9
    assert "/" not in replace(key, task="a/b:c").name


def test_record_round_trip_and_refusals(tmp_path: Path) -> None:
    record = EpisodeRecord(
        np.ones((3, 7)),
        np.array([True, False, True]),
        np.zeros(3),
        np.zeros(3, dtype=bool),
        np.array([0, 2]),
        np.array([1.5, 2.5]),
    )
    path = tmp_path / "a.npz"
    record.write(path)
    again = EpisodeRecord.read(path)
    assert all(np.array_equal(getattr(record, name), getattr(again, name)) for name in vars(record))
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    replace(record, actions=np.full((3, 7), np.nan)).write(path)
    with pytest.raises(ResultsError, match="finite"):
        EpisodeRecord.read(path)
    for content in (b"", b"nonsense", b"PK\x03\x04broken"):
        path.write_bytes(content)
        with pytest.raises(ResultsError, match="not the record"):
            EpisodeRecord.read(path)
    with pytest.raises(ResultsError, match="not the record"):
        EpisodeRecord.read(tmp_path / "missing.npz")
