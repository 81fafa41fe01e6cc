"""What it costs to judge the model's numbers: this checkout against another, action by action in turns, in one run.

    git worktree add /tmp/before COMMIT
    python tests/benchmarks/finiteness.py /tmp/before                       # magma-tiny, and a plain model of 100 M
    python tests/benchmarks/finiteness.py /tmp/before tiny --pairs 2000

Each checkout acts in a process of its own on the same frames, action by action in turns (A B B A), so that what the
machine does meanwhile meets both alike. Printed is the ratio of CPU times and of wall times, this one over the other,
with its 95 % interval by bootstrap. The models are those of `policy.py`; both checkouts
must give the same ids.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parents[2]
BLOCKS = 20

WORKER = """
import json, sys, time
root, name = sys.argv[1], sys.argv[2]
sys.path[:0] = [root + "/policy", root + "/policy/client", root + "/tests/benchmarks"]
import numpy as np, torch
torch.set_num_threads(1)
import magma_policy, policy as benchmark
assert magma_policy.__file__.startswith(root), magma_policy.__file__
device = torch.device("cpu")
if name == "100m":
    acting, _ = benchmark.random_policy(benchmark.config_100m(), device, torch.float32, None)
else:
    acting = magma_policy.load(benchmark.SHIPPED, "cpu", torch.float32)
rng = np.random.default_rng(0)
side = (acting.spec.image_height, acting.spec.image_width, 3)
frames = [rng.integers(0, 256, side, dtype=np.uint8) for _ in range(50)]
state = benchmark.proprioception(acting)
print("ready", flush=True)
for line in sys.stdin:
    frame = frames[int(line) % len(frames)]
    cpu, wall = time.process_time(), time.perf_counter()
    ids = acting.act(frame, benchmark.INSTRUCTION, state).ids
    print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall, ids.tolist()]), flush=True)
"""


class Worker:
    """A checkout that acts when it is told to."""

    def __init__(self, root: Path, model: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(root), model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._read() == "ready", f"{root} cannot act"

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def act(self, number: int) -> tuple[float, float, list[int]]:
        """CPU time, wall time and ids of one action."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        cpu, wall, ids = json.loads(self._read())
        return cpu, wall, ids

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def ratio(times: np.ndarray) -> tuple[float, float, float]:
    """Of times (pairs, 2), this over the other: the median over blocks of the ratio of their medians, which a busy
    machine's outliers do not move, and its 95 % interval."""
    blocks = np.array([np.median(part, axis=0) for part in np.array_split(times, BLOCKS)])
    each = blocks[:, 0] / blocks[:, 1]
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(each, (2000, BLOCKS)), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(np.median(each)), float(low), float(high)


def compare(other: Path, model: str, pairs: int) -> None:
    """Prints the ratios for one model."""
    workers = [Worker(HERE, model), Worker(other, model)]
    try:
        for number in range(10):
            for worker in workers:
                worker.act(number)
        cpu, wall = np.zeros((pairs, 2)), np.zeros((pairs, 2))
        for pair in range(pairs):
            found: dict[int, list[int]] = {}
            for which in (0, 1) if pair % 2 else (1, 0):
                cpu[pair, which], wall[pair, which], found[which] = workers[which].act(pair)
            if found[0] != found[1]:
                raise SystemExit(f"{model}: frame {pair} gives {found[0]} here and {found[1]} there")
    finally:
        for worker in workers:
            worker.close()
    for name, times in (("CPU", cpu), ("wall", wall)):
        middle, low, high = ratio(times)
        here_ms, there_ms = 1e3 * np.median(times, axis=0)
        print(
            f"{model:5s} {name:4s} {here_ms:8.2f} ms against {there_ms:8.2f} ms, ratio {middle:.4f} "
            f"[{low:.4f}, {high:.4f}], {pairs} pairs",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="another checkout, whose environment is this one")
    parser.add_argument("models", nargs="*", choices=("tiny", "100m", []), help="both by default")
    parser.add_argument("--pairs", type=int, default=0, help="0 = 1000 of tiny, 60 of 100m")
    given = parser.parse_args()
    for model in given.models or ["tiny", "100m"]:
        began_s = time.monotonic()
        compare(given.other.resolve(), model, given.pairs or (1000 if model == "tiny" else 60))
        print(f"      in {time.monotonic() - began_s:.0f} s", flush=True)


if __name__ == "__main__":
    main()
