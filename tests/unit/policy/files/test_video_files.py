"""Films are read by their time stamps, as a player shows them, and whole or with a word about what is missing."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from magma_policy.errors import CommandError
from magma_policy.files.video_files import read_video, sample_video

WIDTH, HEIGHT, RATE = 64, 48, 30
CODECS = {
    "x.mp4": "libx264", "x.mkv": "libx264", "x.ts": "libx264", "x.avi": "mjpeg", "x.mov": "mjpeg", "x.flv": "libx264",
    "av1.mp4": "libsvtav1", "hevc.mp4": "libx265", "x.webm": "libvpx-vp9", "lossless.mkv": "ffv1", "x.gif": "gif",
}  # fmt: skip


def levels(number: int) -> tuple[int, int]:
    """Brightness of the n-th beat's picture at the bottom, left and right: any two pictures differ by more than a codec
    loses."""
    return 20 + 20 * (number % 12), 20 + 20 * (number // 12)


def film(path: Path, beats: Iterable[int] = range(60), codec: str = "libx264", **options: str) -> Path:
    """Pictures at some beats of 30 Hz, the upper left quarter bright."""
    with av.open(str(path), "w", options=options) as out:
        stream = out.add_stream(codec, rate=RATE)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8", "ffv1": "bgr0"}.get(codec, "yuv420p")
        stream.codec_context.time_base = Fraction(1, RATE)
        if codec in ("libx264", "libx265"):
            stream.options = {"preset": "ultrafast", "crf": "10"}
        for beat in beats:
            picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            picture[HEIGHT // 2 :, : WIDTH // 2], picture[HEIGHT // 2 :, WIDTH // 2 :] = levels(min(beat, 143))
            picture[: HEIGHT // 2, : WIDTH // 2] = 255
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts, frame.time_base = beat, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def beats_of(pictures: Iterable[np.ndarray]) -> list[int]:
    """Which beats' pictures these are, by the brightness at the bottom."""
    known = np.array([levels(beat) for beat in range(144)])
    bottoms = [p[HEIGHT // 2 + 4 :, 4:-4].reshape(-1, 2, (WIDTH - 8) // 2, 3).mean(axis=(0, 2, 3)) for p in pictures]
    return [int(np.abs(known - bottom).sum(axis=1).argmin()) for bottom in bottoms]


@pytest.mark.parametrize(("name", "codec"), CODECS.items())
def test_every_usual_codec_gives_all_its_pictures(tmp_path, name, codec):
    path = film(tmp_path / name, range(30), codec)
    pictures = list(read_video(path))
    assert len(pictures) == 30 and pictures[0].shape == (HEIGHT, WIDTH, 3)
    if codec != "gif":
        assert beats_of(pictures) == list(range(30))
    assert beats_of(read_video(path, 6)) == beats_of(pictures[::6])


def test_a_step_is_one_of_time_where_the_rate_varies(tmp_path):
    beats = [*range(30), *range(30, 60, 10), *range(60, 66)]
    for name in ("x.mp4", "x.mkv"):
        path = film(tmp_path / name, beats)
        assert beats_of(read_video(path)) == beats
        shown = [max(b for b in beats if b <= beat) for beat in range(0, 66, 5)]
        assert beats_of(read_video(path, 5)) == shown


def test_a_jump_of_the_clock_is_said_instead_of_a_picture_that_stands_for_hours(tmp_path):
    path = film(tmp_path / "x.mkv", [*range(10), *range(100_000, 100_010)])
    assert len(list(read_video(path))) == 20
    with pytest.raises(CommandError, match=r"jump from 0\.30 to 3333"):
        list(read_video(path, 2))


@pytest.mark.parametrize("name", [name for name in CODECS if name != "x.ts"])
@pytest.mark.parametrize("share", [0.35, 0.6, 0.8])
def test_a_cut_film_is_said(tmp_path, name, share):
    """But for MPEG-TS, which can end anywhere."""
    path = film(tmp_path / name, codec=CODECS[name])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CommandError, match=r"cut off|cannot be read"):
        list(read_video(path))


@pytest.mark.parametrize("flags", ["faststart", "frag_keyframe+empty_moov"])
def test_a_cut_film_whose_index_is_whole_is_said(tmp_path, flags):
    path = film(tmp_path / "x.mp4", movflags=flags)
    data = path.read_bytes()
    for share in (0.7, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(CommandError, match="cut off"):
            list(read_video(path))


def test_a_film_with_a_hole_in_its_bytes_is_said_with_the_place(tmp_path):
    path = film(tmp_path / "x.mkv", range(60))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(CommandError, match=r"damaged after \d+ pictures|cannot be read|cut off"):
        list(read_video(path))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_film_is_turned_as_its_camera_was_held(tmp_path, degrees):
    path = film(tmp_path / "x.mov", range(2), "mjpeg")
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    cos, sin = round(np.cos(np.radians(degrees))), round(np.sin(np.radians(degrees)))
    matrix = np.array([cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 14], dtype=">i4")
    data[at : at + 36] = (matrix * np.array([65536] * 8 + [65536], dtype=">i4")).astype(">i4").tobytes()
    path.write_bytes(data)
    picture = next(read_video(path))
    upright = np.zeros((HEIGHT, WIDTH))
    upright[HEIGHT // 2 :] = 20
    upright[: HEIGHT // 2, : WIDTH // 2] = 255
    # The matrix turns clockwise: what was up is on the right after 90 degrees.
    wanted = np.rot90(upright, -degrees // 90)
    assert picture.shape[:2] == wanted.shape and np.abs(picture[..., 0].astype(int) - wanted).mean() < 4


def test_hidden_colours_and_oblong_pixels(tmp_path):
    path = tmp_path / "x.mov"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("png", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "rgba"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        picture = np.full((HEIGHT, WIDTH, 4), (0, 0, 255, 255), np.uint8)
        picture[:, WIDTH // 2 :] = (255, 0, 0, 0)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgba")))
        out.mux(stream.encode())
    shown = next(read_video(path))
    assert shown.shape == (HEIGHT, 2 * WIDTH, 3)
    assert shown[0, 0].tolist() == [0, 0, 255] and shown[0, -1].tolist() == [255, 255, 255]
    assert next(read_video(path, max_height=12)).shape == (12, 32, 3)


def test_what_is_no_film_is_said(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "notes.mp4").write_text("no film")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/x.ts\n#EXT-X-ENDLIST\n")
    with av.open(str(tmp_path / "sound.wav"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
    for name in ("empty.mp4", "notes.mp4", "list.mp4", "sound.wav"):
        with pytest.raises(CommandError, match=f"{name} cannot be read as a video"):
            next(read_video(tmp_path / name))
    with pytest.raises(CommandError, match="no such file"):
        next(read_video(tmp_path / "missing.mp4"))


def test_an_absurd_size_is_refused_before_the_memory_is_taken(tmp_path):
    path = film(tmp_path / "x.avi", range(3), "mjpeg")
    data = bytearray(path.read_bytes())
    # The sides in every JPEG's own header (SOF0: length, precision, height, width).
    at = -1
    while (at := data.find(b"\xff\xc0", at + 1)) >= 0:
        data[at + 5 : at + 9] = b"\xff\xf0\xff\xf0"
    path.write_bytes(data)
    with pytest.raises(CommandError, match="cannot be read as a video"):
        list(read_video(path))


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.ts", "x.avi", "x.webm"])
@pytest.mark.parametrize("count", [1, 2, 7, 28, 90])
def test_a_few_images_are_taken_evenly_over_the_time(tmp_path, name, count):
    path = film(tmp_path / name, range(60), CODECS[name])
    taken = sample_video(path, count)
    places = [int(at + 1e-6) for at in np.linspace(0, 59, count)]
    assert beats_of(pixels for _, pixels in taken) == list(dict.fromkeys(places))
    assert [time_s for time_s, _ in taken] == pytest.approx([place / RATE for place in dict.fromkeys(places)], abs=2e-3)


def test_a_still_counts_for_as_long_as_it_stands(tmp_path):
    path = film(tmp_path / "x.mkv", [0, 1, 2, 3, 60])
    assert beats_of(pixels for _, pixels in sample_video(path, 5)) == [0, 3, 60], "one picture once"


def test_what_lies_between_is_skipped_and_the_same_images_come(tmp_path, monkeypatch):
    path = film(tmp_path / "x.mp4", range(140))
    whole = sample_video(path, 9)
    monkeypatch.setattr("magma_policy.files.video_files.SEEK_S", 0.2)
    sought = sample_video(path, 9)
    assert [time_s for time_s, _ in sought] == [time_s for time_s, _ in whole]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(sought, whole, strict=True))


def test_no_side_is_longer_than_asked(tmp_path):
    pixels = sample_video(film(tmp_path / "x.mp4"), 2, max_side=32)[0][1]
    assert pixels.shape == (24, 32, 3)


def test_long_and_costly_films_are_refused(tmp_path, monkeypatch):
    path = film(tmp_path / "x.mp4")
    monkeypatch.setattr("magma_policy.files.video_files.MAX_DECODED_PIXELS", 5 * WIDTH * HEIGHT)
    with pytest.raises(CommandError, match="to decode; cut it shorter"):
        sample_video(path, 5)
    monkeypatch.setattr("magma_policy.files.video_files.LONGEST_FILM_S", 1.0)
    with pytest.raises(CommandError, match=r"is 2 s long; at most 1 s are read"):
        sample_video(path, 5)


@pytest.mark.parametrize("keep", [0, 10, 300, 0.5, 0.9])
def test_a_film_that_is_cut_off_gives_no_images(tmp_path, keep):
    path = film(tmp_path / "x.mp4")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    with pytest.raises(CommandError, match=r"x\.mp4"):
        sample_video(path, 4)


def test_packets_that_decode_to_nothing_are_said(tmp_path):
    # Pictures without the key picture that they tell the difference to.
    path = tmp_path / "x.mkv"
    with av.open(str(film(tmp_path / "whole.mkv"))) as whole, av.open(str(path), "w") as cut:
        stream = cut.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.dts is not None and not packet.is_keyframe:
                packet.stream = stream
                cut.mux(packet)
    for read in (lambda: sample_video(path, 3), lambda: list(read_video(path)), lambda: list(read_video(path, 3))):
        with pytest.raises(CommandError, match=r"x\.mkv"):
            read()
