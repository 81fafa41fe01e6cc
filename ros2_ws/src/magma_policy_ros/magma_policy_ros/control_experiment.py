"""Control experiments: does a policy's success come from seeing and reading?

A policy that does as well without the picture, or without the instruction, has learnt neither.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Control = Literal["none", "blind", "deaf"]
CONTROLS: tuple[Control, ...] = ("none", "blind", "deaf")

GREY_LEVEL = 128
NEUTRAL_INSTRUCTION = "do the task"


def observe(pixels: np.ndarray, instruction: str, control: Control) -> tuple[np.ndarray, str]:
    """What the policy gets to see and read.

    Args:
        pixels: uint8 (H, W, 3).
        instruction: the true one.
        control: ``blind``: a grey picture; ``deaf``: the same neutral sentence for every task; ``none``: the truth.

    Returns:
        Picture and instruction.
    """
    if control == "blind":
        return np.full_like(pixels, GREY_LEVEL), instruction
    if control == "deaf":
        return pixels, NEUTRAL_INSTRUCTION
    return pixels, instruction


def policy_name(name: str, control: Control) -> str:
    """Name for results and messages: ``magma-tiny`` or ``magma-tiny+blind``."""
    return name if control == "none" else f"{name}+{control}"
