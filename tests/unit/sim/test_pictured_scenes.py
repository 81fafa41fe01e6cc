"""Scenes for a model that points: what of them needs no renderer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from magma_contracts.scenes import CLICKS, SPLITS
from magma_sim.scenes import generation
from magma_sim.scenes.config import ScenesConfig
from magma_sim.tasks.object_words import ObjectWords
from magma_sim.tasks.pictured_scene import PicturedScene, Thing, points_of, scene_generator, visible_box


def blob(x: int, y: int, size: int, side: int = 64) -> np.ndarray:
    mask = np.zeros((side, side), dtype=bool)
    mask[y : y + size, x : x + size] = True
    return mask


def fake_scene(split: str, number: int) -> PicturedScene:
    rng = scene_generator(split, 9, number)  # type: ignore[arg-type]
    things = (
        Thing(ObjectWords("green block", "green"), blob(int(rng.integers(40)), 8, 8)),
        Thing(ObjectWords("carrot", "orange"), np.zeros((64, 64), dtype=bool)),
    )
    return PicturedScene(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8), things)


def test_a_box_runs_along_the_outer_edges_of_the_visible_pixels() -> None:
    assert visible_box(blob(16, 8, 8)).tolist() == [0.25, 0.125, 0.375, 0.25]
    assert np.isnan(visible_box(blob(16, 8, 1))).all()


def test_points_lie_on_the_visible_pixels() -> None:
    mask = blob(16, 8, 8)
    points = points_of(mask, np.random.default_rng(0))
    assert points.shape == (CLICKS, 2)
    columns, rows = np.floor(points * 64).astype(int).T
    assert mask[rows, columns].all()
    assert np.isnan(points_of(blob(0, 0, 0), np.random.default_rng(0))).all()


def test_a_kind_is_its_noun_without_the_colour() -> None:
    assert Thing(ObjectWords("green block", "green"), blob(0, 0, 1)).kind == "block"
    assert Thing(ObjectWords("carrot", "orange"), blob(0, 0, 1)).kind == "carrot"


def test_splits_draw_nothing_alike() -> None:
    draws = {
        (split, number): scene_generator(split, simulator, number).integers(1 << 60)
        for split in SPLITS
        for simulator in (1, 2)
        for number in range(50)
    }
    assert len(set(draws.values())) == len(draws)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces the simulators; the numbers of the scenes that are drawn."""
    drawn: list[int] = []

    def random_scene(split: str, number: int) -> PicturedScene:
        drawn.append(number)
        return fake_scene(split, number)

    monkeypatch.setattr(generation, "_simulator", lambda config: random_scene)
    return drawn


def test_an_interrupted_set_goes_on_and_is_the_same(made: list[int], tmp_path: Path) -> None:
    whole, parts = (ScenesConfig(tmp_path / name, scenes=25, per_file=10) for name in ("whole", "parts"))
    assert generation.generate(whole) == 25
    generation.generate(ScenesConfig(parts.out, scenes=20, per_file=10))
    made.clear()
    generation.generate(parts)
    assert made == list(range(20, 25))
    names = sorted(path.name for path in (whole.out / "scenes").iterdir())
    assert names == sorted(path.name for path in (parts.out / "scenes").iterdir()) and len(names) == 3
    for name in names:
        with np.load(whole.out / "scenes" / name) as one, np.load(parts.out / "scenes" / name) as other:
            for key in one.files:
                np.testing.assert_array_equal(one[key], other[key])
            assert np.isnan(one["box"][one["kind"] == "carrot"]).all()
            assert np.isfinite(one["box"][one["kind"] == "block"]).all()
    assert json.loads((whole.out / "card.json").read_text())["scenes"] == 25


def test_a_folder_of_other_scenes_is_refused(made: list[int], tmp_path: Path) -> None:
    generation.generate(ScenesConfig(tmp_path / "set", scenes=2, per_file=2))
    with pytest.raises(ValueError, match="choose another --out"):
        generation.generate(ScenesConfig(tmp_path / "set", split="test", scenes=2, per_file=2))


@pytest.mark.parametrize("settings", [{"scenes": 0}, {"per_file": 0}, {"per_file": 20_000}])
def test_settings_are_checked(settings: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be at"):
        ScenesConfig(tmp_path, **settings)  # type: ignore[arg-type]
