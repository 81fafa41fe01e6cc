"""Perturbed tabletop tasks in the simulator: what changes, and that nothing of it stays."""

from __future__ import annotations

import numpy as np
import pytest

from magma_sim import make_task
from magma_sim.backends.tabletop.perturbations import PERTURBATIONS
from magma_sim.experts.pick_and_place import ScriptedExpert


@pytest.mark.render
def test_every_perturbation_shows_or_says_something_else_and_leaves_no_trace() -> None:
    plain = make_task("stack_blocks")
    before = plain.reset("eval", 4)
    assert before.image is not None
    for name, perturbation in PERTURBATIONS.items():
        changed = make_task("stack_blocks", perturbation=name).reset("eval", 4)
        assert changed.image is not None
        other_picture = not np.array_equal(changed.image, before.image)
        other_words = changed.instruction != before.instruction
        assert (other_picture, other_words) == (
            not (perturbation.shuffled_words or perturbation.other_task or perturbation.paraphrased),
            perturbation.shuffled_words or perturbation.other_task or perturbation.paraphrased,
        ), name
        after = plain.reset("eval", 4)
        assert np.array_equal(after.image, before.image), name
        assert after.instruction == before.instruction


@pytest.mark.parametrize("name", ["other_task", "swapped_objects", "unseen_objects"])
def test_the_expert_can_do_what_is_asked(name: str) -> None:
    task = make_task("carrot_on_plate", perturbation=name, images=False)
    now = task.reset("eval", 3)
    asked = {"stack the green block on the yellow block": "stack_blocks"}.get(now.instruction, "carrot_on_plate")
    expert = ScriptedExpert(asked)
    for _ in range(task.spec.max_steps):
        now = task.step(expert.act(now.end_effector, now.object_poses))
    assert now.success
    assert asked == ("stack_blocks" if name == "other_task" else "carrot_on_plate")


def test_an_unknown_perturbation_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match="grey_picture"):
        make_task("carrot_on_plate", perturbation="earthquake", images=False)
