"""The loop of a training run, whatever is trained: steps, their average, saves, interruptions, reports.

All randomness of a step follows from the seed, the number of the step and that of the process, so a run that was
interrupted goes on to the bit.
"""

from __future__ import annotations

import dataclasses
import signal
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from tqdm import tqdm

from magma_contracts.text import printable
from magma_policy.training.loop import processes, saved_run, success
from magma_policy.training.loop.averages import MovingAverage
from magma_policy.training.loop.config import LoopConfig
from magma_policy.training.loop.divergence import DivergedError, SkippedSteps, all_finite
from magma_policy.training.loop.nested_tensors import Batch
from magma_policy.training.loop.optimizer import EPS, make_optimizer
from magma_policy.training.loop.plots import plot
from magma_policy.training.loop.saved_run import SavedRunError

LOG_STEPS = 20
Model = TypeVar("Model", bound=nn.Module)


def batch_seed(seed: int, step: int, part: int, rank: int) -> int:
    """A seed for a part of a step in a process; no two are alike, and neighbours have nothing in common."""
    return int(np.random.SeedSequence((seed, step, part, rank)).generate_state(1, np.uint64)[0] >> 1)


class Validator(Protocol):
    """Measures a model on what was held out; the result is a dataclass of numbers that prints as a sentence."""

    def measure(self, model: Any) -> Any: ...


class TrainingLoop(ABC, Generic[Model, Batch]):
    """One run of `model`, whose parameters that learn have `requires_grad`.

    A recipe says in a subclass what a batch is (`draw_part`), what is learned from it (`gradients`), what is kept
    (`write_checkpoint`) and from which weights it began (`fingerprint`); it may set `validator`, `drawn`, the names of
    its figures that are drawn, and before this class is set up `longest_gradient`, the norm that gradients are cut to,
    and AdamW's `eps`.
    """

    validator: Validator | None = None
    drawn: Sequence[str] = ()
    longest_gradient = 1.0
    eps = EPS

    def __init__(
        self, config: LoopConfig, model: Model, device: torch.device, losses: Sequence[str], captures: bool
    ) -> None:
        """
        Args:
            config: settings of the run.
            model: on `device`.
            device: where it trains.
            losses: names of all losses that `gradients` may return.
            captures: whether gradients are recorded as a CUDA graph, which needs them in always the same place.
        """
        self.config = config
        self.model = model
        self.device = device
        self.captures = captures
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        processes.share_parameters(self.parameters.values())
        self.average = MovingAverage(self.parameters, config.ema_decay)
        self.optimizer = make_optimizer(model, config.learning_rate, config.weight_decay, config.seed, self.eps)
        self.step = 0
        self.skipped = SkippedSteps(config.skip_limit)
        self.history: dict[str, list[dict[str, Any]]] = {"loss": [], "validation": [], "success": []}
        self.running = {name: deque[Tensor](maxlen=50) for name in losses}
        self._ahead: tuple[int, Batch] | None = None

    # What a recipe says.

    @abstractmethod
    def draw_part(self, step: int, part: int) -> Batch:
        """The batch of one part of a step, on the device; step, part, the run's seed and the number of the process
        alone decide which (`batch_seed`)."""

    @abstractmethod
    def gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Add the gradients of a batch to those of the parameters; the losses by name."""

    @abstractmethod
    def write_checkpoint(self, last: bool) -> None:
        """Write what is to be kept of the model, as it is now, whole or not at all; `last` says that the run ends."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Tells the weights apart that runs begin from; "" for new ones."""

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
        losses = [self.gradients(self._batch(part)) for part in range(config.accumulate)]
        # Once per step, behind the last part: what the parts add up to is all that matters.
        parameters = list(self.parameters.values())
        processes.average_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.longest_gradient)
        finite = (
            torch.stack([norm.float(), *(loss.float() for part in losses for loss in part.values())]).isfinite().all()
        )
        # Drawn while a GPU still computes; only then its verdict is waited for.
        self._ahead = (self.step + 1, self.draw_part(self.step + 1, 0)) if self.step + 1 < config.steps else None
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

    def _batch(self, part: int) -> Batch:
        """Part of the step that comes next."""
        ahead, self._ahead = self._ahead, None
        return (
            ahead[1] if ahead is not None and part == 0 and ahead[0] == self.step else self.draw_part(self.step, part)
        )

    def averages(self) -> dict[str, float]:
        """Means of the last losses."""
        return {name: float(torch.stack(list(values)).mean()) for name, values in self.running.items() if values}

    # The run.

    def run(self) -> int:
        """Train until the last step, until the one that is asked for, or until a process is interrupted; all end with a
        save.

        Returns:
            0 when such a step was reached, else the number of the signal (SIGINT when another process got it).
        """
        stop = 0

        def request_stop(number: int, _frame: object) -> None:
            nonlocal stop
            stop = number

        config = self.config
        last = min(config.steps, config.stop_after or config.steps)
        previous = {s: signal.signal(s, request_stop) for s in (signal.SIGINT, signal.SIGTERM)}
        bar = tqdm(
            total=config.steps, initial=self.step, unit="step", mininterval=5.0, desc="magma-train",
            disable=processes.rank() > 0,
        )  # fmt: skip
        try:
            while self.step < last and not processes.any_of(stop > 0):
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
        return 0 if self.step >= last else stop or signal.SIGINT

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

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Within, the model has the averaged weights, if there is an average, and is in evaluation mode."""
        with self.average.in_place():
            self.model.eval()
            yield
        self.model.train()

    def save(self, last: bool = True) -> None:
        """Write the state to continue from, the policy checkpoint, and the plot, each whole or not at all.

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
            "step": self.step, "history": self.history, "init": self.fingerprint(), "skipped": self.skipped.total,
        }  # fmt: skip
        saved_run.save(output / "training", self.parameters, self.average.tensors, self.optimizer, scalars)
        with self._averaged():
            self.write_checkpoint(last)
        plot(self.history, output / "loss.png", self.drawn)

    def restore(self) -> bool:
        """Continue from a saved run when there is one. Raises SavedRunError when it does not fit."""
        directory = self.config.output / "training"
        scalars = saved_run.restore(directory, self.parameters, self.average.tensors, self.optimizer)
        if scalars is not None:
            if scalars.get("init", "") != self.fingerprint():
                raise SavedRunError(f"{directory}: the run began from other weights than {self.config.init} has now")
            self.step, self.history = scalars["step"], self.history | scalars["history"]
            self.skipped.total = scalars.get("skipped", 0)
        if not processes.same_everywhere(self.step):
            raise SavedRunError(
                f"{directory}: not every process sees the same saved run; give an output that all share"
            )
        return scalars is not None
