"""The small KOSMOS-2 that ships with the project, asked about a picture that it has not learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from magma_contracts.geometry.boxes import holds
from magma_policy.families import registry
from magma_policy.families.kosmos2 import load_network
from magma_policy.families.kosmos2.decoding import Decoder
from magma_policy.files.image_files import read_image
from magma_policy_client.checkpoint_paths import find_checkpoint

TILE = 256
SHEET = Path(__file__).parents[5] / "docs" / "images" / "magma-tiny.png"
"""Frames of evaluation episodes, whose layouts nothing was learned from: four tasks, one a row, from left to right in
time; each has two lines of text below."""
ROW = 288
SCENES = [
    {"plate": (115, 142), "carrot": (173, 183), "green block": (57, 174), "yellow block": (205, 142)},
    {"spoon": (48, 145), "towel": (116, 135), "plate": (182, 142), "carrot": (108, 180)},
    {"eggplant": (56, 160), "basket": (140, 150), "green block": (149, 189), "yellow block": (208, 154)},
    {"carrot": (55, 124), "eggplant": (30, 168), "plate": (95, 173), "basket": (184, 155)},
]
"""Points in the things of the first frame of each task, in pixels."""
THINGS = ("carrot", "plate", "spoon", "towel", "eggplant", "basket", "green block", "yellow block")


@pytest.fixture(scope="module")
def folder():
    return find_checkpoint("kosmos-tiny")


@pytest.fixture(scope="module")
def tiny(folder):
    return registry.load_pointer(folder, "cpu", None)


@pytest.fixture(scope="module")
def frames():
    sheet = read_image(SHEET)
    return [sheet[row * ROW : row * ROW + TILE, :TILE] for row in range(len(SCENES))]


def test_it_is_small_and_told_about(folder):
    assert (folder / "model.safetensors").stat().st_size <= 8_000_000
    network, vocabulary = load_network(folder, torch.device("cpu"), None)
    assert network.dtype == torch.bfloat16 and network.geometry.between_cells and vocabulary.latents == 64
    assert network.geometry.names_weighed == 8
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "--recipe grounding" in card and "| seed |" in card
    assert Image.open(folder / "loss.png").size[0] > 300


def test_it_finds_what_is_there_and_refuses_what_is_not(tiny, frames):
    asked = {False: [0, 0], True: [0, 0]}
    for frame, things in zip(frames, SCENES, strict=True):
        answers = tiny.ground(frame, [f"the {thing}" for thing in THINGS])
        for thing, answer in zip(THINGS, answers, strict=True):
            there = thing in things
            right = (answer.presence >= 0.5) == there
            if there:
                x, y = things[thing]
                right = right and holds(answer.boxes[0], (x / TILE, y / TILE))
            asked[there][0] += bool(right)
            asked[there][1] += 1
    assert asked[True][1] == asked[False][1] == 16
    assert asked[True][0] >= 14 and asked[False][0] >= 12, asked


def test_it_names_what_is_clicked_on(tiny, frames):
    right = 0
    for frame, things in zip(frames, SCENES, strict=True):
        for thing, (x, y) in things.items():
            try:
                named = tiny.name(frame, np.array([x, y, x, y]) / TILE).phrase
            except ValueError:
                continue
            # Which of two blocks is meant may be told by its colour or by its place.
            right += thing.rpartition(" ")[2] in named.split()
    assert right >= 11, right


def test_names_that_are_not_waited_for_change_nothing(tiny, frames, monkeypatch):
    """Of a clear thing the first name is enough; the answer is that of all eight."""
    model = tiny.grounder
    likeliest, rounds = Decoder.likeliest, []

    def to_its_end(self, *asked):
        told = list(likeliest(self, *asked))
        yield [one for said, _ in told for one in said], 0.0

    def counted(self, *asked):
        for told in likeliest(self, *asked):
            rounds[-1].extend(told[0])
            yield told

    for frame, things in zip(frames, SCENES, strict=True):
        for x, y in things.values():
            box = np.array([x - 12, y - 12, x + 12, y + 12]) / TILE
            rounds.append([])
            monkeypatch.setattr(Decoder, "likeliest", counted)
            quick = model.refer(frame, box)
            monkeypatch.setattr(Decoder, "likeliest", to_its_end)
            slow = model.refer(frame, box)
            assert (quick.text, quick.probability) == (slow.text, pytest.approx(slow.probability, rel=1e-4))
    assert min(len(names) for names in rounds) <= 2
