"""Answers to prompts, several at once: the model's loop with explicit positions.

The library's own loop counts pads as places in a batch (from its second new token on), and ignores the n-gram rule of a
checkpoint; this one gives every row what it would get alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from magma_policy.errors import NotFiniteError
from magma_policy.families.kosmos2.grammar import AnswerRules, Kinds, Row
from magma_policy.families.kosmos2.network import Network
from magma_policy.families.kosmos2.prompts import Prompt, PromptError
from magma_policy.families.kosmos2.vocabulary import Vocabulary
from magma_policy.files.weight_files import type_name
from magma_policy.inference.finite import can_choose

NAME = "KOSMOS-2"


@dataclass(frozen=True)
class Answer:
    """What was said to one prompt.

    Attributes:
        ids: without the prompt, the stop id included.
        probabilities: (len(ids),) of each among those that were allowed.
        corners: by index into `ids`, for each place that was said, the distribution (bins * bins,) over all places,
            before any rule took some away.
        first: (rows,) logits behind the prompt, raw: for questions of yes or no.
        finished: False when it was only cut by its longest length.
    """

    ids: tuple[int, ...]
    probabilities: np.ndarray
    corners: dict[int, np.ndarray]
    first: np.ndarray
    finished: bool

    def confidence(self, places: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
        """Of boxes whose corners stand at `places` (N, 2): p(first corner) * p(second corner), each among all cells."""
        found = np.ones(len(places))
        for column in (0, 1):
            at = places[:, column]
            found *= [self.corners[int(i)][vocabulary.cell(self.ids[int(i)])] for i in at]
        return found


@dataclass(frozen=True)
class Said:
    """One of several answers to a prompt: its ids, as of `Answer`, and their probability together."""

    ids: tuple[int, ...]
    probability: float


class Decoder:
    """Runs prompts through a network; holds the masks of its vocabulary and no state of any prompt."""

    def __init__(self, network: Network, vocabulary: Vocabulary) -> None:
        self.network, self.vocabulary = network, vocabulary
        self._kinds = Kinds(vocabulary, network.geometry.vocabulary)

    @torch.inference_mode()
    def run(
        self, prompts: Sequence[Prompt], features: Sequence[Tensor], rules: AnswerRules, *, cached: bool = True
    ) -> list[Answer]:
        """Answers of prompts in one batch, each as it would be alone.

        Args:
            prompts: of any lengths.
            features: of each prompt's pictures in order, (pictures, latents, width).
            rules: for all of them.
            cached: False computes everything anew for each id, for comparisons.

        Raises:
            PromptError: the features do not fit, or a prompt leaves no room for an answer.
            NotFiniteError: the logits of a row mean nothing.
        """
        network, vocabulary = self.network, self.vocabulary
        self._check(prompts, features)
        ids, mask, places = self._padded(prompts)
        pictures = torch.cat([part.to(network.device, network.dtype) for part in features])
        room = network.geometry.positions
        rows = [Row(vocabulary, self._kinds, rules, prompt.ids, room - len(prompt.ids)) for prompt in prompts]
        probabilities: list[list[float]] = [[] for _ in rows]
        corners: list[dict[int, np.ndarray]] = [{} for _ in rows]
        first: np.ndarray | None = None
        cache = DynamicCache() if cached else None
        positions = mask.cumsum(dim=1) * mask + 1
        newest = ids
        while any(row.running for row in rows):
            if cached and first is not None:
                logits = network.logits(newest, mask, mask.sum(dim=1, keepdim=True) + 1, cache)
            else:
                logits = network.logits(ids, mask, positions, cache, pictures, places)
            scores = logits[:, -1].float()
            self._require_finite(scores, rows)
            values = scores.cpu().numpy()
            first = values if first is None else first
            chosen = []
            for number, row in enumerate(rows):
                if not row.running:
                    chosen.append(vocabulary.pad)
                    continue
                allowed = row.allowed()
                among = np.where(allowed, values[number], -np.inf)
                id_ = int(among.argmax())
                probabilities[number].append(float(1.0 / np.exp(among - among[id_]).sum()))
                if vocabulary.is_place(id_):
                    corners[number][len(row.said)] = _softmax(values[number][vocabulary.first_place : vocabulary.size])
                row.add(id_)
                chosen.append(id_)
            # Rows that have ended go on unseen, and what is said there stays a pad.
            newest = torch.tensor(chosen, device=network.device)[:, None]
            ids = torch.cat([ids, newest], dim=1)
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            places = torch.cat([places, torch.zeros_like(places[:, :1])], dim=1)
            positions = mask.cumsum(dim=1) * mask + 1
        assert first is not None
        return [
            Answer(tuple(row.said), np.array(probabilities[number]), corners[number], first[number], row.finished)
            for number, row in enumerate(rows)
        ]

    @torch.inference_mode()
    def likeliest(self, prompt: Prompt, features: Tensor, rules: AnswerRules, count: int) -> list[Said]:
        """The likeliest answers to a prompt that a search with `count` beams finds, at most so many, the likeliest
        first; arguments and errors as of `run`."""
        network, vocabulary = self.network, self.vocabulary
        self._check([prompt], [features])
        ids, mask, places = self._padded([prompt])
        cache = DynamicCache()
        pictures = features.to(network.device, network.dtype)
        logits = network.logits(ids, mask, mask.cumsum(dim=1) + 1, cache, pictures, places)
        rows = [Row(vocabulary, self._kinds, rules, prompt.ids, network.geometry.positions - len(prompt.ids))]
        sums, ended = np.zeros(1), list[Said]()
        while True:
            scores = logits[:, -1].float()
            self._require_finite(scores, rows)
            allowed = torch.from_numpy(np.stack([row.allowed() for row in rows])).to(network.device)
            among = scores.masked_fill(~allowed, -torch.inf).log_softmax(dim=1).cpu().numpy()
            total = sums[:, None] + among
            # As many again as there are beams: those that end free their place.
            order = np.argsort(-total, axis=None, kind="stable")[: 2 * count].tolist()
            going: list[tuple[int, Row, float]] = []
            for parent, id_ in (divmod(at, total.shape[1]) for at in order):
                if len(going) == count or not np.isfinite(total[parent, id_]):
                    break
                row = rows[parent].copy()
                row.add(id_)
                if row.running:
                    going.append((parent, row, float(total[parent, id_])))
                else:
                    ended.append(Said(tuple(row.said), float(np.exp(total[parent, id_]))))
            ended = sorted(ended, key=lambda said: -said.probability)[:count]
            # What goes on only gets less likely.
            if not going or (len(ended) == count and np.exp(going[0][2]) <= ended[-1].probability):
                return ended
            cache.reorder_cache(torch.tensor([parent for parent, _, _ in going], device=network.device))
            rows, sums = [row for _, row, _ in going], np.array([score for _, _, score in going])
            newest = torch.tensor([[row.said[-1]] for row in rows], device=network.device)
            mask = torch.ones(len(rows), mask.shape[1] + 1, dtype=mask.dtype, device=network.device)
            logits = network.logits(newest, mask, mask.sum(dim=1, keepdim=True) + 1, cache)

    @torch.inference_mode()
    def last_logits(self, prompts: Sequence[Prompt], features: Sequence[Tensor], count: int) -> np.ndarray:
        """Raw logits (B, count, rows) behind each of the last `count` ids of prompts; errors as of `run`."""
        self._check(prompts, features)
        ids, mask, places = self._padded(prompts)
        pictures = torch.cat([part.to(self.network.device, self.network.dtype) for part in features])
        hidden = self.network.hidden(ids, mask, mask.cumsum(dim=1) * mask + 1, None, pictures, places)
        logits = self.network.head(hidden[:, -count:]).float()
        if not bool(can_choose(logits.flatten(0, 1)).all()):
            raise NotFiniteError.of(NAME, type_name(self.network.dtype))
        return logits.cpu().numpy()

    def _check(self, prompts: Sequence[Prompt], features: Sequence[Tensor]) -> None:
        if not prompts or len(prompts) != len(features):
            raise PromptError(f"{len(prompts)} prompts came with the features of {len(features)}")
        shape = (self.vocabulary.latents, self.network.geometry.text_width)
        room = self.network.geometry.positions
        for prompt, part in zip(prompts, features, strict=True):
            if part.shape != (prompt.pictures, *shape):
                raise PromptError(f"a prompt about {prompt.pictures} pictures came with features {tuple(part.shape)}")
            if len(prompt.ids) >= room:
                raise PromptError(
                    f"the prompt has {len(prompt.ids)} tokens, and the model reads fewer than {room}; shorten the text"
                )

    def _padded(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, mask and the features' places, (B, T) each, pads on the left."""
        vocabulary, device = self.vocabulary, self.network.device
        longest = max(len(prompt.ids) for prompt in prompts)
        ids = np.full((len(prompts), longest), vocabulary.pad, dtype=np.int64)
        mask, places = np.zeros_like(ids), np.zeros(ids.shape, dtype=bool)
        for number, prompt in enumerate(prompts):
            start = longest - len(prompt.ids)
            ids[number, start:], mask[number, start:] = prompt.ids, 1
            places[number, start:] = _feature_places(prompt.ids, vocabulary)
        return (torch.from_numpy(array).to(device) for array in (ids, mask, places))  # type: ignore[return-value]

    def _require_finite(self, scores: Tensor, rows: Sequence[Row]) -> None:
        fine = can_choose(scores).tolist()
        if any(row.running and not good for row, good in zip(rows, fine, strict=True)):
            raise NotFiniteError.of(NAME, type_name(self.network.dtype))


def _feature_places(ids: Sequence[int], vocabulary: Vocabulary) -> np.ndarray:
    """Mask (len(ids),) bool of the places of all pictures' features."""
    found = np.zeros(len(ids), dtype=bool)
    for index, id_ in enumerate(ids):
        if id_ == vocabulary.image_open:
            found[index + 1 : index + 1 + vocabulary.latents] = True
    return found


def _softmax(values: np.ndarray) -> np.ndarray:
    weights = np.exp(values - values.max())
    return np.asarray(weights / weights.sum(), dtype=np.float32)
