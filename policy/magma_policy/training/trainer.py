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
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from magma_policy import checkpoint, robots
from magma_policy.action_tokens import ActionTokens, bin_centres_by_id
from magma_policy.adapters import make_adapter
from magma_policy.config import ActionSpec, ConfigError
from magma_policy.geometry import Cameras
from magma_policy.model import Magma, Prefix
from magma_policy.projector import visual_token_count
from magma_policy.robots import Robot
from magma_policy.statistics import from_actions
from magma_policy.tiling import choose_grid
from magma_policy.tokenizer import MagmaTokenizer, build_small_tokenizer
from magma_policy.training import lora, processes, saved_run, text_samples
from magma_policy.training.averages import MovingAverage
from magma_policy.training.batches import Batches, Prompts, pad_left
from magma_policy.training.config import TrainConfig
from magma_policy.training.demonstrations import DataCard, Demonstrations, is_held_out, read_demonstrations
from magma_policy.training.losses import action_cross_entropy, action_loss, heat_map_loss
from magma_policy.training.memory import Memory
from magma_policy.training.optimizer import make_optimizer
from magma_policy.training.plots import plot
from magma_policy.training.saved_run import SavedRunError
from magma_policy.training.starting_point import MODULES, StartingPoint, set_types
from magma_policy.training.text_samples import TextSamples
from magma_policy.training.validation import Validator

