from fractions import Fraction

import av
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


def uneven_film(path, beats=(0, 1, 2, 8, 14), **options):
    """Pictures at some beats of 10 Hz, the left half bright."""
    with av.open(str(path), "w", options=options) as out:
        stream = out.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:, :32] = 255
        for beat in beats:
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts, frame.time_base = beat, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def test_a_file_plays_by_its_time_stamps(tmp_path):
    source = VideoSource(VideoSourceSettings(str(uneven_film(tmp_path / "x.mp4")), loop=False))
    pauses = []
    while source.read() is not None:
        pauses.append(source.period_s)
    assert np.allclose(pauses[:-1], [0.1, 0.1, 0.6, 0.6])
    source.close()


def test_a_file_is_turned_as_its_camera_was_held(tmp_path):
    path = uneven_film(tmp_path / "x.mp4")
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = np.array([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30], dtype=">i4").tobytes()
    path.write_bytes(data)
    source = VideoSource(VideoSourceSettings(str(path)))
    pixels = source.read()
    # A quarter clockwise: what was on the left is at the top.
    assert pixels.shape == (64, 48, 3) and pixels[:28].min() > 200 and pixels[36:].max() < 50
    source.close()


def test_a_cut_file_is_said_and_tried_again(tmp_path):
    path = uneven_film(tmp_path / "x.mp4", range(60), movflags="faststart")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 9 // 10])
    source = VideoSource(VideoSourceSettings(str(path), loop=False))
    with pytest.raises(SourceUnavailableError, match="cut off"):
        for _ in range(60):
            assert source.read() is not None
    path.write_bytes(whole)
    assert sum(source.read() is not None for _ in range(61)) == 60
    source.close()
