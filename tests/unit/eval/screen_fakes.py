"""A task whose action is no arm's: a screen on which words are clicked, without a browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Click:
    word: str


class Clicks:
    """Words, of at most 20 letters."""

    name = "click"

    def checked(self, answer: Any) -> list[Click]:
        clicks = [answer] if isinstance(answer, Click) else [Click(word) for word in answer]
        if not clicks or not all(click.word.isalpha() for click in clicks):
            raise ValueError(f"words are clicked, not {answer!r}")
        return clicks

    def hold(self, observation: Any) -> Click:
        del observation
        return Click("")

    def pack(self, actions: Sequence[Click]) -> np.ndarray:
        return np.array([click.word for click in actions], dtype="<U20")

    def unpack(self, packed: np.ndarray) -> list[Click]:
        if packed.dtype != np.dtype("<U20") or packed.ndim != 1:
            raise ValueError(f"clicks are words, got {packed.dtype} {packed.shape}")
        return [Click(str(word)) for word in packed]

    def described(self, packed: np.ndarray, step: int) -> str:
        return f"clicks {packed[step]}"


CLICKS = Clicks()


class Screen:
    """The words of a sentence have to be clicked in order."""

    action_type = CLICKS

    def __init__(self, name: str, *, images: bool = True) -> None:
        self._words = name.split("-")
        self._images = images
        self.spec = SimpleNamespace(task=name, max_steps=len(self._words) + 1, step_period_s=1.0)

    def reset(self, variant: str, layout: int) -> SimpleNamespace:
        del variant, layout
        self._clicked: list[str] = []
        self._step = 0
        return self._observe(True)

    def step(self, action: Click, *, render: bool = True) -> SimpleNamespace:
        self._step += 1
        if action.word:
            self._clicked.append(action.word)
        return self._observe(render)

    def render_large(self) -> np.ndarray:
        return np.full((48, 64, 3), 20 * self._step, dtype=np.uint8)

    def close(self) -> None:
        pass

    def _observe(self, render: bool) -> SimpleNamespace:
        image = np.zeros((8, 8, 3), np.uint8) if render and self._images else None
        return SimpleNamespace(
            image=image, step=self._step, success=self._clicked == self._words, instruction=" ".join(self._words)
        )


class Reader:
    """A policy that clicks what it reads, two words at a time, and once something that is no word."""

    def __init__(self) -> None:
        self.spec = SimpleNamespace(name="reader", needs_image=False, check_fits=lambda task: None)
        self.stage_ms = {"reading": 1.0}
        self.asked = 0

    def reset(self, instruction: str) -> None:
        self.asked = 0

    def act(self, observation: Any) -> list[str]:
        self.asked += 1
        return ["!"] if self.asked == 1 else observation.instruction.split()[observation.step - 1 :][:2]

    def close(self) -> None:
        pass