LOSSES = ("marks", "action", "state", "text")
LOG_STEPS = 20


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
        held = np.array([is_held_out(name, config.validation_every) for name in demos.episode_names])
        held_out = held[demos.episode]
        train_rows, validation_rows = np.flatnonzero(~held_out), np.flatnonzero(held_out)
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
        if len(validation_rows):
            data = Batches(demos, validation_rows, config, values)
            self.validator = Validator(
                demos, data, self.robots, self.prompts, self.cameras, self.tokenizer, self.texts,
                config.validation_samples, config.seed + 1,
            )  # fmt: skip
        self.centres = torch.tensor(bin_centres_by_id(), dtype=torch.float32, device=self.device)
        self.codec = ActionTokens(self.model_config.tokens.base_vocab_size)
        self.optimizer = make_optimizer(self.model, config.learning_rate, config.weight_decay, config.seed)
        self.step = 0
        self.history: dict[str, list[dict[str, Any]]] = {"loss": [], "validation": []}
        self.running = {name: deque[float](maxlen=50) for name in LOSSES}

    # What the run is made of.

    def _robots(self, train_rows: np.ndarray) -> list[Robot]:
        """One per card, with the statistics of its training steps or those of the robot that was asked for; those of
        the run that is continued, if any: a set that has grown must not shift the meaning of the bins."""
        made = []
        asked = self._asked_robot()
        for number, card in enumerate(self.demos.cards):
            home = self._robot_home(number)
            if (home / robots.STATISTICS).is_file():
                statistics = robots.read(home).statistics
            elif asked is not None:
                statistics = asked.statistics
            else:
                statistics = from_actions(self.demos.actions[train_rows[self.demos.robot[train_rows] == number]])
            camera = card.camera(self.config.plane_above_table_m) if self.model_config.geometry is not None else None
            made.append(Robot(self._spec(card, asked), statistics, camera))
        return made

    def _asked_robot(self) -> Robot | None:
        """The robot whose statistics and action coding are used; None when the demonstrations' own are."""
        name = self.config.statistics
        if name == "demonstrations":
            return None
        home = self.start.directory or Path()
        return robots.read(home if name == "init" else robots.find(home, name))

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
        path = self.config.output / "checkpoint" / checkpoint.TOKENIZER
        if path.is_file():
            return MagmaTokenizer.load(path, self.model_config.tokens)
        texts = [*self.demos.instructions, *text_samples.vocabulary(self.demos)]
        return build_small_tokenizer(self.model_config.tokens, texts)

    def _check_length(self) -> None:
        image = self.model_config.image
        height, width = self.demos.frames.shape[1:3]
        grid = choose_grid(width, height, image.base_size, image.max_num_crops)
        visual = visual_token_count(*grid, self.model_config.cells_per_tile)
        longest = self.prompts.head.shape[1] + self.prompts.ids.shape[1] + visual
        if longest >= self.model_config.text.max_position_embeddings:
            raise ConfigError(
                f"prompts have up to {longest} tokens, {visual} of them for frames of {width}x{height}; the model "
                f"reads {self.model_config.text.max_position_embeddings}"
            )

    # Losses.

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

    def image_losses(self, rows: Tensor, head: Prefix, generator: torch.Generator) -> dict[str, Tensor]:
        """Losses of samples with a picture: marks, text and, once the marks have had their head start, actions on the
        model's own marks."""
        data, model, config = self.train, self.model, self.config
        tiles, grid = data.pictures(rows, self.model_config.image, self.device, generator)
        visual, levels = model.encode_image(tiles, *grid)
        which = data.instruction[rows].to(self.device)
        ids, attention = self.prompts.ids[which], self.prompts.attention[which]
        prefix, grounded = model.read_prompt(ids, visual, levels, attention, head)
        losses: dict[str, Tensor] = {}
        marks: Tensor | None = None
        if grounded is not None:
            target = data.marks[rows].to(self.device)
            losses["marks"] = heat_map_loss(grounded.logits, grounded.marks, target, config.mark_sigma_cells)
            # Detached: the marks stay marks, and the action learns to live with the model's own pointing errors.
            marks = grounded.marks.detach()
        if self.progress >= self.marks_fraction:
            own = torch.arange(len(rows), device=self.device)
            losses["action"] = self.action_losses(prefix, own, marks, rows)
        if self.texts is not None:
            asked = rows[: config.text_batch]
            losses["text"] = self.text_loss(asked, visual[: len(asked)], head, generator)
        return losses

    def text_loss(self, rows: Tensor, visual: Tensor, head: Prefix, generator: torch.Generator) -> Tensor:
        """Cross entropy of the answers to one question per row, whose pictures were encoded to `visual` (B, N, H)."""
        assert self.texts is not None
        samples = self.texts.draw(rows.tolist(), generator)
        encoded, lengths = text_samples.encode(samples, self.tokenizer, self.model_config.image_markers)
        ids, attention = pad_left(encoded, self.tokenizer.tokens.pad, self.device)
        merged, positions, visible = self.model.merge(ids, visual, attention, head.length)
        hidden, _ = self.model.read(merged, positions, visible, head.expand(len(rows)))
        longest = max(lengths)
        labels = text_samples.answer_labels(ids, lengths)[:, -longest:]
        logits = self.model.logits(hidden[:, -longest - 1 : -1])
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())

    def state_losses(self, rows: Tensor, head: Prefix, generator: torch.Generator) -> Tensor:
        """Action losses from recorded marks; every instruction's prompt is read once and shared by its samples."""
        data = self.train
        text = self.model.read_text_only(self.prompts.ids, self.prompts.attention, head)
        which = data.instruction[rows].to(self.device)
        return self.action_losses(text, which, data.noisy_marks(rows, generator), rows)

    def action_losses(self, prefix: Prefix, which: Tensor, marks: Tensor | None, rows: Tensor) -> Tensor:
        """Loss of the decoder on the first `decoder_batch` rows, plus that of the early read-out on all of them.

        Sample i of the batch stands behind row `which[i]` of `prefix`.
        """
        data = self.train
        state: Tensor | None = None
        early: Tensor | None = None
        if self.model.state_encoder is not None:
            measured = data.proprioception[rows].to(self.device) if self.model_config.proprioception else None
            cameras = self.cameras.select(data.robot[rows].to(self.device)) if self.cameras is not None else None
            pointed = marks.to(self.device) if marks is not None else None
            state = self.model.state_tokens(prefix.last_hidden[which], pointed, measured, cameras)
            assert state is not None
            early = self.action_loss(self.model.early_action_logits(state), data.values[rows])
        # Without an early read-out the decoder alone can teach a sample, so none is left out.
        some = slice(0, self.config.decoder_batch if state is not None else None)
        ids = torch.from_numpy(self.codec.encode(data.values[rows[some]].numpy())).to(self.device)
        logits = self.model.teacher_forced_action_logits(
            prefix.select(which[some]), state[some] if state is not None else None, ids
        )
        loss = self.action_loss(logits, data.values[rows[some]])
        return loss if early is None else early + loss

    def action_loss(self, logits: Tensor, values: Tensor) -> Tensor:
        """Loss of logits (B, 7, 256) against normalised values (B, 7)."""
        if self.config.action_loss == "cross_entropy":
            ids = torch.from_numpy(self.codec.encode(values.numpy())) - self.codec.first_id
            return action_cross_entropy(logits, ids.to(self.device))
        values = values.to(self.device)
        return action_loss(logits, values, self.centres, self.config.action_sigma_bins, self.config.regression_weight)

    # Steps.

    def train_step(self) -> None:
        """One optimiser step on `accumulate` batches."""
        config = self.config
        self.model.train()
        rate = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        for part in range(config.accumulate):
            seed = batch_seed(config.seed, self.step, part, processes.rank())
            generator = torch.Generator().manual_seed(seed)
            losses = self._losses(generator)
            total = sum(self._weight(name) * loss for name, loss in losses.items())
            (total / config.accumulate).backward()
            for name, loss in losses.items():
                self.running[name].append(float(loss.detach()))
        # Once per step, behind the last part: what the parts add up to is all that matters.
        parameters = list(self.parameters.values())
        processes.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        self.step += 1
        self.average.update(self.step)

    def _losses(self, generator: torch.Generator) -> dict[str, Tensor]:
        config = self.config
        # bfloat16 has float32's range, so the gradients need no scaling.
        with self._autocast(config.precision == "bfloat16"):
            head = self.model.read_head(self.prompts.head)
            losses = self.image_losses(self.train.draw(config.image_batch, True, generator), head, generator)
            if self.model_config.grounding is not None and config.state_batch and self.train.has_states:
                rows = self.train.draw(config.state_batch, False, generator)
                losses["state"] = self.state_losses(rows, head, generator)
        return losses

    def _autocast(self, on: bool) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=on)

    def _weight(self, name: str) -> float:
        return {"marks": self.config.mark_weight, "text": self.config.text_weight}.get(name, 1.0)

    def averages(self) -> dict[str, float]:
        return {name: float(np.mean(values)) for name, values in self.running.items() if values}

    # The run.

    def save(self, last: bool = True) -> None:
        """Write the policy checkpoint, the state to continue from, and the plot.

        With adapters the checkpoint is the base with the adapters merged into it, as large as the base, and only
        written with `last`; the adapters alone, in peft's format, every time.
        """
        if processes.rank():
            return
        output = self.config.output
        with self._averaged():
            if self.adapters is not None:
                lora.save(output / "adapter", self.model, self.adapters)
                for name, robot in self._known_robots().items():
                    robots.write(robot, output / "adapter" / robots.FOLDER / name if name else output / "adapter")
            if self.adapters is None or last:
                state = dict(lora.merged(self.model, self.start.dtype))
                checkpoint.save(
                    output / "checkpoint", state, self.model_config, self.tokenizer, self._known_robots(),
                    self.start.dtype,
                )  # fmt: skip
        scalars = {"step": self.step, "history": self.history, "init": self.start.fingerprint()}
        saved_run.save(output / "training", self.parameters, self.average.tensors, self.optimizer, scalars)
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
            self.step, self.history = scalars["step"], scalars["history"]
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

    def run(self) -> None:
        """Train until the last step or until the process is interrupted; both end with a save."""
        stop = False

        def request_stop(_signal: int, _frame: object) -> None:
            nonlocal stop
            stop = True

        config = self.config
        previous = {s: signal.signal(s, request_stop) for s in (signal.SIGINT, signal.SIGTERM)}
        bar = tqdm(
            total=config.steps, initial=self.step, unit="step", mininterval=5.0, desc="magma-train",
            disable=processes.rank() > 0,
        )  # fmt: skip
        try:
            while self.step < config.steps and not processes.any_of(stop):
                self.train_step()
                bar.update()
                if self.step % LOG_STEPS == 0:
                    averages = self.averages()
                    self.history["loss"].append({"step": self.step, **averages})
                    bar.set_postfix({name: f"{value:.3f}" for name, value in averages.items()})
                if self.step % config.validation_steps == 0 and self.step < config.steps:
                    self.report()
                if self.step % config.checkpoint_steps == 0 and self.step < config.steps:
                    self.save(last=False)
            self.report()
            self.save()
        finally:
            bar.close()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def report(self) -> None:
        """Validate the averaged weights (the weights when there is no average), remember and print; a step is validated
        once."""
        done = self.history["validation"]
        if self.validator is None or processes.rank() or (done and done[-1]["step"] == self.step):
            return
        kinds = {parameter.dtype for parameter in self.model.parameters()}
        with self._averaged(), self._autocast(kinds != {torch.float32}):
            result = self.validator.measure(self.model)
        done.append({"step": self.step, **dataclasses.asdict(result)})
        tqdm.write(f"step {self.step}: {result}")
