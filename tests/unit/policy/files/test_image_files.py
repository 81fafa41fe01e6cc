"""Every command reads picture files by one reader, which shows what a viewer shows, or says why it cannot."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from magma_contracts.files.outputs import OutputError
from magma_policy.errors import CommandError
from magma_policy.files.image_files import MAX_PIXELS, check_image_file, read_image, write_image

LEVELS = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
SIXTEEN = (LEVELS.astype(np.uint16) << 8) | 0x7F


def grey(pixels: np.ndarray) -> np.ndarray:
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm", "jp2"])
def test_sixteen_bits_of_grey_keep_their_upper_eight(tmp_path, suffix):
    Image.fromarray(SIXTEEN).save(tmp_path / f"x.{suffix}", **({"irreversible": False} if suffix == "jp2" else {}))
    np.testing.assert_array_equal(grey(read_image(tmp_path / f"x.{suffix}")), LEVELS)


def test_a_tiff_in_which_white_is_zero_is_not_a_negative(tmp_path):
    Image.fromarray(SIXTEEN).save(tmp_path / "x.tiff", tiffinfo={262: 0})
    np.testing.assert_array_equal(grey(read_image(tmp_path / "x.tiff")), 255 - LEVELS)


def test_a_deep_picture_is_turned_too(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(SIXTEEN).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(grey(read_image(tmp_path / "x.png")), LEVELS.T[:, ::-1])


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_way_to_hold_a_camera(tmp_path, turn):
    picture = np.zeros((16, 32, 3), np.uint8)
    picture[:8, :8] = 255
    exif = Image.Exif()
    exif[0x112] = turn
    Image.fromarray(picture).save(tmp_path / "x.png", exif=exif)
    shown = read_image(tmp_path / "x.png")
    assert shown.shape == ((16, 32, 3) if turn < 5 else (32, 16, 3))
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}[turn]
    assert shown[corner].tolist() == [255, 255, 255] and shown.mean() < 40


@pytest.mark.parametrize(
    "values", [LEVELS.astype(np.float32) / 255, LEVELS.astype(np.float32), LEVELS.astype(np.int32)]
)
def test_numbers_without_a_known_white_are_refused(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "x.tiff")
    with pytest.raises(CommandError, match="nothing says which of them is white"):
        read_image(tmp_path / "x.tiff")


def transparent(kind: str) -> Image.Image:
    """Blue on the left, hidden red on the right."""
    rgba = np.full((4, 8, 4), (0, 0, 255, 255), np.uint8)
    rgba[:, 4:] = (255, 0, 0, 0)
    made = Image.fromarray(rgba)
    if kind == "P":
        palette = made.convert("RGB").quantize(4)
        palette.info["transparency"] = palette.getpixel((7, 0))
        return palette
    return made


@pytest.mark.parametrize(
    ("kind", "suffix"), [("RGBA", "png"), ("RGBA", "webp"), ("RGBA", "tiff"), ("P", "png"), ("P", "gif")]
)
def test_what_is_transparent_shows_white_instead_of_what_it_hides(tmp_path, kind, suffix):
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    transparent(kind).save(tmp_path / f"x.{suffix}", **options)
    shown = read_image(tmp_path / f"x.{suffix}")
    assert shown[0, 0].tolist() == [0, 0, 255] and shown[0, 7].tolist() == [255, 255, 255]


def test_one_grey_level_or_colour_can_be_the_transparent_one(tmp_path):
    Image.fromarray(LEVELS).save(tmp_path / "grey.png", transparency=7)
    assert read_image(tmp_path / "grey.png")[0, 6:9].tolist() == [[6] * 3, [255] * 3, [8] * 3]
    Image.fromarray(SIXTEEN).save(tmp_path / "deep.png", transparency=int(SIXTEEN[0, 7]))
    assert read_image(tmp_path / "deep.png")[0, 6:9].tolist() == [[6] * 3, [255] * 3, [8] * 3]
    half = np.full((2, 2, 2), (0, 128), np.uint8)
    Image.fromarray(half).save(tmp_path / "half.png")
    assert abs(int(read_image(tmp_path / "half.png")[0, 0, 0]) - 127) <= 1


def test_print_colours_and_animations(tmp_path):
    red = Image.new("RGB", (16, 16), (200, 0, 0))
    red.convert("CMYK").save(tmp_path / "x.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "x.jpg").mean(axis=(0, 1)) - (200, 0, 0)).max() < 8
    for suffix in ("gif", "webp", "png", "tiff"):
        frames = [Image.new("RGB", (8, 8), (level,) * 3) for level in (10, 200)]
        frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:])
        assert abs(int(read_image(tmp_path / f"x.{suffix}").mean()) - 10) < 4, suffix


def test_what_is_no_picture_is_said(tmp_path):
    (tmp_path / "program.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")
    (tmp_path / "notes.png").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("program.eps", "notes.png", "empty.png"):
        with pytest.raises(CommandError, match=f"{name} is not a picture"):
            read_image(tmp_path / name)
    with pytest.raises(CommandError, match="a folder"):
        read_image(tmp_path)
    with pytest.raises(CommandError, match="no such file"):
        read_image(tmp_path / "missing.png")


def test_a_drawing_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    for name in ("out.png", "out.JPG"):
        check_image_file(tmp_path / name, "--draw")
        assert not (tmp_path / name).exists()
        write_image(tmp_path / name, pixels)
        assert read_image(tmp_path / name).shape == (4, 4, 3)
    for name in ("out", "out.xyz", "out.eps.zip", "out.fits"):
        with pytest.raises(CommandError, match=f"--draw .*{name}: its name must end in the format"):
            check_image_file(tmp_path / name, "--draw")
    with pytest.raises(CommandError, match=r"there is no folder .*new"):
        check_image_file(tmp_path / "new" / "out.png", "--draw")
    with pytest.raises(OutputError, match="is a file"):
        check_image_file(tmp_path / "out.png" / "out.png", "--draw")


def test_an_absurd_size_is_refused_before_the_memory_is_taken(tmp_path):
    side = int(MAX_PIXELS**0.5) + 1
    Image.new("1", (side, side)).save(tmp_path / "x.png")
    with pytest.raises(CommandError, match="at most"):
        read_image(tmp_path / "x.png")


def test_cut_files_are_refused_or_read(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "JPEG2000"):
        out = io.BytesIO()
        Image.fromarray(noise).save(out, kind)
        data = out.getvalue()
        for cut in np.linspace(0, len(data) - 1, 12).astype(int):
            (tmp_path / "cut").write_bytes(data[:cut])
            try:
                assert read_image(tmp_path / "cut").dtype == np.uint8
            except CommandError as error:
                assert str(tmp_path / "cut") in str(error)
