"""The films of a dataset: an episode's pictures by their times, and films of pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from magma_contracts.text import printable
from magma_data.errors import DatasetError

Pixels = NDArray[np.uint8]
CODEC = "libx264"
QUALITY = 18
"""x264's crf: no eye sees a difference; `tests/benchmarks/datasets.py` gives the PSNR."""
GROUP = 2
"""Pictures from one that stands by itself to the next: any of them is found by decoding two, as LeRobot has it."""
TOLERANCE_FRAMES = 0.4
"""How far from its time a picture may be, in periods of the clock."""
MAX_PIXELS = 1 << 26


def read(path: Path, times_s: NDArray[np.floating], fps: float, height: int, width: int) -> Iterator[Pixels]:
    """The pictures uint8 (height, width, 3) rgb of ascending times of a film, decoded once from the first to the last.

    Raises:
        DatasetError: no such film, no picture at one of the times, pictures of another size, or damage.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such file")
    if not len(times_s):
        return
    tolerance_s, wanted = TOLERANCE_FRAMES / fps, 0
    try:
        # From an open file and without protocols: a playlist in the guise of a film could name other files and hosts.
        with (
            path.open("rb") as file,
            av.open(file, options={"protocol_whitelist": "none"}, metadata_errors="replace") as container,
        ):
            streams = [stream for stream in container.streams.video if stream.codec_context is not None]
            if not streams:
                raise DatasetError(f"{path}: there is no film in it that can be decoded")
            stream = streams[0]
            context = stream.codec_context
            context.thread_count = 1
            context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
            if (context.width, context.height) != (width, height):
                raise DatasetError(
                    f"{path}: shows {context.width}x{context.height} pixels, but {width}x{height} are said of it"
                )
            if times_s[0] > 0 and stream.time_base:
                container.seek(int((times_s[0] - tolerance_s) / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise DatasetError(f"{path}: is damaged near {float(frame.time or 0):.2f} s")
                if frame.time is None:
                    raise DatasetError(f"{path}: has a picture without a time")
                if float(frame.time) < times_s[wanted] - tolerance_s:
                    continue
                if float(frame.time) > times_s[wanted] + tolerance_s:
                    break
                pixels = frame.to_ndarray(format="rgb24")
                if pixels.shape != (height, width, 3):
                    raise DatasetError(f"{path}: its pictures change to {frame.width}x{frame.height} pixels")
                yield pixels
                wanted += 1
                if wanted == len(times_s):
                    return
    except (av.FFmpegError, OSError, ValueError, OverflowError, MemoryError, ArithmeticError) as error:
        if isinstance(error, DatasetError):
            raise
        reason = printable(getattr(error, "strerror", None) or error, 160)
        raise DatasetError(f"{path}: cannot be read as a film ({reason}); is it cut off or damaged?") from error
    raise DatasetError(
        f"{path}: has no picture at {float(times_s[wanted]):.3f} s, number {wanted + 1} of {len(times_s)} that are "
        "looked "
        "for; is it cut off?"
    )


def write(path: Path, pictures: Iterable[Pixels], fps: float, quality: int = QUALITY) -> int:
    """Writes a film of pictures uint8 (H, W, 3) rgb, one after the other at `fps`; returns their number. Sides must be
    even, as yuv420p has it.

    Raises:
        DatasetError: an odd side, or the library cannot write here.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    count = 0
    try:
        with av.open(str(partial), "w") as container:
            stream = None
            for pixels in pictures:
                height, width = pixels.shape[:2]
                if stream is None:
                    if height % 2 or width % 2:
                        raise DatasetError(f"{path}: a film has even sides, these pictures are {width}x{height}")
                    stream = container.add_stream(CODEC, rate=Fraction(fps).limit_denominator(1001))
                    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                    stream.codec_context.thread_count = 1
                    stream.options = {"crf": str(quality), "g": str(GROUP), "preset": "veryfast"}
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
                count += 1
            if stream is not None:
                container.mux(stream.encode())
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (av.FFmpegError, OSError) as error:
        raise DatasetError(f"{path}: cannot be written ({printable(error.strerror or error, 160)})") from error
    finally:
        partial.unlink(missing_ok=True)
    return count
