"""Which sequences a step learns from: of each kind as many tokens as its share says, on average exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from magma_contracts.errors import ConfigError
from magma_policy.grit import sequences
from magma_policy.training.recipes.grit.config import TokenShares
from magma_policy.training.recipes.grit.material import Material
from magma_policy.training.recipes.grit.samples import TEMPLATES, Sample, Samples

TRIES = 100
"""Draws in a row that give nothing before a kind is given up."""
Maker = Callable[[np.random.Generator], list[Sample]]
"""Sequences that belong together: of one picture, which is then looked at once; none where nothing fits."""


class Mixture:
    """Draws the sequences of a step.

    Args:
        material: what there is.
        samples: makes sequences of it.
        shares: of the kinds; those without data are left out.
        tokens: of a step.
        boxes_fraction: how often a record's caption is told with its places.

    Attributes:
        budgets: tokens of each kind that has any.

    Raises:
        ConfigError: no kind with a share has data.
    """

    def __init__(
        self, material: Material, samples: Samples, shares: TokenShares, tokens: int, boxes_fraction: float
    ) -> None:
        self._material, self._samples, self._boxes_fraction = material, samples, boxes_fraction
        self._texts = [piece for text in material.texts for piece in samples.texts(text)]
        kinds: tuple[tuple[str, float, int, Maker], ...] = (
            ("texts", shares.texts, len(self._texts), self._text),
            ("pairs", shares.pairs, len(material.pairs), self._pair),
            ("records", shares.records, len(material.records), self._record),
            ("documents", shares.documents, len(material.documents), self._document),
            ("instructions", shares.instructions, len(material.records), self._instructions),
        )
        used = [kind for kind in kinds if kind[1] and kind[2]]
        total = sum(share for _, share, _, _ in used)
        if not total:
            raise ConfigError("no kind of sequences with a share has data")
        self.budgets = {name: tokens * share / total for name, share, _, _ in used}
        self._makers = {name: make for name, _, _, make in used}

    def __str__(self) -> str:
        """In one line."""
        return "a step reads about " + ", ".join(
            f"{round(most)} tokens of {name}" for name, most in self.budgets.items()
        )

    def draw(self, rng: np.random.Generator) -> list[Sample]:
        """The sequences of a step."""
        found: list[Sample] = []
        for name, most in self.budgets.items():
            found += self._fill(self._makers[name], most, rng)
        # A step of few tokens may come out empty; then it is one of the largest kind.
        return found or self._one(self._makers[max(self.budgets, key=lambda name: self.budgets[name])], rng)

    def _fill(self, make: Maker, most: float, rng: np.random.Generator) -> list[Sample]:
        found: list[Sample] = []
        left = most
        while left > 0:
            made = self._one(make, rng)
            length = sum(len(sample.ids) for sample in made)
            # The last ones go beyond the budget; they are taken as often as makes the mean right.
            if length > left and rng.random() >= left / length:
                break
            found += made
            left -= length
        return found

    def _one(self, make: Maker, rng: np.random.Generator) -> list[Sample]:
        for _ in range(TRIES):
            if made := make(rng):
                return made
        raise ConfigError("expressions are longer than a sequence may be; raise longest")

    # Of each kind; `material` is not empty there.

    def _text(self, rng: np.random.Generator) -> list[Sample]:
        return [self._texts[int(rng.integers(len(self._texts)))]]

    def _pair(self, rng: np.random.Generator) -> list[Sample]:
        caption, row = self._material.pairs[int(rng.integers(len(self._material.pairs)))]
        return [self._samples.caption(caption, row)]

    def _record(self, rng: np.random.Generator) -> list[Sample]:
        record, row = self._material.records[int(rng.integers(len(self._material.records)))]
        if rng.random() < self._boxes_fraction:
            return [self._samples.grounded(record, row)]
        return [self._samples.caption(record.caption, row)]

    def _document(self, rng: np.random.Generator) -> list[Sample]:
        documents = self._material.documents
        return [self._samples.document(documents[int(rng.integers(len(documents)))])]

    def _instructions(self, rng: np.random.Generator) -> list[Sample]:
        """Of every expression of a picture one: where it is, or what stands there."""
        record, row = self._material.records[int(rng.integers(len(self._material.records)))]
        found = []
        for start, end, boxes in sequences.mentions(record):
            expression = record.caption[start:end]
            if rng.random() < 0.5:
                found.append(self._samples.find(expression, np.array(boxes), row))
            else:
                found.append(self._samples.name(expression, np.array(boxes), row, int(rng.integers(len(TEMPLATES)))))
        return [sample for sample in found if sample is not None]
