"""LeRobot datasets: what is written is read again, what others write is read, and what does not fit is told."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from PIL import Image

from magma_data import layout, pictures, statistics, tables
from magma_data.errors import DatasetError
from magma_data.info import Feature, Info
from magma_data.json_files import read_lines
from magma_data.reader import Dataset, Episode
from magma_data.writer import DatasetWriter

FPS = 5.0
CAMERA = "observation.images.front"
FEATURES = {
    CAMERA: Feature("image", (6, 8, 3), ("height", "width", "channels")),
    "observation.state": Feature("float32", (3,), ("x", "y", "z")),
    "action": Feature("float64", (2,)),
    "magma.marks": Feature("float32", (4, 2)),
    "magma.weight": Feature("float32", (1,)),
    "magma.operator": Feature("bool", (1,)),
    "magma.intervention": Feature("int32", (1,)),
    "subtask": Feature("string", (1,)),
}


def episode(length: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    marks = rng.normal(size=(length, 4, 2)).astype(np.float32)
    marks[0, 1] = np.nan
    return {
        CAMERA: rng.integers(0, 256, (length, 6, 8, 3), dtype=np.uint8),
        "observation.state": rng.normal(size=(length, 3)).astype(np.float32),
        "action": rng.normal(size=(length, 2)),
        "magma.marks": marks,
        "magma.weight": rng.uniform(size=length).astype(np.float32),
        "magma.operator": rng.uniform(size=length) > 0.5,
        "magma.intervention": np.arange(length, dtype=np.int32) - 1,
        "subtask": np.array([f"part {n}" for n in range(length)]),
    }


def written(folder: Path, lengths=(3, 5, 4), flush_each=False) -> list[dict[str, np.ndarray]]:
    writer = DatasetWriter(folder, FPS, FEATURES, "arm")
    made = []
    for number, length in enumerate(lengths):
        made.append(episode(length, number))
        writer.add(made[-1], f"task {number % 2}", {"name": f"e-{number}"})
        if flush_each:
            writer.flush()
    writer.flush({"format_version": 2})
    return made


def same(dataset: Dataset, made: list[dict[str, np.ndarray]]) -> None:
    assert [one.length for one in dataset.episodes] == [len(one["action"]) for one in made]
    for one, values in zip(dataset.episodes, made, strict=True):
        found = dataset.read(one, [name for name in values if name != CAMERA])
        for name, array in found.items():
            assert array.dtype == np.dtype(values[name].dtype), name
            np.testing.assert_array_equal(array.reshape(values[name].shape), values[name], err_msg=name)
        np.testing.assert_array_equal(np.stack([*dataset.pictures(one, CAMERA)]), values[CAMERA])


@pytest.mark.parametrize("flush_each", [False, True])
def test_what_is_written_is_read_to_the_bit(tmp_path, flush_each):
    made = written(tmp_path, flush_each=flush_each)
    dataset = Dataset(tmp_path)
    same(dataset, made)
    assert [one.tasks for one in dataset.episodes] == [("task 0",), ("task 1",), ("task 0",)]
    assert [one.name for one in dataset.episodes] == ["e-0", "e-1", "e-2"]
    assert dataset.card == {"format_version": 2}
    assert len({one.data for one in dataset.episodes}) == (3 if flush_each else 1)
    rows = [2, 4]
    np.testing.assert_array_equal(
        np.stack([*dataset.pictures(dataset.episodes[1], CAMERA, rows)]), made[1][CAMERA][rows]
    )


def test_files_columns_and_entries_are_those_of_the_published_format(tmp_path):
    written(tmp_path)
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {
        "meta/info.json", "meta/stats.json", "meta/tasks.parquet", "meta/episodes/chunk-000/file-000.parquet",
        "data/chunk-000/file-000.parquet", "meta/magma.json", "meta/magma_episodes.jsonl",
    }  # fmt: skip
    info = json.loads((tmp_path / layout.INFO).read_text())
    assert info["codebase_version"] == "v3.0" and info["fps"] == 5 and isinstance(info["fps"], int)
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 12, 2)
    assert info["data_path"] == "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    assert info["video_path"] is None and info["splits"] == {"train": "0:3"} and info["robot_type"] == "arm"
    assert info["features"][CAMERA] == {
        "dtype": "image", "shape": [6, 8, 3], "names": ["height", "width", "channels"],
    }  # fmt: skip
    assert info["features"]["timestamp"] == {"dtype": "float32", "shape": [1], "names": None}
    data = pq.read_table(tmp_path / "data/chunk-000/file-000.parquet")
    assert data.schema.field(CAMERA).type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    assert data.schema.field("observation.state").type == pa.list_(pa.float32(), 3)
    assert data.column("index").to_pylist() == list(range(12))
    assert data.column("episode_index").to_pylist() == [0] * 3 + [1] * 5 + [2] * 4
    np.testing.assert_allclose(data.column("timestamp").to_numpy()[3:8], np.arange(5) / FPS)
    known = json.loads(data.schema.metadata[b"huggingface"])["info"]["features"]
    assert known[CAMERA] == {"_type": "Image"} and known["magma.marks"]["_type"] == "Array2D"
    episodes = pq.read_table(tmp_path / "meta/episodes/chunk-000/file-000.parquet")
    wanted = {"episode_index", "tasks", "length", "data/chunk_index", "data/file_index", "dataset_from_index",
              "dataset_to_index", "meta/episodes/chunk_index", "meta/episodes/file_index", "stats/action/min",
              "stats/action/q01", "stats/action/count"}  # fmt: skip
    assert wanted <= set(episodes.column_names)
    assert episodes.column("dataset_to_index").to_pylist() == [3, 8, 12]
    tasks = pq.read_table(tmp_path / layout.TASKS)
    assert tasks.to_pydict() == {"task_index": [0, 1], "task": ["task 0", "task 1"]}
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_statistics_are_those_of_all_frames(tmp_path):
    made = written(tmp_path)
    told = json.loads((tmp_path / layout.STATS).read_text())
    every = np.concatenate([one["action"] for one in made])
    for key, value in (("min", every.min(0)), ("max", every.max(0)), ("mean", every.mean(0)), ("std", every.std(0))):
        np.testing.assert_allclose(told["action"][key], value, rtol=1e-9)
    assert told["action"]["count"] == [12]
    pictures = np.concatenate([one[CAMERA] for one in made]) / 255.0
    np.testing.assert_allclose(np.array(told[CAMERA]["mean"]).reshape(3), pictures.mean((0, 1, 2)), rtol=1e-9)
    assert np.array(told[CAMERA]["std"]).shape == (3, 1, 1)
    assert "subtask" not in told and np.isfinite(told["magma.marks"]["mean"]).all()


@given(arrays_of.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.just(3))))
def test_statistics_of_pictures_are_those_of_their_numbers(shown):
    found = statistics.of_episode({CAMERA: shown}, {CAMERA: Feature("image", shown.shape[1:])})[CAMERA]
    numbers = shown.reshape(-1, 3) / 255.0
    known = {"min": numbers.min(0), "max": numbers.max(0), "mean": numbers.mean(0), "std": numbers.std(0)}
    known |= {name: np.quantile(numbers, share, axis=0) for name, share in statistics.QUANTILES.items()}
    for name, value in known.items():
        np.testing.assert_allclose(found[name], value.reshape(3, 1, 1), atol=1e-12)
    assert found["count"] == [len(shown)]


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_a_picture_whose_white_nobody_knows_is_refused(mode):
    kind, out = ("PNG" if mode == "I;16" else "TIFF"), io.BytesIO()
    Image.new(mode, (8, 6)).save(out, kind)
    with pytest.raises(ValueError, match="says which one is white"):
        pictures.decoded(out.getvalue(), 6, 8)


def test_what_lies_under_transparent_pixels_is_not_shown():
    hidden = np.zeros((6, 8, 4), np.uint8)
    hidden[..., 0], hidden[:3, :, 3] = 255, 255
    out = io.BytesIO()
    Image.fromarray(hidden, "RGBA").save(out, "PNG")
    shown = pictures.decoded(out.getvalue(), 6, 8)
    assert (shown[:3] == (255, 0, 0)).all() and (shown[3:] == 255).all()


def test_a_feature_that_is_never_known_has_no_statistics():
    values = {"a": np.full((4, 2), np.nan), "b": np.array([1.0, np.nan, 3.0])}
    found = statistics.of_episode(values, {"a": Feature("float64", (2,)), "b": Feature("float64", (1,))})
    assert set(found) == {"b"} and found["b"]["mean"] == 2.0
    assert set(statistics.of_all([found, {}])) == set()


def test_films_are_read_by_their_times(tmp_path):
    features = {CAMERA: Feature("video", (16, 16, 3)), "action": Feature("float32", (2,))}
    writer = DatasetWriter(tmp_path, FPS, features)
    for seed in range(2):
        shades = np.linspace(20 + seed, 230, 7).astype(np.uint8)
        frames = np.broadcast_to(shades[:, None, None, None], (7, 16, 16, 3))
        writer.add({CAMERA: frames, "action": np.zeros((7, 2))}, "move")
    writer.flush()
    dataset = Dataset(tmp_path)
    assert dataset.episodes[1].videos[CAMERA][0] == tmp_path / f"videos/{CAMERA}/chunk-000/file-001.mp4"
    assert dataset.info.video_path == layout.VIDEO
    shown = np.stack([*dataset.pictures(dataset.episodes[1], CAMERA)])
    assert np.abs(shown[:, 3, 3, 0].astype(int) - shades).max() <= 2
    few = np.stack([*dataset.pictures(dataset.episodes[1], CAMERA, [1, 5])])
    np.testing.assert_array_equal(few, shown[[1, 5]])
    film = dataset.episodes[0].videos[CAMERA][0]
    film.write_bytes(film.read_bytes()[:-400])
    with pytest.raises(DatasetError, match=r"file-000\.mp4"):
        list(dataset.pictures(dataset.episodes[0], CAMERA))


def test_version_2_1_is_read(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    made = written(new, flush_each=True)
    (old / "data/chunk-000").mkdir(parents=True)
    (old / "meta").mkdir()
    for number in range(3):
        name = f"data/chunk-000/episode_{number:06d}.parquet"
        shutil.copy(new / f"data/chunk-000/file-{number:03d}.parquet", old / name)
    info = json.loads((new / layout.INFO).read_text()) | {
        "codebase_version": "v2.1", "data_path": layout.DATA_V2, "video_path": layout.VIDEO_V2, "total_chunks": 1,
    }  # fmt: skip
    (old / layout.INFO).write_text(json.dumps(info))
    lengths = [len(one["action"]) for one in made]
    rows = [{"episode_index": n, "tasks": [f"task {n % 2}"], "length": length} for n, length in enumerate(lengths)]
    tasks = [{"task_index": n, "task": f"task {n}"} for n in (0, 1)]
    (old / layout.EPISODES_V2).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (old / layout.TASKS_V2).write_text("".join(json.dumps(task) + "\n" for task in tasks))
    dataset = Dataset(old)
    same(dataset, made)
    assert dataset.tasks == {0: "task 0", 1: "task 1"}
    assert dataset.episodes[2].name == "episode_000002"


def test_a_set_is_gone_on_with_and_what_was_not_finished_goes(tmp_path):
    made = written(tmp_path)
    for path in ("data/chunk-000/file-001.parquet", "meta/episodes/chunk-000/file-001.parquet"):
        shutil.copy(tmp_path / path.replace("001", "000"), tmp_path / path)
    (tmp_path / "meta/episodes/chunk-000/file-001.parquet").unlink()
    with (tmp_path / layout.CARD_EPISODES).open("a") as file:
        file.write('{"episode_index": 3, "na')
    writer = DatasetWriter(tmp_path, FPS, FEATURES, "arm")
    made.append(episode(2, 9))
    writer.add(made[-1], "task 1", {"name": "e-3"})
    writer.flush()
    dataset = Dataset(tmp_path)
    same(dataset, made)
    assert [one.name for one in dataset.episodes] == ["e-0", "e-1", "e-2", "e-3"] and len(dataset.tasks) == 2
    every = np.concatenate([one["action"] for one in made])
    told = json.loads((tmp_path / layout.STATS).read_text())
    np.testing.assert_allclose(told["action"]["std"], every.std(0), rtol=1e-9)
    with pytest.raises(DatasetError, match="choose another folder"):
        DatasetWriter(tmp_path, 10.0, FEATURES)


def test_episodes_of_another_form_are_refused(tmp_path):
    writer = DatasetWriter(tmp_path, FPS, FEATURES)
    good = episode(3)
    with pytest.raises(DatasetError, match="subtask"):
        writer.add({name: value for name, value in good.items() if name != "subtask"}, "t")
    with pytest.raises(DatasetError, match="shape"):
        writer.add(good | {"action": np.zeros((3, 4))}, "t")
    with pytest.raises(DatasetError, match="frames"):
        writer.add(good | {"action": np.zeros((2, 2))}, "t")


BAD_INFO = {
    "codebase_version": ["v2.0", "v9", None, 3, ["v3.0"]],
    "fps": [0, -5, "5", True, None, float("inf"), 1e9],
    "features": [{}, [], None, {"action": 3}, {"../../x": {"dtype": "float32", "shape": [1]}}],
    "total_episodes": [-1, 2, 4, "3", True, 1 << 60],
    "total_frames": [11, 13, None, -1],
    "data_path": [
        "/etc/passwd", "../{chunk_index}", "data/{chunk_index.__class__}", "data/{file_index!r}", "{nope}", "", 3,
        "data/{chunk_index:999999999d}", "data\\{file_index}", "{chunk_index:03d}",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("entry", "value"), [(entry, value) for entry, values in BAD_INFO.items() for value in values])
def test_an_info_that_cannot_be_is_one_sentence(tmp_path, entry, value):
    written(tmp_path)
    path = tmp_path / layout.INFO
    path.write_text(json.dumps(json.loads(path.read_text()) | {entry: value}))
    with pytest.raises(DatasetError) as caught:
        dataset = Dataset(tmp_path)
        dataset.read(dataset.episodes[0], ["action"])
    assert str(caught.value).isprintable() and str(tmp_path) in str(caught.value)


def _column(folder: Path, name: str, change) -> None:
    path = folder / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    place = table.column_names.index(name)
    pq.write_table(table.set_column(place, name, change(table.column(name))), path)


BAD_COLUMNS = {
    "no numbers": ("action", lambda c: pa.array(["x"] * len(c)), "holds string"),
    "one missing": (
        "action",
        lambda c: pa.array([None, *c.to_pylist()[1:]], c.type),
        "without a value|missing|had size=0",
    ),
    "lengths differ": (
        "action",
        lambda c: pa.array([[1.0] * (1 + n % 2) for n in range(len(c))]),
        "expected one length",
    ),
    "another size": ("action", lambda c: pa.array([[1.0] * 5] * len(c)), "shape"),
    "floats for counts": ("frame_index", lambda c: pa.array([0.5] * len(c)), "int64"),
    "another episode": ("episode_index", lambda c: pa.array([1] * len(c), pa.int64()), "in order"),
    "frames out of order": ("frame_index", lambda c: pa.array([0] * len(c), pa.int64()), "in order"),
}


@pytest.mark.parametrize("kind", BAD_COLUMNS)
def test_a_column_that_is_not_what_is_said_of_it_is_told(tmp_path, kind):
    written(tmp_path)
    name, change, words = BAD_COLUMNS[kind]
    _column(tmp_path, name, change)
    dataset = Dataset(tmp_path)
    with pytest.raises(DatasetError, match=words) as caught:
        dataset.read(dataset.episodes[0], ["action"])
    assert "file-000.parquet" in str(caught.value) and str(caught.value).isprintable()


def test_a_picture_of_another_size_or_cut_off_is_told(tmp_path):
    written(tmp_path)
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path, cut, ignore=lambda *_: ["cut"])
    _column(cut, CAMERA, lambda c: pa.array([{"bytes": p["bytes"][:-20], "path": None} for p in c.to_pylist()], c.type))
    dataset = Dataset(cut)
    with pytest.raises(DatasetError, match="frame 0 of episode 1"):
        list(dataset.pictures(dataset.episodes[1], CAMERA))
    other = json.loads((tmp_path / layout.INFO).read_text())
    other["features"][CAMERA]["shape"] = [8, 6, 3]
    (tmp_path / layout.INFO).write_text(json.dumps(other))
    dataset = Dataset(tmp_path)
    with pytest.raises(DatasetError, match="8x6 pixels, but 6x8"):
        list(dataset.pictures(dataset.episodes[0], CAMERA))


def test_a_picture_file_beside_is_read_but_none_outside_of_the_set(tmp_path):
    made = written(tmp_path / "set")
    (tmp_path / "set/images").mkdir()
    (tmp_path / "outside.png").write_bytes(b"secret")

    def beside(column):
        for number, picture in enumerate(column.to_pylist()):
            (tmp_path / f"set/images/{number}.png").write_bytes(picture["bytes"])
        return pa.array([{"bytes": None, "path": f"images/{n}.png"} for n in range(len(column))], column.type)

    _column(tmp_path / "set", CAMERA, beside)
    same(Dataset(tmp_path / "set"), made)
    _column(tmp_path / "set", CAMERA,
            lambda c: pa.array([{"bytes": None, "path": "../outside.png"}] * len(c), c.type))  # fmt: skip
    dataset = Dataset(tmp_path / "set")
    with pytest.raises(DatasetError, match="no file of the set"):
        list(dataset.pictures(dataset.episodes[0], CAMERA))


def test_a_flipped_bit_in_a_data_file_is_never_read_as_something_else(tmp_path):
    made = written(tmp_path, lengths=(4,))
    path = tmp_path / "data/chunk-000/file-000.parquet"
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    told = 0
    for _ in range(150):
        changed = bytearray(whole)
        changed[rng.integers(len(changed))] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(changed))
        try:
            same(Dataset(tmp_path), made)
        except DatasetError as error:
            told += 1
            assert str(error).isprintable()
    # The others fell on what nobody reads: names of writers, and statistics of columns.
    assert told > 50


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_numbers_come_back(tmp_path_factory, data):
    shape = data.draw(arrays_of.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    dtype = data.draw(st.sampled_from(["float32", "float64", "int8", "int64", "uint16", "bool"]))
    length = data.draw(st.integers(1, 5))
    value = data.draw(arrays_of.arrays(dtype, (length, *shape)))
    task = data.draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=0, max_size=20))
    feature = Feature(dtype, shape)
    folder = tmp_path_factory.mktemp("any")
    writer = DatasetWriter(folder, 12.5, {"x": feature})
    with np.errstate(all="ignore"):
        writer.add({"x": value}, task)
    try:
        writer.flush()
    except ValueError:
        # Statistics of numbers that overflow cannot be JSON.
        assert dtype.startswith("float") and np.abs(value[np.isfinite(value)]).max(initial=0) > 1e100
        return
    dataset = Dataset(folder)
    np.testing.assert_array_equal(dataset.read(dataset.episodes[0], ["x"])["x"].reshape(value.shape), value)
    assert dataset.episodes[0].tasks == (task,) and dataset.info.fps == 12.5


def test_a_claim_of_more_than_a_file_can_hold_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1" + b"\0" * 20 + b"PAR1")
    with pytest.raises(DatasetError, match="cut off or damaged"):
        tables.row_count(path)
    with pytest.raises(DatasetError, match="no such file"):
        tables.read(tmp_path / "nowhere", ["a"])


def test_a_column_that_stands_twice_is_not_chosen_from(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "b", "a"]), path)
    with pytest.raises(DatasetError, match="column 'a' 2 times"):
        tables.read(path, ["b", "a"])
    assert tables.read(path, ["b"]).column("b").to_pylist() == [2]


def test_older_sets_may_have_the_channels_first(tmp_path):
    written(tmp_path)
    info = json.loads((tmp_path / layout.INFO).read_text())
    info["features"][CAMERA] |= {"shape": [3, 6, 8], "names": ["channels", "height", "width"]}
    (tmp_path / layout.INFO).write_text(json.dumps(info))
    assert Info.read(tmp_path).features[CAMERA].shape == (6, 8, 3)


def test_a_line_ends_where_json_says(tmp_path):
    task = {"task_index": 0, "task": "put it\u2028there\x85now"}
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(task, ensure_ascii=False) + "\r\n", encoding="utf-8")
    assert list(read_lines(path)) == [task]


def test_a_strangers_name_of_an_episode_is_told_without_what_a_terminal_obeys():
    episode = Episode(3, 1, (), Path("data.parquet"), 0, more={"name": "\x1b[2J\u202egnp"})
    assert episode.title == "episode 3 (\\x1b[2J\\u202egnp)"


_DAMAGED_FOOTERS = """
import sys
from pathlib import Path
from magma_data import tables
from magma_data.errors import DatasetError
whole, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
size = int.from_bytes(whole[-8:-4], "little")
for place in range(len(whole) - 8 - size, len(whole) - 8):
    for change in (1, 2, 16, 255):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
        try:
            tables.read(path, tables.names(path))
        except DatasetError:
            pass
"""


def test_no_damage_of_a_footer_ends_the_process(tmp_path):
    """Some of it the library answers by ending the process, where it is asked about a column."""
    table = pa.table({"task_index": pa.array([0, 1, 2], pa.int64()), "task": pa.array(["a", None, "c"])})
    pq.write_table(table, tmp_path / "whole.parquet")
    command = [sys.executable, "-c", _DAMAGED_FOOTERS, tmp_path / "whole.parquet", tmp_path / "damaged.parquet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
