"""Questions about demonstrations that are answered in text, in Magma's one format: image, prompt, text tokens.

Three kinds (Yang et al. 2025, arXiv 2502.13130, sections 3.1 and 3.2, and its appendix): where the marks are
(Set-of-Mark), where those that move will go (Trace-of-Mark), and plain questions about the scene. Marks are numbered in
the order of `MARKS`, from 1, and not drawn on the image: at 128 pixels a digit could not be read, and the
published trace demonstration draws none either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from magma_policy.demonstrations.reader import Demonstrations
from magma_policy.marks.set_of_mark import GRID, brief_question, format_mark_positions, locate_marks_question
from magma_policy.marks.trace_of_mark import DEFAULT_STEPS, format_traces, from_pixels, trace_question
from magma_policy.training.answered_texts import without_digits
from magma_policy.training.config import TextMixture

MOVING_GRID = 2.0
"""A mark moves when its trace is at least so long on average, in grid units (the paper's foreground threshold)."""


@dataclass(frozen=True)
class TextSample:
    """One question and its answer."""

    question: str
    answer: str


class TextSamples:
    """Draws questions about steps of a demonstration set."""

    def __init__(self, demos: Demonstrations, mixture: TextMixture) -> None:
        self._demos = demos
        self._weights = torch.tensor([mixture.marks, mixture.traces, mixture.questions])
        self._makers = (self.marks, self.traces, self.question)
        self._nouns = sorted({words.noun for card in demos.cards for words in card.objects.values()})

    def draw(self, rows: Sequence[int], generator: torch.Generator) -> list[TextSample]:
        """One sample per row. A kind that says nothing about a row (nothing moves, no objects known) gives way to the
        marks."""
        kinds = torch.multinomial(self._weights, len(rows), replacement=True, generator=generator).tolist()
        dice = torch.randint(2**31, (len(rows),), generator=generator).tolist()
        return [
            self._makers[kind](row, die) or self.marks(row, die)
            for row, kind, die in zip(rows, kinds, dice, strict=True)
        ]

    def marks(self, row: int, die: int = 0) -> TextSample:
        """Where the marks that are on the image are; `Mark k at [x,y]`, in whole grid units."""
        del die
        grid = self._grid(self._demos.marks[row])
        visible = {k + 1: (x, y) for k, (x, y) in enumerate(grid.tolist()) if 0 <= x <= GRID and 0 <= y <= GRID}
        return TextSample(locate_marks_question(), (format_mark_positions(visible) or "No marks") + ".")

    def traces(self, row: int, die: int = 0) -> TextSample | None:
        """Where the marks that move go in the next steps; None when none moves or the episode ends before."""
        del die
        demos = self._demos
        end = row + DEFAULT_STEPS
        if end > demos.last_row[row]:
            return None
        paths = np.clip(self._grid(demos.marks[row : end + 1]), 0.0, GRID)
        lengths = np.linalg.norm(paths[1:] - paths[:1], axis=-1).mean(axis=0)
        moving = [k for k in range(paths.shape[1]) if np.isfinite(lengths[k]) and lengths[k] > MOVING_GRID]
        if not moving:
            return None
        steps = np.linalg.norm(np.diff(paths[:, moving], axis=0), axis=-1)
        names = [k + 1 for k in moving]
        question = trace_question(demos.instructions[demos.instruction[row]], names, round(float(steps.mean())))
        traces = from_pixels({k + 1: paths[:, k] for k in moving}, GRID, GRID)
        return TextSample(question, format_traces(traces).strip())

    def question(self, row: int, die: int) -> TextSample | None:
        """A question about the objects; None when the demonstrations do not name them."""
        demos = self._demos
        names = demos.objects[demos.episode[row]]
        words = [demos.cards[demos.robot[row]].objects.get(name) for name in names]
        known = [(word, place) for word, place in zip(words, demos.object_marks[row], strict=False) if word]
        if not known:
            return None
        kind, which = die % 4, die // 4
        word, place = known[which % len(known)]
        if kind == 0:
            return TextSample(brief_question("What is on the table?"), listing([w.noun for w, _ in known]))
        if kind == 1:
            noun = self._nouns[which % len(self._nouns)]
            there = any(w.noun == noun for w, _ in known)
            return TextSample(brief_question(f"Is there {article(noun)} on the table?"), "Yes." if there else "No.")
        x, y = self._grid(place).tolist()
        if kind == 2 and 0 <= x <= GRID and 0 <= y <= GRID:
            return TextSample(brief_question(f"Where is the {word.noun}?"), f"At [{round(x)},{round(y)}].")
        return TextSample(brief_question(f"What colour is the {word.noun}?"), f"{word.colour.capitalize()}.")

    @staticmethod
    def _grid(marks: np.ndarray) -> np.ndarray:
        """Fractions of the image to grid units."""
        return marks.astype(np.float64) * GRID


def article(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def listing(nouns: Sequence[str]) -> str:
    """`A carrot, an eggplant and a plate.`, in alphabetical order."""
    parts = [article(noun) for noun in sorted(nouns)]
    text = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    return text[0].upper() + text[1:] + "."


def vocabulary(demos: Demonstrations) -> list[str]:
    """Texts for the small tokenizer to learn: every number of the grid becomes one token, and so do the usual words."""
    samples = TextSamples(demos, TextMixture())
    rows = np.linspace(0, len(demos) - 1, 200).astype(int).tolist()
    made = [maker for row in rows for maker in (samples.traces(row), samples.question(row, row))]
    words = [f"{sample.question} {sample.answer}" for sample in made if sample is not None]
    # Numbers are taught by themselves: left to the samples, often seen positions would get all the merges.
    numbers = [str(number) for number in range(GRID + 1)] * 50
    return [*numbers, *(without_digits(text) for text in words)]
