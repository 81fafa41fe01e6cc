"""Video files as images, one after the other, by their time stamps."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

from magma_contracts.geometry.display_matrix import upright
from magma_contracts.text import printable
from magma_policy.errors import CommandError
from magma_policy.files.image_files import flattened

MAX_PIXELS = 1 << 26
"""Of one image: a header that claims more is damaged or hostile."""
THREADS = 4
"""Of the decoder; its own choice is one for every core of a machine that has other work."""
LONGEST_STILL_S = 60.0
"""How long an image may stand when images are taken by the clock: more is a jump of the time stamps."""
LONGEST_FILM_S = 4 * 3600.0
"""Of a video of which a few images are taken."""
MAX_DECODED_PIXELS = 1 << 38
"""Of such a video: half an hour of 1920 x 1080 at 60 Hz without key frames."""
SEEK_S = 5.0
"""Images between two moments further apart than this are not decoded, where the file can be entered in between."""
ROUNDING_S = 0.0005
MISSING_END_S = 0.25
"""A film that ends so much before the time its header announces was cut off."""
ANNOUNCING = frozenset({"matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "flv", "asf"})
"""Containers whose header tells the duration; that of others is estimated."""


def read_video(path: Path, frame_step: int = 1, max_height: int = 512) -> Iterator[np.ndarray]:
    """Images of a video, uint8 (H, W, 3) rgb, as a player shows them, shrunk to at most `max_height` rows.

    With `frame_step` 1 every stored image. With n, the image that is shown at every n-th beat of the video's own
    rate, whether there is a new one on each beat or not: 6 makes 5 Hz of 30, also where the rate varies.

    Raises:
        CommandError: no such file, nothing in it can be read as an image, or it is cut off or damaged. A file that
            lacks its end is refused before the first image, other damage where it is met.
    """
    if not path.is_file():
        raise CommandError(f"{path}: no such file")
    film = _survey(path)
    shown = _decoded(path, film)
    # One for the whole film: every other one would start threads of its own.
    colours = VideoReformatter()
    for frame in (frame for _, frame in shown) if frame_step == 1 else _by_the_clock(path, shown, film, frame_step):
        yield _pixels(frame, colours, film, max_height, None)


def sample_video(path: Path, count: int, max_side: int = 512) -> list[tuple[float, np.ndarray]]:
    """At most `count` images of a video, evenly over its time from the first to the last, with their times in seconds.

    Each is the one that a player shows at that moment, uint8 (H, W, 3) rgb, shrunk so that no side exceeds `max_side`;
    a video of fewer images gives each of them once.

    Raises:
        CommandError: as `read_video`, or the video is longer than `LONGEST_FILM_S` or too much to decode.
    """
    if count < 1:
        raise CommandError(f"at least one image of a video is needed, got {count}")
    if not path.is_file():
        raise CommandError(f"{path}: no such file")
    film = _survey(path)
    first_s = film.first_s if film.first_s is not None else 0.0
    last_s = film.last_s if film.last_s is not None else (film.pictures - 1) * film.period_s
    if last_s - first_s > LONGEST_FILM_S:
        raise CommandError(f"{path} is {last_s - first_s:.0f} s long; at most {LONGEST_FILM_S:.0f} s are read")
    colours = VideoReformatter()
    wanted = np.linspace(first_s, last_s, count).tolist()
    # Half a unit of the coarsest usual clock, as in AVI and Matroska, is the leeway of rounded time stamps.
    shown = _shown_at(path, film, [moment + ROUNDING_S for moment in wanted])
    images: list[tuple[float, np.ndarray]] = []
    for time_s, frame in shown:
        if not images or time_s > images[-1][0]:
            images.append((time_s, _pixels(frame, colours, film, max_side, max_side)))
    return [(time_s - first_s, pixels) for time_s, pixels in images]


@dataclass(frozen=True)
class _Film:
    """What a walk through a file tells without decoding: seconds between two images, width to height of a pixel, when
    the first and the last image come (None without time stamps), and how many there are."""

    period_s: float
    pixel_aspect: float
    first_s: float | None
    last_s: float | None
    pictures: int


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file and its first film; whatever the library finds wrong in it becomes a CommandError."""
    try:
        # From an open file and without protocols: a playlist in the guise of a video could name other files and hosts.
        with (
            path.open("rb") as file,
            av.open(file, options={"protocol_whitelist": "none"}, metadata_errors="replace") as container,
        ):
            films = [
                stream
                for stream in container.streams.video
                # Without a decoder the library would crash; the image on a record's sleeve is no film.
                if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic
            ]
            if not films:
                raise CommandError(f"{path} cannot be read as a video: there is no film in it that can be decoded")
            films[0].codec_context.thread_count = THREADS
            films[0].codec_context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
            yield container, films[0]
    except (av.FFmpegError, OSError, ValueError, OverflowError, MemoryError) as error:
        reason = printable(getattr(error, "strerror", None) or error)
        raise CommandError(f"{path} cannot be read as a video: {reason} (is it cut off or damaged?)") from error


