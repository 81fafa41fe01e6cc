import cv2
import numpy as np
import pytest

from magma_camera.frame_preparation import RESTART_AFTER, FramePreparation, FrameSettings
from magma_camera.frozen_camera import FrozenCameraSettings
from magma_camera.image_decoding import FrameRefusedError

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def picture(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def feed(preparation, stamp_ns, pixels=None, now_ns=None):
    pixels = picture(stamp_ns % 1000) if pixels is None else pixels
    height, width = pixels.shape[:2]
    return preparation.from_image(
        stamp_ns=stamp_ns, now_ns=stamp_ns if now_ns is None else now_ns, encoding="rgb8", height=height, width=width,
        step=3 * width, data=pixels.tobytes(),
    )  # fmt: skip


def refused(preparation, stamp_ns, **kwargs) -> str:
    with pytest.raises(FrameRefusedError) as caught:
        feed(preparation, stamp_ns, **kwargs)
    return caught.value.reason


@pytest.fixture
def preparation():
    made = FramePreparation(FrameSettings(frozen=FrozenCameraSettings(after_s=1.0, after_motion_m=0.02)))
    made.set_size(12, 16)
    return made


def test_frame_keeps_the_capture_stamp_and_is_area_averaged(preparation):
    pixels = picture(1)
    frame = feed(preparation, START, pixels)
    assert frame.stamp_ns == START
    # Averaging 2x2 blocks is what area resampling by one half is.
    blocks = pixels.reshape(12, 2, 16, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(frame.pixels - blocks).max() <= 0.5


def test_picture_of_the_right_size_is_untouched_and_small_ones_grow(preparation):
    pixels = picture(2, 12, 16)
    np.testing.assert_array_equal(feed(preparation, START, pixels).pixels, pixels)
    small = np.full((3, 4, 3), 99, np.uint8)
    np.testing.assert_array_equal(feed(preparation, START + 1, small).pixels, np.full((12, 16, 3), 99))


def test_whole_picture_is_stretched_not_cropped(preparation):
    wide = np.zeros((12, 64, 3), np.uint8)
    wide[:, :32] = 255
    frame = feed(preparation, START, wide).pixels
    assert (frame[:, :8] == 255).all() and (frame[:, 8:] == 0).all()


def test_compressed_picture(preparation):
    png = cv2.imencode(".png", cv2.cvtColor(picture(5, 12, 16), cv2.COLOR_RGB2BGR))[1].tobytes()
    frame = preparation.from_compressed(stamp_ns=START, now_ns=START, format_name="png", data=png)
    np.testing.assert_array_equal(frame.pixels, picture(5, 12, 16))


def test_size_must_be_known_and_sane():
    preparation = FramePreparation()
    assert refused(preparation, START) == "size_unknown"
    preparation.set_size(8, 8)
    assert feed(preparation, START + 1).pixels.shape == (8, 8, 3)
    for size in [(0, 8), (8, 0), (100_000, 8)]:
        with pytest.raises(ValueError, match="frame size"):
            preparation.set_size(*size)


def test_stamps_must_advance(preparation):
    assert refused(preparation, 0) == "stamp_zero"
    feed(preparation, START)
    assert refused(preparation, START) == "stamp_repeated"
    assert refused(preparation, START - SECOND // 2) == "stamp_back"
    feed(preparation, START + 1)
    assert preparation.refusals == {"stamp_zero": 1, "stamp_repeated": 1, "stamp_back": 1}
    assert preparation.accepted == 2
    assert preparation.last_refusal.startswith("stamp_back: stamped 0.500 s before")


def test_stamps_far_from_now_are_refused(preparation):
    assert refused(preparation, START, now_ns=START + 2 * SECOND) == "stale"
    assert refused(preparation, START, now_ns=START - SECOND) == "stamp_future"
    assert feed(preparation, START, now_ns=START + SECOND // 2).stamp_ns == START


def test_a_clock_that_stands_at_zero_is_named(preparation):
    assert refused(preparation, START, now_ns=0) == "stamp_future"
    assert "nothing is published on /clock" in preparation.last_refusal


def test_clock_set_back_is_accepted_once_it_is_steady(preparation):
    feed(preparation, START)
    earlier = START - 3600 * SECOND
    for k in range(RESTART_AFTER - 1):
        assert refused(preparation, earlier + k) == "stamp_back"
    assert feed(preparation, earlier + RESTART_AFTER).stamp_ns == earlier + RESTART_AFTER
    feed(preparation, earlier + RESTART_AFTER + 1)


def test_stray_old_pictures_do_not_set_the_clock_back(preparation):
    feed(preparation, START)
    for k in range(4 * RESTART_AFTER):
        assert refused(preparation, START - SECOND - k) == "stamp_back"
        if k % 3 == 2:
            feed(preparation, START + k)


def test_frozen_after_seconds_and_back(preparation):
    still = picture(7)
    for tenth in range(10):
        feed(preparation, START + tenth * SECOND // 10, still)
    assert refused(preparation, START + SECOND, pixels=still) == "frozen"
    assert "has not changed for 1.0 s" in preparation.last_refusal
    assert feed(preparation, START + 2 * SECOND, picture(8)).stamp_ns == START + 2 * SECOND


def test_frozen_while_the_arm_moves():
    preparation = FramePreparation(FrameSettings(frozen=FrozenCameraSettings(after_s=0.0, after_motion_m=0.02)))
    preparation.set_size(12, 16)
    still = picture(7)
    preparation.note_position(np.array([0.5, 0.0, 0.2]), START)
    feed(preparation, START, still)
    preparation.note_position(np.array([0.51, 0.0, 0.2]), START + 60 * SECOND)
    feed(preparation, START + 60 * SECOND, still)
    preparation.note_position(np.array([0.5, 0.0, np.nan]), START + 61 * SECOND)
    feed(preparation, START + 61 * SECOND, still)
    preparation.note_position(np.array([0.5, 0.0, 0.225]), START + 62 * SECOND)
    assert refused(preparation, START + 62 * SECOND, pixels=still) == "frozen"
    feed(preparation, START + 63 * SECOND, picture(9))
    feed(preparation, START + 64 * SECOND, picture(9))


@pytest.mark.parametrize("lost", [False, True])
def test_a_picture_without_the_state_of_its_moment_is_not_a_frozen_camera(lost):
    """The arm of a simulator jumps when an episode begins; the world then waits, and shows itself again."""
    preparation = FramePreparation(FrameSettings(frozen=FrozenCameraSettings(after_s=0.0, after_motion_m=0.02)))
    preparation.set_size(12, 16)
    preparation.note_position(np.array([0.3, 0.0, 0.2]), START)
    feed(preparation, START, picture(1))
    begin = START + SECOND
    feed(preparation, begin, picture(2))
    if not lost:
        preparation.note_position(np.array([0.5, 0.0, 0.2]), begin)
    for k in range(1, 5):
        preparation.note_position(np.array([0.5, 0.0, 0.2]), begin + k * SECOND)
        feed(preparation, begin + k * SECOND, picture(2))
    preparation.note_position(np.array([0.53, 0.0, 0.2]), begin + 5 * SECOND)
    assert refused(preparation, begin + 5 * SECOND, pixels=picture(2)) == "frozen"


def test_a_world_at_rest_is_not_a_frozen_camera_in_simulation():
    preparation = FramePreparation(FrameSettings(frozen=FrozenCameraSettings(after_s=0.0, after_motion_m=0.02)))
    preparation.set_size(12, 16)
    preparation.note_position(np.zeros(3), START)
    for k in range(100):
        feed(preparation, START + k * SECOND, picture(1))


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_settings_are_validated(bad):
    with pytest.raises(ValueError, match="after_s"):
        FrozenCameraSettings(after_s=bad)
    with pytest.raises(ValueError, match="max_age_s"):
        FrameSettings(max_age_s=bad)
