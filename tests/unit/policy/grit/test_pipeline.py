"""The pipeline from pairs to records: rules, readers, detectors, and runs that are killed and go on."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from magma_contracts.grounding import Grounding
from magma_policy.commands.grit import GritConfig, make, table
from magma_policy.errors import CommandError
from magma_policy.files.image_files import encoded_png
from magma_policy.grit import run as grit_run
from magma_policy.grit.detectors import Found, PointingModel, SceneOracle, ZeroShotDetector, by_phrase, joined
from magma_policy.grit.pairs import Pair, pairs_of, shards_of
from magma_policy.grit.phrases import Parser, parser_name
from magma_policy.grit.pipeline import Pipeline, SelectionSettings
from magma_policy.grit.rendered import describe
from magma_policy.grit.run import GritRun, Worker, detector_content, records, run
from magma_policy.grounding.expressions import Thing, expressions
from tests.unit.policy.grit.test_records import PUBLISHED

pytest.importorskip("spacy")
PNG = encoded_png(np.full((40, 60, 3), 90, dtype=np.uint8))
CAPTION = "a dog in a field of flowers"


class Scripted:
    """Finds what it was told to, by phrase."""

    name, threshold = "scripted", 0.65

    def __init__(self, **found: list[tuple[tuple[float, float, float, float], float]]) -> None:
        self._found, self.asked = {name.replace("_", " "): rows for name, rows in found.items()}, []

    def ground(self, image, phrases, key):
        self.asked.append(list(phrases))
        return [Found(n, box, score) for n, phrase in enumerate(phrases) for box, score in self._found.get(phrase, [])]


@pytest.fixture(scope="module")
def parser():
    return Parser()


def made(parser, detector, caption=CAPTION, **settings):
    counts = Counter()
    pipeline = Pipeline(parser, detector, SelectionSettings(**settings))
    found = [record for _, record in pipeline.records([Pair("k", caption, PNG)], counts)]
    return found, counts


A, B, NEAR_A = (0.1, 0.1, 0.4, 0.4), (0.5, 0.5, 0.9, 0.9), (0.1, 0.1, 0.4, 0.41)


def test_the_boxes_of_a_chunk_go_to_its_expression(parser):
    (record,), counts = made(parser, Scripted(a_dog=[(A, 0.9)], a_field=[(B, 0.7)]))
    assert [one.as_row() for one in record.chunks] == [[0, 5, *A, 0.9], [9, 16, *B, 0.7]]
    assert [one.as_row() for one in record.expressions] == [[0, 27, *A, 0.9], [9, 27, *B, 0.7]]
    assert record.size == (60, 40)
    assert (counts["contained expressions"], counts["dropped chunk: not found"]) == (1, 1)


def test_contained_expressions_can_be_left_out(parser):
    (record,), _ = made(parser, Scripted(a_dog=[(A, 0.9)], a_field=[(B, 0.7)]), contained=False)
    assert [(one.start, one.end) for one in record.expressions] == [(0, 27)]


def test_of_boxes_of_different_phrases_that_overlap_the_surest_stays(parser):
    (record,), counts = made(parser, Scripted(a_dog=[(A, 0.7)], flowers=[(NEAR_A, 0.9)]))
    assert [(one.start, one.end) for one in record.chunks] == [(20, 27)]
    assert counts["dropped box: overlaps a surer one"] == 1
    (record,), _ = made(parser, Scripted(a_dog=[(A, 0.7)], flowers=[(NEAR_A, 0.9)]), overlap=1.0)
    assert len(record.chunks) == 2


LEFT, RIGHT = "the block on the left of the plate", "the block on the right of the plate"


def test_of_several_boxes_of_a_chunk_those_of_its_expression_stay(parser):
    detector = Scripted(the_block=[(A, 0.9), (B, 0.8)], the_block_on_the_left_of_the_plate=[(NEAR_A, 0.7)])
    (record,), counts = made(parser, detector, LEFT)
    assert [one.as_row() for one in record.chunks] == [[0, 9, *A, 0.9]]
    assert [one.as_row() for one in record.expressions] == [[0, len(LEFT), *A, 0.9]]
    assert detector.asked == [["the block", "the plate"], [LEFT]] and counts["dropped box: not of the expression"] == 1
    (record,), _ = made(parser, detector, LEFT, agreement=False)
    assert len(record.expressions) == 2


@pytest.mark.parametrize(
    "said", [[], [((0.0, 0.6, 0.3, 0.9), 0.9)], [(A, 0.6)]], ids=["nothing", "elsewhere", "unsure"]
)
def test_an_expression_that_the_detector_does_not_find_says_nothing_about_its_boxes(parser, said):
    detector = Scripted(the_block=[(A, 0.9), (B, 0.8)], the_block_on_the_left_of_the_plate=said)
    (record,), counts = made(parser, detector, LEFT)
    assert len(record.expressions) == 2 and counts["dropped box: not of the expression"] == 0


def test_the_detector_is_asked_once_where_no_expression_can_say_more(parser):
    for caption, found in ((LEFT, [(A, 0.9), (NEAR_A, 0.8), (B, 0.3)]), ("the block", [(A, 0.9), (B, 0.9)])):
        detector = Scripted(the_block=found)
        made(parser, detector, caption)
        assert len(detector.asked) == 1, caption


def test_things_of_one_name_each_get_the_box_that_their_expression_means(parser):
    detector = Scripted(
        the_block=[(A, 0.9), (B, 0.9)],
        the_block_on_the_left_of_the_plate=[(A, 0.9)],
        the_block_on_the_right_of_the_plate=[(B, 0.9)],
    )
    (record,), _ = made(parser, detector, f"{LEFT} is next to {RIGHT}")
    own = {record.caption[one.start : one.end]: one.box for one in record.expressions}
    assert own[RIGHT] == B and len(record.expressions) == 2


def test_of_equally_sure_boxes_that_of_the_phrase_that_says_more_stays(parser):
    detector = Scripted(the_block=[(A, 0.9), (B, 0.9)], the_red_block=[(A, 0.9)])
    for caption in ("the block and the red block", "the red block and the block"):
        (record,), _ = made(parser, detector, caption)
        assert {caption[one.start : one.end]: one.box for one in record.chunks} == {"the red block": A, "the block": B}


def test_the_threshold_is_the_detectors_own_unless_told(parser):
    detector = Scripted(a_dog=[(A, 0.65), (B, 0.6499)])
    (record,), counts = made(parser, detector)
    assert len(record.chunks) == 1 and counts["dropped box: below the threshold"] == 1
    assert len(made(parser, detector, threshold=0.5)[0][0].chunks) == 2


@pytest.mark.parametrize(
    ("caption", "settings", "reason"),
    [
        (CAPTION, {}, "dropped picture: no box"),
        ("it is love", {}, "dropped picture: nothing to look for"),
        (CAPTION, {"smallest_side": 41}, "dropped picture: too small"),
    ],
)
def test_a_picture_without_a_box_is_dropped_and_counted(parser, caption, settings, reason):
    found, counts = made(parser, Scripted(), caption, **settings)
    assert found == [] and counts[reason] == 1 and counts["records"] == 0


def test_pronouns_and_places_are_not_asked_for(parser):
    detector = Scripted()
    made(parser, detector, "the carrot on the left and it is what we love")
    assert detector.asked == [["the carrot"]]


def test_a_picture_that_cannot_be_read_is_counted(parser):
    counts = Counter()
    assert not list(Pipeline(parser, Scripted()).records([Pair("k", CAPTION, b"\xff\xd8no")], counts))
    assert counts["dropped picture: cannot be read"] == 1


# Readers.


def _tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_folders_tars_and_parquet_hold_the_same_pairs(tmp_path):
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    for name in ("a", "sub/b", "c"):
        (folder / f"{name}.png").write_bytes(PNG)
    (folder / "a.txt").write_text("a dog")
    (folder / "captions.jsonl").write_text('{"file_name": "sub/b.png", "caption": "a cat"}\n')
    files = {"a.png": PNG, "a.txt": b"a dog", "sub/b.json": b'{"caption": "a cat", "id": 7}', "sub/b.png": PNG,
             "c.png": PNG, "d.txt": b"no picture"}  # fmt: skip
    tar = _tar(tmp_path / "s.tar", files)
    table_ = pa.table({"key": ["a", "sub/b", "c", "d"], "caption": ["a dog", "a cat", None, "no picture"],
                       "jpg": [PNG, PNG, PNG, None]})  # fmt: skip
    parquet.write_table(table_, tmp_path / "p.parquet")
    for source in (folder, tar, tmp_path / "p.parquet"):
        dropped = Counter()
        (shard,) = shards_of((source,))
        found = [(pair.key, pair.caption) for pair in pairs_of(shard, dropped)]
        assert found == [("a", "a dog"), ("sub/b", "a cat")], source
        assert dropped["pair: no caption"] == 1


def test_a_shard_that_is_cut_off_is_an_error_in_a_sentence(tmp_path):
    for name, data in (("x.tar", b"no tar" * 200), ("y.parquet", b"PAR1")):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(CommandError, match=f"{name}: cannot be read as"):
            list(pairs_of(shards_of((path,))[0], Counter()))
    with pytest.raises(CommandError, match="no such file or folder"):
        shards_of((tmp_path / "nowhere",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CommandError, match="neither pictures"):
        shards_of((tmp_path / "empty",))


def test_what_cannot_be_written_is_left_out_and_counted(tmp_path, parser):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.png").write_bytes(PNG)
    (folder / os.fsdecode(b"d\xff.png")).write_bytes(PNG)
    (folder / os.fsdecode(b"d\xff.txt")).write_text("a dog")
    (folder / "a.json").write_text('{"caption": "a dog \\ud83d"}')
    (folder / "b.json").write_text(
        json.dumps({"caption": CAPTION, "url": "\ud83d", "id": 10**400, "clip_similarity_x": float("nan")})
    )
    (folder / "e.png").mkdir()
    (folder / "f.tar").mkdir()
    dropped = Counter()
    (shard,) = shards_of((folder,))
    (pair,) = pairs_of(shard, dropped)
    assert pair.key == "b"
    assert dropped == {
        "pair: half a character in the caption": 1,
        "pair: half a character in the name": 1,
        "pair: no caption": 1,
    }
    ((_, record),) = Pipeline(parser, Scripted(a_dog=[(A, 0.9)])).records([pair], Counter())
    assert (record.url, record.id, record.similarities) == ("", None, ())


def test_a_tar_gives_what_pairs_are_made_of_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr("magma_policy.grit.pairs.LARGEST_TEXT", 100)
    files = {"a.png": PNG, "a.txt": b"a dog", "a.npy": b"x" * 1000, "b.png": PNG, "b.txt": b"a" * 101,
             "c.png": PNG, "c.txt": b"a cat", "c.json": b'{"key": "c.1"}', "d.npy": b"x"}  # fmt: skip
    dropped = Counter()
    found = [(pair.key, pair.caption) for pair in pairs_of(*shards_of((_tar(tmp_path / "s.tar", files),)), dropped)]
    assert found == [("a", "a dog"), ("c.1", "a cat")]
    assert dropped == {"pair: file too large": 1, "pair: no picture": 1}


# Published shards.


def test_published_shards_are_read_and_what_is_missing_is_counted(tmp_path, capsys):
    rows = [PUBLISHED, PUBLISHED | {"key": "gone", "id": 2}, PUBLISHED | {"key": "x", "id": 77},
            PUBLISHED | {"key": "bad", "width": 0}, PUBLISHED | {"key": "broken", "id": 4}]  # fmt: skip
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "coyo_0_snappy.parquet")
    pictures = tmp_path / "pictures"
    (pictures / "00000").mkdir(parents=True)
    (pictures / "00000/000373938.png").write_bytes(PNG)
    (pictures / "77.jpg").write_bytes(PNG)
    (pictures / "broken.jpg").write_bytes(b"nothing")
    config = GritConfig((tmp_path / "coyo_0_snappy.parquet",), tmp_path / "out", published=True, pictures=pictures,
                        tars=True)  # fmt: skip
    assert make(config) == 0
    assert [record.key for record in records(tmp_path / "out")] == ["000373938", "x"]
    assert next(records(tmp_path / "out")).as_json() == PUBLISHED
    shown = capsys.readouterr().out
    for line in ("5  pairs", "2  records", "1  dropped picture: missing", "1  dropped record: width",
                 "1  dropped picture: cannot be read"):  # fmt: skip
        assert line in shown
    # The tar shard holds all that is needed, and is read as a published shard itself.
    again = GritConfig((tmp_path / "out/shards",), tmp_path / "again", published=True, samples=0)
    assert make(again) == 0
    assert list(records(tmp_path / "again")) == list(records(tmp_path / "out"))


def test_keys_that_differ_in_their_dots_alone_stay_apart_in_tars(tmp_path):
    rows = [PUBLISHED | {"key": key} for key in ("a.b", "a_b", "long " * 60)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    (tmp_path / "pictures").mkdir()
    (tmp_path / f"pictures/{PUBLISHED['id']}.png").write_bytes(PNG)
    run(GritRun((tmp_path / "x.parquet",), tmp_path / "out", "published", tmp_path / "pictures", tars=True), 1)
    run(GritRun((tmp_path / "out/shards",), tmp_path / "again", "published"), 1)
    assert [one.key for one in records(tmp_path / "again")] == [row["key"] for row in rows]


# Runs.


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Seven pictures, in shards of two."""
    monkeypatch.setattr("magma_policy.grit.pairs.PER_PART", 2)
    place = tmp_path / "pairs"
    place.mkdir()
    for number in range(7):
        (place / f"{number}.png").write_bytes(PNG)
        (place / f"{number}.txt").write_text(f"a dog in field {number}" if number != 3 else "it")
    return place


