"""Pixels of a ROS image message as an RGB array.

Encoding names and their memory layout are those of ROS 2's ``sensor_msgs/image_encodings.hpp``.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from magma_common.compressed_images import CompressedImageError, check_size, decode_file

DARK_16_BIT = 1 << 14
"""A 16-bit picture all below this uses no more than 14 bits: unless somebody says how many the sensor has, nobody knows
whether it shows a dark scene or is nearly black only because its bits are counted wrong."""


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


def decode_image(
    encoding: str,
    height: int,
    width: int,
    step: int,
    data: object,
    is_bigendian: bool = False,
    bit_depth: int = 0,
) -> np.ndarray:
    """RGB pixels of a ``sensor_msgs/Image``.

    Args:
        encoding: one of `ENCODINGS`; upper and lower case are the same.
        height, width: pixels.
        step: bytes per row, at least ``width`` times the bytes of a pixel; the rest of the row is padding.
        data: the rows, anything with the buffer protocol; its length must be ``step * height``.
        is_bigendian: byte order, which matters for 16-bit encodings only.
        bit_depth: 9 ... 16 bits that the sensor uses of a 16-bit encoding; 0 = not known, then pictures that may be
            of fewer than 16 are refused.

    Returns:
        uint8 array (height, width, 3); a view of `data` where nothing had to be converted.

    Raises:
        FrameRefusedError: with reason ``encoding``, ``empty``, ``too_large``, ``bit_depth`` or ``length``.
    """
    name = encoding.lower()
    try:
        check_size(height, width)
    except CompressedImageError as error:
        raise FrameRefusedError(error.reason, str(error)) from None
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
        values = np.ascontiguousarray(rows).view(">u2" if is_bigendian else "<u2").reshape(height, width, -1)
        eight_bit = {"mono16": "mono8", "rgb16": "rgb8", "bgr16": "bgr8"}[name]
        return _DECODERS[eight_bit][1](_eight_bit(values, bit_depth))
    channels = rows.reshape(height, width, pixel_bytes) if pixel_bytes > 1 else rows
    return _DECODERS[name][1](np.ascontiguousarray(channels))


def decode_compressed(format_name: str, data: object, bit_depth: int = 0) -> np.ndarray:
    """RGB pixels of a ``sensor_msgs/CompressedImage`` with JPEG or PNG content.

    Args:
        format_name: the message's format, e.g. ``jpeg`` or ``bgr8; jpeg compressed bgr8``.
        data: the file's bytes.
        bit_depth: as in `decode_image`, for a PNG of sixteen bits.

    Returns:
        uint8 array (height, width, 3).

    Raises:
        FrameRefusedError: with reason ``encoding``, ``empty``, ``too_large``, ``bit_depth`` or ``corrupt``.
    """
    if "compresseddepth" in format_name.lower():
        raise FrameRefusedError("encoding", f"format {format_name!r} is a depth image; a colour image is needed")
    try:
        pixels = decode_file(data)
    except CompressedImageError as error:
        raise FrameRefusedError(error.reason, str(error)) from None
    return _eight_bit(pixels, bit_depth) if pixels.dtype == np.uint16 else pixels


def _eight_bit(values: np.ndarray, bit_depth: int) -> np.ndarray:
    """The eight most significant of `bit_depth` bits; ROS has no field that says how many a sensor uses."""
    brightest = int(values.max())
    if bit_depth == 0:
        if brightest < DARK_16_BIT:
            raise FrameRefusedError(
                "bit_depth",
                f"the brightest value of this 16-bit picture is {brightest} of 65535: a sensor of 10, 12 or 14 bits? "
                "Set bit_depth to the sensor's number of bits, or to 16 if the scene really is so dark",
            )
        bit_depth = 16
    if brightest >= 1 << bit_depth:
        raise FrameRefusedError(
            "bit_depth", f"a value of {brightest} needs more than the {bit_depth} bits of bit_depth"
        )
    return (values >> (bit_depth - 8)).astype(np.uint8)
