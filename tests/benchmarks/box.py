"""Does the arm's own target stay in the workspace box when its reports are late? In the simulated world, key by key.

python tests/benchmarks/box.py --presses 1000 --delays-ms 0 50 100 200

An operator drives the simulated Panda into the faces of a small box, pressing at random moments. Between him and the
world are the controller's core, commands that take a few milliseconds, and reports that arrive late. The world is that
of the simulator node in real time: of the commands of a step period the newest is executed, the others are lost, and
the report after a period says when it was made. Time is counted, not waited for. Looked at is the arm's target after
every step.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from magma_contracts.actions import EndEffectorDelta
from magma_contracts.arm_state import EndEffectorState
from magma_control.config import ControllerConfig
from magma_control.controller import Controller
from magma_control.freshness import Instant
from magma_sim import Observation, make_task

EPOCH_NS = 1_800_000_000_000_000_000
TICK_S, STEP_S, COMMAND_S, PHYSICS_S = 0.02, 0.2, 0.004, 0.08
SIZE_M = 0.12
"""of the box, about the middle of which the arm begins"""


@dataclass
class Result:
    """What became of the presses at one delay."""

    presses: int = 0
    commands: int = 0
    clipped: int = 0
    outside: int = 0
    worst_m: float = 0.0


def play(presses: int, delay_s: float, seed: int) -> Result:
    """So many presses of an operator's keys, with reports that are so late (s)."""
    dice, result = random.Random(seed), Result()
    world = make_task("carrot_on_plate", images=False)
    seen = world.reset("random", seed)
    start = np.array(seen.end_effector.target_position)
    low, high = start - SIZE_M / 2, start + SIZE_M / 2
    config = ControllerConfig(
        workspace_min_m=tuple(low), workspace_max_m=tuple(high), table_height_m=float(low[2]) - 0.1
    )
    now = Instant(0.0, EPOCH_NS)
    core = Controller(config, now)
    core.on_instruction("go")
    reports: deque[tuple[float, EndEffectorState]] = deque([(delay_s, _state(seen, 0.0))])
    commands: deque[tuple[float, np.ndarray]] = deque()
    pending: np.ndarray | None = None
    next_step_s, next_press_s, tick = 0.5 * STEP_S, 0.3, 0
    push = np.zeros(3)
    while result.presses < presses:
        tick += 1
        seconds = tick * TICK_S
        now = Instant(seconds, EPOCH_NS + round(seconds * 1e9))
        while commands and commands[0][0] <= seconds:
            pending = commands.popleft()[1]
        if seconds >= next_step_s:
            next_step_s += STEP_S
            gripper = seen.end_effector.gripper_target
            executed, pending = (np.append(np.zeros(6), gripper) if pending is None else pending), None
            seen = world.step(executed, render=False)
            target = np.array(seen.end_effector.target_position)
            beyond = float(max((low - target).max(), (target - high).max()))
            if beyond > 1e-9:
                result.outside += 1
                result.worst_m = max(result.worst_m, beyond)
            made_s = seconds + PHYSICS_S
            reports.append((made_s + delay_s, _state(seen, made_s)))
        while reports and reports[0][0] <= seconds:
            core.on_state(reports.popleft()[1], now)
        if seconds >= next_press_s:
            if dice.random() < 0.15:
                # Into a face, and on against it.
                push = np.zeros(3)
                push[dice.randrange(3)] = dice.choice((-0.02, 0.02))
            delta = np.concatenate([push, np.zeros(3), [seen.end_effector.gripper_target]])
            core.on_operator(EndEffectorDelta(delta, now.ros_ns, "base", "keys"), now)
            result.presses += 1
            next_press_s = seconds + dice.uniform(0.05, 0.35)
        command = core.tick(now)
        if command is not None:
            result.commands += 1
            commands.append((seconds + COMMAND_S, command.delta))
    result.clipped = core.report(now).counts.get("clipped: workspace", 0)
    return result


def _state(seen: Observation, seconds: float) -> EndEffectorState:
    arm = seen.end_effector
    return EndEffectorState(
        EPOCH_NS + round(seconds * 1e9),
        np.array(arm.position),
        np.array(arm.quaternion_xyzw),
        np.array(arm.target_position),
        np.array(arm.target_quaternion_xyzw),
        arm.gripper,
        arm.gripper_target,
    )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presses", type=int, default=1000)
    parser.add_argument("--delays-ms", type=float, nargs="+", default=[0.0, 50.0, 100.0, 200.0])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    wrong = 0
    for delay_ms in arguments.delays_ms:
        began_s = time.monotonic()
        result = play(arguments.presses, delay_ms * 1e-3, arguments.seed)
        wrong += result.outside
        print(
            f"reports {delay_ms:g} ms late: {result.presses} presses, the arm's target was {result.outside} times "
            f"outside (worst {result.worst_m * 1e3:.1f} mm); {result.commands} commands, {result.clipped} of them cut "
            f"at the box; {time.monotonic() - began_s:.0f} s",
            flush=True,
        )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
