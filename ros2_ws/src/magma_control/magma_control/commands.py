"""What the controller decides: a command for the arm."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray


class Source(Enum):
    """Who asked for a command."""

    POLICY = "policy"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Command:
    """One motion to send to the arm; it satisfies every limit."""

    delta: NDArray[np.float64]
    """(7,)"""
    stamp_ns: int
    """capture time of the frame acted on; for an operator's command the operator's stamp"""
    source: Source
    sender: str = ""
    """name of the policy, or of the operator's device"""
    asked: NDArray[np.float64] | None = None
    """(7,) what was wanted before any limit shortened it"""
    following: NDArray[np.float64] | None = None
    """(7,) the step after this one as it is known now, scaled alike; it has passed no limit yet"""
