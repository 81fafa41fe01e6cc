"""One training run.

Three kinds of samples share every step. Image samples go through everything: picture, prompt, marks, state tokens,
action ids. State-only samples leave the picture out and take the recorded marks, with noise, instead; they cost a
fraction and teach the map from state to action on far more samples than the picture path could show in the same time.
Text samples ask one of the pictures a question and learn the answer as text (`text_samples`). The run starts with marks
and text, then trains everything.

All randomness of a step follows from the seed, the number of the step and that of the process, so a run that was
interrupted goes on to the bit.
"""

from __future__ import annotations

import dataclasses
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from tqdm import tqdm

from magma_contracts.errors import ConfigError
from magma_contracts.text import printable
from magma_policy.demonstrations.data_card import DataCard
from magma_policy.demonstrations.reader import Demonstrations, held_out, read_demonstrations
from magma_policy.embodiments import robots
from magma_policy.embodiments.action_normalization import from_actions
from magma_policy.embodiments.action_spec import ActionSpec
from magma_policy.embodiments.registry import make_adapter
from magma_policy.embodiments.robots import Robot
from magma_policy.families import magma
from magma_policy.families.magma import (
    ActionTokens,
    Magma,
    MagmaTokenizer,
    build_small_tokenizer,
    choose_grid,
    visual_token_count,
)
from magma_policy.files.whole_files import whole_folder
from magma_policy.marks.geometry import Cameras
from magma_policy.training import lora
from magma_policy.training.config import TrainConfig
from magma_policy.training.loop import processes, saved_run, success
from magma_policy.training.loop.averages import MovingAverage
from magma_policy.training.loop.captured_gradients import CapturedGradients
from magma_policy.training.loop.divergence import DivergedError, SkippedSteps, all_finite
from magma_policy.training.loop.memory import Memory
from magma_policy.training.loop.optimizer import make_optimizer
from magma_policy.training.loop.plots import plot
from magma_policy.training.loop.saved_run import SavedRunError
from magma_policy.training.recipes.robot_actions import text_samples
from magma_policy.training.recipes.robot_actions.batches import Batches, Prompts, pad_left
from magma_policy.training.recipes.robot_actions.objective import Objective
from magma_policy.training.recipes.robot_actions.step_batch import ActionSamples, StepBatch, TextBatch
from magma_policy.training.recipes.robot_actions.text_samples import TextSamples
from magma_policy.training.recipes.robot_actions.validation import Validator
from magma_policy.training.starting_point import MODULES, StartingPoint, set_types

LOSSES = ("marks", "action", "state", "text")
LOG_STEPS = 20
TEXT_LENGTH_STEP = 64


def prepare_model(start: StartingPoint, config: TrainConfig, device: torch.device) -> tuple[Magma, Any]:
    """The model as it is trained: adapters in place, every parameter of its type, `requires_grad` on those that learn.

    On the meta device it takes no memory. Also returns peft's LoraConfig, None without adapters.
    """
    model = start.build(device)
    model.vision_tower.to(memory_format=torch.channels_last)
    adapters: Any = None
    if config.lora_rank:
        base = str(config.init)
        adapters = lora.inject(model, config.lora_rank, config.lora_alpha, config.lora_parts, base)
    else:
        still = tuple(MODULES[part] for part in config.frozen)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith(still))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"nothing is left to train with frozen {config.frozen}")
    compute = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    set_types(model, torch.bfloat16 if config.weights == "bfloat16" else torch.float32, compute)
    model.checkpoint_gradients(config.gradient_checkpointing)
    return model, adapters


def memory(start: StartingPoint, config: TrainConfig) -> Memory:
    """What a run will take, computed on the meta device."""
    model, _ = prepare_model(start, config, torch.device("meta"))
    return Memory.of(model, config.ema_decay > 0, config.precision == "bfloat16")


def batch_seed(seed: int, step: int, part: int, rank: int) -> int:
    """A seed for a part of a step in a process; no two are alike, and neighbours have nothing in common."""
    return int(np.random.SeedSequence((seed, step, part, rank)).generate_state(1, np.uint64)[0] >> 1)


