"""Magma learns to answer: the loss is on the answers alone, of every turn of a conversation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from magma_contracts.errors import ConfigError
from magma_contracts.text import printable
from magma_policy.embodiments import robots
from magma_policy.errors import CommandError, InstructionError
from magma_policy.families import magma
from magma_policy.families.magma import Magma, Processor
from magma_policy.files.image_files import read_image
from magma_policy.files.whole_files import whole_file
from magma_policy.training import lora
from magma_policy.training.answered_texts import IGNORED
from magma_policy.training.loop import processes
from magma_policy.training.loop.training_loop import TrainingLoop, batch_seed
from magma_policy.training.recipes.chat.buckets import batches
from magma_policy.training.recipes.chat.config import ChatTrainConfig
from magma_policy.training.recipes.chat.held_actions import HeldActions
from magma_policy.training.recipes.chat.rows import Conversation, Conversations, read_conversations
from magma_policy.training.recipes.chat.samples import ChatBatch, Encoded, collate, encode, grids_of, length
from magma_policy.training.recipes.chat.validation import Validator
from magma_policy.training.starting_point import StartingPoint, prepare_model
from magma_policy_client.content import digest_of, file_digests

BAD_ROWS = "bad_rows.txt"


@dataclass(frozen=True)
class Lesson:
    """Conversations that fit the model, encoded, with their lengths; and why others do not."""

    rows: list[Conversation]
    encoded: list[Encoded]
    lengths: list[int]
    problems: list[str]

    def __str__(self) -> str:
        pictures = sum(len(row.images) for row in self.rows)
        turns = sum(len(row.turns) for row in self.rows)
        return (
            f"{len(self.rows)} conversations of {turns} answers about {pictures} pictures, up to {max(self.lengths)} "
            f"tokens; {len(self.problems)} rows left out"
        )


class Trainer(TrainingLoop[Magma, ChatBatch]):
    """One run of a Magma on conversations."""

    config: ChatTrainConfig
    drawn = ("right_percent",)

    def __init__(self, config: ChatTrainConfig) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.start = StartingPoint.of(config.model())
        self.processor = processor_of(self.start)
        self.lesson = lesson_of(config, self.processor)
        device = processes.device(config.device)
        model, _ = prepare_model(self.start, config.model(), device)
        super().__init__(config, model, device, ("text", "held"), captures=False)
        self.held: HeldActions | None = None
        if config.hold:
            tokenizer = self.processor.tokenizer
            self.held = HeldActions(config.hold, config.model(), self.start, tokenizer, device)
        self._plan = lru_cache(maxsize=2)(self._batches_of)
        self._unread: dict[str, str] = {}
        if config.validation:
            self.validator = Validator(self.processor, self._held_out(), self._crops)

    @property
    def _crops(self) -> int:
        return crops_of(self.config, self.processor)

    def _held_out(self) -> list[Conversation]:
        """Rows to measure on, all of whose pictures can be read: hours later is too late to find that out."""
        kept: list[Conversation] = []
        for row in lesson_of(self.config, self.processor, validation=True).rows:
            if len(kept) < self.config.validation_rows and self._pictures(row) is not None:
                kept.append(row)
        if not kept:
            raise ConfigError(f"no picture of {', '.join(map(str, self.config.validation))} can be read")
        return kept

    def _batches_of(self, epoch: int) -> list[list[int]]:
        return batches(self.lesson.lengths, self.config.batch, self.config.seed, epoch)

    # What a step learns from.

    def draw_part(self, step: int, part: int) -> ChatBatch:
        """The next batch of the pass under way; rows whose pictures cannot be read are left out of it and noted."""
        number = (step * self.config.accumulate + part) * processes.count() + processes.rank()
        size = len(self._plan(0))
        for tried in range(size):
            epoch, place = divmod(number + tried, size)
            shown = {row: self._pictures(self.lesson.rows[row]) for row in self._plan(epoch)[place]}
            seen = {row: pictures for row, pictures in shown.items() if pictures is not None}
            if seen:
                encoded = [self.lesson.encoded[row] for row in seen]
                batch = collate(encoded, list(seen.values()), self.processor, self._crops)
                if self.held is None:
                    return batch
                dice = torch.Generator().manual_seed(batch_seed(self.config.seed, step, part, processes.rank()))
                return replace(batch, held=self.held.draw(self.config.hold_batch, dice))
        raise ConfigError(f"none of the pictures can be read: {next(iter(self._unread.values()))}")

    def _pictures(self, row: Conversation) -> list[np.ndarray] | None:
        """The pictures of a row, None when one of them cannot be read."""
        try:
            return [read_image(path) for path in row.images]
        except CommandError as error:
            if row.name not in self._unread:
                self._unread[row.name] = str(error)
            return None

    def gradients(self, batch: ChatBatch) -> dict[str, Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            losses = {"text": answer_loss(self.model, batch)}
            total = losses["text"]
            if self.held is not None and batch.held is not None:
                losses["held"] = self.held.loss(self.model, batch.held)
                total = total + self.config.hold_weight * losses["held"]
        (total / self.config.accumulate).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    # What is kept.

    def write_checkpoint(self, last: bool) -> None:
        """The checkpoint, with the robots of the one that it began from."""
        home = self.start.directory
        known = {} if home is None or not (home / robots.ACTION_SPEC).is_file() else {robots.DEFAULT: robots.read(home)}
        if home is not None:
            known |= {name: robots.read(robots.find(home, name)) for name in robots.names_in(home)}
        state = dict(lora.merged(self.model, self.start.dtype))
        tokenizer = self.processor.tokenizer
        magma.save(self.config.output / "checkpoint", state, self.start.config, tokenizer, known, self.start.dtype)
        self.write_bad_rows()

    def write_bad_rows(self) -> None:
        """Why rows were left out, a line each."""
        problems = [*self.lesson.problems, *(f"(id {name}): {why}" for name, why in self._unread.items())]
        self.config.output.mkdir(parents=True, exist_ok=True)
        with whole_file(self.config.output / BAD_ROWS) as partial:
            partial.write_text("".join(f"{problem}\n" for problem in problems), encoding="utf-8")

    def fingerprint(self) -> str:
        """Of the weights that are gone on from, of the files of rows and of the demonstrations: with others it would be
        another run."""
        parts = {str(path): digest for path, digest in file_digests(self.config.conversations).items()}
        if self.held is not None:
            parts["held"] = self.held.identity
        return digest_of({"weights": self.start.fingerprint(), **parts})


def processor_of(start: StartingPoint) -> Processor:
    """What makes ids of words. Raises ConfigError for a new model, which has no tokenizer yet."""
    if start.tokenizer is None:
        raise ConfigError("the chat recipe goes on from a checkpoint: give --init")
    return Processor(start.tokenizer, start.config)


def crops_of(config: ChatTrainConfig, processor: Processor) -> int:
    """Tiles per picture at most."""
    own = processor.config.image.max_num_crops
    if config.max_num_crops > own:
        raise ConfigError(f"max_num_crops {config.max_num_crops} is more than the model's own {own}")
    return config.max_num_crops or own


def lesson_of(config: ChatTrainConfig, processor: Processor, validation: bool = False) -> Lesson:
    """The rows of a run, or those that it is measured on. Raises ConfigError when none is left."""
    files = config.validation if validation else config.conversations
    found: Conversations = read_conversations(files, config.images)
    most = min(config.max_tokens or 2**31, processor.config.text.max_position_embeddings)
    kept: list[tuple[Conversation, Encoded, int]] = []
    problems = list(found.problems)
    for row in found.rows:
        try:
            one = encode(row, processor)
        except InstructionError as error:
            problems.append(f"(id {printable(row.name, 40)}): {printable(error, 200)}")
            continue
        tokens = length(one, grids_of(row, processor.config, crops_of(config, processor)), processor.config)
        if tokens > most:
            problems.append(f"(id {printable(row.name, 40)}): {tokens} tokens, more than {most}")
        else:
            kept.append((row, one, tokens))
    if not kept:
        raise ConfigError(f"no conversation is left: {problems[-1]}")
    return Lesson([row for row, _, _ in kept], [one for _, one, _ in kept], [n for _, _, n in kept], problems)


def answer_loss(model: Magma, batch: ChatBatch) -> Tensor:
    """Mean cross entropy of the ids of answers, given all that stands before each."""
    merged, positions, visible = model.embed_inputs(batch.inputs)
    hidden, _ = model.read(merged, positions, visible)
    following = batch.labels[:, 1:].to(hidden.device)
    taught = following != IGNORED
    # The vocabulary is large: logits are made where something is learned alone.
    return F.cross_entropy(model.logits(hidden[:, :-1][taught]), following[taught])
