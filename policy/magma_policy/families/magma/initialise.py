"""Weights of a new small model."""

from __future__ import annotations

import torch

from magma_policy.families.magma.model import Magma


def initialise_weights(model: Magma) -> None:
    """Small-model initialisation: layer scales at 0.1 let gradients flow from the start; the heads start near zero."""
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.constant_(parameter, 0.1)
