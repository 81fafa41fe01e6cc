"""A golden trace of the arm that takes deltas: the commands for a fixed stream of inputs.

Evaluations are comparable only as long as the same policy output leads to the same commands. Between processors the
last bit of a norm or a sine may differ (BLAS and numpy choose their kernels by processor), so the trace of another
machine is compared to twelve digits; on one machine two runs are equal to the bit. To write the file anew, after a
change on purpose, delete it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from control_builders import DOWN, EPOCH_NS, spec

from magma_contracts.actions import ActionChunk
from magma_contracts.arm_state import EndEffectorState
from magma_control.config import ControllerConfig
from magma_control.controller import Controller
from magma_control.freshness import Instant

GOLDEN = Path(__file__).parent / "golden"


def commands(lock_step: bool) -> list[list[float]]:
    random = np.random.default_rng(5)
    controller = Controller(ControllerConfig(min_command_interval_s=0.0 if lock_step else -1.0), Instant(0.0, EPOCH_NS))
    controller.on_spec(spec(horizon=1), Instant(0.0, EPOCH_NS))
    controller.on_instruction("go")
    target, gripper, sent = np.array([0.5, 0.0, 0.3]), 1.0, []
    for tick in range(300):
        seconds = tick * (0.05 if lock_step else 0.02)
        now = Instant(seconds, EPOCH_NS + round(seconds * 1e9))
        if lock_step or tick % 10 == 0:
            measured = target + random.normal(0.0, 0.002, 3)
            controller.on_state(EndEffectorState(now.ros_ns, measured, DOWN, target, DOWN, gripper, gripper), now)
            delta = np.append(random.normal(0.0, 0.03, 6), float(random.integers(0, 2)))
            if random.random() < 0.03:
                delta[0] = random.choice([np.nan, 3.0])
            controller.on_chunk(ActionChunk(delta[None], now.ros_ns - 10**7, 0.2, "test", "go", tick), now)
            if random.random() < 0.02:
                controller.estop("test")
            if random.random() < 0.1:
                controller.rearm(now)
        command = controller.tick(now)
        if command is not None:
            target, gripper = target + command.delta[:3], float(command.delta[6])
            sent.append([tick, *command.delta.tolist()])
    return sent


@pytest.mark.parametrize("lock_step", [True, False])
def test_the_commands_are_the_same_as_ever(lock_step):
    sent = commands(lock_step)
    path = GOLDEN / ("lockstep_commands.json" if lock_step else "realtime_commands.json")
    if not path.exists():
        path.write_text("[\n" + ",\n".join(json.dumps(row) for row in sent) + "\n]\n")
    golden = json.loads(path.read_text())
    assert len(sent) > 15
    assert [row[0] for row in sent] == [row[0] for row in golden]
    np.testing.assert_allclose(sent, golden, rtol=1e-12, atol=1e-15)
    assert commands(lock_step) == sent
