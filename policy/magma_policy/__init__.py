"""Magma as a robot policy: `magma_policy.load(path).act(image, instruction)`, and its chat."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from magma_policy.embodiments.action_spec import ActionSpec

if TYPE_CHECKING:
    import torch

    from magma_policy.families.interface import ActionPolicy

__all__ = ["ActionSpec", "load"]


def load(
    path_or_hub_id: str | Path,
    device: str = "auto",
    dtype: torch.dtype | str | None = None,
    quantization: str | None = None,
    *,
    robot: str | Path | None = None,
    statistics: str | Path | None = None,
    unnorm_key: str | None = None,
) -> ActionPolicy:
    """Load a policy from a checkpoint directory, or `owner/name` (`owner/name@revision`) from the Hugging Face Hub.

    `device` is "cpu", "cuda" (or "cuda:1"), "mps", or "auto", which takes the first GPU there is. `dtype` None means
    float32 on the CPU and bfloat16 elsewhere (and with fp8); names like "float16" do too. `quantization` is "int8",
    "int4" or "fp8". `robot` is the default robot instead of the checkpoint's own: one of its further robots, one that
    ships (widowx, google_robot), or a folder; `statistics` is a file in place of its statistics.json, and `unnorm_key`
    the data set in it whose statistics are meant, where the robot's own key is not. The checkpoint's config.json says
    of which family it is; Magma's also answer questions (`magma_policy.families.interface.TextModel`). Raises
    CheckpointError, ConfigError or HubError naming what does not fit.
    """
    # torch and transformers take seconds to import, so they are imported here and not with the package.
    from magma_policy.families import registry

    return registry.load(path_or_hub_id, device, dtype, quantization, robot, statistics, unnorm_key)
