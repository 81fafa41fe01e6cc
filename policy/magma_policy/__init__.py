"""Magma as a robot policy: `magma_policy.load(path).act(image, instruction)`, and its chat."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from magma_policy.embodiments.action_spec import ActionSpec

if TYPE_CHECKING:
    import torch

    from magma_policy.families.magma.policy import Policy

__all__ = ["ActionSpec", "load"]


def load(
    path_or_hub_id: str | Path,
    device: str = "auto",
    dtype: torch.dtype | str | None = None,
    quantization: str | None = None,
    *,
    robot: str | Path | None = None,
    statistics: str | Path | None = None,
) -> Policy:
    """Load a policy from a checkpoint directory or the Hugging Face Hub; see `Policy.load`.

    torch and transformers take seconds to import, so they are imported here and not with the package.
    """
    from magma_policy.families.magma.policy import Policy

    return Policy.load(path_or_hub_id, device, dtype, quantization, robot, statistics)