class Trainer:
    """One training run."""

    def __init__(self, config: TrainConfig, start: StartingPoint | None = None) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config = config
        self.device = processes.device(config.device)
        self.start = start = StartingPoint.of(config) if start is None else start
        self.demos = demos = read_demonstrations(config.demonstrations)
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
        self.model, self.adapters = prepare_model(start, config, self.device)
        self.parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        processes.share_parameters(self.parameters.values())
        self.average = MovingAverage(self.parameters, config.ema_decay)
        self.prompts = Prompts(self.tokenizer, demos.instructions, self.model_config.image_markers, self.device)
        self._check_length()
        self.cameras = (
            Cameras.of([robot.camera for robot in self.robots if robot.camera is not None], self.device)
            if self.model_config.geometry is not None
            else None
        )
        asks = config.text_batch > 0 and config.text.total > 0
        self.texts = TextSamples(demos, config.text) if asks else None
        self.validator: Validator | None = None
        if (demos.frame_index[validation_rows] >= 0).any():
            data = Batches(demos, validation_rows, config, values)
            self.validator = Validator(
                demos, data, self.robots, self.prompts, self.cameras, self.tokenizer, self.texts,
                config.validation_samples, config.seed + 1,
            )  # fmt: skip
        self.captures = config.graphs and self.device.type == "cuda"
        self.objective = Objective(self.model, self.prompts, self.cameras, self._grid(), config)
        self.add_gradients = (
            CapturedGradients(list(self.parameters.values()), self.objective.backward)
            if self.captures
            else self.objective.backward
        )
        self.codec = ActionTokens(self.model_config.tokens.base_vocab_size)
        self.optimizer = make_optimizer(self.model, config.learning_rate, config.weight_decay, config.seed)
        self.step = 0
        self.skipped = SkippedSteps(config.skip_limit)
        self._ahead: tuple[int, StepBatch] | None = None
        self.history: dict[str, list[dict[str, Any]]] = {"loss": [], "validation": [], "success": []}
        self.running = {name: deque[Tensor](maxlen=50) for name in LOSSES}

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
        if adapter.picture_side is None or not len(demos.frames):
            return demos
        return dataclasses.replace(demos, frames=np.stack([adapter.picture(frame) for frame in demos.frames]))

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

    # Steps.

    @property
    def progress(self) -> float:
        return self.step / self.config.steps

    def learning_rate(self) -> float:
        """Linear warm-up, then cosine to 2 % of the peak."""
        p, warm = self.progress, self.config.warmup_fraction
        if p < warm:
            return self.config.learning_rate * max(p / warm, 0.01)
        cosine = 0.5 * (1.0 + np.cos(np.pi * (p - warm) / (1.0 - warm)))
        return float(self.config.learning_rate * (0.02 + 0.98 * cosine))

    def draw(self, generator: torch.Generator) -> StepBatch:
        """One batch, on the device."""
        config, data = self.config, self.train
        rows = data.draw(config.image_batch, True, generator)
        tiles, _ = data.pictures(rows, self.model_config.image, self.device, generator)
        texts = self._texts(rows[: config.text_batch], generator) if self.texts is not None else None
        states: ActionSamples | None = None
        if self.model_config.grounding is not None and config.state_batch and data.has_states:
            drawn = data.draw(config.state_batch, False, generator)
            states = self._samples(drawn, data.noisy_marks(drawn, generator))
        return StepBatch(tiles, self._samples(rows, data.marks[rows]), texts, states)

    def _samples(self, rows: Tensor, marks: Tensor) -> ActionSamples:
        data = self.train
        ids = torch.from_numpy(self.codec.encode(data.values[rows].numpy()))
        columns = (data.instruction[rows], data.robot[rows], marks, data.proprioception[rows], data.values[rows], ids)
        return ActionSamples(*(column.to(self.device) for column in columns))

    def _texts(self, rows: Tensor, generator: torch.Generator) -> TextBatch:
        assert self.texts is not None
        samples = self.texts.draw(rows.tolist(), generator)
        encoded, lengths = text_samples.encode(samples, self.tokenizer, self.model_config.image_markers)
        # Lengths in steps: every other one would be recorded by itself.
        step = TEXT_LENGTH_STEP if self.captures else 1
        ids, attention = pad_left(encoded, self.tokenizer.tokens.pad, self.device, step)
        count = min(-(-max(lengths) // step) * step, ids.shape[1] - 1)
        return TextBatch(ids, attention, text_samples.answer_labels(ids, lengths)[:, -count:])

    def train_step(self) -> None:
        """One optimiser step on `accumulate` batches; left out when a loss or gradient is not finite.

        Raises DivergedError after `skip_limit` of these in a row.
        """
        config = self.config
        self.model.train()
        rate = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=not self.captures)
        with_actions = self.progress >= self.marks_fraction
        losses = [self.add_gradients(self._batch(part), with_actions) for part in range(config.accumulate)]
        # Once per step, behind the last part: what the parts add up to is all that matters.
        parameters = list(self.parameters.values())
        processes.average_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        finite = (
            torch.stack([norm.float(), *(loss.float() for part in losses for loss in part.values())]).isfinite().all()
        )
        # Drawn while a GPU still computes; only then its verdict is waited for.
        self._ahead = (self.step + 1, self._drawn(self.step + 1, 0)) if self.step + 1 < config.steps else None
        # Gradients are the same in all processes, losses are not.
        taught = not processes.any_of(not bool(finite))
        self.step += 1
        if taught:
            self.optimizer.step()
            self.average.update(self.step)
            for part in losses:
                # Kept where they are: they are read when they are printed.
                for name, loss in part.items():
                    self.running[name].append(loss)
        self.skipped.note(taught, self.step)

    def _batch(self, part: int) -> StepBatch:
        """Part of the step that comes next."""
        ahead, self._ahead = self._ahead, None
        return ahead[1] if ahead is not None and part == 0 and ahead[0] == self.step else self._drawn(self.step, part)

    def _drawn(self, step: int, part: int) -> StepBatch:
        seed = batch_seed(self.config.seed, step, part, processes.rank())
        return self.draw(torch.Generator().manual_seed(seed))

    def averages(self) -> dict[str, float]:
        """Means of the last losses."""
        return {name: float(torch.stack(list(values)).mean()) for name, values in self.running.items() if values}

    # The run.

    def save(self, last: bool = True) -> None:
        """Write the state to continue from, the policy checkpoint, and the plot, each whole or not at all.

        With adapters the checkpoint is the base with the adapters merged into it, as large as the base, and only
        written with `last`; the adapters alone, in peft's format, every time.

        Raises:
            DivergedError: weights, average or optimiser are not finite; nothing was written.
            SavedRunError: something cannot be written, such as on a full disk; what was saved before stays.
        """
        if processes.rank():
            return
        moments = {
            f"{key} {name}": value
            for name, parameter in self.parameters.items()
            for key, value in self.optimizer.state.get(parameter, {}).items()
        }
        if not all(all_finite(tensors) for tensors in (self.parameters, self.average.tensors, moments)):
            raise DivergedError(
                f"the weights, their average or the optimiser are not finite any more at step {self.step}: the "
                "training has diverged; nothing was saved, the last checkpoint before is finite and stays. Train anew "
                "with a lower learning_rate"
            )
        try:
            self._write(last)
        except (OSError, SafetensorError) as error:
            raise SavedRunError(
                f"{self.config.output}: step {self.step} cannot be saved ({printable(error)}); what was saved before "
                "is whole, and the same command goes on from it"
            ) from error

    def _write(self, last: bool) -> None:
        output = self.config.output
        scalars = {
            "step": self.step, "history": self.history, "init": self.start.fingerprint(), "skipped": self.skipped.total,
        }  # fmt: skip
        saved_run.save(output / "training", self.parameters, self.average.tensors, self.optimizer, scalars)
        with self._averaged():
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
        plot(self.history, output / "loss.png")

    def _known_robots(self) -> dict[str, Robot]:
        names = [robots.DEFAULT, *(card.robot for card in self.demos.cards[1:])]
        return dict(zip(names, self.robots, strict=True))

    def restore(self) -> bool:
        """Continue from a saved run when there is one. Raises SavedRunError when it does not fit."""
        directory = self.config.output / "training"
        scalars = saved_run.restore(directory, self.parameters, self.average.tensors, self.optimizer)
        if scalars is not None:
            if scalars.get("init", "") != self.start.fingerprint():
                raise SavedRunError(f"{directory}: the run began from other weights than {self.config.init} has now")
            self.step, self.history = scalars["step"], self.history | scalars["history"]
            self.skipped.total = scalars.get("skipped", 0)
        if not processes.same_everywhere(self.step):
            raise SavedRunError(
                f"{directory}: not every process sees the same saved run; give an output that all share"
            )
        return scalars is not None

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Within, the model has the averaged weights, if there is an average, and is in evaluation mode."""
        with self.average.in_place():
            self.model.eval()
            yield
        self.model.train()

    def run(self) -> int:
        """Train until the last step or until a process is interrupted; both end with a save.

        Returns:
            0 when the last step was reached, else the number of the signal (SIGINT when another process got it).
        """
        stop = 0

        def request_stop(number: int, _frame: object) -> None:
            nonlocal stop
            stop = number

        config = self.config
        previous = {s: signal.signal(s, request_stop) for s in (signal.SIGINT, signal.SIGTERM)}
        bar = tqdm(
            total=config.steps, initial=self.step, unit="step", mininterval=5.0, desc="magma-train",
            disable=processes.rank() > 0,
        )  # fmt: skip
        try:
            while self.step < config.steps and not processes.any_of(stop > 0):
                self.train_step()
                bar.update()
                if self.step % LOG_STEPS == 0:
                    averages = self.averages()
                    self.history["loss"].append({"step": self.step, **averages})
                    shown = {name: f"{value:.3f}" for name, value in averages.items()}
                    bar.set_postfix(shown | ({"skipped": str(self.skipped.total)} if self.skipped.total else {}))
                if self.step % config.validation_steps == 0 and self.step < config.steps:
                    self.report()
                if self.step % config.checkpoint_steps == 0 and self.step < config.steps:
                    self.save(last=False)
                if self.step % config.success_steps == 0 and self.step < config.steps:
                    self.measure_success()
            self.report()
            self.save()
            if self.step == config.steps:
                self.measure_success()
        finally:
            bar.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
        return 0 if self.step == config.steps else stop or signal.SIGINT

    def measure_success(self) -> None:
        """Play the success suites with a checkpoint of this step, remember and print; a step is measured once."""
        config, done = self.config, self.history["success"]
        if not config.success_suites or (done and done[-1]["step"] == self.step):
            return
        self.save()
        for suite in config.success_suites:
            out = config.output / "success" / f"step-{self.step}" / suite
            try:
                found = success.measure(config.output / "checkpoint", suite, config.success_episodes, out)
            except success.SuccessUnknownError as error:
                # A simulator that fails must not cost hours of training.
                tqdm.write(f"step {self.step}: success unknown: {error}")
                continue
            done += [{"step": self.step, **dataclasses.asdict(task)} for task in found]
            counts = ", ".join(f"{task.task} {task.successes}/{task.episodes}" for task in found)
            tqdm.write(f"step {self.step}: {suite}: {counts}")
        self.save()

    def report(self) -> None:
        """Validate the averaged weights (the weights when there is no average), remember and print; a step is validated
        once."""
        done = self.history["validation"]
        if self.validator is None or processes.rank() or (done and done[-1]["step"] == self.step):
            return
        kinds = {parameter.dtype for parameter in self.model.parameters()}
        mixed = torch.autocast(self.device.type, torch.bfloat16, enabled=kinds != {torch.float32})
        with self._averaged(), mixed:
            result = self.validator.measure(self.model)
        done.append({"step": self.step, **dataclasses.asdict(result)})
        tqdm.write(f"step {self.step}: {result}")
