import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_teleop.config import KeyboardConfig
from magma_teleop.keys import CTRL_X, ENTER, ESCAPE, MOTIONS, REQUESTS, KeyDecoder, MotionKeys


def motion_keys() -> MotionKeys:
    config = KeyboardConfig()
    return MotionKeys(config.step_translation_m, config.step_rotation_rad, config.step_period_s, config.key_hold_s)


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"wq ?", ["w", "q", " ", "?"]),
        (b"\r\n", [ENTER, ENTER]),
        (b"\x18", [CTRL_X]),
        (b"\x1b[A\x1b[B\x1bOC\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1b[3~w", ["w"]),
        (b"\x1b[1;5Cw", ["w"]),
        (b"\x1b[15~", []),
        (b"\x1bw", [ESCAPE]),
        (b"\x1b[1\x18", [CTRL_X]),
        ("é€".encode(), ["é", "€"]),
        (b"\xffw\x00\x01", ["w"]),
    ],
)
def test_bytes_become_keys(data, keys):
    assert KeyDecoder().feed(data) == keys


def test_a_sequence_may_come_in_pieces():
    decoder = KeyDecoder()
    assert [decoder.feed(bytes([byte])) for byte in b"\x1b[Aw"] == [[], [], ["up"], ["w"]]


def test_escape_on_its_own_is_a_key_once_nothing_follows():
    decoder = KeyDecoder()
    assert decoder.feed(b"\x1b") == []
    assert decoder.flush() == [ESCAPE]
    assert decoder.flush() == []


@given(st.lists(st.binary(max_size=6), max_size=8))
def test_any_bytes_are_survived_and_the_emergency_stop_gets_through(pieces):
    decoder = KeyDecoder()
    for piece in pieces:
        decoder.feed(piece)
    assert decoder.feed(b"\x18")[-1] == CTRL_X


def test_no_key_means_two_things():
    assert not set(MOTIONS) & set(REQUESTS)


def test_one_press_is_one_step():
    keys = motion_keys()
    assert keys.press("w", 0.0)
    np.testing.assert_allclose(keys.poll(0.0, 0.3), [0.02, 0, 0, 0, 0, 0, 0.3])
    assert keys.poll(0.5, 0.3) is None
    assert not keys.press("z", 0.5)


@pytest.mark.parametrize(
    ("key", "index", "sign"),
    [("w", 0, 1), ("s", 0, -1), ("a", 1, 1), ("d", 1, -1), ("r", 2, 1), ("f", 2, -1), ("q", 5, 1), ("e", 5, -1)],
)
def test_directions(key, index, sign):
    keys = motion_keys()
    keys.press(key, 0.0)
    delta = keys.poll(0.0, 1.0)
    assert np.sign(delta[index]) == sign
    assert np.count_nonzero(delta[:6]) == 1


def test_a_held_key_gives_one_command_per_step_period():
    keys = motion_keys()
    sent = []
    for k in range(100):
        keys.press("w", 0.02 * k)
        if keys.poll(0.02 * k, 1.0) is not None:
            sent.append(0.02 * k)
    assert len(sent) == 10
    assert min(np.diff(sent)) >= 0.2 - 1e-9


def test_several_keys_add_up_but_two_names_of_one_direction_do_not():
    keys = motion_keys()
    for key in ("w", "up", "a", "q"):
        keys.press(key, 0.0)
    np.testing.assert_allclose(keys.poll(0.0, 1.0), [0.02, 0.02, 0, 0, 0, 0.15, 1.0])


def test_a_press_that_had_to_wait_too_long_is_forgotten():
    keys = motion_keys()
    keys.press("w", 0.0)
    assert keys.poll(0.31, 1.0) is None


def test_the_gripper_keeps_what_it_holds_until_it_is_toggled():
    keys = motion_keys()
    keys.press("w", 0.0)
    assert keys.poll(0.0, 0.0)[6] == 0.0
    keys.toggle_gripper(1.0)
    np.testing.assert_array_equal(keys.poll(1.0, 0.0), [0, 0, 0, 0, 0, 0, 1.0])
    keys.press("w", 1.3)
    assert keys.poll(1.3, 0.0)[6] == 1.0  # the arm's report may come later than the next key
    keys.toggle_gripper(1.6)
    assert keys.poll(1.6, 1.0)[6] == 0.0
    keys.forget()
    keys.press("w", 2.0)
    assert keys.poll(2.0, 0.4)[6] == 0.4
