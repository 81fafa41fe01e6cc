"""Magma as a robot policy: `magma_policy.load(path).act(image, instruction, proprioception)`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from magma_policy.config import ActionSpec

if TYPE_CHECKING:
    import torch

    from magma_policy.policy import Policy

__all__ = ["ActionSpec", "load"]


def load(path: str | Path, device: str = "auto", dtype: torch.dtype | None = None) -> Policy:
    """Load a policy from a checkpoint directory; see `magma_policy.policy.Policy.load`.

    torch and transformers take seconds to import, so they are imported here and not with the package.
    """
    from magma_policy.policy import Policy

    return Policy.load(path, device, dtype)
