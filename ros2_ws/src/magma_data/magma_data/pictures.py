"""The pictures inside of parquet files: PNG without loss, as LeRobot embeds them."""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from magma_contracts.text import printable

Pixels = NDArray[np.uint8]
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")


def encoded(pixels: Pixels) -> bytes:
    """uint8 (H, W, 3) rgb as PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(out, "PNG")
    return out.getvalue()


def decoded(data: bytes, height: int, width: int) -> Pixels:
    """A picture's bytes as uint8 (H, W, 3) rgb.

    Raises:
        ValueError: no picture, of another size than is said of it (looked at before memory is taken), or damaged.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.size != (width, height):
                raise ValueError(f"is {image.size[0]}x{image.size[1]} pixels, but {width}x{height} are said of it")
            if image.format == "PNG":
                _check_end(data)
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"has numbers of {image.mode}, of which nothing says which one is white")
            if image.has_transparency_data:
                # Under transparent pixels any colour may lie; what a viewer shows is what counts.
                ground = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(ground, image.convert("RGBA"))
            return np.array(image.convert("RGB"), dtype=np.uint8)
    # Not a list of types: Pillow lets what its decoders meet through (struct.error, SyntaxError, EOFError, …).
    except Exception as error:
        text = printable(error, 120) or type(error).__name__
        raise ValueError(text if isinstance(error, ValueError) else f"cannot be read as a picture ({text})") from error


def _check_end(data: bytes) -> None:
    """Pillow shows a PNG that lacks its end in part, without a word."""
    place = 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        if data[place + 4 : place + 8] == b"IEND":
            return
        place += 12 + length
    raise ValueError("is a PNG without its end")
