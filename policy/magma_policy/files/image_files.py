"""Image files as arrays: the one reader of all commands."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from magma_contracts.files.outputs import check_file
from magma_contracts.text import printable
from magma_policy.errors import CommandError

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "PPM", "ICO", "JPEG2000")
"""What is read. Not all that Pillow knows: some others call programs (EPS: Ghostscript) or are never images."""
MAX_PIXELS = 89_000_000
"""Just below the number at which Pillow warns of images that only want to fill the memory."""
BACKGROUND = (255, 255, 255)
"""What shows through transparent pixels, as in most viewers."""
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
"""TIFF's tag for how numbers become grey, and its value for inverted ones."""
ORIENTATION = 0x112
"""EXIF's tag for how the camera was held."""
TURNED_SIDEWAYS = frozenset({5, 6, 7, 8})
"""Its values of images whose stored rows are shown as columns."""


def read_image(path: Path) -> np.ndarray:
    """An image file as uint8 rgb (H, W, 3), turned the way its camera was held: what a viewer shows.

    16-bit grey keeps its upper eight bits, transparent pixels show white, of an animation the first image counts.
    Numbers without a known white (floats, 32-bit and signed integers) are refused: any scale would be a guess.

    Raises:
        CommandError: no such file, not an image, cut off, of numbers without a scale, or absurdly large.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise CommandError(f"{path}: no such file")
    if not path.is_file():
        raise CommandError(f"{path} is {'a folder' if path.is_dir() else 'no regular file'}, not a picture")
    return _read(path, str(path))


def decode_image(data: bytes, name: str) -> np.ndarray:
    """As `read_image`, of a file's bytes; `name` is what an error calls it. Raises CommandError."""
    return _read(io.BytesIO(data), name)


def _read(file: Path | io.BytesIO, name: str) -> np.ndarray:
    Image.init()
    try:
        with Image.open(file, formats=[known for known in FORMATS if known in Image.OPEN]) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise CommandError(
                    f"{name} is {picture.width}x{picture.height} pixels; at most {MAX_PIXELS:,} are read"
                )
            return flattened(ImageOps.exif_transpose(_eight_bits(picture, name)))
    except UnidentifiedImageError as error:
        raise CommandError(f"{name} is not a picture that can be read (PNG, JPEG, WebP, …)") from error
    except CommandError:
        raise
    # Not a list of types: on damaged files Pillow's readers let almost any error through (struct.error, KeyError, …).
    except Exception as error:
        raise CommandError(f"{name} cannot be read as a picture: {printable(error) or type(error).__name__}") from error


def _eight_bits(picture: Image.Image, name: str) -> Image.Image:
    """The image in a mode that Pillow converts truly, which it does not with more than eight bits: it clips them.

    Raises CommandError when nothing says which number is white.
    """
    mode, kind = picture.mode, picture.format
    if mode.startswith("I;16") or (mode == "I" and kind in ("PNG", "PPM")):
        levels = np.asarray(picture).astype(np.uint16)
        grey = (levels >> 8).astype(np.uint8)
        if kind == "TIFF" and picture.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # type: ignore[attr-defined]
            grey = 255 - grey
        made = Image.fromarray(grey)
        hidden = picture.info.get("transparency")
        if isinstance(hidden, int):
            made.putalpha(Image.fromarray(np.where(levels == hidden, 0, 255).astype(np.uint8)))
        held = picture.getexif().get(ORIENTATION)
        if held is not None:
            made.getexif()[ORIENTATION] = held
        return made
    if mode in ("I", "F") or mode.startswith("I;"):
        what = "floats" if mode == "F" else "integers of 32 bits or with a sign"
        raise CommandError(f"{name} holds {what}, and nothing says which of them is white; save it with 8 or 16 bits")
    return picture


def flattened(picture: Image.Image) -> np.ndarray:
    """uint8 rgb (H, W, 3) of an image of eight bits, its transparent pixels on the background."""
    if not picture.has_transparency_data:
        return np.array(picture.convert("RGB"))
    above = picture.convert("RGBA")
    return np.array(Image.alpha_composite(Image.new("RGBA", above.size, BACKGROUND), above).convert("RGB"))


def array_hash(pixels: np.ndarray) -> str:
    """Twelve hexadecimal digits that tell images, or other arrays, apart by what they hold."""
    return hashlib.sha256(repr((pixels.shape, pixels.dtype.str)).encode() + pixels.tobytes()).hexdigest()[:12]


def described(pixels: np.ndarray) -> str:
    """Size and contents of an image, for people: what a command looked at."""
    return f"{pixels.shape[1]}x{pixels.shape[0]} pixels, contents {array_hash(pixels)}"


def check_image_file(path: Path, option: str) -> None:
    """Tries whether `write_image` can write there, before a command begins its work; `option` as people type it.
    Raises CommandError for a folder that is not there or a name whose format is not known, OutputError for a place that
    cannot be written."""
    Image.init()
    # That something is a folder is told before what its name lacks.
    if not path.is_dir() and Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise CommandError(f"{option} {path}: its name must end in the format that is meant, such as .png or .jpg")
    check_file(path, option)
    if not path.parent.is_dir():
        raise CommandError(f"{option} {path}: there is no folder {path.parent}")


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Writes uint8 (H, W, 3); the suffix chooses the format. Raises CommandError when that is impossible."""
    try:
        Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} cannot be written: {error}") from error


def encoded_png(pixels: np.ndarray) -> bytes:
    """uint8 (H, W, 3) as the bytes of a PNG file, packed quickly rather than tightly."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 (H, W, 3) stretched to a size: averaged when it shrinks, bicubic when it grows."""
    if pixels.shape[:2] == (height, width):
        return pixels
    shrinks = pixels.shape[0] >= height and pixels.shape[1] >= width
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), how))
