"""Several training processes: equal weights, one stop for all, and no survivor that waits for ever."""

import os
import signal
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from magma_policy.training.loop import processes
from magma_policy.training.loop.saved_run import FILE
from magma_policy.training.loop.training_loop import batch_seed
from magma_policy.training.recipes.robot_actions import trainer
from magma_policy.training.recipes.robot_actions.trainer import Trainer

STEPS = 3
# What every process runs; at step 2 the second one is interrupted or dies.
PROCESS = """
import os, signal, sys
from pathlib import Path
from safetensors.torch import save_file
from magma_policy.training.loop import processes
from magma_policy.training.config import TrainConfig
from magma_policy.training.recipes.robot_actions.trainer import Trainer

class Disturbed(Trainer):
    def train_step(self):
        super().train_step()
        if self.step == 2 and processes.rank() == 1:
            os.kill(os.getpid(), getattr(signal, sys.argv[3]))

output = Path(sys.argv[2])
config = TrainConfig(
    demonstrations=(Path(sys.argv[1]),), output=output, steps=3, image_batch=2, state_batch=4, text_batch=1,
    validation_every=2, validation_samples=4, marks_fraction=0.4,
)
processes.join("cpu")
run = Disturbed(config)
run.run()
weights = {n: p.detach().contiguous() for n, p in run.parameters.items()}
save_file(weights, str(output / f"process{processes.rank()}.safetensors"))
print("stopped at", run.step)
processes.leave()
"""


@pytest.fixture
def pictures(write_set, held_out_names, tmp_path):
    return write_set(tmp_path / "pictures", held_out_names(2))


def start(pictures, output, disturbance):
    """Both processes, without torchrun's agent, which would end the survivor itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    output.mkdir()
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(pictures), str(output), disturbance],
            env=os.environ | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip


def end(started):
    try:
        outputs = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, *output) for process, output in zip(started, outputs, strict=True)]


def test_two_processes_stop_together_and_go_on_as_if_one_had_averaged_their_gradients(
    pictures, small_run, tmp_path, monkeypatch
):
    output = tmp_path / "run"
    ended = end(start(pictures, output, "SIGINT"))
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert all("stopped at 2" in printed for _, printed, _ in ended), "the interrupt of one stops both"
    first, second = (load_file(str(output / f"process{rank}.safetensors")) for rank in range(2))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)

    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "magma_policy.commands.train", "--demonstrations", str(pictures), "--output", str(output),
        "--steps", str(STEPS), "--image-batch", "2", "--state-batch", "4", "--text-batch", "1",
        "--validation-every", "2", "--validation-samples", "4", "--marks-fraction", "0.4",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("continued at step 2") == 1, "the first process speaks for all"
    stored = load_file(str(output / "training" / FILE))

    # One process that adds up both processes' batches, never interrupted.
    def seed_of_the_other(seed, step, part, rank):
        return batch_seed(seed, step, 0, part)

    monkeypatch.setattr(trainer, "batch_seed", seed_of_the_other)
    single = Trainer(small_run(tmp_path / "single", pictures, steps=STEPS, accumulate=2, marks_fraction=0.4))
    while single.step < STEPS:
        single.train_step()
    # To the bit: halves of a sum and the sum of halves are the same floating-point number, two terms have no order, and
    # an interrupted run goes on exactly.
    for name, parameter in single.parameters.items():
        assert torch.equal(parameter, stored[f"model/{name}"]), name


def test_the_survivor_of_a_process_that_dies_ends_with_an_error(pictures, tmp_path):
    survivor, died = end(start(pictures, tmp_path / "run", "SIGKILL"))
    assert died[0] == -signal.SIGKILL
    assert survivor[0] not in (0, -signal.SIGKILL), survivor
    assert not (tmp_path / "run" / "training" / FILE).exists(), "no step was finished that all took part in"


def test_one_process_needs_no_others():
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    processes.share_parameters([weight])
    processes.average_gradients([weight])
    assert weight.grad.tolist() == [1.0, 1.0]
    assert processes.any_of(True) and not processes.any_of(False) and processes.same_everywhere(3)


def test_exchanged_buckets_have_one_type_and_a_bounded_size(monkeypatch):
    monkeypatch.setattr(processes, "BUCKET", 10)
    sizes = [4, 4, 4, 20, 1]
    tensors = [torch.zeros(n) for n in sizes] + [torch.zeros(1, dtype=torch.bfloat16)]
    buckets = [[t.numel() for t in bucket] for bucket in processes._buckets(tensors)]
    assert buckets == [[4, 4], [4], [20], [1], [1]]
