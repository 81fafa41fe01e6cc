"""Whatever comes in, in whatever order: what goes out satisfies every limit, and nothing goes out when it must not."""

from __future__ import annotations

import os

import numpy as np
from control_builders import DOWN, EPOCH_NS, spec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from magma_contracts.actions import ActionChunk, EndEffectorDelta
from magma_contracts.arm_state import EndEffectorState
from magma_contracts.chunk_schedule import OVERLAPS
from magma_control.commands import Source
from magma_control.config import ControllerConfig
from magma_control.controller import Controller
from magma_control.freshness import Instant
from magma_control.phases import ALLOWED, MOVING, Phase

sane = st.floats(-0.1, 0.1)
wild = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(-2.0, 2.0))
sane_deltas = st.tuples(sane, sane, sane, sane, sane, sane, st.floats(0.0, 1.0))
deltas = st.one_of(
    sane_deltas,
    st.tuples(wild, wild, wild, wild, wild, wild, wild),
)
ages = st.one_of(st.floats(0.0, 0.3), st.floats(-1.0, 3.0))
places = st.one_of(
    st.tuples(st.floats(0.2, 0.85), st.floats(-0.5, 0.5), st.floats(0.0, 0.7)),
    st.tuples(st.floats(-1.0, 2.0), st.floats(-1.0, 1.0), st.floats(-1.0, 2.0)),
)


