"""How well a model under training finds expressions, on records that it does not learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from magma_contracts.geometry.boxes import overlap
from magma_policy.families.kosmos2 import Kosmos2, Network, Vocabulary
from magma_policy.grit import sequences
from magma_policy.training.recipes.grit.material import Material

SAME = 0.5


@dataclass
class Validation:
    """Of the expressions with one box, how many are found, in percent, and the boxes' mean overlap."""

    found_percent: float
    mean_overlap: float
    expressions: int

    def __str__(self) -> str:
        return f"found {self.found_percent:.1f} % of {self.expressions} expressions, overlap {self.mean_overlap:.3f}"


class Validator:
    """Measures always on the same records: the first ones. `pictures` of `material` are as the network sees them."""

    def __init__(self, network: Network, vocabulary: Vocabulary, material: Material, count: int) -> None:
        self._network, self._vocabulary, self._material = network, vocabulary, material
        self._rows = material.records[:count]

    def measure(self, model: nn.Module) -> Validation:
        """Of the network as it is now, decoded as it will be when it is used."""
        del model
        pointer = Kosmos2(self._network, self._vocabulary)
        overlaps: list[float] = []
        for record, row in self._rows:
            told = [(record.caption[a:b], boxes[0]) for a, b, boxes in sequences.mentions(record) if len(boxes) == 1]
            if not told:
                continue
            found = pointer.ground(self._material.pictures[row], [expression for expression, _ in told])
            for one, (_, box) in zip(found, told, strict=True):
                overlaps.append(float(overlap(np.array(box), one.boxes[:1])[0]) if len(one.boxes) else 0.0)
        if not overlaps:
            return Validation(0.0, 0.0, 0)
        right = sum(value >= SAME for value in overlaps)
        return Validation(100 * right / len(overlaps), float(np.mean(overlaps)), len(overlaps))
