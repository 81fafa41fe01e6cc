"""What a perturbation changes, without a simulator."""

from __future__ import annotations

import itertools

import pytest

from magma_eval.suites import suite_episodes
from magma_sim.backends.tabletop.layouts import footprint, make_layout
from magma_sim.backends.tabletop.objects import GOALS, OBJECTS, TASKS
from magma_sim.backends.tabletop.perturbations import (
    PARAPHRASES,
    PERTURBATIONS,
    UNSEEN_OBJECTS,
    free_places,
    instruction_of,
    with_sources_swapped,
)


def test_paraphrases_are_other_sentences_that_name_the_same_things() -> None:
    for task, sentences in PARAPHRASES.items():
        goal = GOALS[task]
        assert len(set(sentences)) == len(sentences)
        assert goal.instruction not in sentences
        for sentence in sentences:
            for name in (goal.source, goal.target):
                assert name.split("_")[0] in sentence


@pytest.mark.parametrize("task", TASKS)
def test_words_are_shuffled_but_kept(task: str) -> None:
    own = GOALS[task].instruction
    for layout in range(24):
        said = instruction_of(PERTURBATIONS["shuffled_words"], task, own, layout)
        assert said != own
        assert sorted(said.split()) == sorted(own.split())
        assert said == instruction_of(PERTURBATIONS["shuffled_words"], task, own, layout)


def test_other_perturbations_say_the_task_s_own_sentence() -> None:
    silent = set(PERTURBATIONS) - {"paraphrase", "shuffled_words"}
    for name in silent:
        assert instruction_of(PERTURBATIONS[name], "carrot_on_plate", "put the carrot on the plate", 0).startswith(
            "put"
        )


@pytest.mark.parametrize("task", TASKS)
def test_swapped_things_change_places_and_nothing_overlaps(task: str) -> None:
    swapped = 0
    for number in range(24):
        layout = make_layout(task, "eval", number)
        other = with_sources_swapped(layout)
        shapes = [footprint(OBJECTS[name], *pose) for name, pose in other.placements.items()]
        assert not any(one.overlaps(two) for one, two in itertools.combinations(shapes, 2))
        first, second = GOALS[task].source, GOALS[layout.distractor_task].source
        swapped += other.placements[first] == layout.placements[second] and other != layout
        assert other.placements[GOALS[task].target] == layout.placements[GOALS[task].target]
    assert swapped >= 23


@pytest.mark.parametrize("task", TASKS)
def test_unseen_objects_stand_clear_of_everything(task: str) -> None:
    for number in range(24):
        layout = make_layout(task, "eval", number)
        shapes = [footprint(OBJECTS[name], *pose) for name, pose in layout.placements.items()]
        for model, place in zip(UNSEEN_OBJECTS, free_places(layout), strict=True):
            shape = footprint(model, place[0], place[1], 0.0)
            assert not any(shape.overlaps(other) for other in shapes)
            assert 0.3 < place[0] < 0.75 and abs(place[1]) < 0.45, "on the table, within the picture"
            shapes.append(shape)


def test_the_suite_has_every_perturbation_on_every_layout() -> None:
    episodes = suite_episodes("tabletop-perturbed")
    assert len(episodes) == len(PERTURBATIONS) * len(TASKS) * 24
    assert {episode.variant for episode in episodes} == set(PERTURBATIONS)
