"""The losses of one step: words, places, and what each patch of a picture shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache

from magma_policy.families.kosmos2 import Network, Vocabulary, normalised
from magma_policy.grounding.scenes import Scene
from magma_policy.training.recipes.grounding.samples import Sample

CORNERS = 4
LOSSES = ("dense", "words", "places")


@dataclass(frozen=True)
class TextBatch:
    """Texts of pictures, as many of each: ids int64 (B * K, T), padded on the right; `behind` int64 (N,) flat places
    (row * T + column) in front of the answers' ids, `targets` int64 (N,) these ids; `corners` float32 (N, 2), x y of
    location tokens in cells, NaN for others."""

    ids: Tensor
    behind: Tensor
    targets: Tensor
    corners: Tensor


@dataclass(frozen=True)
class StepBatch:
    """`pixels` float32 (B, 3, side, side); `classes` int64 (B, patches), 0 where nothing stands; `edges` float32
    (B, patches, 4), the box of what stands there, in cells; `texts` None while only patches are taught."""

    pixels: Tensor
    classes: Tensor
    edges: Tensor
    texts: TextBatch | None


class Learner(nn.Module):
    """The network, and what is only there while it learns: a read-out of every patch."""

    def __init__(self, network: Network, classes: int, bins: int) -> None:
        super().__init__()
        self.model = network.model
        self.patches = nn.Linear(network.geometry.vision_width, classes + CORNERS * bins)


class Objective:
    """What is learned from a batch.

    Args:
        learner: the network and its read-out.
        network: the same network.
        vocabulary: its ids.
        dense_weight: of the patches' loss beside texts.
    """

    def __init__(self, learner: Learner, network: Network, vocabulary: Vocabulary, dense_weight: float) -> None:
        self.learner, self.network, self.vocabulary, self.dense_weight = learner, network, vocabulary, dense_weight
        head = (vocabulary.bos, *vocabulary.image_ids)
        self._head = torch.tensor([head], device=network.device)
        self._places = torch.zeros(1, len(head), dtype=torch.bool, device=network.device)
        self._places[0, 2 : 2 + vocabulary.latents] = True

    def backward(self, batch: StepBatch, sigma: float, share: float = 1.0) -> dict[str, Tensor]:
        """Adds the gradients of a batch, which counts as a `share` of the step, to those of the parameters; returns the
        losses by name. `sigma`: softness of the location labels, in cells."""
        patches = self.network.patch_features(batch.pixels)
        losses = {"dense": self._dense(patches, batch, sigma)}
        total = losses["dense"]
        if batch.texts is not None:
            losses["words"], losses["places"] = self._texts(patches, batch.texts, sigma)
            total = self.dense_weight * total + losses["words"] + losses["places"]
        (share * total).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _dense(self, patches: Tensor, batch: StepBatch, sigma: float) -> Tensor:
        """Class of every patch, and the four edges of the box that it belongs to."""
        bins = self.vocabulary.bins
        read = self.learner.patches(patches[:, 1:] * math.sqrt(patches.shape[2])).float()
        classes, edges = read.split([read.shape[2] - CORNERS * bins, CORNERS * bins], dim=2)
        loss = F.cross_entropy(classes.flatten(0, 1), batch.classes.flatten())
        inside = batch.classes > 0
        if not bool(inside.any()):
            return loss
        logits = edges[inside].unflatten(1, (CORNERS, bins)).log_softmax(dim=2)
        return loss - (_softened(batch.edges[inside], bins, sigma) * logits).sum(dim=2).mean()

    def _texts(self, patches: Tensor, texts: TextBatch, sigma: float) -> tuple[Tensor, Tensor]:
        network = self.network
        count = len(patches)
        # What all texts of a picture begin with is read once, and its keys and values are repeated for each of them.
        cache = DynamicCache()
        ones = torch.ones_like(self._head).expand(count, -1)
        positions = torch.arange(2, 2 + self._head.shape[1], device=network.device).repeat(count, 1)
        network.hidden(
            self._head.expand(count, -1), ones, positions, cache, network.resampled(patches),
            self._places.expand(count, -1),
        )  # fmt: skip
        cache.batch_repeat_interleave(len(texts.ids) // count)
        length = texts.ids.shape[1]
        start = 2 + self._head.shape[1]
        positions = torch.arange(start, start + length, device=network.device).repeat(len(texts.ids), 1)
        # Pads stand on the right, where nothing that is asked for looks at them.
        mask = torch.ones(len(texts.ids), self._head.shape[1] + length, dtype=torch.int64, device=network.device)
        hidden = network.hidden(texts.ids, mask, positions, cache)
        scores = network.head(hidden.flatten(0, 1)[texts.behind]).float().log_softmax(dim=1)
        told = ~texts.corners[:, 0].isnan()
        words = F.nll_loss(scores[~told], texts.targets[~told])
        if not bool(told.any()):
            return words, torch.zeros_like(words)
        vocabulary = self.vocabulary
        x, y = (_softened(texts.corners[told, axis], vocabulary.bins, sigma) for axis in (0, 1))
        wanted = (y[:, :, None] * x[:, None, :]).flatten(1)
        among = scores[told, vocabulary.first_place : vocabulary.size]
        return words, -(wanted * among).sum(dim=1).mean()


def _softened(places: Tensor, bins: int, sigma: float) -> Tensor:
    """Distributions (..., bins) over cells whose middles are near `places` (...), in cells."""
    middles = torch.arange(bins, device=places.device) + 0.5
    return (-((places[..., None] - middles) ** 2) / (2 * sigma**2)).softmax(dim=-1)


def collate_texts(samples: Sequence[Sample], vocabulary: Vocabulary) -> TextBatch:
    """Samples as tensors, on the CPU."""
    length = max(len(sample.ids) for sample in samples)
    ids = np.full((len(samples), length), vocabulary.pad, dtype=np.int64)
    behind, targets, corners = [], [], []
    nowhere = (math.nan, math.nan)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = sample.ids
        for place in range(sample.asked, len(sample.ids)):
            behind.append(row * length + place - 1)
            targets.append(sample.ids[place])
            corners.append(sample.corners.get(place, nowhere))
    return TextBatch(
        torch.from_numpy(ids),
        torch.tensor(behind),
        torch.tensor(targets),
        torch.tensor(corners, dtype=torch.float32) * vocabulary.bins,
    )


def patch_labels(
    scenes: Sequence[Scene], names: Sequence[tuple[str, str]], patches: int, bins: int
) -> tuple[Tensor, Tensor]:
    """`classes` and `edges` of a batch (see `StepBatch`) of `patches` x `patches`: each patch belongs to the smallest
    box that its middle lies in."""
    middles = (np.arange(patches) + 0.5) / patches
    classes = np.zeros((len(scenes), patches, patches), dtype=np.int64)
    edges = np.zeros((len(scenes), patches, patches, CORNERS), dtype=np.float32)
    number = {name: index + 1 for index, name in enumerate(names)}
    for row, scene in enumerate(scenes):
        for thing in sorted(scene.things, key=lambda one: -_area(one.box)):
            x1, y1, x2, y2 = thing.box
            inside = np.ix_((middles >= y1) & (middles <= y2), (middles >= x1) & (middles <= x2))
            classes[row][inside] = number[thing.kind, thing.colour]
            edges[row][inside] = np.array(thing.box) * bins
    return torch.from_numpy(classes).flatten(1), torch.from_numpy(edges).flatten(1, 2)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def pixels(images: np.ndarray) -> Tensor:
    """uint8 (B, side, side, 3) as the network sees them."""
    return torch.from_numpy(np.ascontiguousarray(normalised(images)))
