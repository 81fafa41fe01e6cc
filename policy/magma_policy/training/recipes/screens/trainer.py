"""A small Magma learns where to click: a picture with numbered marks and the task in, the place and the number out.

The loss is that of the answer's text alone. The place stands before the number in the published answer, so the model
points before it reads what is written there. Pictures come before words in a prompt, so one that several rows ask about
is looked at and read once for all of them: of a small model's step that is the larger part. What is known of the marks
of a picture, from the answers about it or from a set that says it, is taught its visual tokens beside (`mark_reader`),
and a head of the last layer is taught to look where the answer is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from magma_policy.families import magma, registry
from magma_policy.families.magma import (
    Magma,
    MagmaConfig,
    MagmaTokenizer,
    VisionConfig,
    build_small_tokenizer,
    initialise_weights,
    magma_tiny_config,
    split_head,
    text_prompt,
    tile_images,
)
from magma_policy.files.image_files import read_image
from magma_policy.inference.kv_cache import KVCache
from magma_policy.inference.llama import causal_mask, rotate
from magma_policy.marks.set_of_mark import parse_ui_answer
from magma_policy.screens.agent import Form
from magma_policy.screens.candidates import MOST_MARKS
from magma_policy.screens.form import write_form
from magma_policy.screens.rows import Mark, Row, read_marks, read_rows
from magma_policy.training.answered_texts import IGNORED, answer_labels, encode, pad_left, without_digits
from magma_policy.training.loop import processes
from magma_policy.training.loop.nested_tensors import transformed
from magma_policy.training.loop.training_loop import TrainingLoop, batch_seed
from magma_policy.training.recipes.screens.config import ScreensConfig
from magma_policy.training.recipes.screens.mark_reader import BINS, MarkReader, SeenMarks
from magma_policy.training.recipes.screens.validation import Validator
from magma_policy_client.checkpoint_paths import locate
from magma_policy_client.content import digest_of, file_digests

T = TypeVar("T")
LOSSES = ("answer", "marks", "point")
READER = "mark_reader"
"""Name of the heads that are trained along; no part of the checkpoint."""


@dataclass(frozen=True)
class StepBatch:
    """`tiles` float32 (P, 3, side, side) of one picture each; `picture` int64 (B,), which of them a row asks about;
    `ids` int64 (B, T), what stands behind the picture, padded on the left where `attention` is False; `labels` int64
    (B, A), the answers' ids at their end, `IGNORED` where there are none; `cell` int64 (B,), of the feature map, where
    the answer points, `IGNORED` where it does not; `marks`, what stands at the pictures' marks."""

    tiles: Tensor
    picture: Tensor
    ids: Tensor
    attention: Tensor
    labels: Tensor
    cell: Tensor
    marks: SeenMarks


