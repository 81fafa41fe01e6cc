"""What the losses of one step are computed from: tensors on the device, and nothing that the CPU would have to know."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from magma_policy.training.loop.nested_tensors import transformed


@dataclass(frozen=True)
class ActionSamples:
    """Steps whose actions are learned.

    instruction int64 (B,), the row of the prompt; robot int64 (B,); marks float32 (B, K, 2), fractions (x, y) of the
    image; proprioception float32 (B, 16); values float32 (B, 7), the normalised actions; ids int64 (B, 7), their ids.
    """

    instruction: Tensor
    robot: Tensor
    marks: Tensor
    proprioception: Tensor
    values: Tensor
    ids: Tensor

    def first(self, count: int) -> ActionSamples:
        """The first `count` rows."""
        return transformed(self, lambda tensor: tensor[:count])


@dataclass(frozen=True)
class TextBatch:
    """Questions with their answers: ids int64 (B, T), padded on the left where `attention` bool (B, T) is False;
    labels int64 (B, N) of the last N ids, negative where they are not the answer's."""

    ids: Tensor
    attention: Tensor
    labels: Tensor


@dataclass(frozen=True)
class StepBatch:
    """`tiles` (B * rows * cols, 3, S, S) of the images of `image`, whose first ones `texts` are about; `states` are
    samples without an image, with marks as the model would see them."""

    tiles: Tensor
    image: ActionSamples
    texts: TextBatch | None
    states: ActionSamples | None
