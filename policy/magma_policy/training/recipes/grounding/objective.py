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
from magma_policy.training.place_labels import place_loss, softened
from magma_policy.training.recipes.grounding.samples import Sample

CORNERS = 4
LOSSES = ("dense", "features", "words", "places")


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
class GridLabels:
    """What stands in each cell of a grid: `classes` int64 (B, cells), 0 where nothing does; `edges` float32
    (B, cells, 4), its box, in cells of the location tokens."""

    classes: Tensor
    edges: Tensor


@dataclass(frozen=True)
class StepBatch:
    """`pixels` float32 (B, 3, side, side); what the `patches` show; what the `features` stand for, and `texts`, None
    while only patches are taught."""

    pixels: Tensor
    patches: GridLabels
    features: GridLabels | None
    texts: TextBatch | None


class Learner(nn.Module):
    """The network, and what is only there while it learns: read-outs of every patch and, if asked for, of every feature
    of a picture."""

    def __init__(self, network: Network, classes: int, bins: int, *, features: bool) -> None:
        super().__init__()
        self.model = network.model
        self.patches = nn.Linear(network.geometry.vision_width, classes + CORNERS * bins)
        self.features = nn.Linear(network.geometry.text_width, classes + CORNERS * bins) if features else None


class Objective:
    """What is learned from a batch.

    Args:
        learner: the network and its read-out.
        network: the same network.
        vocabulary: its ids.
        dense_weight: of the patches' loss beside texts.
    """

    def __init__(
        self, learner: Learner, network: Network, vocabulary: Vocabulary, dense_weight: float, feature_weight: float
    ) -> None:
        self.learner, self.network, self.vocabulary = learner, network, vocabulary
        self.dense_weight, self.feature_weight = dense_weight, feature_weight
        head = (vocabulary.bos, *vocabulary.image_ids)
        self._head = torch.tensor([head], device=network.device)
        self._places = torch.zeros(1, len(head), dtype=torch.bool, device=network.device)
        self._places[0, 2 : 2 + vocabulary.latents] = True

    def backward(self, batch: StepBatch, sigma: float, share: float = 1.0) -> dict[str, Tensor]:
        """Adds the gradients of a batch, which counts as a `share` of the step, to those of the parameters; returns the
        losses by name. `sigma`: softness of the location labels, in cells."""
        patches = self.network.patch_features(batch.pixels)
        read = self.learner.patches(patches[:, 1:] * math.sqrt(patches.shape[2]))
        losses = {"dense": self._shown(read, batch.patches, sigma)}
        total = losses["dense"]
        if batch.texts is not None:
            features = self.network.resampled(patches)
            cache, behind = self._read_picture(features)
            losses["words"], losses["places"] = self._texts(cache, len(features), batch.texts, sigma)
            total = self.dense_weight * total + losses["words"] + losses["places"]
            if batch.features is not None and self.learner.features is not None:
                losses["features"] = self._shown(self.learner.features(features), batch.features, sigma)
                losses["features"] = losses["features"] + self._begins(behind, batch.features, sigma)
                total = total + self.feature_weight * losses["features"]
        (share * total).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _shown(self, read: Tensor, labels: GridLabels, sigma: float) -> Tensor:
        """Loss of read-outs (B, cells, classes + edges): what stands there, and the four edges of its box."""
        bins = self.vocabulary.bins
        classes, edges = read.float().split([read.shape[2] - CORNERS * bins, CORNERS * bins], dim=2)
        inside = labels.classes > 0
        if not bool(inside.any()):
            return F.cross_entropy(classes.flatten(0, 1), labels.classes.flatten())
        # Things fill one cell in twenty: among all cells alike they would hardly count.
        loss = F.cross_entropy(classes[inside], labels.classes[inside])
        loss = 0.5 * (loss + F.cross_entropy(classes[~inside], labels.classes[~inside]))
        logits = edges[inside].unflatten(1, (CORNERS, bins)).log_softmax(dim=2)
        return loss - (softened(labels.edges[inside], bins, sigma) * logits).sum(dim=2).mean()

    def _begins(self, behind: Tensor, labels: GridLabels, sigma: float) -> Tensor:
        """Loss of the location token that the text model would say behind each feature (B, features, width) of a thing:
        where its box begins. What stands behind features is never asked for otherwise."""
        inside = labels.classes > 0
        if not bool(inside.any()):
            return behind.sum() * 0.0
        logits = self.network.head(behind[inside]).float()
        return place_loss(logits, labels.edges[inside][:, :2], self.vocabulary, sigma).mean()

    def _read_picture(self, features: Tensor) -> tuple[DynamicCache, Tensor]:
        """What all texts of a picture begin with, read once: its keys and values, and (B, features, width) behind the
        features."""
        network, count = self.network, len(features)
        cache = DynamicCache()
        ones = torch.ones_like(self._head).expand(count, -1)
        positions = torch.arange(2, 2 + self._head.shape[1], device=network.device).repeat(count, 1)
        hidden = network.hidden(
            self._head.expand(count, -1), ones, positions, cache, features, self._places.expand(count, -1)
        )
        return cache, hidden[:, self._places[0]]

    def _texts(self, cache: DynamicCache, count: int, texts: TextBatch, sigma: float) -> tuple[Tensor, Tensor]:
        """Losses of words and of places, behind `count` pictures."""
        network = self.network
        cache.batch_repeat_interleave(len(texts.ids) // count)
        length = texts.ids.shape[1]
        start = 2 + self._head.shape[1]
        positions = torch.arange(start, start + length, device=network.device).repeat(len(texts.ids), 1)
        # Pads stand on the right, where nothing that is asked for looks at them.
        mask = torch.ones(len(texts.ids), self._head.shape[1] + length, dtype=torch.int64, device=network.device)
        hidden = network.hidden(texts.ids, mask, positions, cache)
        logits = network.head(hidden.flatten(0, 1)[texts.behind]).float()
        told = ~texts.corners[:, 0].isnan()
        words = F.cross_entropy(logits[~told], texts.targets[~told])
        if not bool(told.any()):
            return words, torch.zeros_like(words)
        return words, place_loss(logits[told], texts.corners[told], self.vocabulary, sigma).mean()


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


def grid_labels(scenes: Sequence[Scene], names: Sequence[tuple[str, str]], side: int, bins: int) -> GridLabels:
    """What stands in each cell of grids of side x side: the smallest box that the cell's middle lies in, or whose own
    middle lies in the cell, so that nothing is too small to stand somewhere."""
    middles = (np.arange(side) + 0.5) / side
    classes = np.zeros((len(scenes), side, side), dtype=np.int64)
    edges = np.zeros((len(scenes), side, side, CORNERS), dtype=np.float32)
    number = {name: index + 1 for index, name in enumerate(names)}
    for row, scene in enumerate(scenes):
        for thing in sorted(scene.things, key=lambda one: -_area(one.box)):
            x1, y1, x2, y2 = thing.box
            inside = np.outer((middles >= y1) & (middles <= y2), (middles >= x1) & (middles <= x2))
            column, line = (min(int(value * side), side - 1) for value in thing.middle)
            inside[line, column] = True
            classes[row][inside] = number[thing.kind, thing.colour]
            edges[row][inside] = np.array(thing.box) * bins
    return GridLabels(torch.from_numpy(classes).flatten(1), torch.from_numpy(edges).flatten(1, 2))


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def pixels(images: np.ndarray) -> Tensor:
    """uint8 (B, side, side, 3) as the network sees them."""
    return torch.from_numpy(np.ascontiguousarray(normalised(images)))