def _survey(path: Path) -> _Film:
    """Walks through all packets. Raises CommandError when the film is empty or lacks its end."""
    times: list[float] = []
    pictures, end_s = 0, 0.0
    with _opened(path) as (container, stream):
        for packet in container.demux():
            if not packet.size:
                continue
            if packet.is_corrupt and packet.stream is stream:
                raise CommandError(f"{path} is cut off or damaged: picture {pictures + 1} is incomplete")
            if packet.pts is not None and packet.time_base:
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream is stream:
                    times.append(float(packet.pts * packet.time_base))
            pictures += packet.stream is stream
        if not pictures:
            raise CommandError(f"{path} cannot be read as a video: there is no picture in it")
        ordered = np.sort(np.array(times))
        period_s = _period(stream, ordered)
        missing = _missing_end(container, stream, pictures, ordered, end_s)
        if missing or (container.format.name == "gif" and not _ends_as_gif(path)):
            raise CommandError(
                f"{path} is cut off after {pictures} pictures: {missing or 'a GIF has a mark at its end'}"
            )
        aspect = float(stream.sample_aspect_ratio or 1)
        first_s, last_s = (float(ordered[0]), float(ordered[-1])) if len(ordered) == pictures else (None, None)
        return _Film(period_s, aspect if 0.25 <= aspect <= 4.0 else 1.0, first_s, last_s, pictures)


def _missing_end(
    container: InputContainer, stream: VideoStream, pictures: int, times: np.ndarray, end_s: float
) -> str | None:
    """What a file announces beyond its last image, None when nothing is missing; times ascend, end_s is that of all
    its streams."""
    longest_s = float(np.diff(times).max(initial=0.0))
    if pictures < stream.frames:
        # AVI counts dropped images too, and an edit list may leave some out: then the time tells what is missing.
        lasts_s = (stream.frames - 0.5) / float(stream.average_rate or 1)
        there_s = float(times[-1] - times[0]) + lasts_s / stream.frames if len(times) else 0.0
        if there_s < lasts_s:
            return f"it announces {stream.frames}"
    elif not stream.frames and container.duration and container.format.name in ANNOUNCING:
        whole_s = (container.duration + max(0, container.start_time or 0)) / av.time_base
        if whole_s - end_s > max(MISSING_END_S, 1.5 * longest_s):
            return f"it ends after {end_s:.2f} s of the {whole_s:.2f} s that it announces"
    return None


def _ends_as_gif(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-min(64, path.stat().st_size), 2)
        return file.read().rstrip(b"\0").endswith(b";")


def _period(stream: VideoStream, times: np.ndarray) -> float:
    """Seconds between two images where they come without a pause; times ascend.

    The mean of all when the rate is even, since time stamps may be rounded; else the rate that the file states, when it
    agrees with the shortest steps.
    """
    stated = [1.0 / float(rate) for rate in (stream.base_rate, stream.guessed_rate, stream.average_rate) if rate]
    gaps = np.diff(times)
    gaps = gaps[gaps > 0]
    if not len(gaps):
        return stated[0] if stated else 1.0 / 30.0
    usual = float(np.quantile(gaps, 0.1))
    likely = [float(gaps.mean()), *stated]
    return next((period for period in likely if abs(period - usual) <= 0.15 * usual), usual)


