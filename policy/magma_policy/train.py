"""`magma-train`: behaviour cloning of a small Magma on demonstrations.

Two kinds of samples share every step. Image samples go through everything: picture, prompt, marks, state tokens,
action ids. State-only samples leave the picture out and take the recorded marks, with noise, instead; they cost a
fraction and teach the map from state to action on far more samples than the picture path could show in the same time.
The run starts with the marks (image samples teach pointing only), then trains everything.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from magma_policy import checkpoint, training_state
from magma_policy import statistics as action_statistics
from magma_policy.action_tokens import ActionTokens, bin_centres_by_id
from magma_policy.augmentation import jitter
from magma_policy.config import ActionSpec, ConfigError, MagmaConfig, magma_tiny_config
from magma_policy.decoding import decode_action_ids
from magma_policy.demonstrations import DemonstrationError, Demonstrations, is_held_out, read_demonstrations
from magma_policy.initialise import initialise_weights
from magma_policy.losses import action_loss, heat_map_loss
from magma_policy.model import Magma, Prefix
from magma_policy.prompt import robot_prompt, split_head
from magma_policy.statistics import ActionStatistics
from magma_policy.tiling import normalise
from magma_policy.tokenizer import MagmaTokenizer, build_small_tokenizer

STATISTICS_KEY = "tabletop"


@dataclass(frozen=True)
class TrainConfig:
    """Train magma-tiny on demonstration sets. The same command with the same output continues an interrupted run."""

    demonstrations: tuple[Path, ...]
    """Demonstration sets (directories with card.json); the first one's camera is the policy's."""
    output: Path
    """Directory of the run; the policy checkpoint (moving average of the weights) is OUTPUT/checkpoint."""
    minutes: float = 30.0
    """Training time; the learning rate follows it, so a slower machine trains on fewer samples. May be changed when a
    run is continued."""
    seed: int = 0
    image_batch: int = 32
    state_batch: int = 768
    decoder_batch: int = 96
    """How many of a batch's samples go through the decoder; the others teach the state encoder's early read-out."""
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup_fraction: float = 0.02
    marks_fraction: float = 0.12
    """Share of the time in which image samples teach the marks only."""
    ema_decay: float = 0.998
    mark_noise_px: float = 0.8
    """Standard deviation of the noise on the recorded marks of state-only samples."""
    mark_outlier_fraction: float = 0.05
    mark_outlier_px: float = 3.0
    mark_sigma_cells: float = 0.9
    action_sigma_bins: float = 2.0
    mark_weight: float = 1.0
    regression_weight: float = 5.0
    onset_weight: float = 3.0
    """Extra sampling weight of steps near a change of the gripper."""
    geometry: Literal["table_plane", "none"] = "table_plane"
    plane_above_table_m: float = 0.02
    camera: str = "third_person"
    """Name of the camera, for the policy's action_spec."""
    validation_every: int = 20
    """One in so many episodes is held out."""
    validation_samples: int = 256
    validation_minutes: float = 4.0
    checkpoint_minutes: float = 4.0
    precision: Literal["float32", "bfloat16"] = "float32"
    """Autocast type of the forward pass; bfloat16 pays on GPUs and on CPUs that have it in hardware."""
    device: str = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        positive = (
            "minutes", "image_batch", "state_batch", "decoder_batch", "learning_rate", "mark_sigma_cells",
            "action_sigma_bins", "validation_samples", "validation_minutes", "checkpoint_minutes", "threads",
        )  # fmt: skip
        for name in positive:
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        if self.validation_every < 2:
            raise ConfigError(f"validation_every must be at least 2, got {self.validation_every}")
        for name in ("marks_fraction", "warmup_fraction", "ema_decay", "mark_outlier_fraction"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if not self.demonstrations:
            raise ConfigError("give at least one demonstration set")


class Batches:
    """Random batches of a demonstration set."""

    def __init__(self, demos: Demonstrations, rows: np.ndarray, config: TrainConfig, values: np.ndarray) -> None:
        self.config = config
        self.demos = demos
        self.rows = torch.from_numpy(rows)
        self.image_rows = torch.from_numpy(rows[demos.frame_index[rows] >= 0])
        if len(self.image_rows) == 0:
            raise ConfigError("no training episode has frames; the vision tower cannot be trained")
        weight = 1.0 + config.onset_weight * torch.from_numpy(demos.onset.astype(np.float32))
        self.cumulative = weight[self.rows].double().cumsum(0)
        self.image_cumulative = weight[self.image_rows].double().cumsum(0)
        self.frames = torch.from_numpy(demos.frames)
        self.frame_index = torch.from_numpy(demos.frame_index)
        self.proprioception = torch.from_numpy(demos.proprioception)
        self.marks = torch.from_numpy(demos.marks)
        self.instruction = torch.from_numpy(demos.instruction)
        self.values = torch.from_numpy(values.astype(np.float32))

    def draw(self, count: int, image: bool, generator: torch.Generator) -> Tensor:
        """Row numbers, onsets more often."""
        cumulative = self.image_cumulative if image else self.cumulative
        rows = self.image_rows if image else self.rows
        points = torch.rand(count, generator=generator, dtype=torch.float64) * cumulative[-1]
        return rows[torch.searchsorted(cumulative, points).clamp(max=len(rows) - 1)]

    def noisy_marks(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Recorded marks with noise like the model's own errors: mostly sub-pixel, a few wide ones."""
        marks = self.marks[rows]
        outlier = torch.rand((len(rows), marks.shape[1], 1), generator=generator) < self.config.mark_outlier_fraction
        sigma = torch.where(outlier, self.config.mark_outlier_px, self.config.mark_noise_px)
        return marks + torch.randn(marks.shape, generator=generator) * sigma / self.demos.card.image_size


class Prompts:
    """Ids of every instruction's prompt: the common `head` (1, H), the left-padded rest (I, T) and its attention."""

    def __init__(self, tokenizer: MagmaTokenizer, instructions: tuple[str, ...], device: torch.device) -> None:
        parts = [split_head(tokenizer.encode(robot_prompt(text)), tokenizer.tokens.image) for text in instructions]
        length = max(len(rest) for _, rest in parts)
        pad = tokenizer.tokens.pad
        self.head = torch.tensor([parts[0][0]], device=device)
        self.ids = torch.tensor([[pad] * (length - len(rest)) + rest for _, rest in parts], device=device)
        self.attention = self.ids != pad


@dataclass
class Validation:
    """Errors on held-out episodes: marks in pixels, translation in mm, rotation in degrees, gripper in percent."""

    mark_px: list[float]
    mark_px_p95: float
    action_mm: float
    rotation_deg: float
    gripper_percent: float
    state_only_mm: float
    state_only_gripper_percent: float

    def __str__(self) -> str:
        marks = "/".join(f"{v:.2f}" for v in self.mark_px)
        return (
            f"marks {marks} px (p95 {self.mark_px_p95:.1f}), action {self.action_mm:.2f} mm, "
            f"rotation {self.rotation_deg:.2f} deg, gripper {self.gripper_percent:.2f} %, "
            f"state only {self.state_only_mm:.2f} mm {self.state_only_gripper_percent:.2f} %"
        )


class Trainer:
    """One training run."""

    def __init__(self, config: TrainConfig) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config = config
        self.device = torch.device(config.device)
        demos = read_demonstrations(config.demonstrations)
        held = np.array([is_held_out(name, config.validation_every) for name in demos.episode_names])
        held_out = held[demos.episode]
        train_rows, validation_rows = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        self.statistics = self._statistics(demos.actions[train_rows])
        values = self.statistics.normalise(demos.actions)
        self.demos = demos
        self.train = Batches(demos, train_rows, config, values)
        self.validation = Batches(demos, validation_rows, config, values) if len(validation_rows) else None
        self.model_config = self._model_config()
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
        self.generators = {"batches": torch.Generator().manual_seed(config.seed)}
        self.step = 0
        self.elapsed_s = 0.0
        self.history: dict[str, list[Any]] = {"loss": [], "validation": []}
        self.running = {k: deque[float](maxlen=50) for k in ("marks", "action", "state")}

    def _statistics(self, actions: np.ndarray) -> ActionStatistics:
        """Those of the run that is continued: a set that has grown must not shift the meaning of the bins."""
        path = self.config.output / "checkpoint" / checkpoint.STATISTICS
        if path.is_file():
            return action_statistics.select(action_statistics.load(path), STATISTICS_KEY)
        return action_statistics.from_actions(actions)

    def _tokenizer(self) -> MagmaTokenizer:
        """That of the run that is continued, or a new one that knows the instructions."""
        path = self.config.output / "checkpoint" / checkpoint.TOKENIZER
        if path.is_file():
            return MagmaTokenizer.load(path, self.model_config.tokens)
        return build_small_tokenizer(self.model_config.tokens, self.demos.instructions)

    def _model_config(self) -> MagmaConfig:
        card = self.demos.card
        geometry = card.geometry(self.config.plane_above_table_m) if self.config.geometry == "table_plane" else None
        model_config = magma_tiny_config(geometry)
        side = model_config.image.base_size
        if card.image_size != side:
            raise ConfigError(f"magma-tiny sees {side}x{side} frames, the card says {card.image_size}")
        return model_config

    def spec(self) -> ActionSpec:
        card = self.demos.card
        return ActionSpec(
            policy=self.model_config.name,
            horizon=1,
            step_period_s=card.step_period_s,
            frame="base",
            rotation="axis_angle",
            gripper="absolute_open_1",
            statistics_key=STATISTICS_KEY,
            camera=self.config.camera,
            image_height=card.image_size,
            image_width=card.image_size,
            proprioception=self.model_config.proprioception,
        )

    @property
    def progress(self) -> float:
        return min(1.0, self.elapsed_s / (self.config.minutes * 60.0))

    def learning_rate(self) -> float:
        """Linear warm-up, then cosine to 2 % of the peak."""
        p, warm = self.progress, self.config.warmup_fraction
        if p < warm:
            return self.config.learning_rate * max(p / warm, 0.01)
        cosine = 0.5 * (1.0 + np.cos(np.pi * (p - warm) / (1.0 - warm)))
        return float(self.config.learning_rate * (0.02 + 0.98 * cosine))

    def image_losses(self, rows: Tensor, head: Prefix, with_actions: bool) -> tuple[Tensor, Tensor | None]:
        """Mark loss and, once the marks have had their head start, the action loss on the model's own marks."""
        data, model = self.train, self.model
        images = jitter(data.frames[data.frame_index[rows]], self.generators["batches"])
        pixels = normalise(images, self.model_config.image).to(self.device)
        visual, levels = model.encode_image(pixels, 1, 1)
        which = data.instruction[rows]
        prefix, grounded = model.read_prompt(
            self.prompts.ids[which], visual, levels, self.prompts.attention[which], head
        )
        if grounded is None:
            raise ConfigError("magma-train needs a model with grounding")
        target = data.marks[rows].to(self.device)
        marks_loss = heat_map_loss(grounded.logits, grounded.marks, target, self.config.mark_sigma_cells)
        if not with_actions:
            return marks_loss, None
        # Detached: the marks stay marks, and the action learns to live with the model's own pointing errors.
        own = torch.arange(len(rows), device=self.device)
        return marks_loss, self.action_losses(prefix, own, grounded.marks.detach(), rows)

    def state_losses(self, rows: Tensor, head: Prefix) -> Tensor:
        """Action losses from recorded marks; every instruction's prompt is read once and shared by its samples."""
        data = self.train
        text = self.model.read_text_only(self.prompts.ids, self.prompts.attention, head)
        which = data.instruction[rows].to(self.device)
        return self.action_losses(text, which, data.noisy_marks(rows, self.generators["batches"]), rows)

    def action_losses(self, prefix: Prefix, which: Tensor, marks: Tensor, rows: Tensor) -> Tensor:
        """Loss of the decoder on the first `decoder_batch` rows, plus that of the early read-out on all of them.

        Sample i of the batch stands behind row `which[i]` of `prefix`.
        """
        values = self.train.values[rows].to(self.device)
        proprioception = self.train.proprioception[rows].to(self.device)
        state = self.model.state_tokens(prefix.last_hidden[which], marks.to(self.device), proprioception)
        if state is None:
            raise ConfigError("magma-train needs a model with state tokens")
        early = self.action_loss(self.model.early_action_logits(state), values)
        some = slice(0, self.config.decoder_batch)
        ids = torch.from_numpy(self.codec.encode(self.train.values[rows[some]].numpy())).to(self.device)
        logits = self.model.teacher_forced_action_logits(prefix.select(which[some]), state[some], ids)
        return early + self.action_loss(logits, values[some])

    def action_loss(self, logits: Tensor, values: Tensor) -> Tensor:
        return action_loss(logits, values, self.centres, self.config.action_sigma_bins, self.config.regression_weight)

    def train_step(self) -> None:
        """One optimiser step on one image batch and one state-only batch."""
        config, generator = self.config, self.generators["batches"]
        started = time.perf_counter()
        self.model.train()
        rate = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            with_actions = self.progress >= config.marks_fraction
            head = self.model.read_head(self.prompts.head)
            marks, action = self.image_losses(self.train.draw(config.image_batch, True, generator), head, with_actions)
            state = self.state_losses(self.train.draw(config.state_batch, False, generator), head)
        total = config.mark_weight * marks + state + (action if action is not None else 0.0)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(config.ema_decay, (1.0 + self.step) / (10.0 + self.step))
        with torch.no_grad():
            current = self.model.state_dict()
            torch._foreach_lerp_(list(self.ema.values()), [current[n] for n in self.ema], 1.0 - decay)
        self.running["marks"].append(float(marks.detach()))
        self.running["state"].append(float(state.detach()))
        if action is not None:
            self.running["action"].append(float(action.detach()))
        self.elapsed_s += time.perf_counter() - started

    def averages(self) -> dict[str, float]:
        return {k: float(np.mean(v)) for k, v in self.running.items() if v}

    @torch.inference_mode()
    def validate(self) -> Validation | None:
        """Greedy decoding with the averaged weights on held-out steps; None when nothing is held out."""
        data = self.validation
        if data is None:
            return None
        model = self.ema_model.eval()
        generator = torch.Generator().manual_seed(self.config.seed + 1)
        pick = torch.randint(len(data.image_rows), (self.config.validation_samples,), generator=generator)
        head = model.read_head(self.prompts.head)
        distances, errors, state_errors = [], [], []
        for rows in data.image_rows[pick].split(64):
            which = data.instruction[rows].to(self.device)
            pixels = normalise(data.frames[data.frame_index[rows]], self.model_config.image).to(self.device)
            visual, levels = model.encode_image(pixels, 1, 1)
            ids, attention = self.prompts.ids[which], self.prompts.attention[which]
            prefix, grounded = model.read_prompt(ids, visual, levels, attention, head)
            if grounded is None:
                raise ConfigError("magma-train needs a model with grounding")
            truth = data.marks[rows].to(self.device)
            px = ((grounded.marks - truth) * self.model_config.image.base_size).norm(dim=-1)
            inside = ((truth >= 0) & (truth <= 1)).all(dim=-1)
            distances.append(px.masked_fill(~inside, float("nan")).cpu())
            state = data.proprioception[rows].to(self.device)
            decoded = decode_action_ids(model, prefix, model.state_tokens(prefix.last_hidden, grounded.marks, state))
            errors.append(self._action_errors(decoded, rows))
            text = model.read_text_only(ids, attention, head)
            decoded = decode_action_ids(model, text, model.state_tokens(text.last_hidden, truth, state))
            state_errors.append(self._action_errors(decoded, rows))
        px = torch.cat(distances)
        means = torch.cat(errors).mean(dim=0)
        state_means = torch.cat(state_errors).mean(dim=0)
        return Validation(
            mark_px=[float(v) for v in px.nanmean(dim=0)],
            mark_px_p95=float(px.nanquantile(0.95)),
            action_mm=float(means[0]),
            rotation_deg=float(means[1]),
            gripper_percent=float(means[2]),
            state_only_mm=float(state_means[0]),
            state_only_gripper_percent=float(state_means[1 + 1]),
        )

    def _action_errors(self, ids: Tensor, rows: Tensor) -> Tensor:
        """(B, 3): distance of the translations in mm, of the rotation vectors in degrees, gripper wrong in percent."""
        predicted = self.statistics.unnormalise(self.codec.decode(ids.cpu().numpy()))
        difference = predicted - self.demos.actions[rows.numpy()]
        translation = np.linalg.norm(difference[:, :3], axis=1) * 1e3
        rotation = np.degrees(np.linalg.norm(difference[:, 3:6], axis=1))
        gripper = 100.0 * (np.abs(difference[:, 6]) > 0.5)
        return torch.from_numpy(np.stack([translation, rotation, gripper], axis=1))

    def save(self) -> None:
        """Write the policy checkpoint, the state to continue from, and the plot."""
        statistics = {STATISTICS_KEY: self.statistics}
        checkpoint.save(
            self.config.output / "checkpoint", self.ema, self.model_config, self.tokenizer, statistics, self.spec()
        )
        scalars = {"step": self.step, "elapsed_s": self.elapsed_s, "history": self.history}
        training_state.save(
            self.config.output / "training", self.model, self.ema, self.optimizer, self.generators, scalars
        )
        plot(self.history, self.config.output / "loss.png")

    def restore(self) -> bool:
        """Continue from a saved run when there is one."""
        scalars = training_state.restore(
            self.config.output / "training", self.model, self.ema, self.optimizer, self.generators
        )
        if scalars is None:
            return False
        self.step, self.elapsed_s, self.history = scalars["step"], scalars["elapsed_s"], scalars["history"]
        return True

    def run(self) -> None:
        """Train until the time is used up or the process is interrupted; both end with a save."""
        stop = False

        def request_stop(_signal: int, _frame: object) -> None:
            nonlocal stop
            stop = True

        previous = {s: signal.signal(s, request_stop) for s in (signal.SIGINT, signal.SIGTERM)}
        budget = self.config.minutes * 60.0
        saved = validated = logged = self.elapsed_s
        bar = tqdm(total=round(budget), initial=round(self.elapsed_s), unit="s", mininterval=5.0, desc="magma-train")
        try:
            while self.elapsed_s < budget and not stop:
                self.train_step()
                bar.n = min(round(budget), round(self.elapsed_s))
                if self.elapsed_s - logged >= 5.0:
                    logged = self.elapsed_s
                    averages = self.averages()
                    self.history["loss"].append({"elapsed_s": self.elapsed_s, "step": self.step, **averages})
                    bar.set_postfix({"step": self.step, **{k: f"{v:.3f}" for k, v in averages.items()}})
                if self.elapsed_s - validated >= self.config.validation_minutes * 60.0:
                    validated = self.elapsed_s
                    self.report()
                if self.elapsed_s - saved >= self.config.checkpoint_minutes * 60.0:
                    saved = self.elapsed_s
                    self.save()
            self.report()
            self.save()
        finally:
            bar.close()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def report(self) -> None:
        """Validate, remember and print."""
        result = self.validate()
        if result is not None:
            self.history["validation"].append(
                {"elapsed_s": self.elapsed_s, "step": self.step, **dataclasses.asdict(result)}
            )
            tqdm.write(f"{self.elapsed_s / 60.0:.1f} min, step {self.step}: {result}")


def plot(history: dict[str, list[Any]], path: Path) -> None:
    """Losses and held-out errors over minutes, as a PNG."""
    if not history["loss"]:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    for key in ("marks", "action", "state"):
        points = [(e["elapsed_s"] / 60.0, e[key]) for e in history["loss"] if key in e]
        if points:
            left.plot(*zip(*points, strict=True), label=key)
    left.set(xlabel="minutes", ylabel="training loss", yscale="log")
    left.legend()
    for key in ("action_mm", "state_only_mm", "gripper_percent", "mark_px_p95"):
        points = [(e["elapsed_s"] / 60.0, e[key]) for e in history["validation"]]
        if points:
            right.plot(*zip(*points, strict=True), marker="o", label=key)
    right.set(xlabel="minutes", ylabel="held-out error", yscale="log")
    if history["validation"]:
        right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


# What may differ when a run is continued: how long it lasts and how it uses the machine, not what it learns.
CHANGEABLE = ("minutes", "threads", "device", "checkpoint_minutes", "validation_minutes")


def check_same_command(config: TrainConfig) -> None:
    """Store the command beside the run; ConfigError when the output belongs to a run with other settings."""
    path = config.output / "train.json"
    mine = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    if path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        different = {k: (stored.get(k), v) for k, v in mine.items() if k not in CHANGEABLE and stored.get(k) != v}
        if different:
            raise ConfigError(f"{path} is of a run with other settings {different}; choose another output")
    config.output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(mine, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Command line entry point of `magma-train`."""
    try:
        config = tyro.cli(TrainConfig, prog="magma-train", description=__doc__)
        check_same_command(config)
        trainer = Trainer(config)
        continued = trainer.restore()
    except (ConfigError, DemonstrationError, training_state.TrainingStateError) as error:
        sys.exit(f"magma-train: {error}")
    parameters = sum(p.numel() for p in trainer.model.parameters()) / 1e6
    state = f"continued at step {trainer.step}" if continued else "new run"
    print(
        f"{len(trainer.demos.episode_names)} episodes, {len(trainer.demos)} steps, {len(trainer.demos.frames)} frames; "
        f"instructions {list(trainer.demos.instructions)}; {parameters:.2f} M parameters; {state}",
        flush=True,
    )
    trainer.run()


if __name__ == "__main__":
    main()