def written(out: Path) -> dict[str, bytes]:
    """Every file of an output."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def _scripted(monkeypatch):
    monkeypatch.setattr("magma_policy.grit.run.detector_of", lambda config, shards: Scripted(a_dog=[(A, 0.9)]))


def test_a_run_that_is_killed_goes_on_and_ends_alike(tmp_path, folder, monkeypatch):
    _scripted(monkeypatch)
    whole = GritRun((folder,), tmp_path / "whole", tars=True, sequences=True, samples=3)
    counts = run(whole, 1)
    assert (counts["pairs"], counts["records"]) == (7, 6)
    cut = GritRun((folder,), tmp_path / "cut", tars=True, sequences=True, samples=3)
    drawing, done = Worker.shard, []

    def dies(self, number):
        if len(done) == 2:
            # As a kill between two files leaves it: records, but no counts.
            (tmp_path / "cut/records/part-000002.jsonl").write_text("half a li")
            raise KeyboardInterrupt
        done.append(number)
        drawing(self, number)

    monkeypatch.setattr(Worker, "shard", dies)
    with pytest.raises(KeyboardInterrupt):
        run(cut, 1)
    monkeypatch.setattr(Worker, "shard", drawing)
    assert run(cut, 1) == counts
    assert written(tmp_path / "cut") == written(tmp_path / "whole")
    assert len(list((tmp_path / "whole/samples").glob("*.png"))) == 3


def test_several_processes_end_as_one_does(tmp_path):
    things = (Thing("carrot", "orange", A), Thing("plate", "blue", B))
    folder = scenes_of(tmp_path / "scenes", [things, things[:1]])
    one = run(GritRun((folder,), tmp_path / "one"), 1)
    assert run(GritRun((folder,), tmp_path / "two"), 2) == one
    assert one["records"] == 4
    assert written(tmp_path / "one") == written(tmp_path / "two")


def scenes_of(folder: Path, scenes: list[tuple[Thing, ...]], files: int = 2) -> Path:
    """A set of rendered scenes of equal files."""
    (folder / "scenes").mkdir(parents=True)
    (folder / "card.json").write_text(json.dumps({"format_version": 1, "split": "train"}))
    rows = [(number, thing) for number, scene in enumerate(scenes) for thing in scene]
    for file in range(files):
        np.savez(
            folder / f"scenes/{file}.npz",
            images=np.full((len(scenes), 32, 32, 3), 80, dtype=np.uint8),
            scene=np.array([number for number, _ in rows], dtype=np.int32),
            kind=np.array([thing.kind for _, thing in rows]),
            colour=np.array([thing.colour for _, thing in rows]),
            box=np.array([thing.box for _, thing in rows], dtype=np.float32),
            clicks=np.full((len(rows), 12, 2), 0.3, dtype=np.float32),
        )
    return folder


def test_other_pairs_or_rules_are_not_mixed_into_a_run(tmp_path, folder, monkeypatch):
    _scripted(monkeypatch)
    run(GritRun((folder,), tmp_path / "out"), 1)
    with pytest.raises(CommandError, match=r"another run \(selection are others\)"):
        run(GritRun((folder,), tmp_path / "out", selection=SelectionSettings(overlap=0.9)), 1)
    monkeypatch.setattr("magma_policy.grit.run.parser_name", lambda name: "en_other 1.0")
    with pytest.raises(CommandError, match=r"another run \(parser are others\)"):
        run(GritRun((folder,), tmp_path / "out"), 1)
    monkeypatch.undo()
    monkeypatch.setattr("magma_policy.grit.pairs.PER_PART", 2)
    before = [shard.identity for shard in shards_of((folder,))]
    (folder / "0.txt").write_text("another caption")
    assert [old == shard.identity for old, shard in zip(before, shards_of((folder,)), strict=True)] == [
        False, True, True, True
    ]  # fmt: skip
    (folder / "captions.jsonl").write_text("")
    assert not {shard.identity for shard in shards_of((folder,))} & set(before)
    (folder / "0.png").write_bytes(PNG + b" ")
    with pytest.raises(CommandError, match=r"another run \(shards are others\)"):
        run(GritRun((folder,), tmp_path / "out"), 1)
    with pytest.raises(CommandError, match="is not empty"):
        run(GritRun((folder,), folder), 1)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"threshold": 1.5}, "--threshold"), ({"overlap": 0.0}, "--overlap"), ({"processes": 0}, "--processes"),
        ({"smallest_side": -1}, "--smallest-side"), ({"pictures": Path("x")}, "--pictures"),
    ],
)  # fmt: skip
def test_options_out_of_range(more, told):
    with pytest.raises(ValueError, match=told):
        GritConfig((Path("x"),), Path("y"), **more)


@pytest.mark.parametrize(
    "more",
    [{"drop_contained": True}, {"threshold": 0.3}, {"overlap": 0.4}, {"smallest_side": 9}, {"detector": "x"},
     {"spacy_model": "x"}, {"expand_conjoined": True}, {"agreement": False}],
)  # fmt: skip
def test_published_records_are_not_chosen_anew(more):
    with pytest.raises(ValueError, match=f"--{next(iter(more)).replace('_', '-')} is for making records"):
        GritConfig((Path("x"),), Path("y"), published=True, **more)


def test_a_detector_in_a_folder_is_known_by_its_files(tmp_path):
    assert detector_content("oracle") == detector_content("somebody/model") == ""
    (tmp_path / "config.json").write_text("{}")
    one = detector_content(str(tmp_path))
    (tmp_path / "config.json").write_text("{ }")
    assert one and detector_content(str(tmp_path)) != one
    with pytest.raises(CommandError, match="--detector kosmos2:"):
        detector_content(f"kosmos2:{tmp_path}/nowhere")


def test_a_parser_is_named_without_loading_it(parser):
    assert parser_name("") == parser.name
    with pytest.raises(CommandError, match="--spacy-model nowhere"):
        parser_name("nowhere")


def test_one_run_at_a_time_in_a_folder(tmp_path, folder, monkeypatch):
    _scripted(monkeypatch)
    config = GritRun((folder,), tmp_path / "out")
    told = []

    def second(done, total):
        with pytest.raises(CommandError, match="another run is under way"):
            run(config, 1)
        told.append(done)

    (tmp_path / "out").mkdir()
    (tmp_path / "out/card.json.partial").write_text('{"form')  # as a kill leaves it
    run(config, 1, second)
    assert told == [0, 1, 2, 3, 4] and not (tmp_path / "out/card.json.partial").exists()


def test_an_error_in_making_a_worker_is_told_in_its_own_words(tmp_path, folder, monkeypatch):
    def fails(config, shards):
        raise CommandError("--detector x: there is none")

    monkeypatch.setattr("magma_policy.grit.run.detector_of", fails)
    config = GritRun((folder,), tmp_path / "out")
    grit_run._start(config, shards_of((folder,)))
    with pytest.raises(CommandError, match="--detector x: there is none"):
        grit_run._work(0)

    class Pool(ThreadPoolExecutor):
        def submit(self, *work):
            found = Future()
            found.set_exception(BrokenProcessPool("a child process terminated abruptly"))
            return found

    monkeypatch.setattr("magma_policy.grit.run.ProcessPoolExecutor", lambda count, *rest: Pool(count))
    with pytest.raises(CommandError, match="ended from outside"):
        run(config, 2)


def test_counts_are_a_table():
    assert table(Counter({"pairs": 3, "records": 2, "dropped picture: no box": 1}))[0].split() == ["3", "pairs"]


# Detectors.


def test_the_oracle_knows_scenes_by_phrases_alone():
    things = (Thing("block", "green", A), Thing("block", "red", B))
    oracle = SceneOracle({"k": things})
    found = oracle.ground(np.empty(0), ["the block", "the red block", "a cat"], "k")
    assert [(one.phrase, one.box) for one in found] == [(0, A), (0, B), (1, B)]
    with pytest.raises(CommandError, match="none of the oracle's scenes"):
        oracle.ground(np.empty(0), ["x"], "other")


def test_a_model_that_points_is_a_detector():
    asked = []

    class Points:
        def ground(self, image, phrases, which="one"):
            asked.append((list(phrases), which))
            return [Grounding(p, np.array([A, (0.5, 0.5, 0.5, 0.9)]), np.array([0.8, 0.3]), 0.5) for p in phrases]

    found = PointingModel(Points(), "m").ground(np.zeros((4, 4, 3), np.uint8), ["a", "b"], "k")
    assert asked == [(["a", "b"], "all")]
    assert [(one.phrase, one.box, one.score) for one in found] == [(0, A, 0.4), (1, A, 0.4)]


def test_phrases_are_told_apart_by_the_places_of_their_tokens():
    """ "a dog" is in both, so no comparison of texts could tell."""
    text, spans = joined(["A dog", "a dog. house", "x" * 5])
    assert text == "a dog. a dog house. xxxxx." and [text[s:e] for s, e in spans] == ["a dog", "a dog house", "xxxxx"]
    offsets = [(0, 0), (0, 1), (2, 5), (5, 6), (7, 8), (9, 12), (13, 18), (18, 19), (20, 25)]
    likely = np.zeros((2, 8))  # the last token was cut off
    likely[0, 2], likely[1, 6], likely[1, 3] = 0.9, 0.8, 0.99
    np.testing.assert_array_equal(by_phrase(likely, offsets, spans), [[0.9, 0, 0], [0, 0.8, 0]])


@pytest.mark.parametrize("kind", ["owlv2", "owlvit"])
def test_a_detector_of_queries_gives_each_box_to_its_best_phrase(kind):
    import torch

    class Inputs(dict):
        def to(self, device):
            return self

    logits = torch.tensor([[[2.0, -3.0], [-9.0, -9.0], [0.0, 1.0]]])
    boxes = torch.tensor([[[0.25, 0.25, 0.2, 0.2], [0.5, 0.5, 0.1, 0.1], [0.4, 0.4, 0.2, 0.2]]])

    class Model:
        config, device = SimpleNamespace(model_type=kind), "cpu"

        def __call__(self, **inputs):
            return SimpleNamespace(logits=logits, pred_boxes=boxes)

    detector = ZeroShotDetector(Model(), lambda **inputs: Inputs(), "owl")
    found = detector.ground(np.zeros((50, 100, 3), np.uint8), ["A", "B"], "k")
    assert [one.phrase for one in found] == [0, 1]
    assert [one.score for one in found] == pytest.approx([0.8808, 0.7311], abs=1e-4)
    # OWLv2 sees a square of which this picture fills the upper half.
    wanted = (0.15, 0.3, 0.35, 0.7) if kind == "owlv2" else (0.15, 0.15, 0.35, 0.35)
    assert found[0].box == pytest.approx(wanted)
    # A box far below the model's own threshold is only told to who asks for it.
    logits[0, 1, 0] = -6.0
    assert len(detector.ground(np.zeros((50, 100, 3), np.uint8), ["A", "B"], "k")) == 2
    lower = ZeroShotDetector(Model(), lambda **inputs: Inputs(), "owl", 0.002)
    assert len(lower.ground(np.zeros((50, 100, 3), np.uint8), ["A", "B"], "k")) == 3
    Model.config = SimpleNamespace(model_type="detr")
    with pytest.raises(CommandError, match="a detr is no detector that is known"):
        ZeroShotDetector(Model(), None, "m")


# Captions of rendered scenes.


def test_captions_of_scenes_say_what_stands_there():
    things = (Thing("block", "green", A), Thing("block", "red", B), Thing("spoon", "grey", (0.5, 0.1, 0.6, 0.3)))
    seen = set()
    for number in range(40):
        told = describe(things, f"scene-{number}")
        assert told is not None and told.text == describe(things, f"scene-{number}").text
        seen.add(told.text.split()[0])
        for one in told.meant:
            words = told.text[one.start : one.end]
            assert words in expressions(things, one.thing), (told.text, words)
            assert told.text[one.start : one.chunk_end] in words
    assert {"a", "the"} <= seen
    assert describe((), "k") is None