class Trainer(TrainingLoop[Magma, StepBatch]):
    """One run of a Magma on rows."""

    config: ScreensConfig
    drawn = ("right_percent",)

    def __init__(self, config: ScreensConfig) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config = config
        device = processes.device(config.device)
        self.rows = read_rows(config.rows)
        self.marks = told_marks(self.rows) | read_marks(config.rows)
        self.pictures = by_picture(self.rows)
        self.start = None if config.init is None else registry.resolve_family(locate(config.init), "magma")
        self.model_config, self.tokenizer, model = self._begun(device)
        model.vision_tower.to(memory_format=torch.channels_last)
        vocabulary, hidden_size = model.language_model.lm_head.weight.shape
        self.reader = MarkReader(hidden_size, vocabulary, self.model_config.cells_per_tile).to(device)
        # Below the model, so that it is trained, averaged and saved with the run.
        model.add_module(READER, self.reader)
        self._queries = torch.empty(0)
        model.language_model.model.layers[-1].self_attn.q_proj.register_forward_hook(self._keep_queries)
        super().__init__(config, model, device, LOSSES, captures=False)
        asked = self.tokenizer.encode(text_prompt(self.rows[0][1].question, 1, self.model_config.image_markers))
        head, _ = split_head(asked, self.model_config.tokens.image)
        self.head = torch.tensor([head], device=device)
        if config.validation:
            held = evenly(read_rows(config.validation), config.validation_rows)
            self.validator = Validator(held, self.tokenizer, self._on_device_batch, self.answers, self.said)

    def _begun(self, device: torch.device) -> tuple[MagmaConfig, MagmaTokenizer, Magma]:
        """A new model, or the one that is finetuned, all of whose parameters learn."""
        if self.start is not None:
            found = magma.describe(self.start)
            model = magma.load_model(self.start, found.config, device, torch.float32)
            return found.config, found.tokenizer, model.requires_grad_(True)
        path = self.config.output / "checkpoint" / magma.TOKENIZER
        made = small_config(self.config.image_side)
        if path.is_file():
            tokenizer = MagmaTokenizer.load(path, made.tokens)
        else:
            tokenizer = build_small_tokenizer(made.tokens, vocabulary([row for _, row in self.rows]))
        model = Magma(made)
        initialise_weights(model)
        return made, tokenizer, model.to(device)

    def _keep_queries(self, layer: object, inputs: object, queries: Tensor) -> None:
        del layer, inputs
        self._queries = queries

    # What a step learns from.

    def draw_part(self, step: int, part: int) -> StepBatch:
        dice = torch.Generator().manual_seed(batch_seed(self.config.seed, step, part, processes.rank()))
        rows = []
        for place in torch.randint(len(self.pictures), (self.config.batch,), generator=dice).tolist():
            about = self.pictures[place]
            rows += [about[k] for k in torch.randperm(len(about), generator=dice)[: self.config.questions].tolist()]
        return self._on_device_batch(rows)

    def _on_device_batch(self, rows: Sequence[tuple[Path, Row]]) -> StepBatch:
        batch = collate(rows, self.model_config, self.tokenizer, self.marks)
        return transformed(batch, lambda tensor: tensor.to(self.device))

    def gradients(self, batch: StepBatch) -> dict[str, Tensor]:
        hidden, visual, attended = self._read(batch)
        logits = self.model.logits(hidden)
        loss = F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED)
        losses = {"answer": loss}
        if self.config.mark_weight:
            losses["marks"] = self.reader.read(self.reader.cells(visual), batch.marks)
            losses["point"] = self._point_loss(attended, batch)
        weights = {"answer": 1.0, "marks": self.config.mark_weight, "point": self.config.mark_weight}
        total = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        (total / self.config.accumulate).backward()
        return {name: value.detach() for name, value in losses.items()}

    def answers(self, batch: StepBatch) -> Tensor:
        """Logits (B, A, vocabulary) of every answer's ids, each behind the true ones before it."""
        return self.model.logits(self._read(batch)[0])

    @torch.no_grad()
    def said(self, batch: StepBatch) -> Tensor:
        """Ids (B, A) that the model itself says, the likeliest each, as far as the true answers are long."""
        model = self.model
        # Every question pushed over its answer, to the end.
        place = torch.arange(batch.ids.shape[1], device=self.device) - (batch.labels != IGNORED).sum(dim=1)[:, None]
        ids = batch.ids.gather(1, place.clamp(min=0))
        attention = batch.attention.gather(1, place.clamp(min=0)) & (place >= 0)
        before, _ = self._looked(batch)
        _, kv_cache = model.read(
            model.embed(ids), self._positions(before, attention), attention, before, last_only=True
        )
        said: list[Tensor] = []
        for _ in range(batch.labels.shape[1]):
            said.append(model.logits(kv_cache.last_hidden).argmax(dim=1))
            _, kv_cache = model.extend(model.embed(said[-1][:, None]), kv_cache)
        return torch.stack(said, dim=1)

    def _read(self, batch: StepBatch) -> tuple[Tensor, Tensor, Tensor]:
        """What the model thinks (B, A, H) before each id of the answers; the pictures' visual tokens (P, N, H); and how
        much the last layer's first head then looks at each token before, logarithms (B, A, tokens)."""
        before, visual = self._looked(batch)
        positions = self._positions(before, batch.attention)
        hidden, kv_cache = self.model.read(self.model.embed(batch.ids), positions, batch.attention, before)
        span = slice(-batch.labels.shape[1] - 1, -1)
        return hidden[:, span], visual, self._attended(kv_cache, positions, span)

    def _attended(self, kv_cache: KVCache, positions: Tensor, span: slice) -> Tensor:
        """Of the tokens in `span` of those at `positions`, which were read last."""
        size = self.model_config.text.head_dim
        cos, sin = (part[:, 0] for part in self.model.rotary.lookup(positions, self._queries.dtype))
        queries = rotate(self._queries[..., :size], cos, sin)[:, span]
        scores = queries @ kv_cache.cache[-1][0][:, 0].transpose(1, 2) * size**-0.5
        allowed = causal_mask(positions.shape[1], kv_cache.length, self.device)[0, :, span]
        if kv_cache.visible is not None:
            allowed = allowed & kv_cache.visible[:, None]
        return scores.masked_fill(~allowed, float("-inf")).log_softmax(dim=2)

    def _point_loss(self, attended: Tensor, batch: StepBatch) -> Tensor:
        """How little the head looks, while the answer is said, at the token of the cell that is to be clicked: from it
        the place and the number can be copied."""
        side = self.reader.side
        token = self.head.shape[1] + batch.cell + batch.cell.clamp(min=0) // side
        at = attended.gather(2, token.clamp(min=0)[:, None, None].expand(-1, attended.shape[1], 1))[..., 0]
        taught = (batch.labels != IGNORED) & (batch.cell != IGNORED)[:, None]
        return -at.masked_fill(~taught, 0.0).sum() / taught.sum().clamp(min=1)

    def _looked(self, batch: StepBatch) -> tuple[KVCache, Tensor]:
        """Each row's picture, read; the pictures' visual tokens (P, N, H)."""
        model = self.model
        visual, _ = model.encode_image(batch.tiles, 1, 1)
        seen = self.head.shape[1] + torch.arange(visual.shape[1], device=self.device)[None].expand(len(visual), -1)
        _, looked = model.read(visual, seen, None, model.read_head(self.head).expand(len(visual)), last_only=True)
        return looked.select(batch.picture), visual

    def _positions(self, before: KVCache, attention: Tensor) -> Tensor:
        """Of what is read behind, padded on the left."""
        return before.next_position[:, None] + (attention.cumsum(dim=1) - 1).clamp(min=0)

    # What is kept.

    def write_checkpoint(self, last: bool) -> None:
        del last
        folder = self.config.output / "checkpoint"
        weights = {name: part for name, part in self.model.state_dict().items() if not name.startswith(f"{READER}.")}
        magma.save(folder, weights, self.model_config, self.tokenizer, {}, torch.bfloat16)
        write_form(folder, Form(self.config.form))

    def fingerprint(self) -> str:
        """Of the rows, and of the checkpoint that was gone on from: with others it would be another run."""
        parts = {"rows": digest_of({path.name: row.as_json() for path, row in self.rows})}
        parts["marks"] = digest_of({path.name: repr(marks) for path, marks in self.marks.items()})
        if self.start is not None:
            digests = file_digests(sorted(self.start.glob("*.safetensors")))
            parts |= {path.name: found for path, found in digests.items()}
        return digest_of(parts)


