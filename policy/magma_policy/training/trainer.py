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
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from magma_policy import checkpoint, robots
from magma_policy.action_tokens import ActionTokens, bin_centres_by_id
from magma_policy.config import ActionSpec, ConfigError, MagmaConfig, magma_tiny_config
from magma_policy.geometry import Cameras
from magma_policy.initialise import initialise_weights
from magma_policy.model import Magma, Prefix
from magma_policy.robots import Robot
from magma_policy.statistics import from_actions
from magma_policy.tiling import normalise
from magma_policy.tokenizer import MagmaTokenizer, build_small_tokenizer
from magma_policy.training import processes, saved_run, text_samples
from magma_policy.training.augmentation import jitter
from magma_policy.training.batches import Batches, Prompts, pad_left
from magma_policy.training.config import TrainConfig
from magma_policy.training.demonstrations import DataCard, is_held_out, read_demonstrations
from magma_policy.training.losses import action_loss, heat_map_loss
from magma_policy.training.plots import plot
from magma_policy.training.text_samples import TextSamples
from magma_policy.training.validation import Validator

LOSSES = ("marks", "action", "state", "text")
LOG_STEPS = 20


class Trainer:
    """One training run."""

    def __init__(self, config: TrainConfig) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config = config
        self.device = processes.device(config.device)
        self.demos = demos = read_demonstrations(config.demonstrations)
        held = np.array([is_held_out(name, config.validation_every) for name in demos.episode_names])
        held_out = held[demos.episode]
        train_rows, validation_rows = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        self.model_config = self._model_config()
        self.robots = self._robots(train_rows)
        values = np.zeros(demos.actions.shape)
        for number, robot in enumerate(self.robots):
            own = demos.robot == number
            values[own] = robot.statistics.normalise(demos.actions[own])
        self.train = Batches(demos, train_rows, config, values)
        self.tokenizer = self._tokenizer()
        self.model = Magma(self.model_config)
        initialise_weights(self.model)
        self.model.to(self.device).to(memory_format=torch.channels_last)
        self.ema_model = Magma(self.model_config).to(self.device).requires_grad_(False)
        self.ema_model.to(memory_format=torch.channels_last)
        self.ema = self.ema_model.state_dict()
        for name, tensor in self.model.state_dict().items():
            self.ema[name].copy_(tensor)
        self.prompts = Prompts(self.tokenizer, demos.instructions, self.device)
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
        decay = [p for p in self.model.parameters() if p.ndim >= 2]
        plain = [p for p in self.model.parameters() if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": decay, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=config.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.step = 0
        self.history: dict[str, list[dict[str, Any]]] = {"loss": [], "validation": []}
        self.running = {name: deque[float](maxlen=50) for name in LOSSES}

    # What the run is made of.

    def _model_config(self) -> MagmaConfig:
        config = self.config
        made = magma_tiny_config(config.geometry if config.geometry != "none" else None)
        if not config.grounding:
            made = dataclasses.replace(made, grounding=None)
        side = made.image.base_size
        for card in self.demos.cards:
            if card.image_size != side:
                raise ConfigError(f"magma-tiny sees {side}x{side} frames, the card says {card.image_size}")
        return made

    def _robots(self, train_rows: np.ndarray) -> list[Robot]:
        """One per card, with the statistics of its training steps; those of the run that is continued, if any: a set
        that has grown must not shift the meaning of the bins."""
        made = []
        for number, card in enumerate(self.demos.cards):
            spec = self._spec(card)
            home = self._robot_home(number)
            if (home / robots.STATISTICS).is_file():
                statistics = robots.read(home).statistics
            else:
                statistics = from_actions(self.demos.actions[train_rows[self.demos.robot[train_rows] == number]])
            camera = card.camera(self.config.plane_above_table_m) if self.model_config.geometry is not None else None
            made.append(Robot(spec, statistics, camera))
        return made

    def _robot_home(self, number: int) -> Any:
        home = self.config.output / "checkpoint"
        return home / robots.FOLDER / self.demos.cards[number].robot if number else home

    def _spec(self, card: DataCard) -> ActionSpec:
        return ActionSpec(
            policy=self.model_config.name,
            horizon=1,
            step_period_s=card.step_period_s,
            frame="base",
            rotation="axis_angle",
            gripper="absolute_open_1",
            statistics_key=card.robot or "demonstrations",
            camera=self.config.camera,
            image_height=card.image_size,
            image_width=card.image_size,
            proprioception=self.model_config.proprioception,
        )

    def _tokenizer(self) -> MagmaTokenizer:
        """That of the run that is continued, or a new one that knows the instructions, questions and answers."""
        path = self.config.output / "checkpoint" / checkpoint.TOKENIZER
        if path.is_file():
            return MagmaTokenizer.load(path, self.model_config.tokens)
        texts = [*self.demos.instructions, *text_samples.vocabulary(self.demos)]
        return build_small_tokenizer(self.model_config.tokens, texts)

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
        images = jitter(data.frames[data.frame_index[rows]], generator)
        pixels = normalise(images, self.model_config.image).to(self.device)
        visual, levels = model.encode_image(pixels, 1, 1)
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
        if self.progress >= config.marks_fraction:
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
        values = data.values[rows].to(self.device)
        state: Tensor | None = None
        early: Tensor | None = None
        if self.model.state_encoder is not None:
            measured = data.proprioception[rows].to(self.device) if self.model_config.proprioception else None
            cameras = self.cameras.select(data.robot[rows].to(self.device)) if self.cameras is not None else None
            pointed = marks.to(self.device) if marks is not None else None
            state = self.model.state_tokens(prefix.last_hidden[which], pointed, measured, cameras)
            assert state is not None
            early = self.action_loss(self.model.early_action_logits(state), values)
        some = slice(0, self.config.decoder_batch)
        ids = torch.from_numpy(self.codec.encode(data.values[rows[some]].numpy())).to(self.device)
        logits = self.model.teacher_forced_action_logits(
            prefix.select(which[some]), state[some] if state is not None else None, ids
        )
        loss = self.action_loss(logits, values[some])
        return loss if early is None else early + loss

    def action_loss(self, logits: Tensor, values: Tensor) -> Tensor:
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
            generator = torch.Generator().manual_seed(self._batch_seed(part))
            losses = self._losses(generator)
            total = sum(self._weight(name) * loss for name, loss in losses.items())
            (total / config.accumulate).backward()
            for name, loss in losses.items():
                self.running[name].append(float(loss.detach()))
        processes.average_gradients(self.model)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(config.ema_decay, (1.0 + self.step) / (10.0 + self.step))
        with torch.no_grad():
            current = self.model.state_dict()
            torch._foreach_lerp_(list(self.ema.values()), [current[n] for n in self.ema], 1.0 - decay)

    def _losses(self, generator: torch.Generator) -> dict[str, Tensor]:
        config = self.config
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            head = self.model.read_head(self.prompts.head)
            losses = self.image_losses(self.train.draw(config.image_batch, True, generator), head, generator)
            if config.grounding and config.state_batch and self.train.has_states:
                rows = self.train.draw(config.state_batch, False, generator)
                losses["state"] = self.state_losses(rows, head, generator)
        return losses

    def _weight(self, name: str) -> float:
        return {"marks": self.config.mark_weight, "text": self.config.text_weight}.get(name, 1.0)

    def _batch_seed(self, part: int) -> int:
        """A seed for this step, part and process; no two are alike, and neighbours have nothing in common."""
        key = (self.config.seed, self.step, part, processes.rank())
        return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)

    def averages(self) -> dict[str, float]:
        return {name: float(np.mean(values)) for name, values in self.running.items() if values}

    # The run.

    def save(self) -> None:
        """Write the policy checkpoint, the state to continue from, and the plot."""
        if processes.rank():
            return
        output = self.config.output
        names = [robots.DEFAULT, *(card.robot for card in self.demos.cards[1:])]
        known = dict(zip(names, self.robots, strict=True))
        checkpoint.save(output / "checkpoint", self.ema, self.model_config, self.tokenizer, known)
        scalars = {"step": self.step, "history": self.history}
        saved_run.save(output / "training", self.model, self.ema, self.optimizer, scalars)
        plot(self.history, output / "loss.png")

    def restore(self) -> bool:
        """Continue from a saved run when there is one."""
        scalars = saved_run.restore(self.config.output / "training", self.model, self.ema, self.optimizer)
        if scalars is None:
            return False
        self.step, self.history = scalars["step"], scalars["history"]
        return True

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
                if self.step % config.checkpoint_steps == 0:
                    self.save()
            self.report()
            self.save()
        finally:
            bar.close()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def report(self) -> None:
        """Validate the averaged weights, remember and print; a step is validated once."""
        done = self.history["validation"]
        if self.validator is None or processes.rank() or (done and done[-1]["step"] == self.step):
            return
        result = self.validator.measure(self.ema_model.eval())
        done.append({"step": self.step, **dataclasses.asdict(result)})
        tqdm.write(f"step {self.step}: {result}")
