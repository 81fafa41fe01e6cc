"""Sets of scenes that are damaged, or of another kind than the format says, are refused by name."""

import json

import numpy as np
import pytest

from magma_contracts.scenes import CARD, CLICKS, FORMAT_VERSION, SCENES
from magma_policy.grounding.scenes import SceneError, read_scenes


def arrays():
    return {
        "images": np.zeros((1, 4, 4, 3), np.uint8),
        "scene": np.array([0]),
        "kind": np.array(["carrot"]),
        "colour": np.array(["orange"]),
        "box": np.array([[0.1, 0.1, 0.4, 0.5]], np.float32),
        "clicks": np.full((1, CLICKS, 2), 0.3, np.float32),
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / SCENES).mkdir()
    (tmp_path / CARD).write_text(json.dumps({"format_version": FORMAT_VERSION, "split": "train"}))
    np.savez(tmp_path / SCENES / "0.npz", **arrays())
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scene", np.array(["0"])),
        ("scene", np.array([0.0])),
        ("kind", np.array([1])),
        ("colour", np.array([True])),
        ("box", np.array([["a", "b", "c", "d"]])),
        ("clicks", np.zeros((1, CLICKS, 2), dtype="datetime64[s]")),
    ],
)
def test_arrays_of_another_type_are_named(folder, name, value):
    assert len(read_scenes([folder], "train")) == 1
    np.savez(folder / SCENES / "0.npz", **{**arrays(), name: value})
    with pytest.raises(SceneError, match=f"{name} of another shape or type"):
        read_scenes([folder], "train")


@pytest.mark.parametrize(
    "card", [b"", b"[]", b"[" * 10**5, b'{"split": "train", "split": "test"}', "{}".encode("utf-16"), b"\xff" * 10]
)
def test_a_card_that_is_none_is_named(folder, card):
    (folder / CARD).write_bytes(card)
    with pytest.raises(SceneError, match=CARD) as refused:
        read_scenes([folder], "train")
    assert str(refused.value).isprintable()
