import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_common.conversions import (
    action_spec_from_msg,
    action_spec_to_msg,
    chunk_from_msg,
    chunk_to_msg,
    delta_from_msg,
    delta_to_msg,
    image_from_msg,
    image_to_msg,
    ns_to_stamp,
    stamp_to_ns,
    state_from_msg,
    state_to_msg,
)
from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import ActionChunk
from magma_contracts.arm_state import EndEffectorState

STAMP_NS = 1_800_000_000_123_456_789
DELTA = np.array([0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.7])


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps(stamp_ns):
    assert stamp_to_ns(ns_to_stamp(stamp_ns)) == stamp_ns


def test_delta():
    back = delta_from_msg(delta_to_msg(DELTA, STAMP_NS, "ee"))
    np.testing.assert_array_equal(back.delta, DELTA)
    assert (back.stamp_ns, back.frame) == (STAMP_NS, "ee")


def test_a_delta_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(6,\)"):
        delta_to_msg(np.zeros(6), 0)


def test_chunk():
    chunk = ActionChunk(
        np.array([DELTA, 2 * DELTA]), STAMP_NS, 0.2, "magma-tiny", "go", 7, "base", ("base", "ee"), {"vision": 1.5}
    )
    back = chunk_from_msg(chunk_to_msg(chunk))
    np.testing.assert_array_equal(back.deltas, chunk.deltas)
    assert dataclasses.replace(back, deltas=chunk.deltas) == chunk


def test_a_refusal_keeps_its_words():
    chunk = ActionChunk(np.zeros((0, 7)), STAMP_NS, 0.2, "p", "go", 0, refusal="logits in float16 are not finite")
    assert chunk_from_msg(chunk_to_msg(chunk)).refusal == chunk.refusal


@pytest.mark.parametrize("refusal", ["\x1b[2Jno", "two\nlines", "\n", "\x07", "x" * 100_000, " "])
def test_a_refusal_stays_one_and_is_a_line_that_logs_can_take(refusal):
    times = {"\x1b]0;x\x07": 1.0}
    back = chunk_from_msg(
        chunk_to_msg(ActionChunk(np.zeros((0, 7)), STAMP_NS, 0.2, "p", "go", 0, stage_ms=times, refusal=refusal))
    )
    assert back.refusal and back.refusal.isprintable() and len(back.refusal) < 1000
    assert all(name.isprintable() for name in back.stage_ms)


def test_an_empty_chunk_and_a_nan_pass_unjudged():
    empty = ActionChunk(np.zeros((0, 7)), STAMP_NS, 0.2, "p", "go", 0)
    assert chunk_from_msg(chunk_to_msg(empty)).deltas.shape == (0, 7)
    wild = ActionChunk(np.full((1, 7), np.nan), STAMP_NS, 0.2, "p", "go", 0)
    assert np.isnan(chunk_from_msg(chunk_to_msg(wild)).deltas).all()


@pytest.mark.parametrize(
    ("deltas", "frames", "text"), [(np.zeros(7), (), "shape"), (np.zeros((2, 7)), ("base",), "2 steps has 1")]
)
def test_a_malformed_chunk_is_refused(deltas, frames, text):
    with pytest.raises(ValueError, match=text):
        chunk_to_msg(ActionChunk(deltas, STAMP_NS, 0.2, "p", "go", 0, "base", frames))


def test_action_spec():
    spec = ActionSpec("p", 4, 0.2, "base", "axis_angle", "absolute_open_1", "key", "third_person", 96, 128, True)
    assert action_spec_from_msg(action_spec_to_msg(spec)) == spec


def test_state():
    state = EndEffectorState(
        STAMP_NS,
        np.array([1.0, 2.0, 3.0]),
        np.array([0.1, 0.2, 0.3, 0.4]),
        np.array([4.0, 5.0, 6.0]),
        np.array([0.5, 0.6, 0.7, 0.8]),
        0.25,
        0.75,
        "base",
    )
    back = state_from_msg(state_to_msg(state))
    for item in dataclasses.fields(state):
        np.testing.assert_array_equal(getattr(back, item.name), getattr(state, item.name))


def test_image():
    picture = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    message = image_to_msg(picture, STAMP_NS)
    assert (message.width, message.height, message.step, message.encoding) == (5, 4, 15, "rgb8")
    np.testing.assert_array_equal(image_from_msg(message), picture)
    np.testing.assert_array_equal(image_from_msg(image_to_msg(picture[::-1, ::2], STAMP_NS)), picture[::-1, ::2])


def test_padded_rows_are_cut():
    message = image_to_msg(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3), STAMP_NS)
    message.width = 5
    np.testing.assert_array_equal(image_from_msg(message), np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)[:, :5])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"encoding": "bgr8"}, "bgr8"),
        ({"height": 5}, "does not agree"),
        ({"step": 3}, "does not agree"),
        ({"width": 0}, "does not agree"),
    ],
)
def test_a_picture_that_is_not_what_it_says_is_refused(change, text):
    message = image_to_msg(np.zeros((4, 5, 3), np.uint8), STAMP_NS)
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ValueError, match=text):
        image_from_msg(message)


@pytest.mark.parametrize("picture", [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3), np.float32)])
def test_what_is_no_rgb8_picture_is_refused(picture):
    with pytest.raises(ValueError, match="rgb8 picture is"):
        image_to_msg(picture, STAMP_NS)


def test_names_that_come_with_messages_reach_no_log_as_terminal_escapes():
    hostile = "pad\x1b]0;owned\x07\n[INFO] all is well"
    shown = "pad\\x1b]0;owned\\x07 [INFO] all is well"
    assert delta_from_msg(delta_to_msg(np.zeros(7), 1, "base", hostile)).source == shown
    spec = ActionSpec(hostile, 4, 0.2, hostile, "axis_angle", "absolute_open_1", "key", hostile, 96, 128, True)
    read = action_spec_from_msg(action_spec_to_msg(spec))
    assert (read.policy, read.frame, read.camera) == (shown, shown, shown)
    chunk = ActionChunk(np.zeros((1, 7)), 1, 0.2, hostile, "go", 1)
    assert chunk_from_msg(chunk_to_msg(chunk)).policy == shown
