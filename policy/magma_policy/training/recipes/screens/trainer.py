"""A small Magma learns where to click: a picture with numbered marks and the task in, the place and the number out.

The loss is that of the answer's text alone. The place stands before the number in the published answer, so the model
points before it reads what is written there. Pictures come before words in a prompt, so one that several rows ask about
is looked at and read once for all of them: of a small model's step that is the larger part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
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
from magma_policy.screens.agent import Form
from magma_policy.screens.form import write_form
from magma_policy.screens.rows import Row, read_rows
from magma_policy.training.loop import processes
from magma_policy.training.loop.nested_tensors import transformed
from magma_policy.training.loop.training_loop import TrainingLoop, batch_seed
from magma_policy.training.recipes.screens.config import ScreensConfig
from magma_policy.training.recipes.screens.validation import Validator
from magma_policy_client.checkpoint_paths import locate
from magma_policy_client.content import digest_of, file_digests

T = TypeVar("T")
LOSSES = ("answer",)
IGNORED = -100


@dataclass(frozen=True)
class StepBatch:
    """`tiles` float32 (P, 3, side, side) of one picture each; `picture` int64 (B,), which of them a row asks about;
    `ids` int64 (B, T), what stands behind the picture, padded on the left where `attention` is False; `labels` int64
    (B, A), the answers' ids at their end, `IGNORED` where there are none."""

    tiles: Tensor
    picture: Tensor
    ids: Tensor
    attention: Tensor
    labels: Tensor


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
        self.pictures = by_picture(self.rows)
        self.start = None if config.init is None else registry.resolve_family(locate(config.init), "magma")
        self.model_config, self.tokenizer, model = self._begun(device)
        model.vision_tower.to(memory_format=torch.channels_last)
        super().__init__(config, model, device, LOSSES, captures=False)
        head, _ = split_head(self._prompt(self.rows[0][1].question), self.model_config.tokens.image)
        self.head = torch.tensor([head], device=device)
        if config.validation:
            held = evenly(read_rows(config.validation), config.validation_rows)
            self.validator = Validator(held, self.tokenizer, self._on_device_batch, self.answers)

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

    def _prompt(self, question: str) -> list[int]:
        return self.tokenizer.encode(text_prompt(question, 1, self.model_config.image_markers))

    # What a step learns from.

    def draw_part(self, step: int, part: int) -> StepBatch:
        dice = torch.Generator().manual_seed(batch_seed(self.config.seed, step, part, processes.rank()))
        rows = []
        for place in torch.randint(len(self.pictures), (self.config.batch,), generator=dice).tolist():
            about = self.pictures[place]
            rows += [about[k] for k in torch.randperm(len(about), generator=dice)[: self.config.questions].tolist()]
        return self._on_device_batch(rows)

    def _on_device_batch(self, rows: Sequence[tuple[Path, Row]]) -> StepBatch:
        batch = collate(rows, self.model_config, self.tokenizer, self._prompt)
        return transformed(batch, lambda tensor: tensor.to(self.device))

    def gradients(self, batch: StepBatch) -> dict[str, Tensor]:
        logits = self.answers(batch)
        loss = F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED)
        (loss / self.config.accumulate).backward()
        return {"answer": loss.detach()}

    def answers(self, batch: StepBatch) -> Tensor:
        """Logits (B, A, vocabulary) of every answer's ids, each behind the true ones before it."""
        model = self.model
        visual, _ = model.encode_image(batch.tiles, 1, 1)
        seen = self.head.shape[1] + torch.arange(visual.shape[1], device=self.device)[None].expand(len(visual), -1)
        _, looked = model.read(visual, seen, None, model.read_head(self.head).expand(len(visual)), last_only=True)
        before = looked.select(batch.picture)
        positions = before.next_position[:, None] + (batch.attention.cumsum(dim=1) - 1).clamp(min=0)
        hidden, _ = model.read(model.embed(batch.ids), positions, batch.attention, before)
        return model.logits(hidden[:, -batch.labels.shape[1] - 1 : -1])

    # What is kept.

    def write_checkpoint(self, last: bool) -> None:
        del last
        folder = self.config.output / "checkpoint"
        magma.save(folder, self.model.state_dict(), self.model_config, self.tokenizer, {}, torch.bfloat16)
        write_form(folder, Form(self.config.form))

    def fingerprint(self) -> str:
        """Of the rows, and of the checkpoint that was gone on from: with others it would be another run."""
        parts = {"rows": digest_of({path.name: row.as_json() for path, row in self.rows})}
        if self.start is not None:
            digests = file_digests(sorted(self.start.glob("*.safetensors")))
            parts |= {path.name: found for path, found in digests.items()}
        return digest_of(parts)


def collate(
    rows: Sequence[tuple[Path, Row]],
    config: MagmaConfig,
    tokenizer: MagmaTokenizer,
    prompt: Callable[[str], list[int]],
) -> StepBatch:
    """Rows as tensors, on the CPU; `prompt` gives a question's ids."""
    whole = dataclasses.replace(config.image, max_num_crops=1)
    order = {path: place for place, path in enumerate(dict.fromkeys(path for path, _ in rows))}
    tiles = [tile_images(torch.from_numpy(read_image(path).copy())[None], whole)[0] for path in order]
    encoded, counts = [], []
    for _, row in rows:
        answer = [*tokenizer.encode(row.answer)[1:], tokenizer.tokens.end_of_turn]
        encoded.append(split_head(prompt(row.question), tokenizer.tokens.image)[1][1:] + answer)
        counts.append(len(answer))
    longest, asked = max(map(len, encoded)), max(counts)
    ids = torch.tensor([[tokenizer.tokens.pad] * (longest - len(row)) + row for row in encoded])
    lengths = torch.tensor([longest - len(row) for row in encoded])[:, None]
    labels = ids[:, -asked:].clone()
    labels[torch.arange(asked) < asked - torch.tensor(counts)[:, None]] = IGNORED
    picture = torch.tensor([order[path] for path, _ in rows])
    return StepBatch(torch.cat(tiles), picture, ids, torch.arange(longest) >= lengths, labels)


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
    return [*numbers * 50, *(f" {number}" for number in numbers), *map(_without_digits, texts)]


def evenly(items: Sequence[T], most: int) -> Sequence[T]:
    """At most so many, from all over: sets hold one kind of page after another."""
    return [items[place * len(items) // most] for place in range(most)] if len(items) > most else items


def _without_digits(text: str) -> str:
    return "".join(" " if character.isdigit() else character for character in text)


def told(rows: Sequence[tuple[Path, Row]]) -> str:
    """The data in one line."""
    pictures, sets = len({path for path, _ in rows}), len({path.parent for path, _ in rows})
    return f"{len(rows)} rows about {pictures} pictures of {sets} sets"
