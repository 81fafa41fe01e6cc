"""Demonstrations as people have them: checked before anything is trained, with file and step; every task is taught."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import zipfile

import numpy as np
import pytest

from magma_contracts.errors import ConfigError
from magma_policy.demonstrations.data_card import DataCard
from magma_policy.demonstrations.episode_file import DemonstrationError
from magma_policy.demonstrations.reader import held_out, held_out_text, is_held_out, read_demonstrations
from magma_policy.files.array_files import ArrayFileError, read_arrays
from magma_policy.training.recipes.robot_actions.trainer import Trainer

STEPS = 5


@pytest.fixture
def three(write_set, tmp_path):
    """A good set, of which the tests spoil something."""
    return write_set(tmp_path / "set", ["carrot-0", "carrot-1", "carrot-2"], steps=STEPS)


def change(folder, name="carrot-1", **arrays):
    """Writes an episode anew with other arrays; None leaves one out."""
    path = folder / "episodes" / f"{name}.npz"
    with np.load(path) as file:
        merged = dict(file) | arrays
    np.savez_compressed(path, **{key: value for key, value in merged.items() if value is not None})
    return path


def at(shape, index, value, base=0.0, dtype=np.float32):
    array = np.full(shape, base, dtype=dtype)
    array[index] = value
    return array


def state(index, value):
    array = np.zeros((STEPS, 16))
    array[:, [3, 10]] = 1.0
    array[index] = value
    return array


BAD = {
    "nan action": ({"actions": at((STEPS, 7), (3, 2), np.nan)}, r"actions is not finite: nan at step 3"),
    "action beyond float32": ({"actions": at((STEPS, 7), (2, 0), 1e300, dtype=np.float64)}, "at step 2"),
    "action in millimetres": ({"actions": at((STEPS, 7), (1, 0), 12.5)}, r"longer than 1 m: 12\.5 at step 1"),
    "rotation in degrees": ({"actions": at((STEPS, 7), (4, 5), 15.0)}, r"half a turn \(rad\): 15 at step 4"),
    "gripper -1..1": ({"actions": at((STEPS, 7), (slice(None), 6), -1)}, r"gripper .*: -1 at step 0, and at 4 more"),
    "actions of eight": ({"actions": np.zeros((STEPS, 8))}, r"actions has shape \(5, 8\)"),
    "a step more": ({"actions": np.zeros((STEPS + 1, 7))}, r"proprioception has shape \(5, 16\), expected \(6"),
    "actions as text": ({"actions": np.full((STEPS, 7), "0.1")}, "actions holds <U3"),
    "no step": ({"actions": np.zeros((0, 7))}, "has no steps"),
    "a number": ({"actions": np.array(3.0)}, "has no steps"),
    "complex state": ({"proprioception": np.zeros((STEPS, 16), complex)}, "proprioception holds complex128"),
    "infinite mark": ({"marks": at((STEPS, 4, 2), (2, 1, 0), np.inf)}, "marks is not finite: inf at step 2"),
    "a mark more": ({"marks": np.full((STEPS, 5, 2), 9.0)}, "has 5 marks, the first episode has 4"),
    "no quaternion": ({"proprioception": state((2, 3), 0.0)}, "quaternion is not of unit length: 0 at step 2"),
    "state in mm": ({"proprioception": state((0, 7), 450.0)}, "target position lies more than 10 m away: 450"),
    "opening in mm": ({"proprioception": state((1, 14), 80.0)}, "opening lies outside 0 to 1: 80 at step 1"),
    "float frames": ({"frames": np.zeros((STEPS, 128, 128, 3), np.float32)}, "frames are float32"),
    "grey frames": ({"frames": np.zeros((STEPS, 128, 128), np.uint8)}, r"frames has shape \(5, 128, 128\)"),
    "other size": ({"frames": np.zeros((STEPS, 64, 128, 3), np.uint8)}, r"the card says \(128, 128, 3\)"),
    "a frame less": ({"frames": np.zeros((STEPS - 1, 128, 128, 3), np.uint8)}, r"frames has shape \(4"),
    "negative weight": ({"weights": at(STEPS, 3, -1.0, 1.0)}, "weights must not be negative: -1 at step 3"),
    "line break": ({"instruction": np.array("put it\ndown")}, "control characters"),
    "markup": ({"instruction": np.array("put <image> down")}, "reserved markup"),
    "long": ({"instruction": np.array("x" * 600)}, "600 characters"),
    "blank": ({"instruction": np.array(" ")}, "instruction is empty"),
    "number": ({"instruction": np.array(7)}, "instruction holds int64, expected text"),
    "list": ({"instruction": np.array(["put it down"])}, r"instruction has shape \(1,\), expected \(\)"),
    "latin": ({"instruction": np.array("löffel".encode("latin-1"))}, "instruction is not valid text"),
    "no letters": ({"instruction": np.frombuffer(bytes([255] * 8), "<U2")[0:1].reshape(())}, "text that is none"),
    "object": ({"actions": np.array([{"a": 1}], dtype=object)}, "Python objects"),
    "no marks": ({"marks": None}, r"lacks \['marks'\]"),
    "objects": ({"object_names": np.array(["a", "b"])}, r"object_positions has shape \(5, 1, 3\), expected \(5, 2"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_must_not_be_taught_is_refused_with_file_and_step(three, kind):
    arrays, words = BAD[kind]
    path = change(three, **arrays)
    with pytest.raises(DemonstrationError, match=words) as caught:
        read_demonstrations([three])
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_every_problem_is_told_at_once(three, write_set, tmp_path):
    change(three, "carrot-0", actions=at((STEPS, 7), (3, 2), np.nan))
    change(three, "carrot-2", instruction=np.array("\x1b[31mred"))
    (three / "episodes" / "carrot-1.npz").write_bytes(b"")
    with pytest.raises(DemonstrationError, match="3 problems") as caught:
        read_demonstrations([three])
    lines = str(caught.value).splitlines()
    assert len(lines) == 4 and all(f"carrot-{n}.npz" in line for n, line in enumerate(lines[1:]))
    assert "\x1b" not in str(caught.value)
    with pytest.raises(DemonstrationError, match="no such data card"):
        read_demonstrations([tmp_path / "nowhere", write_set(tmp_path / "good", ["spoon-0"])])


def test_text_in_bytes_is_text(three):
    change(three, instruction=np.array(b"put the carrot on the plate"), object_names=np.array([b"rabbit_food"]))
    demos = read_demonstrations([three])
    assert demos.instructions == ("put the carrot on the plate",) and set(demos.objects) == {("rabbit_food",)}


def test_an_episode_under_two_names_is_told_but_not_one_of_two_robots(three, write_set, tmp_path):
    shutil.copy(three / "episodes" / "carrot-0.npz", three / "episodes" / "copy.npz")
    with pytest.raises(DemonstrationError, match=r"copy\.npz: is the same episode as .*carrot-0\.npz"):
        read_demonstrations([three])
    (three / "episodes" / "copy.npz").unlink()
    with pytest.raises(DemonstrationError, match="3 problems"):
        read_demonstrations([three, three])
    other = write_set(tmp_path / "other", ["carrot-0", "carrot-1"], robot="second")
    assert len(read_demonstrations([three, other])) == 5 * STEPS


def test_other_contents_have_another_identity(three):
    before = read_demonstrations([three]).identity
    assert read_demonstrations([three]).identity == before
    change(three, weights=np.full(STEPS, 2.0))
    assert read_demonstrations([three]).identity != before


CARDS = {
    "camera_intrinsics": [[[0, 0, 64], [0, 0, 64], [0, 0, 1]], [[150, 0, 64]], "K", [[float("nan")] * 3] * 3],
    "camera_extrinsics_base_to_optical": [np.zeros((4, 4)).tolist(), (2 * np.eye(4)).tolist(), None],
    "image_size": [0, -128, 1.5, 10**9, True, [128], "128", [128, 128, 3], 10**400],
    "table_height_m": ["0", float("inf"), None, True],
    "step_period_s": [0, -0.2, 1e9, float("nan")],
    "robot": ["../../escape", "a/b", "..", ".", "a\\b", "x" * 300, "\x1b[31m", 7, None, " "],
    "objects": [[], {"a": {"noun": ""}}, {"a": {"noun": "", "colour": ""}}, {"a": 3}, {"a": {"noun": 1, "colour": 2}}],
}  # fmt: skip


@pytest.mark.parametrize(("entry", "value"), [(entry, value) for entry, values in CARDS.items() for value in values])
def test_a_card_that_cannot_be_is_refused_by_name(three, entry, value):
    path = three / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {entry: value}))
    with pytest.raises(DemonstrationError) as caught:
        DataCard.read(three)
    assert str(path) in str(caught.value) and str(caught.value).isprintable() and len(str(caught.value)) < 900


def test_cards_of_other_editors(three):
    path = three / "card.json"
    text = path.read_text()
    path.write_bytes(text.encode("utf-8-sig"))
    assert DataCard.read(three).image_height == 128
    for data in (text.encode("utf-16"), b"", b"[]", b"[" * 100_000, text[:-5].encode()):
        path.write_bytes(data)
        with pytest.raises(DemonstrationError, match=r"card\.json"):
            DataCard.read(three)


def test_a_robot_without_a_name_beside_others_is_told(three, write_set, tmp_path):
    named = write_set(tmp_path / "named", ["carrot-0"], robot="arm")
    assert [card.robot for card in read_demonstrations([three, named]).cards] == ["", "arm"]
    with pytest.raises(DemonstrationError, match="names no robot"):
        read_demonstrations([named, three])


def member(name: str, data: bytes, path, **entry):
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        for key, value in entry.items():
            setattr(info, key, value)
        archive.writestr(info, data)


def npy(array, shape=None):
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(array))
    data = out.getvalue()
    return data if shape is None else data.replace(b"'shape': (3,)", b"'shape': " + shape)


def test_arrays_take_no_more_memory_than_their_file_can_hold(tmp_path):
    path = tmp_path / "x.npz"
    for shape in (b"(10**9,)", b"(99999999999,)", b"(-3,)", b"(True,)"):
        path.unlink(missing_ok=True)
        member("a.npy", npy(np.zeros(3), shape), path)
        with pytest.raises(ArrayFileError):
            read_arrays(path, ("a",))
    path.unlink()
    member("a.npy", npy(np.zeros(3)), path)
    member("huge.npy", bytes(10_000_000), path)
    assert list(read_arrays(path, ("a",))) == ["a"], "what nobody asks for is not read"
    data = bytearray(path.read_bytes())
    first = data.index(b"PK\x01\x02")
    data[first + 24 : first + 28] = (2**31).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ArrayFileError, match="more than its part of the file can hold"):
        read_arrays(path, ("a",))


def test_arrays_that_occur_twice_or_come_in_columns(tmp_path):
    path = tmp_path / "x.npz"
    column_first = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.savez(path, a=column_first, b=np.array(""), c=np.zeros((0, 3), np.uint8))
    found = read_arrays(path, ("a", "b", "c", "d"))
    np.testing.assert_array_equal(found["a"], column_first)
    assert found["b"] == "" and found["c"].shape == (0, 3) and len(found) == 3
    with pytest.warns(UserWarning, match="Duplicate"):
        member("a.npy", npy(np.zeros(3)), path)
    with pytest.raises(ArrayFileError, match="twice"):
        read_arrays(path, ("a",))


def test_a_task_is_held_out_only_when_it_is_taught_too(write_set, tmp_path):
    held = [f"carrot-{n}" for n in range(400) if is_held_out(f"carrot-{n}.npz", 4)][:4]
    free = [f"carrot-{n}" for n in range(400) if not is_held_out(f"carrot-{n}.npz", 4)][:4]
    mixed = write_set(tmp_path / "mixed", held[:2] + free[:2])
    demos = read_demonstrations([mixed])
    assert {name for name, out in zip(demos.episode_names, held_out(demos, 4), strict=True) if out} == {
        f"{name}.npz" for name in held[:2]
    }
    # The only ones of their robot, their instruction, or with pictures.
    robot = write_set(tmp_path / "robot", held[2:3], robot="second")
    task = write_set(tmp_path / "task", held[3:], seed=3)
    change(task, held[3], instruction=np.array("lift the carrot"))
    pictured = write_set(tmp_path / "pictured", held[:1], seed=4, robot="third")
    states = write_set(tmp_path / "states", free[3:], seed=5, robot="third", frames=False)
    every = read_demonstrations([mixed, robot, task, pictured, states])
    assert np.flatnonzero(held_out(every, 4)).tolist() == np.flatnonzero(held_out(demos, 4)).tolist()
    said = held_out_text(every, 4)
    assert said.startswith("2 of 8 episodes held out for validation; none of 'lift the carrot'")
    assert "none to spare" not in held_out_text(demos, 4)


@pytest.mark.parametrize("names", [["0"], ["0", "1"]])
def test_few_episodes_train_whatever_their_names(write_set, small_run, tmp_path, names):
    every = next(n for n in range(2, 1000) if all(is_held_out(f"{name}.npz", n) for name in names) or n == 999)
    folder = write_set(tmp_path / "set", names)
    trainer = Trainer(small_run(tmp_path / "run", folder, validation_every=max(2, every)))
    trainer.train_step()
    trainer.report()


def test_weights_of_zero_teach_nothing_and_are_said(write_set, small_run, tmp_path):
    folder = write_set(tmp_path / "set", ["carrot-0", "carrot-1"], weights=np.zeros(5))
    with pytest.raises(ConfigError, match="weight 0"):
        Trainer(small_run(tmp_path / "run", folder))


def test_an_object_behind_the_camera_is_nowhere_in_the_picture(write_set, tmp_path, overhead):
    folder = write_set(tmp_path / "set", ["carrot-0"], object_positions=np.tile(np.float32([0.5, 0, 2.0]), (5, 1, 1)))
    assert np.isnan(read_demonstrations([folder]).object_marks).all()
    moved = dataclasses.replace(
        overhead, extrinsics=((0.0, -1.0, 0.0, 0.0), (-1.0, 0.0, 0.0, 0.5), *overhead.extrinsics[2:])
    )
    assert np.isfinite(
        read_demonstrations([write_set(tmp_path / "seen", ["carrot-0"], camera=moved)]).object_marks
    ).all()


def test_a_card_of_a_newer_format_is_refused(three):
    path = three / "card.json"
    for version in (1, 2):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": version}))
        DataCard.read(three)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 3}))
    with pytest.raises(DemonstrationError, match="format_version is 3, this program reads 1, 2") as caught:
        read_demonstrations([three])
    assert str(path) in str(caught.value)
