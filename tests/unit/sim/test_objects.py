"""Meshes that are made in code: closed, facing outwards, and as large as they say."""

import numpy as np
import pytest

from magma_sim.backends.tabletop.objects import GOALS, OBJECTS, Part, goal_of, part_mesh

SWEPT = [(name, part) for name, model in OBJECTS.items() for part in model.parts if part.kind != "box"]


@pytest.mark.parametrize(("name", "part"), SWEPT)
def test_meshes_are_closed_and_face_outwards(name: str, part: Part) -> None:
    vertices, triangles, normals = part_mesh(part)
    corners = vertices[triangles].astype(np.float64)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert np.allclose(cross.sum(axis=0), 0.0, atol=1e-9)  # the area vectors of a closed surface cancel
    assert np.einsum("ij,ij->", corners[:, 0], cross) / 6 > 0.0  # its volume is positive
    assert np.allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-5)
    assert (np.einsum("ij,ij->i", cross, normals[triangles[:, 0]]) > 0).all()


@pytest.mark.parametrize("name", OBJECTS)
def test_bounding_facts_agree_with_the_parts(name: str) -> None:
    model = OBJECTS[name]
    corners = []
    for part in model.parts:
        if part.kind == "box":
            corners.append(np.array(part.centre) + np.array(part.half_size) * [[1, 1, 1], [-1, -1, -1]])
        else:
            corners.append(part_mesh(part)[0])
    low, high = np.concatenate(corners).min(axis=0), np.concatenate(corners).max(axis=0)
    assert low[2] == pytest.approx(-model.rest_height, abs=1e-3)
    centre, half = np.array(model.footprint_centre), np.array(model.footprint_half)
    assert (low[:2] >= centre - half - 1e-3).all() and (high[:2] <= centre + half + 1e-3).all()


def test_sources_fit_between_the_fingers() -> None:
    for goal in GOALS.values():
        assert 0.0 < OBJECTS[goal.source].grasp_width <= 0.045
        assert OBJECTS[goal.target].support_height > 0.0


def test_unknown_task_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="stack_blocks"):
        goal_of("stack_cups")
