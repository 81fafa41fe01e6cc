"""Every encoding is checked against a picture whose RGB values are known without the code under test."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from magma_camera.image_decoding import ENCODINGS, FrameRefusedError, decode_compressed, decode_image

HEIGHT, WIDTH = 6, 8


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def with_padding(rows: np.ndarray, padding: int) -> tuple[int, bytes]:
    """(step, data) of rows (H, bytes) with `padding` bytes of noise at the end of each."""
    noise = np.full((rows.shape[0], padding), 0xAB, dtype=np.uint8)
    padded = np.concatenate([rows.reshape(rows.shape[0], -1), noise], axis=1)
    return padded.shape[1], padded.tobytes()


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "order"), [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("rgba8", [0, 1, 2, 3]), ("bgra8", [2, 1, 0, 3])]
)
def test_colour_orders(rgb, encoding, order, padding):
    with_alpha = np.concatenate([rgb, np.full((HEIGHT, WIDTH, 1), 7, np.uint8)], axis=2)
    step, data = with_padding(with_alpha[:, :, order], padding)
    np.testing.assert_array_equal(decode_image(encoding, HEIGHT, WIDTH, step, data), rgb)


@pytest.mark.parametrize("padding", [0, 3])
def test_mono_becomes_grey(rgb, padding):
    grey = np.ascontiguousarray(rgb[:, :, 0])
    step, data = with_padding(grey, padding)
    np.testing.assert_array_equal(decode_image("mono8", HEIGHT, WIDTH, step, data), np.repeat(grey[:, :, None], 3, 2))


@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize(("encoding", "order"), [("mono16", [0]), ("rgb16", [0, 1, 2]), ("bgr16", [2, 1, 0])])
def test_sixteen_bits_keep_the_high_byte(rgb, encoding, order, bigendian):
    rgb[0, 0] = 255
    values = (rgb[:, :, order].astype(np.uint16) << 8) | 0x5A
    raw = values.astype(">u2" if bigendian else "<u2").tobytes()
    decoded = decode_image(encoding, HEIGHT, WIDTH, 2 * WIDTH * len(order), raw, is_bigendian=bigendian)
    expected = rgb if len(order) == 3 else np.repeat(rgb[:, :, :1], 3, 2)
    np.testing.assert_array_equal(decoded, expected)


def ramp(bits: int) -> np.ndarray:
    """Every brightness that a sensor of so many bits can tell."""
    return np.linspace(0, 2**bits - 1, 32 * 64).round().astype(np.uint16).reshape(32, 64)


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
def test_sixteen_bits_of_a_sensor_with_fewer(bits):
    scene = ramp(bits)
    grey = np.repeat((scene >> (bits - 8)).astype(np.uint8)[:, :, None], 3, 2)
    png = cv2.imencode(".png", scene)[1].tobytes()
    for decode in (
        lambda depth: decode_image("mono16", 32, 64, 128, scene.tobytes(), bit_depth=depth),
        lambda depth: decode_image("mono16", 32, 64, 128, scene.astype(">u2").tobytes(), True, bit_depth=depth),
        lambda depth: decode_image("rgb16", 32, 64, 384, np.repeat(scene[:, :, None], 3, 2).tobytes(), bit_depth=depth),
        lambda depth: decode_compressed("mono16; png compressed", png, depth),
    ):
        np.testing.assert_array_equal(decode(bits), grey)
        # Nobody said how many bits count: nearly black pictures are not passed on in silence.
        with pytest.raises(FrameRefusedError, match="bit_depth") as caught:
            decode(0)
        assert caught.value.reason == "bit_depth"
        # A dark scene of sixteen bits, if somebody says so.
        assert decode(16).max() == (2**bits - 1) >> 8
        if bits > 9:
            with pytest.raises(FrameRefusedError, match=f"more than the {bits - 1} bits"):
                decode(bits - 1)


def test_big_endian_flag_changes_nothing_for_bytes(rgb):
    data = rgb.tobytes()
    np.testing.assert_array_equal(decode_image("rgb8", HEIGHT, WIDTH, 3 * WIDTH, data, is_bigendian=True), rgb)


@pytest.mark.parametrize(("encoding", "luma_at"), [("yuv422", 1), ("uyvy", 1), ("yuv422_yuy2", 0), ("yuyv", 0)])
def test_yuv422_follows_bt601(encoding, luma_at):
    # ITU-R BT.601, limited range, worked out here: grey, then pure red, blue and green.
    def bt601(y, u, v):
        luma = 1.164 * (y - 16)
        return [luma + 1.596 * (v - 128), luma - 0.813 * (v - 128) - 0.391 * (u - 128), luma + 2.018 * (u - 128)]

    for y, u, v in [(126, 128, 128), (82, 90, 240), (41, 240, 110), (145, 54, 34)]:
        pair = np.zeros(4, np.uint8)
        pair[luma_at], pair[luma_at + 2] = y, y
        pair[1 - luma_at], pair[3 - luma_at] = u, v
        data = np.tile(pair, (2, 2)).tobytes()
        decoded = decode_image(encoding, 2, 4, 8, data)
        expected = np.clip(bt601(y, u, v), 0, 255)
        assert np.abs(decoded.reshape(-1, 3).astype(float) - expected).max() <= 2.5


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_of_one_colour(pattern):
    colour = {"r": 200, "g": 120, "b": 40}
    tile = np.array([colour[letter] for letter in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(tile, (4, 4))
    decoded = decode_image(f"bayer_{pattern}8", 8, 8, 8, mosaic.tobytes())
    np.testing.assert_array_equal(decoded, np.broadcast_to(np.array([200, 120, 40], np.uint8), (8, 8, 3)))


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("empty", {"height": 0}),
        ("empty", {"width": 0}),
        ("too_large", {"width": 100_000, "step": 300_000}),
        ("too_large", {"height": 2**31}),
        ("length", {"step": 3 * WIDTH - 1}),
        ("length", {"data": b"\0" * (3 * WIDTH * HEIGHT - 1)}),
        ("length", {"data": b"\0" * (3 * WIDTH * HEIGHT + 1)}),
        ("length", {"data": b""}),
        ("encoding", {"encoding": "32FC1"}),
        ("encoding", {"encoding": ""}),
        ("encoding", {"encoding": "8UC3"}),
        ("length", {"encoding": "yuv422", "width": 7, "step": 14, "data": b"\0" * 14 * HEIGHT}),
    ],
)
def test_nonsense_is_refused_with_its_reason(reason, fields):
    step, data = 3 * WIDTH, bytes(3 * WIDTH * HEIGHT)
    sound = {"encoding": "rgb8", "height": HEIGHT, "width": WIDTH, "step": step, "data": data}
    decode_image(**sound)
    with pytest.raises(FrameRefusedError) as caught:
        decode_image(**{**sound, **fields})
    assert caught.value.reason == reason


@settings(max_examples=200, deadline=None)
@given(
    encoding=st.one_of(st.sampled_from(ENCODINGS), st.text(max_size=12)),
    height=st.integers(0, 40),
    width=st.integers(0, 40),
    step=st.integers(0, 200),
    data=st.binary(max_size=4000),
)
def test_any_message_gives_a_picture_or_a_refusal(encoding, height, width, step, data):
    try:
        pixels = decode_image(encoding, height, width, step, data)
    except FrameRefusedError:
        return
    assert pixels.shape == (height, width, 3) and pixels.dtype == np.uint8


def test_png_is_lossless_and_jpeg_close(rgb):
    smooth = cv2.resize(rgb, (64, 48), interpolation=cv2.INTER_CUBIC)
    bgr = cv2.cvtColor(smooth, cv2.COLOR_RGB2BGR)
    png = cv2.imencode(".png", bgr)[1].tobytes()
    np.testing.assert_array_equal(decode_compressed("png", png), smooth)
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    assert np.abs(decode_compressed("rgb8; jpeg compressed bgr8", jpeg).astype(int) - smooth).mean() < 4


def test_compressed_nonsense_is_refused_with_its_reason(rgb):
    png = bytearray(cv2.imencode(".png", rgb)[1].tobytes())
    huge = bytes(png[:16]) + (100_000).to_bytes(4, "big") * 2 + bytes(png[24:])
    jpeg = cv2.imencode(".jpg", rgb)[1].tobytes()
    for data, reason in [(b"", "encoding"), (b"GIF89a" + bytes(50), "encoding"), (huge, "too_large"),
                         (jpeg[:20], "corrupt"), (bytes(png[:40]), "corrupt")]:  # fmt: skip
        with pytest.raises(FrameRefusedError) as caught:
            decode_compressed("png", data)
        assert caught.value.reason == reason, data[:8]
    with pytest.raises(FrameRefusedError):
        decode_compressed("16UC1; compressedDepth png", bytes(png))


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    small = np.random.default_rng(7).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    return cv2.resize(small, (320, 240), interpolation=cv2.INTER_CUBIC)


def encoded(picture: np.ndarray, ending: str) -> bytes:
    return cv2.imencode(ending, picture)[1].tobytes()


@pytest.mark.parametrize("ending", [".jpg", ".png"])
@pytest.mark.parametrize("damage", ["bytes lost", "bytes zeroed", "bytes twice", "end lost", "end lost but the marker"])
def test_a_picture_damaged_on_its_way_is_refused(photograph, ending, damage):
    data = encoded(photograph, ending)
    middle = len(data) // 2
    damaged = {
        "bytes lost": data[:middle] + data[middle + 700 :],
        "bytes zeroed": data[:middle] + bytes(700) + data[middle + 700 :],
        "bytes twice": data[: middle + 700] + data[middle:],
        "end lost": data[:middle],
        "end lost but the marker": data[:middle] + data[-12 if ending == ".png" else -2 :],
    }[damage]
    with pytest.raises(FrameRefusedError) as caught:
        decode_compressed("jpeg", damaged)
    assert caught.value.reason == "corrupt"


@pytest.mark.parametrize(
    "rewrite",
    {
        "fill bytes before a marker": lambda data: data.replace(b"\xff\xc4", b"\xff\xff\xff\xc4", 1),
        "fill bytes before the frame header": lambda data: data.replace(b"\xff\xc0", b"\xff\xff\xc0", 1),
        "more metadata than pixels": lambda data: data[:2] + 3 * (b"\xff\xe1\xff\xff" + bytes(65533)) + data[2:],
        "a comment": lambda data: data[:2] + b"\xff\xfe\x00\x07hello" + data[2:],
        "padding behind the end": lambda data: data + bytes(4096),
    }.items(),
    ids=lambda item: item[0],
)
def test_what_the_jpeg_standard_allows_changes_nothing(photograph, rewrite):
    data = encoded(photograph, ".jpg")
    changed = rewrite[1](data)
    assert changed != data
    np.testing.assert_array_equal(decode_compressed("jpeg", changed), decode_compressed("jpeg", data))


@pytest.mark.parametrize("sampling", ["411", "420", "422", "440", "444"])
@pytest.mark.parametrize("progressive", [0, 1])
def test_every_way_of_sampling_gives_opencvs_pixels(photograph, sampling, progressive):
    factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}")
    settings = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    data = cv2.imencode(".jpg", photograph, settings)[1]
    np.testing.assert_array_equal(
        decode_compressed("jpeg", data.tobytes()), cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    )


def test_printers_colours_are_refused(photograph):
    file = io.BytesIO()
    Image.fromarray(photograph).convert("CMYK").save(file, "JPEG")
    with pytest.raises(FrameRefusedError, match="for printers"):
        decode_compressed("jpeg", file.getvalue())


@settings(max_examples=100, deadline=None)
@given(
    ending=st.sampled_from([".jpg", ".png"]),
    cut=st.integers(0, 700),
    flip=st.integers(0, 600),
    value=st.integers(0, 255),
)
def test_any_bytes_give_a_picture_or_a_refusal(ending, cut, flip, value):
    picture = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)
    data = bytearray(encoded(picture, ending))
    data[flip % len(data)] = value
    try:
        pixels = decode_compressed("jpeg", bytes(data[: len(data) - cut]))
    except FrameRefusedError:
        return
    assert pixels.ndim == 3 and pixels.dtype == np.uint8
