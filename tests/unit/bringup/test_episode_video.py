import imageio_ffmpeg
import numpy as np
import pytest

from magma_bringup.episodes.episode_video import BAR_PX, IMAGE_PX, VideoFrame, annotate, write_video


def frame(step, success=False):
    return VideoFrame(np.full((16, 16, 3), 40 * step, np.uint8), step, success)


def test_picture_stays_and_the_bar_says_what_goes_on():
    plain = annotate(frame(2), "put the carrot on the plate", 60, "expert")
    assert plain.shape == (IMAGE_PX + BAR_PX, IMAGE_PX, 3) and plain.dtype == np.uint8
    assert (plain[:IMAGE_PX] == 80).all(), "nothing is written over the picture"
    assert plain[IMAGE_PX:].any()
    assert (annotate(frame(2, True), "put the carrot on the plate", 60, "expert") != plain).any()


def test_video_has_a_frame_per_step(tmp_path):
    path = tmp_path / "episode.mp4"
    write_video(path, [frame(step) for step in range(5)], 5.0, "put the carrot on the plate", 60, "expert")
    assert imageio_ffmpeg.count_frames_and_secs(str(path))[0] == 5
    with pytest.raises(ValueError, match="no frames"):
        write_video(path, [], 5.0, "", 60, "")
