"""What a policy is, wherever it computes: in this process, or behind a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from magma_contracts.action_spec import ActionSpec
from magma_contracts.arm_state import ArmState

SERVER_SCHEMES = ("ws", "wss", "openpi", "vla-eval")
"""What the address of a policy on a server begins with: this project's own protocol, openpi's, and vla-eval's."""


def is_server(name: str) -> bool:
    """Whether a policy's name is the address of a server."""
    scheme, behind, _ = name.strip().partition("://")
    return bool(behind) and scheme.lower() in SERVER_SCHEMES


@dataclass(frozen=True)
class PolicyResult:
    """One action chunk, as a policy gives it."""

    deltas: NDArray[np.float64]
    """(n, 7), finite, at most `ActionSpec.horizon` of them; see `magma_contracts.actions`"""
    stage_ms: Mapping[str, float]
    """wall time of the policy's stages, milliseconds by name"""
    marks: NDArray[np.float64] | None
    """(K, 2) pixels (u, v) of the picture that the policy pointed at; None for policies that do not point"""


class Policy(Protocol):
    """From a picture, an instruction and the arm's state to actions, one episode after another.

    One thread at a time uses a policy. What it remembers of an episode is gone after `reset`.
    """

    @property
    def spec(self) -> ActionSpec:
        """What its actions mean, and which picture it wants."""

    @property
    def identity(self) -> str:
        """What it is known by: a hash of its content; "" where that is not known."""

    def reset(self) -> None:
        """A new episode begins."""

    def act(self, image: NDArray[np.uint8], instruction: str, state: ArmState | None, /) -> PolicyResult:
        """The next actions; raises what says why there are none.

        Args:
            image: (H, W, 3) rgb, in the size of the spec.
            instruction: what to do.
            state: None for policies without proprioception.
        """
