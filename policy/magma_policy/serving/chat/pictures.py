"""Pictures that come inside a request, as data: URLs. Nothing is ever fetched."""

from __future__ import annotations

import base64
import binascii
import re

import numpy as np

from magma_contracts.text import printable
from magma_policy.errors import CommandError
from magma_policy.files.image_files import MAX_PIXELS, decode_image
from magma_policy.serving.chat.errors import ApiError, invalid

MAX_PICTURES = 64
"""Of one request: twice the frames of a video that published evaluations give."""
_DATA_URL = re.compile(r"data:(?P<type>[^,;]*)(?P<options>(?:;[^,;]*)*),(?P<data>.*)", re.DOTALL | re.IGNORECASE)


def read_data_url(url: object, param: str) -> np.ndarray:
    """uint8 rgb (H, W, 3) of a picture in base64. Raises ApiError."""
    if not isinstance(url, str):
        raise invalid(f"{param} must be a string, got {type(url).__name__}", param, "invalid_type")
    match = _DATA_URL.fullmatch(url.strip())
    if match is None:
        raise invalid(
            f"{param} must be a data: URL (data:image/png;base64,...), got {printable(url, 60)!r}; this server fetches "
            "nothing, so send the picture itself",
            param,
            "invalid_image_url",
        )
    if match["type"] and not match["type"].lower().startswith("image/"):
        raise invalid(f"{param} holds {printable(match['type'], 40)!r}, not a picture", param, "invalid_image_format")
    if "base64" not in match["options"].lower().split(";"):
        raise invalid(f"{param} must be encoded in base64 (data:image/png;base64,...)", param, "invalid_base64")
    try:
        data = base64.b64decode("".join(match["data"].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"{param} is not valid base64: {printable(error)}", param, "invalid_base64") from error
    try:
        return decode_image(data, param)
    except CommandError as error:
        raise invalid(str(error), param, "invalid_image_format") from error


class Room:
    """How many pictures and pixels the pictures of one request may still have."""

    def __init__(self) -> None:
        self._pictures, self._pixels = 0, 0

    def take(self, pixels: np.ndarray, param: str) -> np.ndarray:
        """The picture again. Raises ApiError when it is one too many."""
        self._pixels += pixels.shape[0] * pixels.shape[1]
        if self._pixels > MAX_PIXELS:
            raise ApiError(400, f"the pictures have more than {MAX_PIXELS:,} pixels together", param, "image_too_large")
        return pixels

    def count(self, param: str) -> None:
        """Called before a picture is read. Raises ApiError."""
        self._pictures += 1
        if self._pictures > MAX_PICTURES:
            raise ApiError(400, f"at most {MAX_PICTURES} pictures are read of one request", param, "too_many_images")
