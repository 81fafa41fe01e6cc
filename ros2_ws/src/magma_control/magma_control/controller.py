"""The controller's core: who moves the arm, whether, and how far. No clock, no I/O, no ROS; not thread-safe.

The caller feeds every input as it arrives, with the present `Instant`, and then calls `tick`, which returns at most one
command. All refusals and clips are counted by reason; `report` says what is going on, `take_events` what to log.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import GRIPPER, TRANSLATION, ActionChunk, EndEffectorDelta
from magma_contracts.arm_state import EndEffectorState
from magma_control.agreement import ONE_REPORT, Confirmation, ReportAgreement
from magma_control.command_guard import refuse_delta
from magma_control.config import STEP_ARM, ControllerConfig
from magma_control.freshness import Instant, StampGate
from magma_control.graph_names import GraphNames
from magma_control.gripper import GripperFilter
from magma_control.heartbeat import Heartbeat
from magma_control.operator_lease import OperatorLease, named
from magma_control.phases import MOVING, Phase, check_transition
from magma_control.rebase import StepSize, WayBack
from magma_control.safety import (
    STATE_JUMP_M,
    Refusal,
    keep_inside,
    limit,
    limit_change,
    motion_time_s,
    refuse_chunk,
    refuse_deltas,
    refuse_frames,
    refuse_jump,
    refuse_spec,
    refuse_state,
)
from magma_control.schedule import ChunkSchedule
from magma_control.stop_button import StopButton
from magma_control.under_way import UnderWay

STILL_M = 0.005
"""Reports of an arm that stands differ by no more."""
RIVAL_GONE_S = 2.0
"""After so long without a word another controller counts as ended; a living one says something ten times a second."""
EXECUTED_KEPT = 256
"""Executed steps to remember: more than any policy can be late."""


class Source(Enum):
    """Who asked for a command."""

    POLICY = "policy"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Command:
    """One motion to send to the arm; it satisfies every limit."""

    delta: NDArray[np.float64]
    """(7,)"""
    stamp_ns: int
    """capture time of the frame acted on; for an operator's command the operator's stamp"""
    source: Source
    sender: str = ""
    """name of the policy, or of the operator's device"""
    asked: NDArray[np.float64] | None = None
    """(7,) what was wanted before any limit shortened it"""
    following: NDArray[np.float64] | None = None
    """(7,) the step after this one as it is known now, scaled alike; it has passed no limit yet"""


@dataclass(frozen=True)
class Event:
    """Something that a person reading the log should see."""

    warning: bool
    code: str
    """equal for events of one kind, so that repeats can be throttled"""
    text: str


@dataclass(frozen=True)
class Outcome:
    """Answer to an operator's request."""

    success: bool
    message: str


@dataclass(frozen=True)
class Report:
    """What ControllerState.msg carries. Ages in milliseconds, NaN when there has been none."""

    phase: Phase
    reason_code: str
    reason: str
    instruction: str
    frame_age_ms: float
    chunk_age_ms: float
    teleop_age_ms: float
    state_age_ms: float
    chunks_received: int
    commands_sent: int
    chunks_rejected: int
    commands_clipped: int
    counts: dict[str, int]
    """how often by reason: refusals, and clips as "clipped: <limit>" """


@dataclass(frozen=True)
class _Arrived:
    """An operator's command waiting for its turn."""

    command: EndEffectorDelta
    steady_s: float


