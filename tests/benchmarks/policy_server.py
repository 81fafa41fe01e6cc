"""What a policy server costs: `python tests/benchmarks/policy_server.py [CHECKPOINT] --robots 1 2 4`.

Starts magma-serve as a process on this machine and drives it with that many robots at once, each as fast as it gets its
answers. Prints, for every number of robots, the time of a call as a robot sees it, its parts outside the model (`queue`
in the server, `network` everything outside it), actions per second of all together, and the mean batch.
"""

from __future__ import annotations

import argparse
import threading
import time
import urllib.request

import numpy as np

from magma_contracts.arm_state import ArmState
from magma_policy_client import LocalServer

DOWN = [1.0, 0.0, 0.0, 0.0]
STATE = ArmState([0.45, 0.0, 0.2], DOWN, [0.45, 0.0, 0.2], DOWN, 1.0, 1.0)
WARM_UP = 5


def batches(server: LocalServer) -> tuple[float, float]:
    """Questions answered and calls of the model so far."""
    request = urllib.request.Request(server.url.replace("ws://", "http://") + "/metrics")
    request.add_header("Authorization", f"Bearer {server.token}")
    with urllib.request.urlopen(request) as response:
        lines = response.read().decode().splitlines()
    values = {line.split()[0]: float(line.split()[1]) for line in lines if not line.startswith("#")}
    return values["magma_batch_size_sum"], values["magma_batch_size_count"]


def drive(server: LocalServer, robots: int, actions: int) -> str:
    """One row of the table."""
    times: list[float] = []
    parts: dict[str, list[float]] = {"queue": [], "network": []}
    ready = threading.Barrier(robots + 1)

    def robot(number: int) -> None:
        rng = np.random.default_rng(number)
        with server.client(timeout_s=60.0) as client:
            spec = client.spec
            frames = rng.integers(0, 256, (8, spec.image_height, spec.image_width, 3), dtype=np.uint8)
            state = STATE if spec.proprioception else None
            for index in range(WARM_UP):
                client.act(frames[index % 8], "put the carrot on the plate", state)
            ready.wait()
            for index in range(actions):
                started = time.perf_counter()
                result = client.act(frames[index % 8], "put the carrot on the plate", state)
                times.append((time.perf_counter() - started) * 1e3)
                for name, values in parts.items():
                    values.append(result.stage_ms[name])

    threads = [threading.Thread(target=robot, args=(number,)) for number in range(robots)]
    for thread in threads:
        thread.start()
    ready.wait()
    before, started = batches(server), time.perf_counter()
    for thread in threads:
        thread.join()
    elapsed, after = time.perf_counter() - started, batches(server)
    size = (after[0] - before[0]) / max(1.0, after[1] - before[1])
    row = [np.percentile(times, 50), np.percentile(times, 95)]
    row += [np.percentile(parts["queue"], 50), np.percentile(parts["network"], 50)]
    return f"{robots:6d}" + "".join(f"{value:11.2f}" for value in (*row, robots * actions / elapsed, size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="magma-tiny")
    parser.add_argument("--robots", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--actions", type=int, default=100)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    with LocalServer(arguments.checkpoint, arguments.device, arguments.threads) as server:
        print(f"{arguments.checkpoint}, {arguments.threads} thread(s); ms")
        names = ("call p50", "call p95", "queue p50", "net p50", "actions/s", "batch")
        print("robots" + "".join(f"{name:>11s}" for name in names))
        for robots in arguments.robots:
            print(drive(server, robots, arguments.actions), flush=True)


if __name__ == "__main__":
    main()