class AnyInput(RuleBasedStateMachine):
    @initialize(
        lock_step=st.booleans(),
        overlap=st.sampled_from(OVERLAPS),
        gripper=st.sampled_from(["continuous", "binary"]),
        button_timeout_s=st.sampled_from([0.0, 0.5]),
    )
    def start(self, lock_step, overlap, gripper, button_timeout_s):
        self.config = ControllerConfig(
            min_command_interval_s=0.0 if lock_step else -1.0,
            overlap=overlap,
            gripper_mode=gripper,
            gripper_sticky_steps=3,
            estop_button_timeout_s=button_timeout_s,
        )
        self.pressed, self.button_s = False, 0.0
        self.now = Instant(0.0, EPOCH_NS)
        self.controller = Controller(self.config, self.now)
        self.phase = self.controller.phase
        self.reported: np.ndarray | None = None
        self.sent_since: list[np.ndarray] = []
        self.last_sent_s: float | None = None
        self.gate_ns = 0
        self.refusals = 0
        self.chunks = 0

    def stamp(self, age_s):
        return self.now.ros_ns - round(age_s * 1e9)

    def observe(self):
        following = self.controller.phase
        assert following is self.phase or following in ALLOWED[self.phase]
        self.phase = following

    def tick(self):
        self.observe()
        command = self.controller.tick(self.now)
        self.observe()
        if command is None:
            return
        assert self.controller.phase in MOVING and self.controller.active
        assert not self.pressed
        timeout_s = self.config.estop_button_timeout_s
        assert not timeout_s or self.now.steady_s - self.button_s <= timeout_s
        config, delta = self.config, command.delta
        assert np.isfinite(delta).all()
        scale = config.bring_up_scale
        assert np.linalg.norm(delta[:3]) <= scale * config.max_step_translation_m + 1e-9
        assert np.linalg.norm(delta[:3]) <= scale * config.max_speed_m_s * config.step_period_s + 1e-9
        assert np.linalg.norm(delta[3:6]) <= scale * config.max_step_rotation_rad + 1e-9
        assert 0.0 <= delta[6] <= 1.0
        assert self.reported is not None
        low, high = np.array(config.workspace_min_m), np.array(config.workspace_max_m)
        start = self.reported
        assert (start + delta[:3] >= np.minimum(low, start) - 1e-9).all()
        assert (start + delta[:3] <= np.maximum(high, start) + 1e-9).all()
        assert command.stamp_ns > self.gate_ns
        if self.last_sent_s is not None:
            assert self.now.steady_s - self.last_sent_s >= config.command_interval_s - 1e-6
        self.last_sent_s = self.now.steady_s

    @rule(seconds=st.one_of(st.floats(0.0, 0.25), st.floats(0.0, 3.0)))
    def time_passes(self, seconds):
        self.now = Instant(self.now.steady_s + seconds, self.now.ros_ns + round(seconds * 1e9))
        self.tick()

    @rule(fits=st.booleans())
    def spec_comes(self, fits):
        self.controller.on_spec(spec() if fits else spec(frame="camera"), self.now)
        self.tick()

    @rule(place=places, error=sane, age=ages, broken=st.integers(0, 20))
    def state_comes(self, place, error, age, broken):
        target = np.array(place)
        position = target + error if broken else np.full(3, np.nan)
        refusal = self.controller.on_state(
            EndEffectorState(self.stamp(age), position, DOWN, target, DOWN, 1.0, 1.0), self.now
        )
        if refusal is None:
            self.reported = target
        self.tick()

    @rule(place=places, steps=st.lists(sane_deltas, min_size=1, max_size=4), operator=st.booleans())
    def all_is_well(self, place, steps, operator):
        """Without this, random inputs seldom get the arm to move at all."""
        self.activate()
        self.rearm()
        if not operator:
            self.hand_back()
        self.time_passes(0.25)
        self.controller.on_instruction("go")
        self.controller.on_spec(spec(), self.now)
        target = np.array(place)
        state = EndEffectorState(self.now.ros_ns, target + 0.01, DOWN, target, DOWN, 1.0, 1.0)
        if self.controller.on_state(state, self.now) is None:
            self.reported = target
        if operator:
            self.operator_moves(steps[0], 0.0)
        else:
            self.chunk_comes(steps, 0.0, "base")

    @rule(steps=st.lists(deltas, max_size=5), age=ages, frame=st.sampled_from(["base", "base", "base", "camera"]))
    def chunk_comes(self, steps, age, frame):
        self.chunks += 1
        array = np.array(steps, dtype=float).reshape(-1, 7)
        with np.errstate(over="ignore"):
            refusal = self.controller.on_chunk(
                ActionChunk(array, self.stamp(age), 0.2, "test", "go", self.chunks, frame), self.now
            )
        self.refusals += refusal is not None
        self.tick()

    @rule(delta=deltas, age=ages)
    def operator_moves(self, delta, age):
        with np.errstate(over="ignore"):
            self.controller.on_operator(EndEffectorDelta(np.array(delta), self.stamp(age)), self.now)
        self.tick()

    @rule(text=st.sampled_from(["go", "stop", ""]))
    def instruction_comes(self, text):
        self.controller.on_instruction(text)
        self.tick()

    @rule(source=st.sampled_from(Source))
    def heartbeat(self, source):
        self.controller.on_heartbeat(source, self.now)
        self.tick()

    @rule(pressed=st.booleans())
    def button(self, pressed):
        self.controller.on_estop_button(pressed, self.now)
        self.pressed, self.button_s = pressed, self.now.steady_s
        assert not pressed or self.controller.phase is Phase.ESTOP
        self.tick()

    @rule(scale=st.sampled_from([0.1, 0.5, 1.0]))
    def bring_up(self, scale):
        self.config = self.config.replace({"bring_up_scale": scale})
        self.controller.reconfigure(self.config)
        self.tick()

    @rule()
    def estop(self):
        self.controller.estop("test")
        assert self.controller.phase is Phase.ESTOP
        self.tick()

    @rule()
    def fault(self):
        self.controller.fault("test")
        assert self.controller.phase in (Phase.FAULT, Phase.ESTOP)
        self.tick()

    @rule()
    def rearm(self):
        if self.controller.rearm(self.now).success:
            assert not self.pressed and self.controller.active
            self.gate_ns = self.now.ros_ns
            assert self.controller.phase is Phase.HOLD
        self.tick()

    @rule(cleans_up=st.booleans())
    def deactivate(self, cleans_up):
        latched = self.controller.phase in (Phase.ESTOP, Phase.FAULT)
        self.controller.deactivate("test")
        if cleans_up:
            self.controller.forget(self.now)
            self.reported = None
        assert not self.controller.active
        assert (self.controller.phase in (Phase.ESTOP, Phase.FAULT)) == latched
        self.tick()

    @rule()
    def activate(self):
        if not self.controller.active:
            self.gate_ns = self.now.ros_ns
        phase = self.controller.phase
        self.controller.activate(self.now)
        assert self.controller.phase is phase
        self.tick()

    @rule()
    def hand_back(self):
        if self.controller.hand_back(self.now).success:
            self.gate_ns = self.now.ros_ns
            assert self.controller.phase is Phase.HOLD
        self.tick()

    @invariant()
    def the_report_agrees(self):
        if not hasattr(self, "controller"):
            return
        report = self.controller.report(self.now)
        assert report.reason
        assert (report.chunks_received, report.chunks_rejected) == (self.chunks, self.refusals)


TestAnyInput = AnyInput.TestCase
TestAnyInput.settings = settings(
    max_examples=int(os.environ.get("MAGMA_PROPERTY_CASES", "100")), stateful_step_count=30, deadline=None
)
