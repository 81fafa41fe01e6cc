"""Makes the scenes of a folder that are not there yet."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_contracts.files.outputs import check_folder
from magma_contracts.scenes import CARD, CLICKS, FORMAT_VERSION, SCENES, Split
from magma_contracts.text import printable
from magma_eval.typed import read_json
from magma_sim.scenes.config import ScenesConfig
from magma_sim.tasks.pictured_scene import HARD_SHARE, STREAMS, PicturedScene, points_of, visible_box

RandomScene = Callable[[Split, int], PicturedScene]


def generate(config: ScenesConfig) -> int:
    """Makes every missing file. May be interrupted at any time and run again.

    Returns:
        How many scenes the folder has now.

    Raises:
        ValueError: the directory holds scenes of other settings.
        SimulatorUnavailableError: no device can render, or the simulator's data files are not here.
    """
    from tqdm import tqdm

    check_folder(config.out, "--out")
    (config.out / SCENES).mkdir(parents=True, exist_ok=True)
    _write_card(config)
    starts = range(0, config.scenes, config.per_file)
    missing = [start for start in starts if not _path(config, start).exists()]
    if missing:
        random_scene = _simulator(config)
        with tqdm(total=len(missing) * config.per_file, unit="scene", file=sys.stderr, mininterval=2.0) as bar:
            for start in missing:
                numbers = range(start, min(start + config.per_file, config.scenes))
                scenes = []
                for number in numbers:
                    scenes.append((number, random_scene(config.split, number)))
                    bar.update()
                _write(_path(config, start), scenes, config)
    return config.scenes


def _simulator(config: ScenesConfig) -> RandomScene:
    # A simulator takes seconds to load.
    if config.simulator == "tabletop":
        from magma_sim.backends.tabletop.pictured_scenes import random_scene
    else:
        from magma_sim.backends.simpler_bridge.pictured_scenes import random_scene
    return random_scene


def _path(config: ScenesConfig, start: int) -> Path:
    """Of the file that begins with a scene; a last file that is not full has another name than a full one."""
    count = min(config.per_file, config.scenes - start)
    return config.out / SCENES / f"{start:07d}-{count}.npz"


def _write(path: Path, scenes: list[tuple[int, PicturedScene]], config: ScenesConfig) -> None:
    """Writes a file whole or not at all."""
    things = [
        (index, thing, np.random.default_rng([STREAMS[config.split], number, place]))
        for index, (number, scene) in enumerate(scenes)
        for place, thing in enumerate(scene.things)
    ]
    boxes = [visible_box(thing.mask) for _, thing, _ in things]
    unseen = np.full((CLICKS, 2), np.nan, dtype=np.float32)
    clicks = [
        unseen if np.isnan(box).any() else points_of(thing.mask, rng)
        for box, (_, thing, rng) in zip(boxes, things, strict=True)
    ]
    arrays: dict[str, NDArray[Any]] = {
        "images": np.stack([scene.image for _, scene in scenes]),
        "scene": np.array([index for index, _, _ in things], dtype=np.int32),
        "kind": np.array([thing.kind for _, thing, _ in things]),
        "colour": np.array([thing.words.colour for _, thing, _ in things]),
        "box": np.array(boxes, dtype=np.float32).reshape(-1, 4),
        "clicks": np.array(clicks, dtype=np.float32).reshape(-1, CLICKS, 2),
    }
    partial = path.with_suffix(f".partial-{os.getpid()}")
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    partial.replace(path)


def _write_card(config: ScenesConfig) -> None:
    """The card of the folder, or ValueError when it has one of other settings."""
    settings = {"simulator": config.simulator, "split": config.split, "per_file": config.per_file}
    path = config.out / CARD
    if path.exists():
        try:
            found = read_json(path)
            theirs = {name: found.get(name) for name in settings}
        except (ValueError, AttributeError) as error:
            raise ValueError(
                f"{path} does not tell of which scenes it is ({printable(error)}), maybe cut off by a crash; choose "
                "another --out, or delete the folder"
            ) from error
        if theirs != settings:
            raise ValueError(
                printable(f"{config.out} holds scenes of {theirs}, not of {settings}") + "; choose another --out"
            )
    card = {
        "format_version": FORMAT_VERSION,
        **settings,
        "scenes": config.scenes,
        "stream": STREAMS[config.split],
        "hard_share": HARD_SHARE,
        "versions": {name: importlib.metadata.version(name) for name in ("mani_skill", "sapien", "numpy")},
    }
    partial = config.out / f"{CARD}.partial"
    partial.write_text(json.dumps(card, indent=2) + "\n")
    partial.replace(path)
