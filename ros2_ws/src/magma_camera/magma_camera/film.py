"""Video files and streams as pictures, by PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import VideoReformatter

from magma_contracts.geometry.display_matrix import upright

MAX_PIXELS = 1 << 26
"""Of one picture: a header that claims more is damaged or hostile."""
THREADS = 4
"""Of the decoder; its own choice is one for every core of a machine that has other work."""
LONGEST_PAUSE_S = 60.0
"""A longer step between two time stamps is a jump, not a pause."""
STREAM_TIMEOUT_S = 10.0
"""How long a stream may keep silent."""


class FilmError(RuntimeError):
    """A video file or stream cannot be read, or not to its end; the message says why."""


class Film:
    """The pictures of one video file or stream from its beginning, decoded one ahead so that each one's time is known.

    Blocking; one thread owns it.
    """

    def __init__(self, place: str) -> None:
        """`place` is a path or URL. Raises FilmError."""
        self._place = place
        self._live = "://" in place
        self._opened = ExitStack()
        try:
            if self._live:
                source: Any = av.open(place, timeout=STREAM_TIMEOUT_S)
            else:
                # From an open file and without protocols: a playlist in the guise of a video could name other hosts.
                file = self._opened.enter_context(Path(place).open("rb"))  # noqa: SIM115 - it is one
                source = av.open(file, options={"protocol_whitelist": "none"}, metadata_errors="replace")
            self._container = self._opened.enter_context(source)
            # Without a decoder the library would crash.
            streams = [stream for stream in self._container.streams.video if stream.codec_context is not None]
            if not streams:
                raise FilmError(f"cannot open {place} (there is no film in it that can be decoded)")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self.close()
            raise FilmError(f"cannot open {place} ({error})") from error
        except FilmError:
            self.close()
            raise
        self._stream = streams[0]
        self._stream.codec_context.thread_count = THREADS
        self._stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        rate = self._stream.average_rate or self._stream.base_rate
        self._usual_s = 1.0 / float(rate) if rate else 1.0 / 30.0
        self._frames = self._decode()
        # One for the whole film: every other one would start threads of its own.
        self._colours = VideoReformatter()
        self._ahead: Any = None
        self._begun = False
        self.period_s = self._usual_s
        """Seconds from the picture that was read last to the next one."""

    def read(self) -> np.ndarray | None:
        """The next picture as a player shows it, uint8 (H, W, 3) in BGR order; None at the end.

        Raises:
            FilmError: the file is damaged here or lacks its end, the stream has gone.
        """
        if not self._begun:
            self._ahead, self._begun = next(self._frames, None), True
        frame = self._ahead
        if frame is None:
            return None
        self._ahead = next(self._frames, None)
        self.period_s = self._usual_s
        if self._ahead is not None and frame.time is not None and self._ahead.time is not None:
            pause_s = float(self._ahead.time - frame.time)
            if 0.0 < pause_s < LONGEST_PAUSE_S:
                self.period_s = pause_s
        picture = self._colours.reformat(frame, format="bgr24").to_ndarray()
        return np.ascontiguousarray(upright(picture, _display_matrix(frame)))

    def close(self) -> None:
        """Releases file or connection."""
        self._opened.close()

    def _decode(self) -> Iterator[Any]:
        stream = self._stream
        packets, there_s = 0, 0.0
        try:
            for packet in self._container.demux(stream):
                if packet.is_corrupt and not self._live:
                    raise FilmError(f"{self._place} is cut off or damaged after {packets} pictures")
                packets += packet.size > 0
                if packet.pts is not None:
                    there_s = max(there_s, float((packet.pts - (stream.start_time or 0)) * packet.time_base))
                try:
                    yield from packet.decode()
                except av.error.InvalidDataError:
                    # A network loses parts; what comes next can be shown again.
                    if not self._live:
                        raise
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise FilmError(f"{self._place} cannot be read on after {packets} pictures ({error})") from error
        # AVI counts pictures that were dropped, so the time must lack as well.
        if packets < stream.frames and there_s < (stream.frames - 1.5) * self._usual_s:
            raise FilmError(f"{self._place} is cut off: {packets} of its {stream.frames} pictures are there")


def _display_matrix(frame: Any) -> bytes:
    """Of a picture; empty where its film has none."""
    return next((bytes(side) for side in frame.side_data if side.type == SideData.DISPLAYMATRIX), b"")
