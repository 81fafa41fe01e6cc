"""A small Magma learns where to click: a picture with numbered marks and the task in, the place and the number out.

The loss is that of the answer's text alone. The place stands before the number in the published answer, so the model
points before it reads what is written there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from magma_policy.families import magma
from magma_policy.families.magma import (
    Magma,
    MagmaConfig,
    MagmaTokenizer,
    build_small_tokenizer,
    initialise_weights,
    magma_tiny_config,
    split_head,
    text_prompt,
    tile_images,
)
from magma_policy.files import hub
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

LOSSES = ("answer",)
IGNORED = -100


@dataclass(frozen=True)
class StepBatch:
    """`tiles` float32 (B, 3, side, side) of one picture each; `ids` int64 (B, T) from `<image>` on, padded on the left
    where `attention` is False; `labels` int64 (B, A), the answers' ids behind them, `IGNORED` where there are none."""

    tiles: Tensor
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
        self.start = None if config.init is None else hub.resolve(locate(config.init))
        self.model_config, self.tokenizer, model = self._begun(device)
        model.vision_tower.to(memory_format=torch.channels_last)
        super().__init__(config, model, device, LOSSES, captures=False)
        head, _ = split_head(self._prompt(self.rows[0][1].question), self.model_config.tokens.image)
        self.head = torch.tensor([head], device=device)
        if config.validation:
            held = read_rows(config.validation)[: config.validation_rows]
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
        seed = batch_seed(self.config.seed, step, part, processes.rank())
        drawn = torch.randint(len(self.rows), (self.config.batch,), generator=torch.Generator().manual_seed(seed))
        return self._on_device_batch([self.rows[place] for place in drawn.tolist()])

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
        before = model.read_head(self.head).expand(len(batch.ids))
        merged, positions, visible = model.merge(batch.ids, visual, batch.attention, self.head.shape[1])
        hidden, _ = model.read(merged, positions, visible, before)
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
    tiles = [tile_images(torch.from_numpy(read_image(path).copy())[None], whole)[0] for path, _ in rows]
    encoded, counts = [], []
    for _, row in rows:
        answer = [*tokenizer.encode(row.answer)[1:], tokenizer.tokens.end_of_turn]
        encoded.append(split_head(prompt(row.question), tokenizer.tokens.image)[1] + answer)
        counts.append(len(answer))
    longest, asked = max(map(len, encoded)), max(counts)
    ids = torch.tensor([[tokenizer.tokens.pad] * (longest - len(row)) + row for row in encoded])
    lengths = torch.tensor([longest - len(row) for row in encoded])[:, None]
    labels = ids[:, -asked:].clone()
    labels[torch.arange(asked) < asked - torch.tensor(counts)[:, None]] = IGNORED
    return StepBatch(torch.cat(tiles), ids, torch.arange(longest) >= lengths, labels)


def small_config(side: int) -> MagmaConfig:
    """A plain Magma of about 3 million parameters that looks at one picture of side x side."""
    made = magma_tiny_config()
    return dataclasses.replace(
        made,
        name="magma-screens",
        image=dataclasses.replace(made.image, base_size=side),
        grounding=None,
        geometry=None,
        proprioception=False,
        state=None,
    )


def vocabulary(rows: Sequence[Row]) -> list[str]:
    """Texts for the small tokenizer to learn: the words that are asked, and every number that may be answered."""
    numbers = [f"{number:02d}" for number in range(100)] + [str(number) for number in range(60)]
    texts = [*(row.question for row in rows[:2000]), *(row.answer for row in rows[:200])]
    return [*numbers * 50, *(f" {number}" for number in numbers), *map(_without_digits, texts)]


def _without_digits(text: str) -> str:
    return "".join(" " if character.isdigit() else character for character in text)


def told(rows: Sequence[tuple[Path, Row]]) -> str:
    """The data in one line."""
    return f"{len(rows)} rows of {len({path.parent for path, _ in rows})} sets"
