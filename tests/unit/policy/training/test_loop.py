"""The loop of a training run with a recipe of a few lines: it knows neither Magma nor robots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from magma_policy.training.config import TrainConfig
from magma_policy.training.loop.training_loop import TrainingLoop, batch_seed


class Line(TrainingLoop[nn.Linear, Tensor]):
    """Learns y = 2 x."""

    def __init__(self, config):
        torch.manual_seed(config.seed)
        super().__init__(config, nn.Linear(1, 1), torch.device("cpu"), ("square",), captures=False)

    def draw_part(self, step, part):
        generator = torch.Generator().manual_seed(batch_seed(self.config.seed, step, part, 0))
        return torch.rand(16, 1, generator=generator)

    def gradients(self, batch):
        loss = ((self.model(batch) - 2 * batch) ** 2).mean()
        (loss / self.config.accumulate).backward()
        return {"square": loss.detach()}

    def write_checkpoint(self, last):
        self.config.output.joinpath("kept").write_text(f"{self.step} {last}")

    def fingerprint(self):
        return ""


@dataclass(frozen=True)
class Measured:
    error: float

    def __str__(self):
        return f"error {self.error:.3f}"


class Error:
    def measure(self, model):
        return Measured((model(torch.ones(1, 1)) - 2).abs().item())


def settings(output, **changes):
    values = dict(demonstrations=(Path("none"),), output=output, steps=30, accumulate=2, learning_rate=0.1)
    return TrainConfig(**{**values, **changes})


def test_a_run_ends_where_it_is_asked_to_and_goes_on(tmp_path):
    whole = Line(settings(tmp_path / "whole"))
    assert whole.run() == 0
    part = Line(settings(tmp_path / "part", stop_after=11))
    assert (part.run(), part.step) == (0, 11)
    rest = Line(settings(tmp_path / "part"))
    assert rest.restore() and (rest.run(), rest.step) == (0, 30)
    assert torch.equal(weights(whole), weights(rest))


def weights(run):
    return torch.cat([p.detach().flatten() for p in run.parameters.values()])


def test_a_recipe_of_its_own_learns_is_measured_and_kept(tmp_path):
    run = Line(settings(tmp_path, steps=200, ema_decay=0.0))
    run.validator = Error()
    before = run.validator.measure(run.model).error
    assert run.run() == 0
    assert run.history["validation"][-1]["error"] < before / 2
    assert (tmp_path / "kept").read_text() == "200 True"
    assert (tmp_path / "loss.png").is_file()


@pytest.mark.parametrize("step", [1, 7, 29])
def test_it_goes_on_to_the_bit(tmp_path, step):
    whole = Line(settings(tmp_path / "whole"))
    for _ in range(30):
        whole.train_step()
    first = Line(settings(tmp_path / "run"))
    for _ in range(step):
        first.train_step()
    (tmp_path / "run").mkdir(exist_ok=True)
    first.save(last=False)
    again = Line(settings(tmp_path / "run"))
    assert again.restore() and again.step == step
    while again.step < 30:
        again.train_step()
    assert torch.equal(weights(again), weights(whole))
    for name, value in whole.average.tensors.items():
        assert torch.equal(again.average.tensors[name], value)
