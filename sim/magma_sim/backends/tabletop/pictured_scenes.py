"""Random scenes on the table of the built-in suite, with what stands where: for a model that points.

More than the tasks have: blocks, towels and spoons of other colours, and in half of the scenes two things that look
alike. Arm, light and table vary as in random layouts, the arm over the whole table.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from magma_contracts.scenes import Split
from magma_sim.backends.tabletop.layouts import TABLE_COLOUR, WORKSPACE_HIGH, WORKSPACE_LOW, Layout, place_apart
from magma_sim.backends.tabletop.objects import GREEN, OBJECTS, RED, TOWEL_BLUE, Colour, ObjectModel
from magma_sim.backends.tabletop.scene import RENDER_SIZE, TabletopEnv
from magma_sim.backends.tabletop.task import IMAGE_SIZE, shared_scene
from magma_sim.tasks.object_words import ObjectWords
from magma_sim.tasks.pictured_scene import HARD_SHARE, PicturedScene, Thing, scene_generator, words_of

SIMULATOR = 1
"""Of this simulator in the seeds of scenes."""
FEWEST, MOST = 2, 6
_TOOL_LOW, _TOOL_HIGH = 0.06, 0.34
"""heights of the tool centre point, m"""


def _recoloured(name: str, old: Colour, new: Colour, words: ObjectWords) -> tuple[ObjectModel, ObjectWords]:
    model = OBJECTS[name]
    parts = tuple(dataclasses.replace(part, colour=new) if part.colour == old else part for part in model.parts)
    return dataclasses.replace(model, name=f"{words.colour}_{name}", parts=parts), words


def _every_model() -> tuple[tuple[ObjectModel, ObjectWords], ...]:
    own = [(model, words_of(name)) for name, model in OBJECTS.items()]
    green = OBJECTS["green_block"].parts[0].colour
    return (
        *own,
        _recoloured("green_block", green, RED, ObjectWords("red block", "red")),
        _recoloured("green_block", green, TOWEL_BLUE, ObjectWords("blue block", "blue")),
        _recoloured("towel", TOWEL_BLUE, RED, ObjectWords("towel", "red")),
        _recoloured("spoon", RED, GREEN, ObjectWords("spoon", "green")),
    )


MODELS = _every_model()


def _choice(rng: np.random.Generator) -> list[tuple[ObjectModel, ObjectWords]]:
    """Which objects stand there; in hard scenes the first one twice."""
    hard = rng.random() < HARD_SHARE
    order = rng.permutation(len(MODELS)).tolist()
    count = int(rng.integers(FEWEST, MOST + 1 - hard))
    chosen = [MODELS[index] for index in order[:count]]
    if hard:
        model, words = chosen[0]
        chosen.append((dataclasses.replace(model, name=f"second_{model.name}"), words))
    # Large footprints first, as in layouts.
    return sorted(chosen, key=lambda one: -one[0].footprint_half[0] * one[0].footprint_half[1])


def random_scene(split: Split, number: int) -> PicturedScene:
    """The scene of this number; equal arguments give equal scenes.

    Raises:
        magma_sim.backends.shared.rendering.RenderingUnavailableError: no device can render.
    """
    rng = scene_generator(split, SIMULATOR, number)
    env = shared_scene(images=True)
    places = None
    while places is None:
        chosen = _choice(rng)
        places = place_apart([model for model, _ in chosen], rng)
    _start(env, rng)
    entities = [env.stand(model, *place) for (model, _), place in zip(chosen, places, strict=True)]
    large, numbers = env.render_entities(RENDER_SIZE)
    image = cv2.resize(large, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA).astype(np.uint8)
    things = tuple(
        Thing(words, numbers == entity.per_scene_id) for (_, words), entity in zip(chosen, entities, strict=True)
    )
    return PicturedScene(image, things)


def _start(env: TabletopEnv, rng: np.random.Generator) -> None:
    """An empty table with the arm, the light and the colours of a scene."""
    tint = np.array(TABLE_COLOUR) * rng.uniform(0.8, 1.2) * rng.uniform(0.94, 1.06, size=3)
    red, green, blue = (float(v) for v in tint)
    light = float(rng.uniform(0.8, 1.2))
    while True:
        low, high = (*WORKSPACE_LOW, _TOOL_LOW), (*WORKSPACE_HIGH, _TOOL_HIGH)
        x, y, z = (float(v) for v in rng.uniform(low, high))
        try:
            env.place(Layout("", "random", 0, "", {}, (x, y, z), light, (red, green, blue)))
        except ValueError:
            # Out of the arm's reach.
            continue
        return
