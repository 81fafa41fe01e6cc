"""What a model that learns about screens is measured by while it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from magma_policy.families.magma import Magma, MagmaTokenizer
from magma_policy.marks.set_of_mark import parse_ui_answer
from magma_policy.screens.rows import Row
from magma_policy.training.answered_texts import IGNORED

BATCH = 20


@dataclass(frozen=True)
class Validation:
    """Percent of the rows to which the model itself says the right mark; the loss is of ids behind the true ones."""

    right_percent: float
    loss: float

    def __str__(self) -> str:
        return f"right mark {self.right_percent:.1f} %, loss {self.loss:.3f}"


class Validator:
    """Measures always on the same rows.

    Args:
        rows: with their pictures.
        tokenizer: of the model.
        batch: makes a batch of rows.
        answers: logits (B, A, vocabulary) of a batch.
        said: ids (B, A) that the model says.
    """

    def __init__(
        self,
        rows: Sequence[tuple[Path, Row]],
        tokenizer: MagmaTokenizer,
        batch: Callable[[Sequence[tuple[Path, Row]]], Any],
        answers: Callable[[Any], Tensor],
        said: Callable[[Any], Tensor],
    ) -> None:
        self._rows, self._tokenizer, self._batch = rows, tokenizer, batch
        self._answers, self._said = answers, said

    @torch.no_grad()
    def measure(self, model: Magma) -> Validation:
        """Of the model as it is now."""
        del model
        right, losses, end = 0, [], self._tokenizer.tokens.end_of_turn
        for start in range(0, len(self._rows), BATCH):
            rows = self._rows[start : start + BATCH]
            batch = self._batch(rows)
            logits = self._answers(batch)
            losses.append(
                torch.nn.functional.cross_entropy(
                    logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED
                ).item()
                * len(rows)
            )
            for ids, (_, row) in zip(self._said(batch).tolist(), rows, strict=True):
                said = self._tokenizer.decode(ids[: ids.index(end)] if end in ids else ids)
                right += parse_ui_answer(said).mark == parse_ui_answer(row.answer).mark
        return Validation(100.0 * right / len(self._rows), sum(losses) / len(self._rows))
