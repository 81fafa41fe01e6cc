"""What goes wrong with a training run costs no checkpoint: numbers that are none, full disks, crashes, two at once."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import magma_policy
from magma_contracts.errors import ConfigError
from magma_policy.commands.train import check_output, main
from magma_policy.errors import CheckpointError
from magma_policy.families.magma import checkpoint
from magma_policy.files.whole_files import whole_file, whole_folder
from magma_policy.training.loop.divergence import DivergedError, SkippedSteps
from magma_policy.training.loop.run_lock import FILE as LOCK
from magma_policy.training.loop.run_lock import run_lock
from magma_policy.training.loop.saved_run import FILE, SavedRunError
from magma_policy.training.recipes.robot_actions.trainer import Trainer


@pytest.fixture
def pictures(write_set, held_out_names, tmp_path):
    return write_set(tmp_path / "pictures", held_out_names(2))


def spoilt(trainer, steps, what="gradient", value=float("nan")):
    """Makes losses or gradients of some steps no numbers."""
    add = trainer.add_gradients

    def add_gradients(batch, with_actions):
        losses = add(batch, with_actions)
        if trainer.step in steps and what == "loss":
            losses["action"] = torch.full_like(losses["action"], value)
        elif trainer.step in steps:
            gradient = next(p.grad for p in trainer.parameters.values() if p.grad is not None)
            gradient[(0,) * gradient.ndim] = value
        return losses

    trainer.add_gradients = add_gradients
    return trainer


def everything(trainer):
    """Weights, average and moments, as copies."""
    moments = {
        f"{name} {key}": value
        for name, parameter in trainer.parameters.items()
        for key, value in trainer.optimizer.state.get(parameter, {}).items()
    }
    tensors = {**trainer.parameters, **{f"average {n}": t for n, t in trainer.average.tensors.items()}, **moments}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("what", "value"), [("gradient", float("nan")), ("gradient", float("inf")), ("loss", float("inf"))]
)
def test_a_step_without_numbers_teaches_nothing_and_is_counted(small_run, pictures, tmp_path, what, value):
    trainer = spoilt(Trainer(small_run(tmp_path / "run", pictures, accumulate=2)), {1}, what, value)
    trainer.train_step()
    before = everything(trainer)
    trainer.train_step()
    assert trainer.step == 2 and trainer.skipped.total == 1 and equal(before, everything(trainer))
    trainer.train_step()
    after = everything(trainer)
    assert not equal(before, after) and all(tensor.isfinite().all() for tensor in after.values())
    assert all(np.isfinite(value) for value in trainer.averages().values()), "means are of what was taught"


def test_a_run_with_a_skipped_step_goes_on_to_the_bit(small_run, pictures, tmp_path):
    whole = spoilt(Trainer(small_run(tmp_path / "whole", pictures)), {1})
    for _ in range(4):
        whole.train_step()
    first = spoilt(Trainer(small_run(tmp_path / "run", pictures)), {1})
    first.train_step()
    first.train_step()
    first.save()
    again = Trainer(small_run(tmp_path / "run", pictures))
    assert again.restore() and again.skipped.total == 1
    again.train_step()
    again.train_step()
    assert equal(everything(whole), everything(again))


def test_a_training_that_has_diverged_ends_with_an_error_and_keeps_its_checkpoint(
    small_run, pictures, tmp_path, monkeypatch, capsys
):
    config = small_run(tmp_path / "run", pictures, steps=20, checkpoint_steps=2, skip_limit=3)
    make = Trainer.__init__

    def diverging(self, *args):
        make(self, *args)
        spoilt(self, range(3, 99))

    monkeypatch.setattr(Trainer, "__init__", diverging)
    with pytest.raises(DivergedError, match=r"steps 4 to 6 .*learning_rate"):
        Trainer(config).run()
    saved = contents(config.output)
    assert all(t.isfinite().all() for t in load_file(config.output / "checkpoint" / checkpoint.WEIGHTS).values())
    magma_policy.load(config.output / "checkpoint", device="cpu")
    again = Trainer(config)
    assert again.restore() and again.step == 4
    command = [
        "--demonstrations",
        str(pictures),
        "--output",
        str(tmp_path / "other"),
        "--steps",
        "20",
        "--skip-limit",
        "2",
    ]
    command += ["--image-batch", "2", "--state-batch", "4", "--text-batch", "1", "--validation-every", "2"]
    monkeypatch.setattr(sys, "argv", ["magma-train", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    assert "steps 4 to 5 had no finite" in str(ended.value) and contents(config.output) == saved


def test_weights_that_are_none_are_never_saved(small_run, pictures, tmp_path):
    trainer = Trainer(small_run(tmp_path / "run", pictures))
    trainer.train_step()
    trainer.save()
    saved = contents(tmp_path / "run")
    for tensors in (trainer.parameters, trainer.average.tensors):
        tensor = next(iter(tensors.values())).data
        first = (0,) * tensor.ndim
        kept, tensor[first] = float(tensor[first]), float("inf")
        with pytest.raises(DivergedError, match="nothing was saved"):
            trainer.save()
        tensor[first] = kept
    assert contents(tmp_path / "run") == saved


def test_weights_beyond_the_range_of_their_file_are_refused(tiny_checkpoint):
    before = contents(tiny_checkpoint)
    found = checkpoint.load(tiny_checkpoint, torch.device("cpu"), None)
    state = dict(found.model.state_dict())
    name = next(iter(state))
    state[name] = torch.full_like(state[name], 1e5)
    with pytest.raises(CheckpointError, match=f"{name} is not finite in float16"):
        checkpoint.save(tiny_checkpoint, state, found.model.config, found.tokenizer, found.robots, torch.float16)
    assert contents(tiny_checkpoint) == before


def test_steps_in_a_row_are_what_counts():
    skipped = SkippedSteps(2)
    for step, finite in enumerate([False, True, False, True, True, False]):
        skipped.note(finite, step)
    assert skipped.total == 3
    with pytest.raises(DivergedError, match="steps 6 to 7"):
        skipped.note(False, 7)


# Saved whole or not at all.


def test_a_file_or_folder_is_replaced_whole_or_not_at_all(tmp_path):
    for text in ("old", "new"):
        with whole_file(tmp_path / "a" / "file") as partial:
            partial.write_text(text)
    with pytest.raises(OSError, match="full"), whole_file(tmp_path / "a" / "file") as partial:
        partial.write_text("half")
        raise OSError("full")
    assert contents(tmp_path) == {"a/file": b"new"}

    folder = tmp_path / "b"
    for weights in ("old", "new"):
        with whole_folder(folder, "last") as partial:
            (partial / "deep").mkdir()
            (partial / "deep" / "same").write_text("same")
            (partial / "last").write_text(weights)
            assert not (folder / "last").exists() or (folder / "last").read_text() == "old"
    kept = os.stat(folder / "deep" / "same").st_ino
    (folder / ".partial").mkdir()
    (folder / ".partial" / "left by a killed process").write_text("x")
    with pytest.raises(OSError, match="full"), whole_folder(folder, "last") as partial:
        assert not list(partial.iterdir())
        (partial / "last").write_text("half")
        raise OSError("full")
    assert contents(folder) == {"deep/same": b"same", "last": b"new"}
    assert os.stat(folder / "deep" / "same").st_ino == kept and not (folder / ".partial").exists()


def test_a_full_disk_costs_nothing_that_was_saved(small_run, pictures, tmp_path):
    """A limit on the size of files says the same as a full disk, at the same places."""
    trainer = Trainer(small_run(tmp_path / "run", pictures))
    trainer.train_step()
    trainer.save()
    saved = contents(tmp_path / "run")
    trainer.train_step()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for limit in (1_000, 300_000, 3_000_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            with pytest.raises(SavedRunError, match=r"step 2 cannot be saved .*too large"):
                trainer.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert contents(tmp_path / "run") == saved, "nothing else, no partial file, all as it was"
    trainer.save()
    assert trainer.restore()


DAMAGES = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:5000],
    "a byte short": lambda data: data[:-1],
    "one bit": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
    "another step": lambda data: data.replace(b'\\"step\\": 1', b'\\"step\\": 2'),
}


def test_a_damaged_state_is_told_and_changes_nothing(small_run, pictures, tmp_path):
    trainer = Trainer(small_run(tmp_path / "run", pictures))
    trainer.train_step()
    trainer.save()
    before = everything(trainer)
    path = tmp_path / "run" / "training" / FILE
    whole = path.read_bytes()
    for name, damage in DAMAGES.items():
        assert damage(whole) != whole, name
        path.write_bytes(damage(whole))
        with pytest.raises(SavedRunError, match=FILE) as caught:
            trainer.restore()
        assert str(caught.value).isprintable() and "remove it to start anew" in str(caught.value), name
        assert equal(before, everything(trainer)), name


def test_a_state_from_before_there_were_checksums_goes_on_but_not_with_numbers_that_are_none(
    small_run, pictures, tmp_path
):
    trainer = Trainer(small_run(tmp_path / "run", pictures))
    trainer.train_step()
    trainer.save()
    path = tmp_path / "run" / "training" / FILE
    tensors = load_file(path)
    scalars = json.dumps({"step": 1, "history": {}, "init": ""})
    save_file(tensors, path, {"scalars": scalars})
    assert Trainer(small_run(tmp_path / "run", pictures)).restore()
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    save_file(tensors, path, {"scalars": scalars})
    with pytest.raises(SavedRunError, match="not finite"):
        trainer.restore()


@pytest.mark.parametrize("text", ["", '{"steps": 1', "[]", "\x00", "[" * 100_000])
def test_settings_that_a_crash_cut_off_are_told(small_run, tmp_path, text):
    config = small_run(tmp_path / "run", tmp_path)
    config.output.mkdir()
    (config.output / "train.json").write_text(text)
    with pytest.raises(ConfigError, match=r"train\.json: not the settings of a run"):
        check_output(config)


# One run per folder.

HOLDER = """
import sys, time
from pathlib import Path
from magma_policy.training.loop.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_one_run_per_folder_and_none_that_is_killed_stays_in_the_way(tmp_path):
    folder = tmp_path / "deep" / "run"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SavedRunError, match=f"process {holder.pid}"), run_lock(folder):
            pass
    finally:
        holder.kill()
        holder.wait()
    assert (folder / LOCK).exists()
    with run_lock(folder):
        assert (folder / LOCK).read_text() == f"{os.getpid()}\n"
    assert not list(folder.iterdir())


def test_a_folder_that_no_run_began_in_is_left_as_it_was(tmp_path):
    with pytest.raises(ValueError, match="fails"), run_lock(tmp_path / "a" / "b"):
        raise ValueError("fails")
    assert not (tmp_path / "a").exists()
    with run_lock(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "x").write_text("x")
    assert contents(tmp_path) == {"a/b/x": b"x"}
    with pytest.raises(SavedRunError, match="no folder that can be trained into"), run_lock(tmp_path / "a" / "b" / "x"):
        pass


def test_the_command_refuses_a_folder_in_which_another_run_is_under_way(pictures, tmp_path, monkeypatch):
    command = ["--demonstrations", str(pictures), "--output", str(tmp_path / "run"), "--steps", "1"]
    monkeypatch.setattr(sys, "argv", ["magma-train", *command])
    with run_lock(tmp_path / "run"), pytest.raises(SystemExit) as ended:
        main()
    assert "a training run" in str(ended.value) and "choose another output" in str(ended.value)
