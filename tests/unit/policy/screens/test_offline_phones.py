"""Android in the Wild without TensorFlow: framing, features, and which two actions count as the same."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("magma_eval", reason="magma-eval is not installed beside magma-policy")

from magma_policy.errors import ScreenError
from magma_policy.screens.actions import Kind, ScreenAction
from magma_policy.screens.offline import aitw
from magma_policy.screens.offline.aitw import BACK, COMPLETE, DUAL_POINT, ENTER, HOME, IMPOSSIBLE, TYPE, Gesture
from magma_policy.screens.offline.tfrecords import masked_crc, read_example, read_tfrecords

HEIGHT, WIDTH = 40, 20


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        found.append(low | (0x80 if value else 0))
        if not value:
            return bytes(found)


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def feature(values: list, packed: bool) -> bytes:
    if all(isinstance(value, bytes) for value in values):
        return field(1, b"".join(field(1, value) for value in values))
    if all(isinstance(value, float) for value in values):
        parts = [struct.pack("<f", value) for value in values]
        return field(2, field(1, b"".join(parts)) if packed else b"".join(b"\x0d" + part for part in parts))
    parts = [varint(value) for value in values]
    return field(3, field(1, b"".join(parts)) if packed else b"".join(b"\x08" + part for part in parts))


def example(features: dict[str, list], packed: bool = True) -> bytes:
    entries = (
        field(1, field(1, name.encode()) + field(2, feature(values, packed))) for name, values in features.items()
    )
    return field(1, b"".join(entries))


def framed(*records: bytes) -> bytes:
    found = b""
    for record in records:
        head = struct.pack("<Q", len(record))
        found += head + struct.pack("<I", masked_crc(head)) + record + struct.pack("<I", masked_crc(record))
    return found


def step(number: int, kind: int = DUAL_POINT, touch=(0.25, 0.5), lift=(0.25, 0.5), **changes) -> dict[str, list]:
    return {
        "episode_id": [b"e1"],
        "step_id": [number],
        "goal_info": [b"open the settings"],
        "image/height": [HEIGHT],
        "image/width": [WIDTH],
        "image/channels": [3],
        "image/encoded": [bytes(HEIGHT * WIDTH * 3)],
        "image/ui_annotations_positions": [0.2, 0.4, 0.1, 0.2, 0.7, 0.1, 0.1, 0.2],
        "image/ui_annotations_text": [b"Settings", b""],
        "image/ui_annotations_ui_types": [b"TEXT", b"ICON_BACK"],
        "results/action_type": [kind],
        "results/type_action": [b"hello" if kind == TYPE else b""],
        "results/yx_touch": list(touch),
        "results/yx_lift": list(lift),
        **changes,
    }


def test_the_checksum_is_crc_32c_masked():
    # RFC 3720, B.4: 32 bytes of zeros, and of ones.
    for data, crc in ((bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)):
        masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
        assert masked_crc(data) == masked


values = st.one_of(
    st.lists(st.binary(max_size=20), min_size=1, max_size=4),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4),
)
names = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=10)


@given(st.dictionaries(names, values, max_size=4), st.booleans())
def test_every_kind_of_feature_is_read_packed_or_not(features, packed):
    assert read_example(example(features, packed)) == features


@given(st.binary(max_size=60))
def test_no_bytes_do_more_than_be_refused(data):
    try:
        read_example(data)
    except ScreenError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("zipped", [False, True])
def test_records_are_read_gzipped_or_not_and_damage_is_told_at_its_record(tmp_path: Path, zipped):
    path = tmp_path / "part-0"
    pack = gzip.compress if zipped else bytes
    records = [example(step(number)) for number in range(3)]
    path.write_bytes(pack(framed(*records)))
    assert [found["step_id"] for found in read_tfrecords(path, check_data=True)] == [[0], [1], [2]]
    whole = framed(*records)
    path.write_bytes(pack(whole[:-1]))
    with pytest.raises(ScreenError, match="record 2 is cut off"):
        list(read_tfrecords(path))
    path.write_bytes(pack(whole[: 2 * len(whole) // 3 + 5]))
    with pytest.raises(ScreenError, match="record 2 is cut off in its length"):
        list(read_tfrecords(path))
    changed = bytearray(whole)
    changed[-20] ^= 1
    path.write_bytes(pack(bytes(changed)))
    with pytest.raises(ScreenError, match="record 2: its data does not fit its checksum"):
        list(read_tfrecords(path, check_data=True))
    changed = bytearray(whole)
    changed[0] ^= 1
    path.write_bytes(pack(bytes(changed)))
    with pytest.raises(ScreenError, match="record 0: its length does not fit its checksum"):
        list(read_tfrecords(path))
    path.write_bytes(pack(whole)[:-9] if zipped else b"no record at all")
    with pytest.raises(ScreenError):
        list(read_tfrecords(path))
    with pytest.raises(ScreenError, match="cannot be read"):
        list(read_tfrecords(tmp_path / "none"))


def test_a_length_beyond_reason_is_refused_before_memory_is_taken(tmp_path: Path):
    head = struct.pack("<Q", 1 << 40)
    (tmp_path / "x").write_bytes(head + struct.pack("<I", masked_crc(head)))
    with pytest.raises(ScreenError, match="at most"):
        list(read_tfrecords(tmp_path / "x"))


def read(*steps: dict[str, list], part: str = "general") -> list[aitw.Row]:
    return list(aitw.rows(iter([(f"r{n}", read_example(example(one))) for n, one in enumerate(steps)]), part))


def test_steps_are_asked_with_the_set_s_own_marks_and_what_was_done_before(tmp_path: Path):
    swipe = step(1, touch=(0.8, 0.5), lift=(0.2, 0.5))
    rows = read(step(0), swipe, step(2, TYPE), step(3, BACK), step(0, COMPLETE, episode_id=[b"e2"]))
    assert [row.id for row in rows] == ["e1/0", "e1/1", "e1/2", "e1/3", "e2/0"]
    assert rows[3].history == (
        '{"TAP": {"NORMALIZED_COORDINATE": [0.25, 0.5]}}', '{"SWIPE": "UP"}', '{"TYPE": "hello"}',
    )  # fmt: skip
    assert rows[4].history == ()
    asked = aitw.question(rows[1])
    assert "Current task: open the settings" in asked.words and "(Step 1)" in asked.words
    assert asked.candidates[0].box == pytest.approx((0.4 * WIDTH, 0.2 * HEIGHT, 0.6 * WIDTH, 0.3 * HEIGHT))
    (tmp_path / "general").mkdir()
    (tmp_path / "general" / "a").write_bytes(gzip.compress(framed(example(step(0)))))
    assert [row.part for row in aitw.read(tmp_path)] == ["general"]
    (empty := tmp_path / "none").mkdir()
    with pytest.raises(ScreenError, match="holds no TFRecord files"):
        list(aitw.read(empty))


@pytest.mark.parametrize(
    ("answer", "kind", "right"),
    [
        ('{"TAP": {"MARK": 0}}', DUAL_POINT, True),
        ('{"TAP": {"MARK": 1}}', DUAL_POINT, False),
        ('{"TAP": {"NORMALIZED_COORDINATE": [0.3, 0.6]}}', DUAL_POINT, True),
        ('{"SWIPE": "UP"}', DUAL_POINT, False),
        ('{"TYPE": "another text"}', TYPE, True),
        ('{"NAVIGATE": "BACK"}', BACK, True),
        ('{"NAVIGATE": "HOME"}', HOME, True),
        ('{"NAVIGATE": "ENTER"}', ENTER, True),
        ('{"NAVIGATE": "ENTER"}', BACK, False),
        ('{"SET_TASK_STATUS": "COMPLETE"}', COMPLETE, True),
        ('{"SET_TASK_STATUS": "IMPOSSIBLE"}', COMPLETE, False),
        ('{"SET_TASK_STATUS": "IMPOSSIBLE"}', IMPOSSIBLE, True),
        ('{"TAP": {"MARK": 2}}', DUAL_POINT, False),
        ("tap it", DUAL_POINT, False),
    ],
)
def test_answers_are_judged(answer, kind, right):
    assert aitw.score(read(step(0, kind))[0], answer).right == right


NONE = np.zeros((0, 4))
BOX = np.array([[0.4, 0.4, 0.1, 0.1]])


def tap(y: float, x: float, away: float = 0.0) -> Gesture:
    return Gesture(DUAL_POINT, (y, x), (y + away, x))


@pytest.mark.parametrize(
    ("one", "other", "boxes", "same"),
    [
        (tap(0.5, 0.5), tap(0.5, 0.63), NONE, True),
        (tap(0.5, 0.5), tap(0.5, 0.65), NONE, False),
        # Grown to 2.4 times its size about its middle: from 0.33 to 0.57.
        (tap(0.34, 0.34), tap(0.56, 0.56), BOX, True),
        (tap(0.32, 0.34), tap(0.56, 0.56), BOX, False),
        # In the one box, and in another: none holds both.
        (tap(0.34, 0.34), tap(0.9, 0.9), np.array([[0.4, 0.4, 0.1, 0.1], [0.85, 0.85, 0.1, 0.1]]), False),
        # Up to 0.04 it is a tap, farther a swipe; a tap and a swipe are never the same.
        (tap(0.5, 0.5, 0.04 - 1e-9), tap(0.5, 0.5), NONE, True),
        (tap(0.5, 0.5, 0.05), tap(0.5, 0.5), BOX, False),
        # Of swipes the axis counts, not the direction nor where.
        (tap(0.8, 0.5, -0.6), tap(0.1, 0.9, 0.5), NONE, True),
        (tap(0.8, 0.5, -0.6), Gesture(DUAL_POINT, (0.5, 0.2), (0.6, 0.9)), NONE, False),
        # Of two axes alike the first counts, which is up and down.
        (Gesture(DUAL_POINT, (0.25, 0.25), (0.5, 0.5)), tap(0.8, 0.5, -0.6), NONE, True),
        # Other types: the type alone.
        (Gesture(TYPE, text="a"), Gesture(TYPE, text="b"), NONE, True),
        (Gesture(BACK), Gesture(HOME), NONE, False),
        (Gesture(BACK), tap(0.5, 0.5), BOX, False),
    ],
)
def test_the_published_rule_with_its_edges(one, other, boxes, same):
    assert aitw.matches(one, other, boxes) is same and aitw.matches(other, one, boxes) is same


shares = st.floats(0.0, 1.0)
points = st.tuples(shares, shares)
gestures = st.one_of(
    st.builds(Gesture, st.just(DUAL_POINT), points, points),
    st.builds(Gesture, st.sampled_from([TYPE, BACK, HOME, ENTER, COMPLETE, IMPOSSIBLE])),
)


@given(gestures, gestures, st.lists(st.tuples(shares, shares, shares, shares), max_size=3))
def test_the_rule_is_symmetric_and_every_action_matches_itself(one, other, boxes):
    table = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    assert aitw.matches(one, one, table)
    assert aitw.matches(one, other, table) == aitw.matches(other, one, table)


@given(gestures)
def test_what_a_person_did_is_an_answer_that_is_right(gesture):
    row = read(step(0))[0]
    action = aitw.as_action(gesture)
    assert isinstance(action, ScreenAction)
    again = aitw.as_gesture(action, row.boxes)
    if action.kind is not Kind.TAP:
        assert aitw.matches(again, gesture, row.boxes)
    else:
        assert again.touch == pytest.approx(gesture.touch)


@pytest.mark.parametrize(
    "changes",
    [
        {"episode_id": [3]},
        {"episode_id": []},
        {"goal_info": [b"\xff"]},
        {"image/encoded": [b"short"]},
        {"image/channels": [4]},
        {"image/height": [-1]},
        {"image/ui_annotations_positions": [0.1, 0.2, 0.3]},
        {"image/ui_annotations_positions": [0.1, 0.2, 0.3, float("inf")]},
        {"image/ui_annotations_positions": [b"x"]},
        {"results/action_type": [0.5]},
        {"results/action_type": [4, 4]},
        {"results/yx_touch": [0.1]},
        {"results/yx_lift": []},
    ],
)
def test_damaged_steps_are_refused_in_one_sentence_that_says_where(changes):
    with pytest.raises(ScreenError, match="r0") as refused:
        read(step(0, **changes))
    assert "\n" not in str(refused.value)


def test_the_overall_rate_is_the_mean_of_the_parts():
    right, wrong = '{"TAP": {"MARK": 0}}', '{"NAVIGATE": "BACK"}'
    scores = [aitw.score(row, right) for row in read(step(0), step(1), step(2))]
    scores += [aitw.score(row, wrong) for row in read(step(0), part="single")]
    scores += [aitw.score(row, "?") for row in read(step(1), part="single")]
    figures = {figure.name: figure.percent for figure in aitw.summary(scores)}
    assert figures["general"] == 100.0 and figures["single"] == 0.0 and figures["mean of parts"] == 50.0
    assert figures["type of the action"] == 60.0 and figures["answers without an action"] == 20.0