class Controller:
    """Mux, watchdog, safety stage and e-stop latch in front of the arm."""

    def __init__(self, config: ControllerConfig, now: Instant, names: GraphNames | None = None) -> None:
        """
        Args:
            names: what a person is told to call; None = those of a controller in no namespace.
        """
        self._config = config
        self._names = names or GraphNames()
        self._phase = Phase.HOLD
        self._cause = Refusal("waiting", "waiting for the first action chunk")
        self._inactive: Refusal | None = None
        self._button = StopButton(now.steady_s)
        self._shared_button = StopButton(now.steady_s, shared=True)
        self._chunks_received = 0
        self._chunks_rejected = 0
        self._commands_sent = 0
        self._commands_clipped = 0
        self._counts: Counter[str] = Counter()
        self._events: list[Event] = []
        self._forget(now)

    def _forget(self, now: Instant) -> None:
        """Everything that was heard, but the emergency stop's button."""
        self._started_s = now.steady_s
        self._spec: ActionSpec | None = None
        self._spec_refusal: Refusal | None = None
        self._state: EndEffectorState | None = None
        self._state_arrival_s = 0.0
        self._state_refusal: Refusal | None = None
        self._state_gate = StampGate("end effector state", "arm state")
        self._instruction: str | None = None
        self._schedule = ChunkSchedule()
        self._chunk_gate = StampGate("frame", "frame")
        self._chunk_arrival_s: float | None = None
        self._chunk_accepted_s: float | None = None
        self._useful_until_s = now.steady_s
        self._last_refusal: tuple[Refusal, float] | None = None
        self._frame_stamp_ns: int | None = None
        self._operator: _Arrived | None = None
        self._operator_gate = StampGate("operator command", "operator command")
        self._operator_arrival_s: float | None = None
        self._lease = OperatorLease()
        self._operator_refusal: tuple[Refusal, float] | None = None
        self._last_command_s: float | None = None
        self._under_way = UnderWay()
        waits = self._config.command_interval_s <= 0.0
        confirmation = ONE_REPORT if waits else Confirmation()
        self._places = ReportAgreement(confirmation, STILL_M, STATE_JUMP_M, self._config.max_speed_m_s)
        self._jumped_since_rearm = False
        self._arm_trouble: Refusal | None = None
        self._rebase_after_s: float | None = None
        self._way_back: WayBack | None = None
        self._gripper = GripperFilter()
        self._policy_heartbeat = Heartbeat(Source.POLICY.value)
        self._rival: Refusal | None = None
        self._rival_s = 0.0
        self._executed_ns: deque[int] = deque(maxlen=EXECUTED_KEPT)
        self._last_delta = np.zeros(7)
        self._last_source: Source | None = None
        self._easing = False

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def config(self) -> ControllerConfig:
        return self._config

    @property
    def active(self) -> bool:
        """Whether anybody may move the arm at all; see `deactivate`."""
        return self._inactive is None

    def reconfigure(self, config: ControllerConfig) -> None:
        """Takes new limits and times, in force from the next input or tick; what was judged by the old ones and still
        counts is judged again."""
        before, self._config = self._config, config
        for item in dataclasses.fields(config):
            if getattr(before, item.name) != getattr(config, item.name):
                self._counts[f"parameter changed: {item.name}"] += 1
        if self._spec is not None:
            self._judge_spec(self._spec)

    # Inputs

    def on_instruction(self, text: str) -> None:
        """What the robot is to do; an empty text means nothing, and the arm holds."""
        if text == self._instruction:
            return
        self._instruction = text
        # What was planned for another instruction is not carried out.
        self._schedule.clear()
        self._gripper.reset()
        self._log(False, "instruction", f"instruction: {text!r}")
        if not text and self._phase is Phase.AUTONOMOUS:
            self._go(Phase.HOLD, self._no_instruction())

    def on_spec(self, spec: ActionSpec, now: Instant) -> Refusal | None:
        """What the policy's actions mean. A spec that does not fit bars all of its chunks."""
        if spec == self._spec:
            return self._spec_refusal
        self._spec, self._spec_refusal = spec, None
        self._schedule.clear()
        if self._judge_spec(spec) is None:
            self._log(False, "spec", f"policy {spec.policy!r} fits this arm (horizon {spec.horizon})")
        return self._spec_refusal

    def _judge_spec(self, spec: ActionSpec) -> Refusal | None:
        """Whether the policy fits the arm as it is configured now; one that does not moves it no more."""
        before, self._spec_refusal = self._spec_refusal, refuse_spec(spec, self._config)
        if self._spec_refusal is not None and self._spec_refusal != before:
            self._schedule.clear()
            self._count(self._spec_refusal)
            if self._phase is Phase.AUTONOMOUS:
                self._go(Phase.HOLD, self._spec_refusal)
        return self._spec_refusal

    def on_state(self, state: EndEffectorState, now: Instant) -> Refusal | None:
        """A report of the arm. One that makes no sense is a FAULT of an arm that is to move: no limit can be kept
        without knowing where it is."""
        config = self._config
        refusal = refuse_state(state, config) or self._state_gate.refuse(
            state.stamp_ns, now, config.state_timeout_s, config.future_tolerance_s
        )
        if refusal is not None:
            self.refuse_arm(refusal)
            return refusal
        self._state_gate.accept(state.stamp_ns)
        jump = refuse_jump(self._state, state, config) if self._state is not None else None
        if jump is not None:
            self._on_jump(jump, state, now)
        self._state, self._state_arrival_s, self._state_refusal = state, now.steady_s, None
        if config.arm != STEP_ARM:
            # The stage behind this one has taken every command at once, and judges the arm's reports.
            self._under_way.clear()
        else:
            place = np.concatenate([state.position, state.target_position])
            self._jumped_since_rearm |= self._places.add(place, now.steady_s, state.stamp_ns)
            waits = config.command_interval_s <= 0.0
            delay_s = 0.0 if waits else config.state_timeout_s
            give_up_s = delay_s + config.state_timeout_s
            self._under_way.on_report(state.target_position, state.stamp_ns, now, delay_s, give_up_s)
        return None

    def _on_jump(self, jump: Refusal, state: EndEffectorState, now: Instant) -> None:
        """Forgets what was planned; only what was captured or asked for with the arm where it is now counts."""
        self._count(jump)
        self._schedule.clear()
        self._operator = None
        since = Instant(now.steady_s, state.stamp_ns - 1)
        self._chunk_gate.require_also_after(since, "the arm was moved")
        self._operator_gate.require_also_after(since, "the arm was moved")
        if self._phase is Phase.AUTONOMOUS:
            self._go(Phase.HOLD, jump)

    def on_chunk(self, chunk: ActionChunk, now: Instant) -> Refusal | None:
        """A policy's chunk. Returns why it is not executed, or None when it is; then call `tick`."""
        self._chunks_received += 1
        self._chunk_arrival_s = now.steady_s
        refusal = self._refuse_chunk(chunk, now)
        if refusal is not None:
            self._chunks_rejected += 1
            self._last_refusal = (refusal, now.steady_s)
            self._count(refusal)
            if self._phase is Phase.AUTONOMOUS and refusal.sender_broken:
                self._go(Phase.HOLD, refusal)
            return refusal
        config = self._config
        self._chunk_gate.accept(chunk.stamp_ns)
        self._last_refusal = None
        self._chunk_accepted_s = now.steady_s
        start_s = now.steady_s
        if self._last_command_s is not None:
            start_s = max(start_s, self._last_command_s + config.command_interval_s)
        if config.command_interval_s > 0.0:
            executed = sum(stamp_ns > chunk.stamp_ns for stamp_ns in self._executed_ns)
            self._schedule.add(chunk, start_s, executed, config.overlap_rule)
        else:
            # A world that waits for each command has seen every step by the time of the frame.
            self._schedule.replace(chunk, start_s)
        self._useful_until_s = self._schedule.last_step_s
        if self._phase is Phase.HOLD:
            self._go(Phase.AUTONOMOUS, Refusal("policy", f"policy {chunk.policy!r} is acting"))
        return None

    def on_operator(self, command: EndEffectorDelta, now: Instant) -> Refusal | None:
        """An operator's command. Any one that is new takes the arm over, even if it cannot be carried out."""
        config = self._config
        barred = self._barred()
        not_theirs = self._lease.refuse(
            command.source, now.steady_s, config.teleop_timeout_s, self._pause_s, barred is not None
        )
        refusal = barred or self._operator_gate.refuse(
            command.stamp_ns, now, config.teleop_timeout_s, config.future_tolerance_s
        )
        if refusal is not None:
            self._operator_refusal = (refusal, now.steady_s)
            self._count(refusal)
            return refusal
        if not_theirs is not None:
            if self._phase is not Phase.TELEOP:
                self._operator_refusal = (not_theirs, now.steady_s)
            self._count(not_theirs)
            return not_theirs
        self._operator_gate.accept(command.stamp_ns)
        before = self._lease.take(command.source, now.steady_s)
        if before is not None:
            self._log(
                True, "operator changed", f"{named(command.source)} has the arm now; {named(before)} was silent before"
            )
            self._counts["operator changed"] += 1
        self._operator_arrival_s = now.steady_s
        if self._phase is not Phase.TELEOP:
            self._schedule.clear()
            self._go(Phase.TELEOP, Refusal("operator", "the operator has taken over"))
        refusal = refuse_frames([command.frame], config) or refuse_deltas(command.delta[None], config)
        if refusal is not None:
            self._operator = None
            self._operator_refusal = (refusal, now.steady_s)
            self._count(refusal)
            return refusal
        self._operator_refusal = None
        self._operator = _Arrived(command, now.steady_s)
        return None

    def on_heartbeat(self, source: Source, now: Instant, who: str = "") -> None:
        """A sign of life. Once one was heard, its absence counts as the loss of that source.

        Args:
            who: which operator, as in its commands; one without a name speaks for all.
        """
        if source is Source.POLICY:
            self._policy_heartbeat.beat(now.steady_s)
        else:
            self._lease.beat(who, now.steady_s)

    def on_rival(self, what: str, now: Instant) -> None:
        """Somebody else says what only this controller may say: nobody knows any more what the arm is told. It holds
        until that has not happened for a while.

        Args:
            what: the topic, and who publishes on it besides.
        """
        self._rival_s = now.steady_s
        self._rival = Refusal(
            "another controller", f"{what}: the arm may have one controller only; end the other one, then it goes on"
        )
        self._count(self._rival)

    def refuse_unread(self, refusal: Refusal, now: Instant, source: Source | None = None) -> None:
        """An input that was refused before it was read: far too large, or no message of its type.

        Args:
            source: POLICY for an action chunk; None for what does not ask for a motion.
        """
        self._count(refusal)
        if source is Source.POLICY:
            self._chunks_received += 1
            self._chunks_rejected += 1
            self._chunk_arrival_s = now.steady_s
            self._last_refusal = (refusal, now.steady_s)
            if self._phase is Phase.AUTONOMOUS:
                self._go(Phase.HOLD, refusal)

    def on_estop_button(self, pressed: bool, now: Instant, shared: bool = False) -> None:
        """What a button says about itself. A pressed one stops; a released one moves nothing.

        Args:
            shared: the button that stops every arm; otherwise the one of this arm.
        """
        button = self._shared_button if shared else self._button
        button.hear(pressed, now.steady_s)
        if pressed:
            self.estop(button.pressed_text)

    def refuse_arm(self, refusal: Refusal) -> None:
        """A report of the arm that is not believed. One that makes no sense, or an arm that does not follow, is a FAULT
        of an arm that is to move; one that nobody wants to move waits for a report that is believed."""
        self._state_refusal = refusal
        self._count(refusal)
        if refusal.sender_broken and self._phase in MOVING:
            self.fault(refusal.text)
        elif refusal.sender_broken:
            self._state = None

    @property
    def arm_trouble(self) -> Refusal | None:
        """What `bar_arm` was told last."""
        return self._arm_trouble

    def bar_arm(self, trouble: Refusal | None) -> None:
        """Why the arm must not be moved now although it reports; None when it may be moved again. Not latched."""
        self._arm_trouble = trouble
        if trouble is not None:
            self._count(trouble)

    def count_refusal(self, refusal: Refusal) -> None:
        """A motion that was given up on the way."""
        self._commands_clipped += 1
        self._count(refusal)

    def count_clips(self, clips: Sequence[str]) -> None:
        """A command that was shortened after it left here."""
        self._commands_clipped += 1
        for clip in clips:
            self._counts[f"clipped: {clip}"] += 1

    # Requests

    def estop(self, why: str) -> Outcome:
        """Stops at once, from any phase, and stays stopped until `rearm`."""
        self._drop_pending()
        if self._phase is not Phase.ESTOP:
            self._go(Phase.ESTOP, Refusal("estop", f"emergency stop: {why}; re-arm with {self._names.rearm}"))
        return Outcome(True, f"stopped; re-arm with {self._names.rearm}")

    def fault(self, why: str) -> None:
        """Stops at once because the controller cannot trust its inputs about the arm, or itself."""
        self._drop_pending()
        if self._phase not in (Phase.ESTOP, Phase.FAULT):
            self._go(Phase.FAULT, Refusal("fault", f"fault: {why}; re-arm with {self._names.rearm}"))

    def rearm(self, now: Instant) -> Outcome:
        """Leaves ESTOP or FAULT for HOLD. Nothing moves by that: the policy needs a frame captured after it, the
        operator a new command, and the first motion starts from where the arm really is."""
        if self._phase not in (Phase.ESTOP, Phase.FAULT):
            return Outcome(False, f"nothing to re-arm: the phase is {self._phase.name}")
        if self._inactive is not None:
            return Outcome(False, f"cannot re-arm: {self._inactive.text}")
        button = self._button_trouble(now)
        if button is not None:
            return Outcome(False, f"cannot re-arm: {button}")
        self._drop_pending()
        self._chunk_gate.require_after(now, "the re-arm")
        self._operator_gate.require_after(now, "the re-arm")
        self._begin_anew(now)
        self._lease.bar_who_asks(now.steady_s, self._pause_s)
        self._go(Phase.HOLD, Refusal("re-armed", "re-armed: waiting for a chunk from a frame captured after it"))
        return Outcome(True, "re-armed: holding until a fresh chunk or an operator's command comes")

    def hand_back(self, now: Instant) -> Outcome:
        """The operator gives the arm back; the policy goes on from a frame captured after this moment."""
        if self._phase is not Phase.TELEOP:
            return Outcome(False, f"nothing to hand back: the phase is {self._phase.name}")
        self._drop_pending()
        self._chunk_gate.require_after(now, "the hand-back")
        self._operator_gate.require_after(now, "the hand-back")
        self._go(Phase.HOLD, Refusal("handed back", "handed back: waiting for a chunk from a frame captured after it"))
        return Outcome(True, "handed back: the policy goes on with its next frame")

    def deactivate(self, why: str) -> None:
        """From now on nobody moves the arm, until `activate`. An emergency stop is still heard, and a latch stays.

        Args:
            why: for whoever asks: what the controller is, and what to do about it.
        """
        self._inactive = Refusal("inactive", why)
        self._drop_pending()
        if self._phase in MOVING:
            self._go(Phase.HOLD, self._inactive)

    def activate(self, now: Instant) -> None:
        """Lets commands through again. Nothing moves by that: as after a re-arm, the policy needs a frame captured
        after it, the operator a new command, and a latch stays until the re-arm."""
        if self._inactive is None:
            return
        self._inactive = None
        self._drop_pending()
        self._chunk_gate.require_after(now, "the activation")
        self._operator_gate.require_after(now, "the activation")
        self._lease.bar_who_asks(now.steady_s, self._pause_s)
        if self._commands_sent:
            # Others may have moved the arm since.
            self._begin_anew(now)
        if self._phase is Phase.HOLD:
            self._cause = Refusal("activated", "activated: waiting for a chunk from a frame captured after it")

    def forget(self, now: Instant) -> None:
        """Forgets everything that was heard of policy, operator and arm; latches, the button and counts stay.

        Raises:
            RuntimeError: the controller is active.
        """
        if self._inactive is None:
            raise RuntimeError("an active controller may not forget where its arm is: deactivate it first")
        self._forget(now)

    # Work

    def tick(self, now: Instant) -> Command | None:
        """Does what is due now: the watchdog, and at most one command."""
        button = self._button_trouble(now)
        if button is not None and self._phase is not Phase.ESTOP:
            self.estop(button)
        if self._phase is Phase.AUTONOMOUS:
            return self._tick_policy(now)
        if self._phase is Phase.TELEOP:
            return self._tick_operator(now)
        return None

    def report(self, now: Instant) -> Report:
        """What is going on, for a person to read."""
        reason = self._reason(now)
        return Report(
            phase=self._phase,
            reason_code=reason.code,
            reason=reason.text,
            instruction=self._instruction or "",
            frame_age_ms=float("nan") if self._frame_stamp_ns is None else (now.ros_ns - self._frame_stamp_ns) * 1e-6,
            chunk_age_ms=_age_ms(self._chunk_accepted_s, now),
            teleop_age_ms=_age_ms(self._operator_arrival_s, now),
            state_age_ms=_age_ms(self._state_arrival_s if self._state is not None else None, now),
            chunks_received=self._chunks_received,
            commands_sent=self._commands_sent,
            chunks_rejected=self._chunks_rejected,
            commands_clipped=self._commands_clipped,
            counts=dict(sorted(self._counts.items())),
        )

    def take_events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    # How it decides

    def _tick_policy(self, now: Instant) -> Command | None:
        trouble = self._refuse_moving(now) or self._policy_lost(now)
        if trouble is not None:
            self._go(Phase.HOLD, trouble)
            return None
        if now.steady_s - self._useful_until_s > self._config.watchdog_s:
            self._go(Phase.HOLD, self._refused_lately(now) or self._silence(now))
            return None
        if not self._interval_passed(now):
            return None
        overtaken = self._schedule.overtaken
        step = self._schedule.due(now.steady_s)
        lost = self._schedule.overtaken - overtaken
        if lost:
            self._counts["step overtaken"] += lost
            self._log(
                True, "step overtaken", f"{lost} steps of a chunk were not executed: the control loop came too late"
            )
        if step is None:
            return None
        old = self._refuse_step_age(step.index, step.chunk.stamp_ns, now)
        if old is not None:
            self._count(old)
            self._go(Phase.HOLD, old)
            return None
        self._frame_stamp_ns = step.chunk.stamp_ns
        delta = step.delta.copy()
        delta[GRIPPER] = self._gripper.apply(delta[GRIPPER], self._gripper_target(), self._config.gripper_rule)
        self._executed_ns.append(now.ros_ns)
        following = None
        if step.following is not None:
            following = step.following.copy()
            following[:GRIPPER] *= self._config.bring_up_scale
        return self._command(delta, step.chunk.stamp_ns, Source.POLICY, now, step.chunk.policy, following)

    def _tick_operator(self, now: Instant) -> Command | None:
        waiting = self._operator
        if waiting is None:
            return None
        config = self._config
        age_s = max(now.steady_s - waiting.steady_s, (now.ros_ns - waiting.command.stamp_ns) * 1e-9)
        if age_s > config.teleop_timeout_s:
            self._operator = None
            self._count(Refusal("operator command too old", f"operator command waited {age_s:.2f} s and was dropped"))
            return None
        trouble = self._refuse_moving(now) or self._operator_lost(waiting.command.source, now)
        if trouble is not None:
            self._operator = None
            self._operator_refusal = (trouble, now.steady_s)
            self._count(trouble)
            return None
        if not self._interval_passed(now):
            return None
        self._operator = None
        command = waiting.command
        return self._command(command.delta, command.stamp_ns, Source.OPERATOR, now, command.source)

    def _command(
        self,
        delta: NDArray[np.float64],
        stamp_ns: int,
        source: Source,
        now: Instant,
        sender: str,
        following: NDArray[np.float64] | None = None,
    ) -> Command | None:
        state, config = self._state, self._config
        if self._phase not in MOVING or state is None:
            raise RuntimeError(f"a command was about to be sent in phase {self._phase.name}")
        if self._rebase_after_s is not None:
            # Once: an arm that hangs a little below its target must not be followed down with every command.
            self._rebase_after_s = None
            # A joint-level arm has begun anew from where it was measured already.
            self._way_back = WayBack.of(state) if config.arm == STEP_ARM else None
        asked = delta
        way_back = self._way_back
        # A command that the last report may or may not contain yet: the box must hold either way.
        targets = self._under_way.corners(state.target_position)
        eased, easing = self._ease(delta, source, now)
        begins = targets if way_back is None else [target + way_back.offset[TRANSLATION] for target in targets]
        since_last_s = None if self._last_command_s is None else now.steady_s - self._last_command_s
        period_s = motion_time_s(since_last_s, config)
        limited, clips = limit(eased, begins, config, period_s)
        self._last_delta, self._last_source = limited, source
        if easing:
            clips = ("take-over", *clips)
        if way_back is not None:
            scale = config.bring_up_scale
            step = StepSize(
                scale * min(config.max_step_translation_m, config.max_speed_m_s * period_s),
                scale * min(config.max_step_rotation_rad, config.max_angular_speed_rad_s * period_s),
            )
            limited, self._way_back = way_back.take(limited, step)
            limited[TRANSLATION] = keep_inside(limited[TRANSLATION], targets, config)
        wrong = refuse_delta(limited, targets, config, since_last_s)
        if wrong is not None:
            self._count(wrong)
            self.fault(wrong.text)
            return None
        if clips:
            self._commands_clipped += 1
            for clip in clips:
                self._counts[f"clipped: {clip}"] += 1
            self._log(True, "clipped: " + ", ".join(clips), f"{source.value} command shortened by: {', '.join(clips)}")
        self._commands_sent += 1
        self._last_command_s = now.steady_s
        self._under_way.add(limited[TRANSLATION], now)
        return Command(limited, stamp_ns, source, sender, asked, following)

    def _begin_anew(self, now: Instant) -> None:
        """The next motion starts from where the arm is measured, once it has reported that."""
        self._rebase_after_s = now.steady_s
        self._way_back = None
        self._jumped_since_rearm = False

    def _ease(self, delta: NDArray[np.float64], source: Source, now: Instant) -> tuple[NDArray[np.float64], bool]:
        """After a change between operator and policy the speed changes gradually, until the new source is followed.

        An arm that got no command for two periods stands; speed then begins at zero.
        """
        if self._last_source is not None and source is not self._last_source:
            self._easing = True
        if not self._easing:
            return delta, False
        config = self._config
        last_s = self._last_command_s
        moving = last_s is not None and now.steady_s - last_s <= 2.0 * config.step_period_s
        # The last delta was scaled; what it is compared with is not yet.
        last = self._last_delta / config.bring_up_scale if moving else np.zeros(7)
        eased, self._easing = limit_change(delta, last, config)
        return eased, self._easing

    def _gripper_target(self) -> float:
        return self._state.gripper_target if self._state is not None else 1.0

    def _policy_lost(self, now: Instant) -> Refusal | None:
        """Why the policy's wishes do not count although they come, or None."""
        config = self._config
        return self._policy_heartbeat.refuse(
            now.steady_s, config.heartbeat_timeout_s, config.require_policy_heartbeat, self._started_s
        )

    def _operator_lost(self, who: str, now: Instant) -> Refusal | None:
        """The same for an operator's wishes."""
        config = self._config
        return self._lease.refuse_silent(
            who, now.steady_s, config.heartbeat_timeout_s, config.require_teleop_heartbeat, self._started_s
        )

    @property
    def _pause_s(self) -> float:
        """A key or switch that is held asks once per step period."""
        return 2.0 * self._config.step_period_s

    def _refuse_step_age(self, index: int, stamp_ns: int, now: Instant) -> Refusal | None:
        """Why a step of an accepted chunk is not carried out: nobody has looked at the world for too long."""
        config = self._config
        accepted_s = self._chunk_accepted_s if self._chunk_accepted_s is not None else now.steady_s
        # The steady clock too, so that a clock that is set back makes no step younger.
        age_s = max((now.ros_ns - stamp_ns) * 1e-9, now.steady_s - accepted_s)
        allowed_s = config.max_frame_age_s + config.max_blind_s
        if age_s <= allowed_s:
            return None
        return Refusal(
            "step too old",
            f"step {index} answers a frame captured {age_s:.2f} s ago, at most {allowed_s:g} s is allowed "
            "(max_frame_age_s + max_blind_s): the policy must look again",
        )

    def _button_trouble(self, now: Instant) -> str | None:
        """Why one of the buttons counts as pressed now, or None."""
        config = self._config
        return self._button.trouble(now.steady_s, config.estop_button_timeout_s) or self._shared_button.trouble(
            now.steady_s, config.shared_estop_button_timeout_s
        )

    def _refuse_chunk(self, chunk: ActionChunk, now: Instant) -> Refusal | None:
        config = self._config
        barred = self._barred()
        if barred is not None:
            return barred
        if self._phase is Phase.TELEOP:
            return Refusal("operator in charge", f"the operator has the arm; hand back with {self._names.hand_back}")
        if self._spec is None:
            return Refusal("no action spec", f"policy {chunk.policy!r} has not announced an action spec")
        if self._spec_refusal is not None:
            return self._spec_refusal
        if not (self._instruction if self._instruction is not None else chunk.instruction):
            return self._no_instruction()
        return (
            refuse_chunk(chunk, self._spec, config)
            or self._refuse_instruction(chunk)
            or self._policy_lost(now)
            or self._chunk_gate.refuse(chunk.stamp_ns, now, config.max_frame_age_s, config.future_tolerance_s)
            or self._refuse_moving(now)
        )

    def _refuse_instruction(self, chunk: ActionChunk) -> Refusal | None:
        """What was planned for another instruction than the one in force is not carried out: it comes late, or too
        early. A policy that does not say what it follows is believed to follow that one."""
        follows, in_force = chunk.instruction.strip(), self._instruction
        if in_force is None or not follows or follows == in_force.strip():
            return None
        return Refusal(
            "chunk for another instruction",
            f"chunk follows the instruction {chunk.instruction!r}, in force is {in_force!r}: a policy names "
            "the words that it was given, or none",
        )

    def _barred(self) -> Refusal | None:
        """Why nobody may move the arm, whatever they ask for, or None."""
        if self._phase is Phase.ESTOP:
            return Refusal("emergency stop", f"the emergency stop is latched; re-arm with {self._names.rearm}")
        if self._phase is Phase.FAULT:
            return Refusal("fault", f"a fault is latched; re-arm with {self._names.rearm}")
        return self._inactive

    def _refuse_moving(self, now: Instant) -> Refusal | None:
        """Why the arm may not be moved at all now, whoever asks."""
        if self._arm_trouble is not None:
            return self._arm_trouble
        if self._state is None:
            return self._state_refusal or Refusal(
                "no end effector state", "no end effector state received: is the arm driver or simulator running?"
            )
        age_s = max(now.steady_s - self._state_arrival_s, (now.ros_ns - self._state.stamp_ns) * 1e-9)
        if age_s > self._config.state_timeout_s:
            if self._state_refusal is not None:
                return self._state_refusal
            return Refusal("arm state too old", f"end effector state is {age_s:.1f} s old: arm driver silent")
        if self._rebase_after_s is not None and self._state_arrival_s <= self._rebase_after_s:
            return Refusal("waiting for arm state", "waiting for an end effector state from after the re-arm")
        return self._refuse_rival(now) or self._refuse_place()

    def _refuse_rival(self, now: Instant) -> Refusal | None:
        """Why the arm holds because of another controller, or None."""
        if self._rival is not None and now.steady_s - self._rival_s > RIVAL_GONE_S:
            self._rival = None
        return self._rival

    def _refuse_place(self) -> Refusal | None:
        """Why it is not sure where an arm that takes deltas is, or None."""
        places = self._places
        unsure = places.contradicting or (self._rebase_after_s is not None and self._jumped_since_rearm)
        if not unsure or places.confirmed is not None or self._config.arm != STEP_ARM:
            return None
        return Refusal(
            "arm states contradict",
            "the arm is reported here and there, faster than it can move: holding until its reports agree; "
            "are there two publishers of its state?",
        )

    def _interval_passed(self, now: Instant) -> bool:
        last_s = self._last_command_s
        return last_s is None or now.steady_s - last_s >= self._config.command_interval_s * (1.0 - 1e-6)

    def _reason(self, now: Instant) -> Refusal:
        if self._phase is Phase.HOLD:
            return self._waiting_for(now)
        if self._phase is Phase.TELEOP:
            return self._operator_reason(now)
        return self._cause

    def _waiting_for(self, now: Instant) -> Refusal:
        """What keeps the arm in HOLD now; the first thing to put right comes first."""
        if self._inactive is not None:
            return self._inactive
        if self._instruction == "":
            return self._no_instruction()
        if self._spec is None:
            return Refusal("no action spec", "no action spec received: is a policy running?")
        if self._spec_refusal is not None:
            return self._spec_refusal
        trouble = self._refuse_moving(now) or self._refused_lately(now)
        if trouble is not None:
            return trouble
        since_s = self._chunk_arrival_s if self._chunk_arrival_s is not None else self._started_s
        return self._silence(now) if now.steady_s - since_s > self._config.watchdog_s else self._cause

    def _operator_reason(self, now: Instant) -> Refusal:
        trouble = self._arm_trouble or self._refuse_place()
        if trouble is not None:
            return trouble
        arrival_s = self._operator_arrival_s
        if self._operator_refusal is not None and now.steady_s - self._operator_refusal[1] <= self._config.watchdog_s:
            return self._operator_refusal[0]
        if arrival_s is not None and now.steady_s - arrival_s > self._config.teleop_timeout_s:
            return Refusal(
                "operator silent",
                f"holding: operator silent for {now.steady_s - arrival_s:.1f} s; "
                f"hand back with {self._names.hand_back}",
            )
        return self._cause

    def _refused_lately(self, now: Instant) -> Refusal | None:
        if self._last_refusal is None or now.steady_s - self._last_refusal[1] > self._config.watchdog_s:
            return None
        return self._last_refusal[0]

    def _silence(self, now: Instant) -> Refusal:
        since_s = self._chunk_arrival_s
        if since_s is None:
            return Refusal("no chunk yet", "no action chunk received yet: policy silent")
        return Refusal("policy silent", f"no action chunk for {now.steady_s - since_s:.1f} s: policy silent")

    def _no_instruction(self) -> Refusal:
        return Refusal("no instruction", f"no instruction: publish one on {self._names.instruction}")

    def _drop_pending(self) -> None:
        self._schedule.clear()
        self._operator = None
        self._operator_refusal = None
        self._last_refusal = None

    def _go(self, phase: Phase, cause: Refusal) -> None:
        check_transition(self._phase, phase)
        self._log(
            phase not in MOVING,
            f"{self._phase.name} -> {phase.name}",
            f"{self._phase.name} -> {phase.name}: {cause.text}",
        )
        self._phase = phase
        self._cause = cause
        if phase is not Phase.TELEOP:
            self._lease.release()
        if phase not in MOVING:
            self._gripper.reset()
            self._schedule.clear()
            self._operator = None

    def _count(self, refusal: Refusal) -> None:
        self._counts[refusal.code] += 1
        self._log(True, refusal.code, f"refused: {refusal.text}")

    def _log(self, warning: bool, code: str, text: str) -> None:
        self._events.append(Event(warning, code, text))


def _age_ms(since_s: float | None, now: Instant) -> float:
    return float("nan") if since_s is None else (now.steady_s - since_s) * 1e3
