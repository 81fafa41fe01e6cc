"""How much memory a run needs, from the shapes and types of its parameters; nothing is allocated for that."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

MOMENT_BYTES = 4
"""AdamW's two moments, and the moving average, are float32 whatever the weights are."""


@dataclass(frozen=True)
class Memory:
    """Parameters, and bytes per process.

    `autocast` is what float32 weights' bfloat16 copies take during a forward and backward pass. Activations are not
    counted: they depend on batch and images, and on `gradient_checkpointing`.
    """

    parameters: int
    trained: int
    weights: int
    gradients: int
    moments: int
    average: int
    autocast: int

    @classmethod
    def of(cls, model: nn.Module, average: bool, autocast: bool) -> Memory:
        """Of a model, on the meta device or any other, whose parameters have their types and `requires_grad`;
        `average` says whether a moving average is kept, `autocast` whether the forward pass is in bfloat16."""
        parameters = list(model.parameters())
        trained = [p for p in parameters if p.requires_grad]
        count = sum(p.numel() for p in trained)
        # Copies are made of weights that are trained, of another type and multiplied with (so not of embeddings).
        copied = (
            p.numel()
            for name, p in model.named_parameters()
            if p.requires_grad and p.element_size() == 4 and p.ndim >= 2 and "embed_tokens" not in name
        )
        return cls(
            parameters=sum(p.numel() for p in parameters),
            trained=count,
            weights=sum(p.numel() * p.element_size() for p in parameters),
            gradients=sum(p.numel() * p.element_size() for p in trained),
            moments=2 * MOMENT_BYTES * count,
            average=MOMENT_BYTES * count if average else 0,
            autocast=2 * sum(copied) if autocast else 0,
        )

    @property
    def total(self) -> int:
        """Bytes of everything that is counted."""
        return self.weights + self.gradients + self.moments + self.average + self.autocast

    def __str__(self) -> str:
        def size(count: int) -> str:
            return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"

        parts = ("weights", "gradients", "moments", "average", "autocast")
        listed = ", ".join(f"{name} {size(getattr(self, name))}" for name in parts)
        return (
            f"{self.parameters / 1e6:.2f} M parameters, {self.trained / 1e6:.2f} M trained; "
            f"memory per process {size(self.total)} and activations ({listed})"
        )
