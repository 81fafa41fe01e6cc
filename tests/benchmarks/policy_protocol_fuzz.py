"""Feeds damaged messages to the policy protocol's decoder.

    python tests/benchmarks/policy_protocol_fuzz.py --cases 1000000

Every case must be a message or a ProtocolError; anything else that is raised ends the run with the bytes that did it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

import numpy as np
from tqdm import tqdm

from magma_contracts.action_spec import ActionSpec
from magma_contracts.arm_state import ArmState
from magma_policy_client import ProtocolError, messages

SPEC = ActionSpec("m", 1, 0.2, "base", "axis_angle", "absolute_open_1", "k", "third_person", 8, 8, True)
STATE = ArmState.from_vector(np.arange(16.0))
MESSAGES = (
    messages.Hello(1, "client", "widowx"),
    messages.Welcome(1, "server", SPEC, ("widowx",), 2**24),
    messages.Act(7, "s", 0.5, "put the carrot on the plate", np.zeros((4, 4, 3), np.uint8), STATE),
    messages.Reset(8, "s"),
    messages.Result(7, np.zeros((1, 7)), {"decode": 1.5, "vision": 2.5}, np.zeros((4, 2))),
    messages.Done(8),
    messages.Failure(None, "late", "too late"),
)
HEADS = bytes(
    (0x80, 0x8F, 0x90, 0x9F, 0xA1, 0xC0, 0xC1, 0xC4, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCF, 0xD8, 0xDB, 0xDD, 0xDF)
)
"""First bytes of msgpack values: more likely to lead somewhere than any byte."""


def damaged(rng: random.Random, samples: list[bytes]) -> bytes:
    """One of the samples after a few random changes."""
    data = bytearray(rng.choice(samples))
    for _ in range(rng.randint(1, 6)):
        kind = rng.random()
        place = rng.randrange(len(data) + 1)
        if kind < 0.5 and data:
            data[place % len(data)] = rng.choice(HEADS) if rng.random() < 0.5 else rng.randrange(256)
        elif kind < 0.65:
            del data[place : place + rng.randint(1, 12)]
        elif kind < 0.8:
            data[place:place] = rng.randbytes(rng.randint(1, 12))
        elif kind < 0.9:
            other = rng.choice(samples)
            start = rng.randrange(len(other))
            data[place : place + rng.randint(0, 40)] = other[start : start + rng.randint(1, 40)]
        else:
            del data[place:]
    return bytes(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    samples = [messages.encode(message) for message in MESSAGES]
    good = refused = 0
    slowest_ms = 0.0
    for _ in tqdm(range(arguments.cases), disable=not sys.stderr.isatty()):
        data = damaged(rng, samples)
        started = time.perf_counter()
        try:
            messages.decode(data)
            good += 1
        except ProtocolError:
            refused += 1
        except BaseException:
            print(f"decoder failed on {data.hex()}", file=sys.stderr)
            raise
        slowest_ms = max(slowest_ms, (time.perf_counter() - started) * 1e3)
    print(f"{arguments.cases} cases: {good} still messages, {refused} refused, none else; slowest {slowest_ms:.1f} ms")


if __name__ == "__main__":
    main()
