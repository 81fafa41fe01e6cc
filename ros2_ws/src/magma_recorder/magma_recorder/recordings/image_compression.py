"""Compresses pictures for a recording and restores them."""

from __future__ import annotations

import array

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image

from magma_common.compressed_images import CompressedImageError, decode_file

CHANNELS = {"rgb8": 3, "bgr8": 3, "mono8": 1, "rgba8": 4, "bgra8": 4}
"""Encodings of sensor_msgs/Image that can be compressed, with their bytes per pixel."""
_TO_BGR = {"rgb8": cv2.COLOR_RGB2BGR, "rgba8": cv2.COLOR_RGBA2BGR, "bgra8": cv2.COLOR_BGRA2BGR}


class ImageError(ValueError):
    """A picture that cannot be compressed; the text says why."""


def compress(data: bytes, encoding: str, jpeg_quality: int) -> bytes:
    """A serialised sensor_msgs/Image -> a serialised sensor_msgs/CompressedImage with the same header.

    Args:
        encoding: "jpeg" or "png".

    Raises:
        ImageError: an encoding that is not one of CHANNELS, or a size that does not agree with the data.
    """
    message = deserialize_message(data, Image)
    pixels = _pixels(message)
    settings = (
        [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
        if encoding == "jpeg"
        # The fastest level: a picture that is a little larger beats a recorder that falls behind.
        else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    )
    ok, compressed = cv2.imencode(".jpg" if encoding == "jpeg" else ".png", pixels, settings)
    if not ok:
        raise ImageError(f"a picture of {message.width} x {message.height} could not be compressed as {encoding}")
    result = CompressedImage()
    result.header = message.header
    # As compressed_image_transport writes it: encoding of the raw picture, then what is inside.
    order = "mono8" if message.encoding == "mono8" else "bgr8"
    result.format = f"{message.encoding}; {encoding} compressed {order}"
    result.data = array.array("B", compressed.tobytes())
    return serialize_message(result)


def decompress(message: CompressedImage) -> NDArray[np.uint8]:
    """A CompressedImage -> its picture (H, W, 3) uint8 RGB.

    Raises:
        ImageError: the bytes are no picture, or a damaged one.
    """
    try:
        pixels = decode_file(message.data)
    except CompressedImageError as error:
        raise ImageError(f"a recorded picture in format {message.format!r} cannot be used: {error}") from None
    if pixels.dtype != np.uint8:
        raise ImageError(f"a recorded picture in format {message.format!r} has sixteen bits; eight are recorded")
    return pixels


def _pixels(message: Image) -> NDArray[np.uint8]:
    """Pixels in the order that OpenCV wants: BGR or gray."""
    channels = CHANNELS.get(message.encoding)
    if channels is None:
        raise ImageError(f"pictures with encoding {message.encoding!r} are not recorded; {', '.join(CHANNELS)} are")
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(memoryview(message.data), dtype=np.uint8)
    if height < 1 or width < 1 or step < channels * width or data.size < height * step:
        raise ImageError(
            f"a picture of {width} x {height} with {step} bytes per row does not agree with {data.size} bytes of data"
        )
    pixels = data[: height * step].reshape(height, step)[:, : channels * width].reshape(height, width, channels)
    conversion = _TO_BGR.get(message.encoding)
    return pixels if conversion is None else cv2.cvtColor(pixels, conversion)
