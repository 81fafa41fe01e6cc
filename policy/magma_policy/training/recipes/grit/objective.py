"""The loss of a step: cross entropy of what is learned, words and location tokens alike, over all of its tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from magma_policy.families.kosmos2 import Network, Vocabulary, normalised
from magma_policy.training.loop.nested_tensors import transformed
from magma_policy.training.place_labels import place_loss
from magma_policy.training.recipes.grit.samples import Sample

LOSSES = ("words", "places")
NOWHERE = (math.nan, math.nan)


@dataclass(frozen=True)
class Rows:
    """Sequences that are read side by side.

    Attributes:
        ids: int64 (B, T), padded on the right.
        mask: int64 (B, T), 0 at pads.
        places: bool (B, T), where features of pictures stand.
        pictures: int64 (N,), whose, in the order of these places: rows of the step's pictures.
        behind: int64 (L,), flat places (row * T + column) in front of the ids that are learned.
        targets: int64 (L,), these ids.
        corners: float32 (L, 2), x y of location tokens in cells, NaN for others.
    """

    ids: Tensor
    mask: Tensor
    places: Tensor
    pictures: Tensor
    behind: Tensor
    targets: Tensor
    corners: Tensor


@dataclass(frozen=True)
class StepBatch:
    """`pixels` float32 (P, 3, side, side) of the step's pictures, each once; `groups` of sequences with about as many
    pictures; `seed` of the step's dropout."""

    pixels: Tensor
    groups: tuple[Rows, ...]
    seed: int

    def on(self, device: torch.device) -> StepBatch:
        """The same on a device."""
        groups = tuple(transformed(rows, lambda tensor: tensor.to(device)) for rows in self.groups)
        return StepBatch(self.pixels.to(device), groups, self.seed)


class Objective:
    """What is learned from a batch.

    Args:
        network: the model under training.
        vocabulary: its ids.
        sigma: softness of the location labels in cells; 0: the right cell alone counts.
        sees: whether the vision tower learns.
        mixed: whether is computed in bfloat16.
    """

    def __init__(self, network: Network, vocabulary: Vocabulary, sigma: float, *, sees: bool, mixed: bool) -> None:
        self._network, self._vocabulary, self._sigma = network, vocabulary, sigma
        self._sees, self._mixed = sees, mixed

    def backward(self, batch: StepBatch, share: float = 1.0) -> dict[str, Tensor]:
        """Adds the gradients of a batch, which counts as a `share` of the step, to those of the parameters; returns the
        mean losses by name."""
        # Dropout is the only chance in here, and a step has its own whoever takes it.
        torch.manual_seed(batch.seed)
        with torch.autocast(self._network.device.type, torch.bfloat16, enabled=self._mixed):
            words, places = self.losses(batch)
        every = torch.cat([words, places])
        (share * every.mean()).backward()
        return {name: one.detach().mean() for name, one in zip(LOSSES, (words, places), strict=True) if len(one)}

    def losses(self, batch: StepBatch) -> tuple[Tensor, Tensor]:
        """Cross entropies of single words and of single location tokens, in any order."""
        network = self._network
        features = None
        if len(batch.pixels):
            with torch.set_grad_enabled(self._sees and torch.is_grad_enabled()):
                patches = network.patch_features(batch.pixels)
            features = network.resampled(patches)
        words, places = [], []
        for rows in batch.groups:
            shown = features[rows.pictures] if features is not None and len(rows.pictures) else None
            positions = rows.mask.cumsum(dim=1) * rows.mask + 1
            where = None if shown is None else rows.places
            hidden = network.hidden(rows.ids, rows.mask, positions, None, shown, where)
            logits = network.head(hidden.flatten(0, 1)[rows.behind]).float()
            told = ~rows.corners[:, 0].isnan()
            words.append(F.cross_entropy(logits[~told], rows.targets[~told], reduction="none"))
            places.append(self._places(logits[told], rows.targets[told], rows.corners[told]))
        return torch.cat(words), torch.cat(places)

    def _places(self, logits: Tensor, targets: Tensor, corners: Tensor) -> Tensor:
        if self._sigma:
            return place_loss(logits, corners, self._vocabulary, self._sigma)
        return F.cross_entropy(logits, targets, reduction="none")


def collate(samples: Sequence[Sample], pictures: np.ndarray, vocabulary: Vocabulary, seed: int) -> StepBatch:
    """Sequences as tensors, on the CPU. Args: pictures: uint8 (P, side, side, 3), of all that samples name by row."""
    shown = {row: place for place, row in enumerate(sorted({row for one in samples for row in one.pictures}))}
    seen = np.stack([pictures[row] for row in shown]) if shown else pictures[:0]
    # Texts, captions and documents are of other lengths: apart, little is padded.
    kinds = [[one for one in samples if min(len(one.pictures), 2) == count] for count in range(3)]
    groups = tuple(_rows(kind, shown, vocabulary) for kind in kinds if kind)
    return StepBatch(torch.from_numpy(np.ascontiguousarray(normalised(seen))), groups, seed)


def _rows(samples: Sequence[Sample], shown: dict[int, int], vocabulary: Vocabulary) -> Rows:
    length = max(len(sample.ids) for sample in samples)
    ids = np.full((len(samples), length), vocabulary.pad, dtype=np.int64)
    mask, places = np.zeros_like(ids), np.zeros(ids.shape, dtype=bool)
    behind, targets, corners = [], [], []
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)], mask[row, : len(sample.ids)] = sample.ids, 1
        for place, id_ in enumerate(sample.ids):
            if id_ == vocabulary.image_open:
                places[row, place + 1 : place + 1 + vocabulary.latents] = True
            if sample.learned[place]:
                behind.append(row * length + place - 1)
                targets.append(id_)
                corners.append(sample.corners.get(place, NOWHERE))
    return Rows(
        torch.from_numpy(ids),
        torch.from_numpy(mask),
        torch.from_numpy(places),
        torch.tensor([shown[picture] for sample in samples for picture in sample.pictures], dtype=torch.int64),
        torch.tensor(behind, dtype=torch.int64),
        torch.tensor(targets, dtype=torch.int64),
        torch.tensor(corners, dtype=torch.float32).reshape(-1, 2) * vocabulary.bins,
    )
