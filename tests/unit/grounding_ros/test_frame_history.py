"""Which frames are kept, and which is meant."""

import numpy as np
import pytest

from magma_grounding_ros.frame_history import Frame, FrameGoneError, FrameHistory

PIXELS = np.zeros((4, 4, 3), np.uint8)
SECOND = 10**9


def history(*stamps, frames=3):
    kept = FrameHistory(frames * PIXELS.nbytes)
    for stamp in stamps:
        kept.add(Frame(stamp, PIXELS))
    return kept


def test_a_frame_is_found_by_its_stamp_and_the_newest_without():
    kept = history(1, 2, 3)
    assert kept.at(2).stamp_ns == 2
    assert kept.at(0).stamp_ns == kept.newest().stamp_ns == 3


def test_only_as_many_as_fit_are_kept_and_one_at_least():
    kept = history(SECOND, 2 * SECOND, 3 * SECOND, 4 * SECOND)
    assert kept.at(2 * SECOND).stamp_ns == 2 * SECOND
    with pytest.raises(FrameGoneError, match=r"1\.000000000 s is not kept any more, the oldest is of 2\.000000000 s"):
        kept.at(SECOND)
    assert history(1, 2, frames=0).newest().stamp_ns == 2


def test_what_is_not_there_is_told():
    with pytest.raises(FrameGoneError, match="no frame of the camera has come yet"):
        history().at(0)
    with pytest.raises(FrameGoneError, match=r"no frame of .* has come; the newest"):
        history(1, 2).at(5)
    with pytest.raises(FrameGoneError, match="take that of a frame that was published"):
        history(1, 5).at(3)


def test_time_that_is_set_back_begins_anew():
    kept = history(5, 6, 2)
    assert kept.newest().stamp_ns == 2
    with pytest.raises(FrameGoneError):
        kept.at(5)


@pytest.mark.parametrize("seed", range(20))
def test_no_more_is_kept_than_fits(seed):
    rng = np.random.default_rng(seed)
    stamps, frames = rng.integers(1, 7, 20).tolist(), 1 + seed % 4
    kept = history(*stamps, frames=frames)
    found = []
    for stamp in range(1, 7):
        try:
            found.append(kept.at(stamp).stamp_ns)
        except FrameGoneError:
            continue
    assert len(found) <= frames and stamps[-1] in found
