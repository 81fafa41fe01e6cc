"""Pixels of a ROS image message as an RGB array.

Encoding names and their memory layout are those of ROS 2's ``sensor_msgs/image_encodings.hpp``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

import cv2
import numpy as np

MAX_SIDE_PX = 8192
"""Larger pictures are taken for a corrupted header: no camera of a robot arm has them."""


class FrameRefusedError(ValueError):
    """A picture that must not reach the policy.

    ``reason`` is a short fixed word to count by; the message says what was wrong, with which value.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def _convert(code: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: cv2.cvtColor(pixels, code)


# encoding -> (bytes per pixel, converter from (H, W, channels) uint8 to (H, W, 3) RGB).
_DECODERS: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    "rgb8": (3, np.ascontiguousarray),
    "bgr8": (3, _convert(cv2.COLOR_BGR2RGB)),
    "rgba8": (4, _convert(cv2.COLOR_RGBA2RGB)),
    "bgra8": (4, _convert(cv2.COLOR_BGRA2RGB)),
    "mono8": (1, _convert(cv2.COLOR_GRAY2RGB)),
    # `yuv422` is UYVY; newer drivers use the plain FourCC names.
    "yuv422": (2, _convert(cv2.COLOR_YUV2RGB_UYVY)),
    "uyvy": (2, _convert(cv2.COLOR_YUV2RGB_UYVY)),
    "yuv422_yuy2": (2, _convert(cv2.COLOR_YUV2RGB_YUY2)),
    "yuyv": (2, _convert(cv2.COLOR_YUV2RGB_YUY2)),
    # OpenCV names Bayer patterns by the second row's second and third pixel, ROS by the first two rows.
    "bayer_rggb8": (1, _convert(cv2.COLOR_BayerBG2RGB)),
    "bayer_bggr8": (1, _convert(cv2.COLOR_BayerRG2RGB)),
    "bayer_gbrg8": (1, _convert(cv2.COLOR_BayerGR2RGB)),
    "bayer_grbg8": (1, _convert(cv2.COLOR_BayerGB2RGB)),
}
_SIXTEEN_BIT = {"mono16": 1, "rgb16": 3, "bgr16": 3}
_CHROMA_PAIRS = frozenset({"yuv422", "uyvy", "yuv422_yuy2", "yuyv"})

ENCODINGS = (*_DECODERS, *_SIXTEEN_BIT)
"""Encodings that `decode_image` takes."""


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise FrameRefusedError("empty", f"image of {width}x{height} pixels has no content")
    if height > MAX_SIDE_PX or width > MAX_SIDE_PX:
        raise FrameRefusedError("too_large", f"image of {width}x{height} pixels; the limit is {MAX_SIDE_PX} on a side")


def decode_image(
    encoding: str, height: int, width: int, step: int, data: object, is_bigendian: bool = False
) -> np.ndarray:
    """RGB pixels of a ``sensor_msgs/Image``.

    Args:
        encoding: one of `ENCODINGS`; upper and lower case are the same.
        height, width: pixels.
        step: bytes per row, at least ``width`` times the bytes of a pixel; the rest of the row is padding.
        data: the rows, anything with the buffer protocol; its length must be ``step * height``.
        is_bigendian: byte order, which matters for 16-bit encodings only.

    Returns:
        uint8 array (height, width, 3); a view of `data` where nothing had to be converted.

    Raises:
        FrameRefusedError: with reason ``encoding``, ``empty``, ``too_large`` or ``length``.
    """
    name = encoding.lower()
    _check_size(height, width)
    if name in _SIXTEEN_BIT:
        pixel_bytes = 2 * _SIXTEEN_BIT[name]
    elif name in _DECODERS:
        pixel_bytes = _DECODERS[name][0]
    else:
        raise FrameRefusedError("encoding", f"encoding {encoding!r} is not known; known: {', '.join(ENCODINGS)}")
    if name in _CHROMA_PAIRS and width % 2:
        raise FrameRefusedError("length", f"{encoding} stores pixels in pairs, but the width is {width}")
    if step < width * pixel_bytes:
        raise FrameRefusedError(
            "length", f"step is {step} bytes, but {width} pixels of {encoding} need {width * pixel_bytes}"
        )
    buffer = np.frombuffer(data, dtype=np.uint8)  # type: ignore[call-overload]
    if buffer.size != step * height:
        raise FrameRefusedError(
            "length", f"{buffer.size} bytes of data, but step {step} x height {height} = {step * height}"
        )
    rows = buffer.reshape(height, step)[:, : width * pixel_bytes]
    if name in _SIXTEEN_BIT:
        # The high byte carries what fits into eight bits.
        high = np.ascontiguousarray(rows[:, 0 if is_bigendian else 1 :: 2]).reshape(height, width, -1)
        eight_bit = {"mono16": "mono8", "rgb16": "rgb8", "bgr16": "bgr8"}[name]
        return _DECODERS[eight_bit][1](high)
    channels = rows.reshape(height, width, pixel_bytes) if pixel_bytes > 1 else rows
    return _DECODERS[name][1](np.ascontiguousarray(channels))


def decode_compressed(format_name: str, data: object) -> np.ndarray:
    """RGB pixels of a ``sensor_msgs/CompressedImage`` with JPEG or PNG content.

    The size in the file's own header is checked before anything is decoded, so that a small message cannot claim a
    huge picture.

    Args:
        format_name: the message's format, e.g. ``jpeg`` or ``bgr8; jpeg compressed bgr8``.
        data: the file's bytes.

    Returns:
        uint8 array (height, width, 3).

    Raises:
        FrameRefusedError: with reason ``encoding``, ``empty``, ``too_large`` or ``corrupt``.
    """
    if "compresseddepth" in format_name.lower():
        raise FrameRefusedError("encoding", f"format {format_name!r} is a depth image; a colour image is needed")
    buffer = np.frombuffer(data, dtype=np.uint8)  # type: ignore[call-overload]
    height, width = _encoded_size(buffer)
    _check_size(height, width)
    # Cameras mounted upside down say so in EXIF; the policy wants the pixels as the sensor delivers them.
    pixels = cv2.imdecode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise FrameRefusedError("corrupt", f"{buffer.size} bytes of format {format_name!r} could not be decoded")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


_PNG_START = b"\x89PNG\r\n\x1a\n"
# JPEG start-of-frame markers (ITU-T T.81, table B.1): C0-CF without C4, C8 and CC.
_JPEG_FRAME = re.compile(rb"[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]")


def _encoded_size(buffer: np.ndarray) -> tuple[int, int]:
    """(height, width) from a PNG or JPEG header."""
    head = buffer[:65536].tobytes()
    if head.startswith(_PNG_START) and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
        return height, width
    if head.startswith(b"\xff\xd8"):
        position = 2
        while position + 9 <= len(head) and head[position] == 0xFF:
            marker = head[position + 1 : position + 2]
            if _JPEG_FRAME.match(marker):
                height, width = struct.unpack(">HH", head[position + 5 : position + 9])
                return height, width
            position += 2 + int.from_bytes(head[position + 2 : position + 4], "big")
        raise FrameRefusedError("corrupt", "JPEG data without a frame header in its first 64 KiB")
    raise FrameRefusedError("encoding", f"data is neither JPEG nor PNG (first bytes: {head[:8].hex(' ') or 'none'})")