def _decoded(path: Path, film: _Film, moment: float | None = None) -> Generator[tuple[float, VideoFrame], None, None]:
    """All images with their times, s; from the last key frame before `moment` on where the file can tell where that is.

    Raises CommandError at the first that is damaged, and when there is none.
    """
    number, time_s = 0, 0.0

    def place() -> str:
        return f"{time_s:.2f} s" if moment is not None else f"{number} pictures, {time_s:.2f} s"

    try:
        with _opened(path) as (container, stream):
            if moment is not None and stream.time_base:
                container.seek(int(moment / stream.time_base), stream=stream, backward=True)
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise CommandError(f"{path} is cut off or damaged after {place()}")
                # Streams without a container have no time stamps.
                time_s = float(frame.time) if frame.time is not None else number * film.period_s
                yield time_s, frame
                number += 1
    except CommandError as error:
        if number and isinstance(error.__cause__, av.FFmpegError):
            raise CommandError(
                f"{path} is cut off or damaged after {place()} ({error.__cause__.strerror}); "
                "cut it there, or let ffmpeg write it anew"
            ) from error
        raise
    if number == 0:
        raise CommandError(f"{path} cannot be read as a video: there is no picture in it")


def _by_the_clock(
    path: Path, shown: Iterator[tuple[float, VideoFrame]], film: _Film, step: int
) -> Iterator[VideoFrame]:
    """The image that is shown at every `step`-th beat; half a beat of leeway takes in rounded time stamps."""
    half = film.period_s / 2
    start_s, last = next(shown)
    beat, last_s = 0, start_s
    for time_s, frame in shown:
        if time_s - last_s > LONGEST_STILL_S:
            raise CommandError(
                f"{path}: its time stamps jump from {last_s:.2f} to {time_s:.2f} s; cut it there, or take every stored "
                "picture (a frame step of 1)"
            )
        while start_s + beat * step * film.period_s + half < time_s:
            yield last
            beat += 1
        last, last_s = frame, max(time_s, last_s)
    while start_s + beat * step * film.period_s < last_s + half:
        yield last
        beat += 1


def _shown_at(path: Path, film: _Film, wanted: Sequence[float]) -> Iterator[tuple[float, VideoFrame]]:
    """For each ascending moment the image that is shown then, and its time."""
    frames, decoded = _decoded(path, film), 0
    last = next(frames)
    following: tuple[float, VideoFrame] | None = next(frames, None)
    for moment in wanted:
        if film.first_s is not None and following is not None and moment - following[0] > SEEK_S:
            # Nobody looks at what lies between: on from the key frame in front of the moment, if there is one.
            frames.close()
            frames = _decoded(path, film, moment)
            try:
                sought = next(frames)
            except CommandError:  # not in the film, but behind where it was entered
                sought = (-math.inf, last[1])
            if not last[0] <= sought[0] <= moment:
                frames.close()
                frames = _decoded(path, film)
                sought = next(frames)
            last, following = sought, next(frames, None)
        while following is not None and following[0] <= moment:
            last, following = following, next(frames, None)
            decoded += last[1].width * last[1].height
            if decoded > MAX_DECODED_PIXELS:
                raise CommandError(f"{path} takes more than {MAX_DECODED_PIXELS:,} pixels to decode; cut it shorter")
        yield last
    frames.close()


def _pixels(
    frame: VideoFrame, colours: VideoReformatter, film: _Film, max_height: int, max_width: int | None
) -> np.ndarray:
    """uint8 (H, W, 3) rgb, without hidden colours, with square pixels, turned as the camera was held, and shrunk."""
    if any(component.is_alpha for component in frame.format.components):
        picture = flattened(Image.fromarray(colours.reformat(frame, format="rgba", threads=1).to_ndarray()))
    else:
        picture = colours.reformat(frame, format="rgb24", threads=1).to_ndarray()
    height, width = picture.shape[:2]
    if film.pixel_aspect != 1.0:
        width = max(1, round(width * film.pixel_aspect))
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    matrix = next((bytes(side) for side in frame.side_data if side.type == SideData.DISPLAYMATRIX), b"")
    picture = upright(picture, matrix)
    height, width = picture.shape[:2]
    scale = min(max_height / height, (max_width or width) / width)
    if scale >= 1.0:
        return np.ascontiguousarray(picture)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shrunk: np.ndarray = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return shrunk
