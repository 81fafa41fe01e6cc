import cv2
import numpy as np
import pytest

from magma_camera.video_source import SourceUnavailableError, VideoSource, VideoSourceSettings


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for level in (0, 80, 160):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return path


def test_file_is_read_to_its_end(video):
    source = VideoSource(VideoSourceSettings(str(video), loop=False))
    levels = [int(source.read().mean()) for _ in range(3)]
    assert np.allclose(levels, [0, 80, 160], atol=3)
    assert source.read() is None
    assert source.period_s == pytest.approx(0.1)
    source.close()


def test_file_loops_and_pace_can_be_set(video):
    source = VideoSource(VideoSourceSettings(str(video), fps=50.0))
    assert np.allclose([source.read().mean() for _ in range(5)], [0, 80, 160, 0, 80], atol=3)
    assert source.period_s == pytest.approx(0.02)
    source.close()


def test_missing_things_are_named_and_tried_again(tmp_path, video):
    later = tmp_path / "later.avi"
    source = VideoSource(VideoSourceSettings(str(later)))
    with pytest.raises(SourceUnavailableError, match="does not exist"):
        source.read()
    later.write_bytes(video.read_bytes())
    assert source.read().shape == (48, 64, 3)
    source.close()
    with pytest.raises(SourceUnavailableError, match=r"/dev/video987 does not exist"):
        VideoSource(VideoSourceSettings("987")).read()
    broken = tmp_path / "broken.avi"
    broken.write_bytes(b"not a video")
    with pytest.raises(SourceUnavailableError, match="cannot open"):
        VideoSource(VideoSourceSettings(str(broken))).read()


@pytest.mark.parametrize("fields", [{"device": " "}, {"fps": -1.0}, {"fps": float("nan")}, {"width": 640}])
def test_settings_are_validated(fields):
    with pytest.raises(ValueError, match="must"):
        VideoSourceSettings(**fields)
