"""Answers to prompts, several at once: the model's loop with explicit positions.

The library's own loop counts pads as places in a batch (from its second new token on), and ignores the n-gram rule of a
checkpoint; this one gives every row what it would get alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from magma_policy.errors import NotFiniteError
from magma_policy.families.kosmos2.grammar import AnswerRules, Kinds, Row
from magma_policy.families.kosmos2.network import Network, keys_and_values
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


@dataclass(frozen=True)
class SeenPicture:
    """A picture that the text model has read: what all prompts about it alone begin with, `<s>` and the picture.

    Attributes:
        features: (1, latents, width).
        layers: the keys and values of each layer behind it, (1, heads, 1 + ids of a picture, width of a head) each.
    """

    features: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...]


class Decoder:
    """Runs prompts through a network; holds the masks of its vocabulary and no state of any prompt.

    Prompts come with the features (pictures, latents, width) of each one's pictures in order, or, all of them, with the
    one picture that they are about, already read: they are answered the same, sooner.
    """

    def __init__(self, network: Network, vocabulary: Vocabulary) -> None:
        self.network, self.vocabulary = network, vocabulary
        self._kinds = Kinds(vocabulary, network.geometry.vocabulary)
        self._begin = (vocabulary.bos, *vocabulary.image_ids)

    @torch.inference_mode()
    def read(self, features: Tensor) -> SeenPicture:
        """Reads a picture, of features (1, latents, width)."""
        ids, mask, places = self._padded([self._begin])
        cache, positions = DynamicCache(), mask.cumsum(dim=1) + 1
        features = features.to(self.network.device, self.network.dtype)
        self.network.hidden(ids, mask, positions, cache, features, places)
        return SeenPicture(features, keys_and_values(cache))

    @torch.inference_mode()
    def run(
        self,
        prompts: Sequence[Prompt],
        pictures: Sequence[Tensor] | SeenPicture,
        rules: AnswerRules,
        *,
        cached: bool = True,
    ) -> list[Answer]:
        """Answers of prompts in one batch, each as it would be alone.

        Args:
            prompts: of any lengths.
            pictures: see `Decoder`.
            rules: for all of them.
            cached: False computes everything anew for each id, for comparisons; with features only.

        Raises:
            PromptError: the features do not fit, or a prompt leaves no room for an answer.
            NotFiniteError: the logits of a row mean nothing.
        """
        network, vocabulary = self.network, self.vocabulary
        text = self._start(prompts, pictures)
        room = network.geometry.positions
        rows = [Row(vocabulary, self._kinds, rules, prompt.ids, room - len(prompt.ids)) for prompt in prompts]
        probabilities: list[list[float]] = [[] for _ in rows]
        corners: list[dict[int, np.ndarray]] = [{} for _ in rows]
        first: np.ndarray | None = None
        while True:
            # What can only go on in one way is read together with what stands in front of it.
            settled = self._settled(rows, probabilities)
            running = any(row.running for row in rows)
            if first is not None and not running:
                break
            for column in settled:
                text.add(column)
            hidden = text.read(network, cached=cached)
            if first is None:
                first = self._scores(network.head(hidden[:, -1 - len(settled)]))
                if not running:
                    break
            values = self._scores(network.head(hidden[:, -1]), [row.running for row in rows])
            chosen = []
            for number, row in enumerate(rows):
                if not row.running:
                    chosen.append(vocabulary.pad)
                    continue
                among = np.where(row.allowed(), values[number], -np.inf)
                id_ = int(among.argmax())
                probabilities[number].append(float(1.0 / np.exp(among - among[id_]).sum()))
                if vocabulary.is_place(id_):
                    corners[number][len(row.said)] = _softmax(values[number][vocabulary.first_place : vocabulary.size])
                row.add(id_)
                chosen.append(id_)
            # Rows that have ended go on unseen, and what is said there stays a pad.
            text.add(chosen)
        return [
            Answer(tuple(row.said), np.array(probabilities[number]), corners[number], first[number], row.finished)
            for number, row in enumerate(rows)
        ]

    def _settled(self, rows: Sequence[Row], probabilities: Sequence[list[float]]) -> list[list[int]]:
        """Adds to rows, and returns as columns (k, B), the next ids that need not be asked for: in every row that runs
        one is allowed and no other. A place is asked for even then: how likely it was is told."""
        columns: list[list[int]] = []
        while any(row.running for row in rows):
            only = [np.flatnonzero(row.allowed())[:2].tolist() if row.running else [] for row in rows]
            if any(len(ids) > 1 or (ids and self.vocabulary.is_place(ids[0])) for ids in only):
                break
            columns.append([ids[0] if ids else self.vocabulary.pad for ids in only])
            for row, ids, likely in zip(rows, only, probabilities, strict=True):
                if ids:
                    row.add(ids[0])
                    likely.append(1.0)
        return columns

    @torch.inference_mode()
    def likeliest(
        self,
        prompt: Prompt,
        pictures: Sequence[Tensor] | SeenPicture,
        rules: AnswerRules,
        count: int,
        *,
        per_token: bool = False,
    ) -> Iterator[tuple[list[Said], float]]:
        """The likeliest answers to a prompt that a search with `count` beams finds, at most so many, the likeliest
        first: each as soon as it is known to be the next, so that whoever has heard enough need not wait for the rest.
        With them comes the probability that none of those still to come exceeds. Arguments and errors as of `run`.

        Args:
            per_token: answers are weighed by the mean of their ids' log probabilities, the end's among them, as
                captions are in papers (fairseq's and transformers' length penalty of 1), and not by their probability,
                which favours short ones. Then all come at the end.
        """
        network, vocabulary = self.network, self.vocabulary
        text = self._start([prompt], pictures)
        rows = [Row(vocabulary, self._kinds, rules, prompt.ids, network.geometry.positions - len(prompt.ids))]
        sums, ended, told = np.zeros(1), list[tuple[float, Said]](), 0
        while told < count:
            scores = self._scores(network.head(text.read(network)[:, -1]))
            allowed = np.stack([row.allowed() for row in rows])
            among = torch.from_numpy(np.where(allowed, scores, -np.inf)).log_softmax(dim=1).numpy()
            total = sums[:, None] + among
            # All are equally long here, so their order is that of either weight.
            length = len(rows[0].said) + 1
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
                    value = float(total[parent, id_])
                    likely = float(np.exp(value))
                    ended.append((value / length if per_token else likely, Said(tuple(row.said), likely)))
            ended = sorted(ended, key=lambda one: -one[0])[:count]
            if per_token:
                # What goes on may become likelier per token; the search ends where the library's does.
                if not going or (len(ended) == count and going[0][2] / length <= ended[-1][0]):
                    yield [said for _, said in ended], 0.0
                    return
            else:
                # What goes on only gets less likely.
                left = float(np.exp(going[0][2])) if going else 0.0
                sure = sum(weight >= left for weight, _ in ended)
                yield (
                    [said for _, said in ended[told:sure]],
                    max([left, *(weight for weight, _ in ended[sure : sure + 1])]),
                )
                told = sure
                if not going:
                    return
            rows, sums = [row for _, row, _ in going], np.array([score for _, _, score in going])
            text.choose([parent for parent, _, _ in going])
            text.add([row.said[-1] for row in rows])

    @torch.inference_mode()
    def last_logits(
        self, prompts: Sequence[Prompt], pictures: Sequence[Tensor] | SeenPicture, count: int
    ) -> np.ndarray:
        """Raw logits (B, count, rows) behind each of the last `count` ids of prompts; errors as of `run`."""
        logits = self.network.head(self._start(prompts, pictures).read(self.network)[:, -count:]).float()
        if not bool(can_choose(logits.flatten(0, 1)).all()):
            raise NotFiniteError.of(NAME, type_name(self.network.dtype))
        return logits.cpu().numpy()

    def _start(self, prompts: Sequence[Prompt], pictures: Sequence[Tensor] | SeenPicture) -> _Text:
        """Prompts that nothing was said to yet."""
        if isinstance(pictures, SeenPicture):
            self._check(prompts, [pictures.features] * len(prompts))
            if any(prompt.ids[: len(self._begin)] != self._begin for prompt in prompts):
                raise PromptError("a prompt about a picture that was read does not begin with it")
            ids, mask, _ = self._padded([prompt.ids[len(self._begin) :] for prompt in prompts])
            seen = torch.ones((len(prompts), len(self._begin)), dtype=mask.dtype, device=mask.device)
            cache = DynamicCache()
            for number, pair in enumerate(pictures.layers):
                key, value = (part.expand(len(prompts), -1, -1, -1) for part in pair)
                cache.update(key, value, number)
            return _Text(ids, torch.cat([seen, mask], dim=1), cache)
        self._check(prompts, pictures)
        ids, mask, places = self._padded([prompt.ids for prompt in prompts])
        features = torch.cat([part.to(self.network.device, self.network.dtype) for part in pictures])
        return _Text(ids, mask, DynamicCache(), features, places)

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

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, mask and the features' places, (B, T) each, pads on the left."""
        vocabulary, device = self.vocabulary, self.network.device
        longest = max(len(row) for row in rows)
        ids = np.full((len(rows), longest), vocabulary.pad, dtype=np.int64)
        mask, places = np.zeros_like(ids), np.zeros(ids.shape, dtype=bool)
        for number, row in enumerate(rows):
            start = longest - len(row)
            ids[number, start:], mask[number, start:] = row, 1
            places[number, start:] = _feature_places(row, vocabulary)
        return (torch.from_numpy(array).to(device) for array in (ids, mask, places))  # type: ignore[return-value]

    def _scores(self, logits: Tensor, asked: Sequence[bool] | None = None) -> np.ndarray:
        """Logits (B, rows of the table) as float32; those that are asked for must mean something, None: all."""
        scores = logits.float()
        fine = can_choose(scores).tolist()
        if not all(good for good, wanted in zip(fine, asked or [True] * len(fine), strict=True) if wanted):
            raise NotFiniteError.of(NAME, type_name(self.network.dtype))
        return scores.cpu().numpy()


