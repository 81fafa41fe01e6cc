"""Rendered scenes with what stands where in them. Needs a device that renders."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from magma_sim.backends.simpler_bridge.assets import data_folder, missing_downloads
from magma_sim.tasks.pictured_scene import PicturedScene, visible_box

pytestmark = pytest.mark.render
HUES = {"orange": (3, 20), "green": (35, 95), "yellow": (15, 42), "purple": (120, 160), "blue": (88, 128)}
"""Range of OpenCV hues by which a colour is recognised."""


def check(scene: PicturedScene) -> int:
    """How many things of known colour were looked at: most of their visible pixels have it, and none is as large as
    half of the picture, as the backdrop would be."""
    looked = 0
    for thing in scene.things:
        height, width = thing.mask.shape
        hues = cv2.cvtColor(cv2.resize(scene.image, (width, height)), cv2.COLOR_RGB2HSV)[..., 0]
        assert thing.mask.mean() < 0.3
        if np.isnan(visible_box(thing.mask)).any() or thing.words.colour not in HUES or thing.kind == "spoon":
            continue
        low, high = HUES[thing.words.colour]
        assert ((hues[thing.mask] >= low) & (hues[thing.mask] <= high)).mean() > 0.5, thing.words
        looked += 1
    return looked


def test_masks_on_the_built_in_table_show_what_they_say() -> None:
    from magma_sim.backends.tabletop.pictured_scenes import random_scene

    scenes = [random_scene("validation", number) for number in range(12)]
    assert sum(check(scene) for scene in scenes) > 15
    twins = [len({thing.words for thing in scene.things}) < len(scene.things) for scene in scenes]
    assert any(twins) and not all(twins)
    again = random_scene("validation", 3)
    np.testing.assert_array_equal(again.image, scenes[3].image)
    assert not np.array_equal(random_scene("train", 3).image, again.image)


@pytest.mark.skipif(
    bool(missing_downloads(data_folder())), reason=f"data files of the Bridge tasks are not in {data_folder()}"
)
def test_masks_before_the_photos_show_what_they_say() -> None:
    from magma_sim.backends.simpler_bridge.pictured_scenes import random_scene

    scenes = [random_scene("validation", number) for number in range(16)]
    assert sum(check(scene) for scene in scenes) > 15
    assert any(thing.kind == "basket" for scene in scenes for thing in scene.things)
    np.testing.assert_array_equal(random_scene("validation", 5).image, scenes[5].image)
