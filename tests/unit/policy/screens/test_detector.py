"""A detector from a TorchScript file that a person names; here a tiny one, scripted by the test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from magma_policy.errors import CommandError
from magma_policy.screens.detector import Detector


class DarkBox(nn.Module):
    """Finds the one dark rectangle, and says it three times: once surely, once a little off, once hardly."""

    def forward(self, pixels: Tensor) -> Tensor:
        dark = pixels[0].sum(dim=0) < 0.5
        rows = torch.nonzero(dark.any(dim=1)).float()
        columns = torch.nonzero(dark.any(dim=0)).float()
        if rows.numel() == 0:
            return torch.zeros(1, 5, 0)
        top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        box = torch.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])
        found = torch.stack([box, box + 1, box / 4], dim=1)
        return torch.cat([found, torch.tensor([[0.9, 0.5, 0.01]])], dim=0)[None]


class Fixed(nn.Module):
    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, pixels: Tensor) -> Tensor:
        return self.answer


def saved(module: nn.Module, path: Path) -> Path:
    torch.jit.script(module).save(str(path))
    return path


def test_boxes_come_back_in_pixels_of_the_screenshot_each_thing_once(tmp_path):
    detector = Detector(saved(DarkBox(), tmp_path / "model.pt"))
    for height, width in ((400, 800), (800, 400), (90, 60)):
        image = np.full((height, width, 3), 250, np.uint8)
        image[30:60, 20:50] = 0
        (found,) = detector.candidates(image)
        assert found.box == pytest.approx((20, 30, 50, 60), abs=2)
    assert detector.candidates(np.full((50, 50, 3), 255, np.uint8)) == []


def test_numbers_that_mean_nothing_are_left_out(tmp_path):
    nan = float("nan")
    answer = torch.tensor([[[100.0, nan, 5000.0, 100.0], [100.0, 10.0, 10.0, 300.0], [50.0, 5.0, 5.0, 1.0],
                            [50.0, 5.0, 5.0, 50.0], [0.9, 0.9, 0.9, 0.9]]])  # fmt: skip
    detector = Detector(saved(Fixed(answer), tmp_path / "model.pt"))
    assert [item.box for item in detector.candidates(np.zeros((640, 640, 3), np.uint8))] == [(75, 75, 125, 125)]


@pytest.mark.parametrize("answer", [torch.zeros(5, 3), torch.zeros(1, 4, 9), torch.zeros(2, 5, 9)])
def test_a_file_that_answers_something_else_is_refused(tmp_path, answer):
    with pytest.raises(CommandError, match=r"not \(1, 4 \+ classes, boxes\)"):
        Detector(saved(Fixed(answer), tmp_path / "model.pt"))


def test_pickles_and_other_files_are_refused_unread(tmp_path):
    torch.save({"weights": torch.zeros(3)}, tmp_path / "weights.pt")
    (tmp_path / "text.pt").write_text("no model")
    for name, reason in (("weights.pt", "pickled weights"), ("text.pt", "no TorchScript"), ("none.pt", "no such file")):
        with pytest.raises(CommandError, match=reason):
            Detector(tmp_path / name)
