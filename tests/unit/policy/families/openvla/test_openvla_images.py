"""Images by the values of the checkpoint's own file."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from magma_contracts.errors import ConfigError
from magma_policy.families.openvla.images import ImageRules, TowerPixels, read_image_rules

# As openvla/openvla-7b has it: the third entries are ImageNet's values in bfloat16.
ROUNDED = {"mean": [0.484375, 0.455078125, 0.40625], "std": [0.228515625, 0.2236328125, 0.224609375], "inplace": False}
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3, "inplace": False}
RESIZE = {"size": [224, 224], "interpolation": 3, "max_size": None, "antialias": True}
PUBLISHED = {
    "image_processor_type": "PrismaticImageProcessor",
    "image_resize_strategy": "resize-naive",
    "input_sizes": [[3, 224, 224], [3, 224, 224]],
    "interpolations": ["bicubic", "bicubic"],
    "means": [[0.485, 0.456, 0.406], [0.5, 0.5, 0.5]],
    "stds": [[0.229, 0.224, 0.225], [0.5, 0.5, 0.5]],
    "tvf_crop_params": [{"output_size": [224, 224]}] * 2,
    "tvf_do_letterbox": False,
    "tvf_letterbox_fill": None,
    "tvf_normalize_params": [ROUNDED, HALF],
    "tvf_resize_params": [RESIZE, RESIZE],
    "use_fused_vision_backbone": True,
}


def rules(tmp_path, sides=(224, 224), **changes):
    path = tmp_path / "preprocessor_config.json"
    data = {name: value for name, value in {**PUBLISHED, **changes}.items() if value != "left out"}
    path.write_text(json.dumps(data))
    return read_image_rules(path, sides)


def picture(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_published_file_squashes_and_normalises_twice(tmp_path):
    image = picture(640, 480)
    pixels = rules(tmp_path).pixels(image)
    assert pixels.shape == (6, 224, 224) and pixels.dtype == torch.float32
    small = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    for part, (mean, std) in enumerate([(ROUNDED["mean"], ROUNDED["std"]), (HALF["mean"], HALF["std"])]):
        expected = (small - np.float32(mean)) / np.float32(std)
        assert np.abs(pixels[3 * part : 3 * part + 3].permute(1, 2, 0).numpy() - expected).max() < 1e-6


def test_what_the_file_had_set_wins_over_what_it_is_computed_from(tmp_path):
    plain = rules(tmp_path, tvf_normalize_params="left out", tvf_resize_params=None, tvf_crop_params="left out")
    assert plain.towers[0].mean == (0.485, 0.456, 0.406) and plain.towers[0].resize == (224, 224)
    assert rules(tmp_path).towers[0].mean == tuple(ROUNDED["mean"])
    numbers = [{**RESIZE, "interpolation": 2}, {**RESIZE, "interpolation": "lanczos"}]
    found = rules(tmp_path, tvf_resize_params=numbers)
    assert [tower.interpolation for tower in found.towers] == [Image.Resampling.BILINEAR, Image.Resampling.LANCZOS]
    image = picture(300, 200)
    first, second = found.pixels(image).split(3)
    assert not torch.equal(first * 0.228515625 + 0.484375, second * 0.5 + 0.5)


def test_letterbox_puts_a_border_of_the_last_towers_mean_around(tmp_path):
    changes = dict(image_resize_strategy="letterbox", tvf_resize_params=None, tvf_do_letterbox=None)
    found = rules(tmp_path, **changes)
    assert found.letterbox == (127, 127, 127) and found.towers[0].resize == 224
    pixels = found.pixels(np.full((112, 224, 3), 255, dtype=np.uint8))[3:]
    assert pixels[:, 112].min() > 0.99 and pixels[:, 0].abs().max() < 0.01
    given = rules(tmp_path, **{**changes, "tvf_do_letterbox": True, "tvf_letterbox_fill": [1, 2, 3]})
    assert given.letterbox == (1, 2, 3)


def test_resize_crop_keeps_the_middle(tmp_path):
    found = rules(tmp_path, image_resize_strategy="resize-crop", tvf_resize_params=None)
    image = np.zeros((224, 448, 3), dtype=np.uint8)
    image[:, 112:336] = 255
    assert found.towers[0].resize == 224
    assert (found.pixels(image)[3:] == 1.0).all()


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([28, (28, 28)]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_images_of_every_shape_become_squares_of_finite_numbers(width, height, resize, boxed):
    tower = TowerPixels(resize, (28, 28), Image.Resampling.BICUBIC, (0.5,) * 3, (0.5,) * 3)
    pixels = ImageRules((tower,), (127, 127, 127) if boxed else None).pixels(picture(width, height))
    assert pixels.shape == (3, 28, 28)
    assert bool(torch.isfinite(pixels).all())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_resize_strategy": "squash"}, "image_resize_strategy 'squash' is none of"),
        ({"use_fused_vision_backbone": False}, "use_fused_vision_backbone is False, but the model has 2"),
        ({"means": [[0.5] * 3]}, "means must have 2 entries"),
        ({"means": [[0.5] * 3, [0.5, "x", 0.5]]}, "means must be three finite numbers"),
        ({"stds": [[0.5] * 3, [0.0] * 3], "tvf_normalize_params": None}, "standard deviations must be positive"),
        ({"input_sizes": [[3, 224, 224], [3, 224]], "tvf_crop_params": None}, r"gives pictures of \(3, 224\) pixels"),
        ({"input_sizes": [[3, 224, 224], 7]}, "input_sizes must be a height and a width"),
        ({"interpolations": ["bicubic", "cubic"], "tvf_resize_params": None}, "interpolations 'cubic' is none of"),
        ({"tvf_resize_params": [RESIZE, {**RESIZE, "interpolation": 9}]}, "interpolation 9 is none of"),
        ({"tvf_resize_params": [RESIZE, {**RESIZE, "max_size": 300}]}, "max_size 300 is not null"),
        ({"tvf_resize_params": [RESIZE, {**RESIZE, "size": [100, 224]}]}, r"resizes pictures to \(100, 224\)"),
        ({"tvf_resize_params": [RESIZE]}, "tvf_resize_params must have 2 entries"),
        ({"tvf_normalize_params": [ROUNDED, {"mean": [0.5] * 3}]}, r"does not say \['std'\]"),
        ({"tvf_crop_params": [{"output_size": [200, 200]}] * 2}, r"gives pictures of \(200, 200\) pixels"),
        ({"tvf_do_letterbox": "no"}, "tvf_do_letterbox must be true or false"),
        ({"tvf_do_letterbox": True, "tvf_letterbox_fill": [0, 0, 300]}, "tvf_letterbox_fill must be three whole"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_file_and_entry(tmp_path, changes, said):
    with pytest.raises(ConfigError, match=rf"preprocessor_config\.json: .*{said}") as caught:
        rules(tmp_path, **changes)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_image_rules(tmp_path / "preprocessor_config.json", (224,))