def collate(
    rows: Sequence[tuple[Path, Row]],
    config: MagmaConfig,
    tokenizer: MagmaTokenizer,
    marks: Mapping[Path, Sequence[Mark]],
) -> StepBatch:
    """Rows as tensors, on the CPU; `marks` is what is known of pictures' marks."""
    whole = dataclasses.replace(config.image, max_num_crops=1)
    order = {path: place for place, path in enumerate(dict.fromkeys(path for path, _ in rows))}
    tiles = [tile_images(torch.from_numpy(read_image(path).copy())[None], whole)[0] for path in order]
    encoded, counts = encode([row for _, row in rows], tokenizer, config.image_markers)
    ids, attention = pad_left([row[1:] for row in encoded], tokenizer.tokens.pad, torch.device("cpu"))
    labels = answer_labels(ids, counts)[:, -max(counts) :]
    picture = torch.tensor([order[path] for path, _ in rows])
    points = [parse_ui_answer(row.answer).point for _, row in rows]
    cell = [IGNORED if point is None else _cell(point, config.cells_per_tile) for point in points]
    known = [marks.get(path, ()) for path in order]
    seen = _seen_marks(known, config.cells_per_tile, tokenizer)
    return StepBatch(torch.cat(tiles), picture, ids, attention, labels, torch.tensor(cell), seen)


