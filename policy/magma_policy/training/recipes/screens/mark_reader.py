"""What the places of a picture tell of its marks: taught beside the answers, and left out of the checkpoint.

An answer tells a new model one place and one number of a picture, and that only once it finds anything there at all.
Here every mark of a picture teaches the visual token that its middle lies in: its number, where it is, and the words
for what stands there. It costs next to nothing beside looking.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from magma_policy.screens.candidates import MOST_MARKS
from magma_policy.training.answered_texts import IGNORED

BINS = 100
"""Of a coordinate: those that an answer can say."""


@dataclass(frozen=True)
class SeenMarks:
    """Marks of a batch's pictures, M of them: int64 `picture` (M,); `cell` (M,), of the feature map, row by row;
    `number` (M,); `place` (M, 2), bins of x and y; `words` (M, W), ids, `IGNORED` where there are none."""

    picture: Tensor
    cell: Tensor
    number: Tensor
    place: Tensor
    words: Tensor


class MarkReader(nn.Module):
    """Heads on the visual tokens.

    Args:
        hidden_size: of the tokens.
        vocabulary: ids of words.
        side: of the feature map.
    """

    def __init__(self, hidden_size: int, vocabulary: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.told = nn.Linear(hidden_size, MOST_MARKS + 2 * BINS + vocabulary)

    def cells(self, visual: Tensor) -> Tensor:
        """Visual tokens (P, side * (side + 1), H) without the separators that end rows: cells (P, side**2, H)."""
        return visual.unflatten(1, (self.side, self.side + 1))[:, :, :-1].flatten(1, 2)

    def read(self, cells: Tensor, marks: SeenMarks) -> Tensor:
        """The loss of what is told of marks; 0 where there are none."""
        if not len(marks.picture):
            return cells.sum() * 0.0
        told = self.told(cells[marks.picture, marks.cell]).split(
            (MOST_MARKS, BINS, BINS, self.told.out_features - MOST_MARKS - 2 * BINS), dim=1
        )
        targets = (marks.number, marks.place[:, 0], marks.place[:, 1])
        loss = torch.stack(
            [F.cross_entropy(said, target) for said, target in zip(told[:3], targets, strict=True)]
        ).sum()
        chance = told[3].log_softmax(dim=1)
        known = marks.words != IGNORED
        words = chance.gather(1, marks.words.clamp(min=0)).masked_fill(~known, 0.0)
        return loss - words.sum() / known.sum().clamp(min=1)
