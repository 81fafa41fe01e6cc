"""Short ways to say what the tests of the controller feed it."""

from __future__ import annotations

import numpy as np

from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import ActionChunk, EndEffectorDelta
from magma_contracts.arm_state import EndEffectorState
from magma_control.commands import Command
from magma_control.config import ControllerConfig
from magma_control.controller import Controller
from magma_control.freshness import Instant

EPOCH_NS = 1_800_000_000_000_000_000
STILL = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
FORWARD = (0.02, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
DOWN = np.array([1.0, 0.0, 0.0, 0.0])


def at(seconds: float) -> Instant:
    """`seconds` after the start, the same on both clocks."""
    return Instant(seconds, EPOCH_NS + round(seconds * 1e9))


def spec(**changes) -> ActionSpec:
    values = {
        "policy": "test",
        "horizon": 4,
        "step_period_s": 0.2,
        "frame": "base",
        "rotation": "axis_angle",
        "gripper": "absolute_open_1",
        "statistics_key": "tabletop",
        "camera": "third_person",
        "image_height": 128,
        "image_width": 128,
        "proprioception": True,
    }
    return ActionSpec(**{**values, **changes})


def state(seconds: float, target=(0.5, 0.0, 0.3), **changes) -> EndEffectorState:
    values = {
        "stamp_ns": at(seconds).ros_ns,
        "position": np.array(target, dtype=float),
        "quaternion_xyzw": DOWN,
        "target_position": np.array(target, dtype=float),
        "target_quaternion_xyzw": DOWN,
        "gripper": 1.0,
        "gripper_target": 1.0,
    }
    return EndEffectorState(**{**values, **changes})


def chunk(captured_s: float, *deltas, **changes) -> ActionChunk:
    values = {
        "deltas": np.array(deltas or [FORWARD], dtype=float).reshape(-1, 7),
        "stamp_ns": at(captured_s).ros_ns,
        "step_period_s": 0.2,
        "policy": "test",
        "instruction": "put the carrot on the plate",
        "sequence": 0,
    }
    return ActionChunk(**{**values, **changes})


def operator(seconds: float, delta=FORWARD, frame="base") -> EndEffectorDelta:
    return EndEffectorDelta(np.array(delta, dtype=float), at(seconds).ros_ns, frame)


def ready(config: ControllerConfig | None = None) -> Controller:
    """A controller at time 0 that has a spec and a state, in HOLD."""
    controller = Controller(config or ControllerConfig(), at(0.0))
    assert controller.on_spec(spec(), at(0.0)) is None
    assert controller.on_state(state(0.0), at(0.0)) is None
    controller.take_events()
    return controller


def acting(config: ControllerConfig | None = None) -> tuple[Controller, Command]:
    """A controller that has just executed its first chunk, at time 0.1."""
    controller = ready(config)
    assert controller.on_chunk(chunk(0.05), at(0.1)) is None
    command = controller.tick(at(0.1))
    assert command is not None
    return controller, command