def _seen_marks(pictures: Sequence[Sequence[Mark]], side: int, tokenizer: MagmaTokenizer) -> SeenMarks:
    """Of each picture."""
    found, said = [], []
    for picture, marks in enumerate(pictures):
        for mark in marks:
            if mark.number >= MOST_MARKS:
                continue
            x, y = (min(int(BINS * value + 0.5), BINS - 1) for value in (mark.x, mark.y))
            found.append((picture, _cell((mark.x, mark.y), side), mark.number, x, y))
            said.append(tokenizer.encode(f" {mark.words}")[1:] if mark.words else [])
    table = torch.tensor(found, dtype=torch.int64).reshape(-1, 5)
    longest = max(map(len, said), default=0)
    words = torch.tensor([[*ids, *[IGNORED] * (longest - len(ids))] for ids in said], dtype=torch.int64)
    return SeenMarks(table[:, 0], table[:, 1], table[:, 2], table[:, 3:], words.reshape(len(said), longest))


def _cell(point: tuple[float, float], side: int) -> int:
    """In which cell of a feature map of side x side a point lies."""
    x, y = (min(max(int(value * side), 0), side - 1) for value in point)
    return y * side + x


def told_marks(rows: Sequence[tuple[Path, Row]]) -> dict[Path, tuple[Mark, ...]]:
    """What answers tell of pictures' marks: those that somebody was to click."""
    found: dict[Path, dict[int, Mark]] = {}
    for path, row in rows:
        answer = parse_ui_answer(row.answer)
        if answer.mark is not None and answer.point is not None:
            found.setdefault(path, {})[answer.mark] = Mark(answer.mark, *answer.point, "")
    return {path: tuple(marks.values()) for path, marks in found.items()}


def by_picture(rows: Sequence[tuple[Path, Row]]) -> list[list[tuple[Path, Row]]]:
    """Rows that ask about the same picture together, pictures in their first order."""
    found: dict[Path, list[tuple[Path, Row]]] = {}
    for path, row in rows:
        found.setdefault(path, []).append((path, row))
    return list(found.values())


def small_config(side: int) -> MagmaConfig:
    """A plain Magma of about 3 million parameters that looks at one picture of side x side.

    What is written on a screen is small, so the picture is large; fine maps cost most and tell least, so they are
    narrow and shallow.
    """
    made = magma_tiny_config()
    return dataclasses.replace(
        made,
        name="magma-screens",
        vision=VisionConfig(depths=(1, 1, 4, 2), dims=(24, 48, 96, 192)),
        image=dataclasses.replace(made.image, base_size=side),
        grounding=None,
        geometry=None,
        proprioception=False,
        state=None,
    )


def vocabulary(rows: Sequence[Row]) -> list[str]:
    """Texts for the small tokenizer to learn: the words that are asked, and every number that may be answered."""
    numbers = [f"{number:02d}" for number in range(100)] + [str(number) for number in range(60)]
    texts = [*(row.question for row in evenly(rows, 2000)), *(row.answer for row in evenly(rows, 200))]
    return [*numbers * 50, *(f" {number}" for number in numbers), *map(without_digits, texts)]


def evenly(items: Sequence[T], most: int) -> Sequence[T]:
    """At most so many, from all over: sets hold one kind of page after another."""
    return [items[place * len(items) // most] for place in range(most)] if len(items) > most else items


def told(rows: Sequence[tuple[Path, Row]]) -> str:
    """The data in one line."""
    pictures, sets = len({path for path, _ in rows}), len({path.parent for path, _ in rows})
    return f"{len(rows)} rows about {pictures} pictures of {sets} sets"
