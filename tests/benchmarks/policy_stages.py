"""Stage times of a policy on this machine: `python tests/benchmarks/policy_stages.py [CHECKPOINT] [--threads N]`.

Prints wall time per stage (p50, p95) and CPU time per action. On a machine that is busy with other work the wall times
say little; the CPU time still does.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

import magma_policy
from magma_policy.policy import Proprioception

SHIPPED = Path(__file__).parents[2] / "policy" / "checkpoints" / "magma-tiny"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", default=str(SHIPPED))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--actions", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    policy = magma_policy.load(arguments.checkpoint)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (policy.spec.image_height, policy.spec.image_width, 3), dtype=np.uint8)
    down = np.array([1.0, 0.0, 0.0, 0.0])
    place = np.array([0.45, 0.0, 0.2])
    state = Proprioception(place, down, place, down, 1.0, 1.0)
    for _ in range(10):
        policy.act(image, "put the carrot on the plate", state)
    stages: dict[str, list[float]] = {}
    totals = []
    began = time.process_time()
    for _ in range(arguments.actions):
        start = time.perf_counter()
        result = policy.act(image, "put the carrot on the plate", state)
        totals.append((time.perf_counter() - start) * 1e3)
        for name, value in result.stage_ms.items():
            stages.setdefault(name, []).append(value)
    cpu_ms = (time.process_time() - began) / arguments.actions * 1e3
    for name, values in [*stages.items(), ("total", totals)]:
        print(f"{name:12s} p50 {np.percentile(values, 50):7.2f} ms   p95 {np.percentile(values, 95):7.2f} ms")
    print(f"{'CPU time':12s} {cpu_ms:11.2f} ms per action, {arguments.threads} thread(s), {policy.device}")


if __name__ == "__main__":
    main()
