"""Pixels of a JPEG or PNG file as cameras and recordings carry it: whole, or refused.

Decoders are built to show something of a damaged file, so they go on after the damage and draw rubbish. What a policy
sees or is trained on must be what the camera saw, so here whatever libjpeg or libpng calls damaged is an error. Flipped
bits that leave a decodable JPEG cannot be told from a picture: the format has no checksum (PNG has).
"""

from __future__ import annotations

import struct

import cv2
import numpy as np
import simplejpeg

MAX_SIDE_PX = 8192
"""Larger pictures are taken for a corrupted header: no camera of a robot arm has them."""

_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8"
_STANDARD_TABLE = bytes.fromhex("0002010303020403050504040000017d")
"""How many codes of each length the usual table for brightness has (ITU-T T.81, table K.5)."""
_LOST_BYTES = bytes(32)
"""With that table so many zeros in a row would say that all 63 frequencies of a block have the same value, which no
picture has; transports fill in zeros for what they lost, and libjpeg often takes them."""


class CompressedImageError(ValueError):
    """A file that gives no whole picture.

    ``reason`` is a short fixed word to count by (``encoding``, ``empty``, ``too_large``, ``corrupt``); the message says
    what was wrong, with which value.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def check_size(height: int, width: int) -> None:
    """Raises CompressedImageError when no camera makes pictures of that many pixels."""
    if height < 1 or width < 1:
        raise CompressedImageError("empty", f"image of {width}x{height} pixels has no content")
    if height > MAX_SIDE_PX or width > MAX_SIDE_PX:
        raise CompressedImageError(
            "too_large", f"image of {width}x{height} pixels; the limit is {MAX_SIDE_PX} on a side"
        )


def decode_file(data: object) -> np.ndarray:
    """Pixels of a JPEG or PNG file.

    The size in the file's own header is checked before anything is decoded, so that a small file cannot claim a huge
    picture. An orientation noted in EXIF is not followed: the pixels are as the sensor delivered them.

    Args:
        data: the file's bytes, anything with the buffer protocol.

    Returns:
        (height, width, 3) RGB, uint8; uint16 for a PNG of sixteen bits, with the file's own values.

    Raises:
        CompressedImageError: the file is neither, or not whole.
    """
    buffer = np.frombuffer(data, dtype=np.uint8)  # type: ignore[call-overload]
    head = buffer[:26].tobytes()
    if head.startswith(_PNG_START) and len(head) == 26:
        return _decode_png(buffer, head)
    if head.startswith(_JPEG_START):
        return _decode_jpeg(buffer)
    raise CompressedImageError("encoding", f"data is neither JPEG nor PNG (first bytes: {head[:8].hex(' ') or 'none'})")


def _decode_png(buffer: np.ndarray, head: bytes) -> np.ndarray:
    width, height = struct.unpack(">II", head[16:24])
    check_size(height, width)
    depth = cv2.IMREAD_ANYDEPTH if head[24] == 16 else 0
    pixels = cv2.imdecode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION | depth)
    if pixels is None or pixels.shape[:2] != (height, width):
        raise CompressedImageError("corrupt", f"PNG of {buffer.size} bytes is damaged or cut off")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _decode_jpeg(buffer: np.ndarray) -> np.ndarray:
    try:
        height, width, colour_space, _ = simplejpeg.decode_jpeg_header(buffer, strict=True)
        check_size(height, width)
        if colour_space in ("CMYK", "YCCK"):
            raise CompressedImageError("encoding", f"JPEG in {colour_space}, which is for printers; send RGB or grey")
        _refuse_zeros(buffer.tobytes())
        return simplejpeg.decode_jpeg(buffer, "RGB", strict=True)
    except CompressedImageError:
        raise
    except ValueError as error:
        # libjpeg's own words, e.g. "Corrupt JPEG data: premature end of data segment".
        raise CompressedImageError("corrupt", f"JPEG of {buffer.size} bytes is damaged: {error}") from None


def _refuse_zeros(data: bytes) -> None:
    """Refuses a JPEG in whose coded pixels a stretch was replaced by zeros."""
    start = data.rfind(b"\xff\xda")
    if _STANDARD_TABLE in data[:start] and data.find(_LOST_BYTES, start, data.rfind(b"\xff\xd9")) >= 0:
        raise CompressedImageError("corrupt", f"JPEG of {len(data)} bytes is damaged: pixels were replaced by zeros")