class _Text:
    """Rows of ids under way, and what the model remembers of those that it has read.

    `ids` (B, T) are those behind what the cache holds, `mask` (B, all) tells pads from the rest; `features` and their
    `places` (B, T) belong to the first ids.
    """

    def __init__(
        self,
        ids: Tensor,
        mask: Tensor,
        cache: DynamicCache,
        features: Tensor | None = None,
        places: Tensor | None = None,
    ) -> None:
        self._ids, self._mask, self._cache, self._features, self._places = ids, mask, cache, features, places
        self._read = 0

    def add(self, column: Sequence[int]) -> None:
        """One more id of each row."""
        newest = torch.tensor(column, device=self._ids.device)[:, None]
        self._ids = torch.cat([self._ids, newest], dim=1)
        self._mask = torch.cat([self._mask, torch.ones_like(newest)], dim=1)

    def choose(self, parents: Sequence[int]) -> None:
        """Goes on with these rows, which were all read to their end."""
        chosen = torch.tensor(parents, device=self._ids.device)
        self._cache.reorder_cache(chosen)
        self._ids, self._mask = self._ids[chosen], self._mask[chosen]

    def read(self, network: Network, *, cached: bool = True) -> Tensor:
        """What the head makes logits of, (B, N, width), behind the N ids that were not read yet; all when not
        `cached`."""
        newest = self._ids[:, self._read :]
        positions = (self._mask.cumsum(dim=1) * self._mask + 1)[:, -newest.shape[1] :].contiguous()
        features, places = (self._features, self._places) if self._read == 0 else (None, None)
        if places is not None and places.shape[1] < newest.shape[1]:
            places = torch.nn.functional.pad(places, (0, newest.shape[1] - places.shape[1]))
        if not cached:
            return network.hidden(newest, self._mask, positions, None, features, places)
        self._read = self._ids.shape[1]
        return network.hidden(newest, self._mask, positions, self._cache, features, places)


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
