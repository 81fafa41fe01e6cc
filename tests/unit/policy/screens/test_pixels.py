"""Candidates from pixels alone."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from magma_contracts.geometry.boxes import overlap
from magma_policy.screens.candidates import boxes_of, tidied
from magma_policy.screens.pixels import pixel_candidates

BUTTONS = [(20, 20, 120, 50), (20, 80, 120, 110), (200, 20, 380, 44), (300, 200, 360, 260)]


def screen() -> np.ndarray:
    picture = Image.new("RGB", (400, 300), (245, 245, 245))
    draw = ImageDraw.Draw(picture)
    for box in BUTTONS:
        draw.rectangle(box, fill=(225, 225, 230), outline=(90, 90, 90))
        draw.text((box[0] + 8, box[1] + 8), "Open it", fill=(0, 0, 0))
    return np.asarray(picture)


def test_drawn_buttons_are_found():
    boxes = boxes_of(tidied(pixel_candidates(screen()), 400, 300))
    for button in BUTTONS:
        assert overlap(button, boxes).max() > 0.8
    assert len(boxes) < 20


def test_empty_and_noisy_screens_are_looked_at():
    assert pixel_candidates(np.zeros((50, 60, 3), np.uint8)) == []
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    assert len(pixel_candidates(noise)) <= 400


@pytest.mark.parametrize("image", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)])
def test_what_is_no_screenshot_is_refused(image):
    with pytest.raises(ValueError, match="screenshot"):
        pixel_candidates(image)
