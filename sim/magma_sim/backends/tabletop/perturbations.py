"""What is changed about a tabletop episode to ask whether a policy sees and reads, and how far it carries.

Each perturbation changes one thing of the evaluation layouts and leaves the rest, down to the poses of the objects, as
it is. None of what is shown or said here occurs in demonstrations.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magma_sim.backends.tabletop.layouts import WORKSPACE_HIGH, WORKSPACE_LOW, Layout, footprint
from magma_sim.backends.tabletop.objects import OBJECTS, ObjectModel, Part, Station, goal_of

GREY = 128

PARAPHRASES: dict[str, tuple[str, ...]] = {
    "carrot_on_plate": (
        "place the carrot onto the plate",
        "move the carrot to the plate",
        "pick up the carrot and set it down on the plate",
        "the carrot belongs on the plate",
    ),
    "spoon_on_towel": (
        "place the spoon onto the towel",
        "move the spoon to the towel",
        "pick up the spoon and set it down on the towel",
        "the spoon belongs on the towel",
    ),
    "stack_blocks": (
        "put the green block on top of the yellow block",
        "place the green block onto the yellow one",
        "set the green block down on the yellow block",
        "the green block belongs on the yellow block",
    ),
    "eggplant_in_basket": (
        "place the eggplant into the basket",
        "move the eggplant to the basket",
        "pick up the eggplant and drop it into the basket",
        "the eggplant belongs in the basket",
    ),
}
"""sentences that mean what the task's own means; layout number modulo their count chooses one"""

UNSEEN_OBJECTS = (
    ObjectModel(
        name="pink_prism",
        parts=(Part((0.90, 0.30, 0.55), "box", half_size=(0.018, 0.028, 0.022)),),
        mass_kg=0.1,
        rest_height=0.022,
        footprint_half=(0.018, 0.028),
    ),
    ObjectModel(
        name="black_cylinder",
        parts=(
            Part(
                (0.05, 0.05, 0.06),
                "sweep_z",
                stations=(Station(-0.03, 0.0, 0.02, 0.02), Station(0.03, 0.0, 0.02, 0.02)),
            ),
        ),
        mass_kg=0.1,
        rest_height=0.03,
        footprint_half=(0.02, 0.02),
    ),
)
"""objects of no task, in colours of no task"""


@dataclass(frozen=True)
class Perturbation:
    """One change. Fields at their defaults change nothing."""

    name: str
    what: str
    """for people"""
    grey_image: bool = False
    shuffled_words: bool = False
    paraphrased: bool = False
    other_task: bool = False
    """the same scene with the words, and the goal, of the task whose objects stand there as distractors"""
    camera_shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """m, base frame; the point it looks at moves by half of it, so that the camera turns too"""
    lamp_colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """multiplies the lamps' colour"""
    unseen_objects: bool = False
    swapped_objects: bool = False
    """the thing to grasp and the one of the other task exchange their places"""


PERTURBATIONS = {
    perturbation.name: perturbation
    for perturbation in (
        Perturbation("grey_picture", "the image is grey", grey_image=True),
        Perturbation("shuffled_words", "the words of the sentence in another order", shuffled_words=True),
        Perturbation("other_task", "same scene, told to do the other task that it allows", other_task=True),
        Perturbation(
            "swapped_objects", "the things to grasp of both tasks exchange their places", swapped_objects=True
        ),
        Perturbation("paraphrase", "another sentence of the same meaning", paraphrased=True),
        Perturbation("unseen_objects", "two objects of no task on the table", unseen_objects=True),
        Perturbation("camera_2cm", "camera moved by 2 cm and turned", camera_shift=(0.0, 0.02, 0.0)),
        Perturbation("camera_5cm", "camera moved by 5 cm and turned", camera_shift=(0.0, 0.04, 0.03)),
        Perturbation("dim_light", "lamps at half their brightness", lamp_colour=(0.5, 0.5, 0.5)),
        Perturbation("warm_light", "lamps of warm colour", lamp_colour=(1.25, 0.95, 0.65)),
    )
}


def instruction_of(perturbation: Perturbation, task: str, own: str, layout: int) -> str:
    """The sentence that is said instead of the task's own."""
    if perturbation.paraphrased:
        sentences = PARAPHRASES[task]
        return sentences[layout % len(sentences)]
    if perturbation.shuffled_words:
        words = own.split()
        rng = np.random.default_rng([0x5AFF1E, layout])
        shuffled = [words[index] for index in rng.permutation(len(words))]
        # A permutation can leave everything in its place.
        return " ".join(shuffled if shuffled != words else [*words[1:], words[0]])
    return own


def with_sources_swapped(layout: Layout) -> Layout:
    """The layout with the sources of its two tasks in each other's place; as it was where they do not fit."""
    first, second = goal_of(layout.task).source, goal_of(layout.distractor_task).source
    placements = dict(layout.placements)
    placements[first], placements[second] = placements[second], placements[first]
    shapes = [footprint(OBJECTS[name], *pose) for name, pose in placements.items()]
    if any(one.overlaps(other) for one, other in itertools.combinations(shapes, 2)):
        return layout
    return dataclasses.replace(layout, placements=placements)


def free_places(layout: Layout) -> list[NDArray[np.float64]]:
    """Where the unseen objects stand: x, y (m) of each, clear of what stands there; at the table's edge if need be."""
    rng = np.random.default_rng([0xD157, layout.number])
    taken = [footprint(OBJECTS[name], *pose, (0.035, 0.035)) for name, pose in layout.placements.items()]
    places = []
    for index, model in enumerate(UNSEEN_OBJECTS):
        place = np.array([WORKSPACE_LOW[0], WORKSPACE_HIGH[1] + 0.06 + 0.08 * index])
        for _ in range(200):
            tried = rng.uniform(WORKSPACE_LOW, WORKSPACE_HIGH)
            shape = footprint(model, tried[0], tried[1], 0.0, (0.01, 0.01))
            if not any(shape.overlaps(other) for other in taken):
                taken.append(shape)
                place = tried
                break
        places.append(place)
    return places
