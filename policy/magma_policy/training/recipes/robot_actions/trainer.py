"""Magma learns to act from demonstrations, and to answer questions about them.

Three kinds of samples share every step. Image samples go through everything: image, prompt, marks, state tokens,
action ids. State-only samples leave the image out and take the recorded marks, with noise, instead; they cost a
fraction and teach the map from state to action on far more samples than the image path could show in the same time.
Text samples ask one of the images a question and learn the answer as text (`text_samples`). The run starts with marks
and text, then trains everything.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from magma_contracts.errors import ConfigError
from magma_policy.demonstrations.data_card import DataCard
from magma_policy.demonstrations.mapping import Mapping
from magma_policy.demonstrations.reader import Demonstrations, check_demonstrations, held_out, read_demonstrations
from magma_policy.embodiments import robots
from magma_policy.embodiments.action_normalization import from_actions
from magma_policy.embodiments.action_spec import ActionSpec
from magma_policy.embodiments.registry import make_adapter
from magma_policy.embodiments.robots import Robot
from magma_policy.families import magma
from magma_policy.families.magma import (
    Magma,
    MagmaTokenizer,
    build_small_tokenizer,
    choose_grid,
    visual_token_count,
)
from magma_policy.files.whole_files import whole_folder
from magma_policy.inference.action_tokens import ActionTokens
from magma_policy.marks.geometry import Cameras
from magma_policy.training import lora
from magma_policy.training.answered_texts import answer_labels, encode, pad_left
from magma_policy.training.config import TrainConfig
from magma_policy.training.loop import processes
from magma_policy.training.loop.captured_gradients import CapturedGradients
from magma_policy.training.loop.training_loop import TrainingLoop, batch_seed
from magma_policy.training.recipes.robot_actions import text_samples
from magma_policy.training.recipes.robot_actions.batches import Batches, Prompts
from magma_policy.training.recipes.robot_actions.objective import Objective
from magma_policy.training.recipes.robot_actions.step_batch import ActionSamples, StepBatch, TextBatch
from magma_policy.training.recipes.robot_actions.text_samples import TextSamples
from magma_policy.training.recipes.robot_actions.validation import Validator
from magma_policy.training.starting_point import StartingPoint, prepare_model

LOSSES = ("marks", "action", "state", "text")
TEXT_LENGTH_STEP = 64


def read_sets(config: TrainConfig) -> Demonstrations:
    """The demonstrations of a run. Raises DemonstrationError or ConfigError."""
    # Beside the run, where there is room: the system's folder for temporary files is often in memory.
    folder = next(path for path in (config.output, *config.output.absolute().parents) if path.is_dir())
    return read_demonstrations(config.demonstrations, _mappings(config), config.frames_in_memory_gib * 2**30, folder)


def check_sets(config: TrainConfig) -> None:
    """What can be told of the demonstrations before any is read; raises as `read_sets`."""
    check_demonstrations(config.demonstrations, _mappings(config))


def _mappings(config: TrainConfig) -> list[Mapping]:
    return [Mapping.read(path) for path in config.mappings]


class Trainer(TrainingLoop[Magma, StepBatch]):
    """One run of a Magma on demonstrations."""

    config: TrainConfig
    drawn = ("action_mm", "state_only_mm", "gripper_percent", "mark_px_p95", "text_grid")

    def __init__(self, config: TrainConfig, start: StartingPoint | None = None) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config = config
        device = processes.device(config.device)
        self.start = start = StartingPoint.of(config) if start is None else start
        self.demos = demos = read_sets(config)
        held = held_out(demos, config.validation_every)[demos.episode]
        train_rows, validation_rows = np.flatnonzero(~held), np.flatnonzero(held)
        self.model_config = start.config
        grounding = self.model_config.grounding
        if grounding is not None and demos.marks.shape[1] != grounding.num_marks:
            raise ConfigError(f"the model points at {grounding.num_marks} marks, the sets have {demos.marks.shape[1]}")
        # Without mark tokens there is nothing to give a head start to.
        self.marks_fraction = config.marks_fraction if grounding is not None else 0.0
        self.robots = self._robots(train_rows)
        self.demos = demos = self._squashed(demos)
        values = np.zeros(demos.actions.shape)
        for number, robot in enumerate(self.robots):
            own = demos.robot == number
            values[own] = robot.statistics.normalise(make_adapter(robot.spec.adapter).encode(demos.actions[own]))
        self.train = Batches(demos, train_rows, config, values)
        self.tokenizer = self._tokenizer()
        model, self.adapters = prepare_model(start, config, device)
        super().__init__(config, model, device, LOSSES, captures=config.graphs and device.type == "cuda")
        self.prompts = Prompts(self.tokenizer, demos.instructions, self.model_config.image_markers, self.device)
        self._check_length()
        self.cameras = (
            Cameras.of([robot.camera for robot in self.robots if robot.camera is not None], self.device)
            if self.model_config.geometry is not None
            else None
        )
        asks = config.text_batch > 0 and config.text.total > 0
        self.texts = TextSamples(demos, config.text) if asks else None
        if (demos.frame_index[validation_rows] >= 0).any():
            data = Batches(demos, validation_rows, config, values)
            self.validator = Validator(
                demos, data, self.robots, self.prompts, self.cameras, self.tokenizer, self.texts,
                config.validation_samples, config.seed + 1,
            )  # fmt: skip
        self.objective = Objective(self.model, self.prompts, self.cameras, self._grid(), config)
        self.add_gradients = (
            CapturedGradients(list(self.parameters.values()), self.objective.backward)
            if self.captures
            else self.objective.backward
        )
        self.codec = ActionTokens(self.model_config.tokens.base_vocab_size)

    # What the run is made of.

    def _robots(self, train_rows: np.ndarray) -> list[Robot]:
        """One per card, with the statistics of its training steps or those of the robot that was asked for; those of
        the run that is continued, if any: a set that has grown must not shift the meaning of the bins."""
        made = []
        for number, card in enumerate(self.demos.cards):
            home = self._robot_home(number)
            asked = self._asked_robot(card)
            if (home / robots.STATISTICS).is_file():
                statistics = robots.read(home).statistics
            elif asked is not None:
                statistics = asked.statistics
            else:
                statistics = from_actions(self.demos.actions[train_rows[self.demos.robot[train_rows] == number]])
            camera = card.camera(self.config.plane_above_table_m) if self.model_config.geometry is not None else None
            made.append(Robot(self._spec(card, asked), statistics, camera))
        return made

    def _asked_robot(self, card: DataCard) -> Robot | None:
        """The robot whose statistics and action coding are used; None when the demonstrations' own are."""
        name = self.config.statistics
        if name == "demonstrations":
            return None
        home = self.start.directory or Path()
        if name == "init":
            return robots.read(robots.find(home, card.robot) if card.robot in robots.names_in(home) else home)
        return robots.read(robots.find(home, name))

    def _robot_home(self, number: int) -> Path:
        home = self.config.output / ("adapter" if self.config.lora_rank else "checkpoint")
        return home / robots.FOLDER / self.demos.cards[number].robot if number else home

    def _spec(self, card: DataCard, asked: Robot | None) -> ActionSpec:
        return ActionSpec(
            policy=self.model_config.name,
            horizon=1,
            step_period_s=card.step_period_s,
            frame="base",
            rotation="axis_angle",
            gripper="absolute_open_1",
            statistics_key=asked.spec.statistics_key if asked is not None else card.robot or "demonstrations",
            camera=self.config.camera,
            image_height=card.image_height,
            image_width=card.image_width,
            proprioception=self.model_config.proprioception,
            adapter=asked.spec.adapter if asked is not None else "deltas",
        )

    def _squashed(self, demos: Demonstrations) -> Demonstrations:
        """The sets with their frames as the robots' adapter hands them to the model."""
        adapter = make_adapter(self.robots[0].spec.adapter)
        if adapter.image_side is None or not len(demos.frames):
            return demos
        return dataclasses.replace(demos, frames=np.stack([adapter.image(frame) for frame in demos.frames]))

    def _tokenizer(self) -> MagmaTokenizer:
        """The checkpoint's that is finetuned; or that of the run that is continued, or a new one that knows the
        instructions, questions and answers."""
        if self.start.tokenizer is not None:
            return self.start.tokenizer
        path = self.config.output / "checkpoint" / magma.TOKENIZER
        if path.is_file():
            return MagmaTokenizer.load(path, self.model_config.tokens)
        texts = [*self.demos.instructions, *text_samples.vocabulary(self.demos)]
        return build_small_tokenizer(self.model_config.tokens, texts)

    def _grid(self) -> tuple[int, int]:
        """Rows and columns of tiles of every frame."""
        image = self.model_config.image
        height, width = self.demos.frames.shape[1:3]
        return choose_grid(width, height, image.base_size, image.max_num_crops)

    def _check_length(self) -> None:
        height, width = self.demos.frames.shape[1:3]
        visual = visual_token_count(*self._grid(), self.model_config.cells_per_tile)
        longest = self.prompts.head.shape[1] + self.prompts.ids.shape[1] + visual
        if longest >= self.model_config.text.max_position_embeddings:
            instruction = self.demos.instructions[int(self.prompts.attention.sum(dim=1).argmax())]
            raise ConfigError(
                f"prompts have up to {longest} tokens, {visual} of them for frames of {width}x{height}; the model "
                f"reads {self.model_config.text.max_position_embeddings} (the longest instruction is {instruction!r})"
            )

    # What a step learns from.

    def draw_part(self, step: int, part: int) -> StepBatch:
        seed = batch_seed(self.config.seed, step, part, processes.rank())
        return self.draw(torch.Generator().manual_seed(seed))

    def draw(self, generator: torch.Generator) -> StepBatch:
        """One batch, on the device."""
        config, data = self.config, self.train
        rows = data.draw(config.image_batch, True, generator)
        tiles, _ = data.images(rows, self.model_config.image, self.device, generator)
        texts = self._texts(rows[: config.text_batch], generator) if self.texts is not None else None
        states: ActionSamples | None = None
        if self.model_config.grounding is not None and config.state_batch and data.has_states:
            drawn = data.draw(config.state_batch, False, generator)
            states = self._samples(drawn, data.noisy_marks(drawn, generator))
        return StepBatch(tiles, self._samples(rows, data.marks[rows]), texts, states)

    def gradients(self, batch: StepBatch) -> dict[str, Tensor]:
        """Of the marks alone until they have had their head start."""
        return self.add_gradients(batch, self.progress >= self.marks_fraction)

    def _samples(self, rows: Tensor, marks: Tensor) -> ActionSamples:
        data = self.train
        ids = torch.from_numpy(self.codec.encode(data.values[rows].numpy()))
        columns = (data.instruction[rows], data.robot[rows], marks, data.proprioception[rows], data.values[rows], ids)
        return ActionSamples(*(column.to(self.device) for column in columns))

    def _texts(self, rows: Tensor, generator: torch.Generator) -> TextBatch:
        assert self.texts is not None
        samples = self.texts.draw(rows.tolist(), generator)
        encoded, lengths = encode(samples, self.tokenizer, self.model_config.image_markers)
        # Lengths in steps: every other one would be recorded by itself.
        step = TEXT_LENGTH_STEP if self.captures else 1
        ids, attention = pad_left(encoded, self.tokenizer.tokens.pad, self.device, step)
        count = min(-(-max(lengths) // step) * step, ids.shape[1] - 1)
        return TextBatch(ids, attention, answer_labels(ids, lengths)[:, -count:])

    # What is kept.

    def write_checkpoint(self, last: bool) -> None:
        """The policy checkpoint. With adapters it is the base with the adapters merged into it, as large as the base,
        and only written with `last`; the adapters alone, in peft's format, every time."""
        output = self.config.output
        if self.adapters is not None:
            with whole_folder(output / "adapter", lora.WEIGHTS) as folder:
                lora.save(folder, self.model, self.adapters)
                for name, robot in self._known_robots().items():
                    robots.write(robot, folder / robots.FOLDER / name if name else folder)
        if self.adapters is None or last:
            state = dict(lora.merged(self.model, self.start.dtype))
            magma.save(
                output / "checkpoint", state, self.model_config, self.tokenizer, self._known_robots(),
                self.start.dtype,
            )  # fmt: skip

    def fingerprint(self) -> str:
        """Of the checkpoint that is finetuned."""
        return self.start.fingerprint()

    def _known_robots(self) -> dict[str, Robot]:
        names = [robots.DEFAULT, *(card.robot for card in self.demos.cards[1:])]
        return dict(zip(names, self.robots, strict=True))
