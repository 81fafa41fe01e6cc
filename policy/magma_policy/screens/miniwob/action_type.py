"""Actions on a screen as the evaluator keeps them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_policy.errors import shown
from magma_policy.screens.actions import Kind, ScreenAction

LONGEST_ROW = 65_536
"""Bytes of one action in a file."""


class ScreenActions:
    """One action per step, or None for a step that does nothing; in a file a row of JSON in UTF-8, filled up with
    zeros."""

    name = "screen_action"

    def checked(self, answer: Any) -> list[ScreenAction | None]:
        actions = list(answer) if isinstance(answer, (list, tuple)) else [answer]
        if not actions or not all(isinstance(action, ScreenAction) for action in actions):
            raise ValueError(f"an answer is one or several actions on a screen, got {shown(answer)}")
        return actions

    def hold(self, observation: Any) -> ScreenAction | None:
        del observation
        return None

    def pack(self, actions: Sequence[ScreenAction | None]) -> NDArray[Any]:
        rows = [b"" if action is None else _as_json(action).encode() for action in actions]
        width = max([1, *map(len, rows)])
        packed = np.zeros((len(rows), width), dtype=np.uint8)
        for number, row in enumerate(rows):
            packed[number, : len(row)] = np.frombuffer(row, dtype=np.uint8)
        return packed

    def unpack(self, packed: NDArray[Any]) -> list[ScreenAction | None]:
        if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] > LONGEST_ROW:
            raise ValueError(f"actions on a screen are uint8 of shape (T, bytes), got {packed.dtype} {packed.shape}")
        return [_from_json(row.tobytes().rstrip(b"\0")) for row in packed]

    def described(self, packed: NDArray[Any], step: int) -> str:
        action = self.unpack(packed[step : step + 1])[0]
        if action is None:
            return "nothing"
        where = f" mark {action.mark}" if action.mark is not None else ""
        return f"{action.kind.value}{where}" + (f": {action.text}" if action.text else "")


SCREEN_ACTIONS = ScreenActions()


def _as_json(action: ScreenAction) -> str:
    row = {"kind": action.kind.value, "mark": action.mark, "point": action.point, "text": action.text}
    return json.dumps({name: value for name, value in row.items() if value not in (None, "")})


def _from_json(row: bytes) -> ScreenAction | None:
    """ValueError: it is no action."""
    if not row:
        return None
    try:
        value = json.loads(row)
        unknown = set(value) - {"kind", "mark", "point", "text"}
        mark, point, text = value.get("mark"), value.get("point"), value.get("text", "")
        if unknown or not isinstance(text, str) or not (mark is None or (type(mark) is int and mark >= 0)):
            raise ValueError("a field of it is none")
        place = None if point is None else tuple(map(float, point))
        if place is not None and (len(place) != 2 or not all(0.0 <= part <= 1.0 for part in place)):
            raise ValueError("its place is none")
        return ScreenAction(Kind(value["kind"]), mark, place, text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{shown(row[:80])} is no action on a screen: {error}") from error
