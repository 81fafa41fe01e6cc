"""The controller's core: who moves the arm, whether, and how far. No clock, no I/O, no ROS; not thread-safe.

The caller tells it every input (`magma_control.inputs`) as it arrives, with the present `Instant`, by `handle`: the one
door, so that the inputs in order are all there is to know about a run. A `Tick` is answered with at most one command.
All refusals and clips are counted by reason; `report` says what is going on, `take_events` what to log.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import GRIPPER, ROTATION, TRANSLATION, ActionChunk, EndEffectorDelta
from magma_contracts.arm_state import EndEffectorState
from magma_control import inputs
from magma_control.channels.arm_channel import ArmChannel
from magma_control.channels.operator_channel import OperatorChannel
from magma_control.channels.operator_lease import named
from magma_control.channels.policy_channel import PolicyChannel
from magma_control.channels.rebase import StepSize
from magma_control.channels.stop_button import StopButton
from magma_control.command_guard import refuse_delta
from magma_control.commands import Command, Source
from magma_control.config import STEP_ARM, ControllerConfig
from magma_control.freshness import Instant
from magma_control.graph_names import GraphNames
from magma_control.inputs import AnswerT, Input, Outcome
from magma_control.phases import MOVING, Phase, check_transition
from magma_control.safety import Refusal, keep_inside, limit, limit_change, motion_time_s

RIVAL_GONE_S = 2.0
"""After so long without a word another controller counts as ended; a living one says something ten times a second."""


@dataclass(frozen=True)
class Event:
    """Something that a person reading the log should see."""

    warning: bool
    code: str
    """equal for events of one kind, so that repeats can be throttled"""
    text: str


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
        self._now = now
        self._forget(now)

    def _forget(self, now: Instant) -> None:
        """Everything that was heard, but the emergency stop's button."""
        self._policy = PolicyChannel(now.steady_s, self._names.instruction)
        self._operator = OperatorChannel(now.steady_s)
        self._arm = ArmChannel(self._config)
        self._last_command_s: float | None = None
        self._rival: Refusal | None = None
        self._rival_s = 0.0
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

    @property
    def now(self) -> Instant:
        """When it was told something last."""
        return self._now

    def handle(self, given: Input[AnswerT], now: Instant) -> AnswerT:
        """Takes one input, at the moment at which it came; each is told about at the method that it leads to.

        Returns:
            What the kind of input is answered with.
        """
        self._now = now
        answer: AnswerT = _HANDLERS[type(given)](self, given, now)
        return answer

    def reconfigure(self, config: ControllerConfig) -> None:
        """Takes new limits and times, in force from the next input or tick; what was judged by the old ones and still
        counts is judged again."""
        before, self._config = self._config, config
        for item in dataclasses.fields(config):
            if getattr(before, item.name) != getattr(config, item.name):
                self._counts[f"parameter changed: {item.name}"] += 1
        self._judge_spec()

    # Inputs

    def on_instruction(self, text: str, now: Instant | None = None) -> None:
        """What the robot is to do; an empty text means nothing, and the arm holds. From `now` on a chunk that names no
        instruction must answer a later frame."""
        policy = self._policy
        if text == policy.instruction:
            return
        policy.instruct(text, now)
        self._log(False, "instruction", f"instruction: {text!r}")
        if not text and self._phase is Phase.AUTONOMOUS:
            self._go(Phase.HOLD, policy.no_instruction)

    def on_spec(self, spec: ActionSpec, now: Instant) -> Refusal | None:
        """What the policy's actions mean. A spec that does not fit bars all of its chunks."""
        policy = self._policy
        if spec != policy.spec:
            policy.spec, policy.spec_refusal = spec, None
            policy.stream.clear()
            self._judge_spec()
            if policy.spec_refusal is None:
                self._log(False, "spec", f"policy {spec.policy!r} fits this arm (horizon {spec.horizon})")
        return policy.spec_refusal

    def _judge_spec(self) -> None:
        """Whether the policy fits the arm as it is configured now; one that does not moves it no more."""
        refusal = self._policy.judge_spec(self._config)
        if refusal is not None:
            self._count(refusal)
            if self._phase is Phase.AUTONOMOUS:
                self._go(Phase.HOLD, refusal)

    def on_state(self, state: EndEffectorState, now: Instant) -> Refusal | None:
        """A report of the arm. One that makes no sense is a FAULT of an arm that is to move: no limit can be kept
        without knowing where it is."""
        refusal = self._arm.refuse(state, now, self._config)
        if refusal is not None:
            self.refuse_arm(refusal)
            return refusal
        jump = self._arm.accept(state, now, self._config)
        if self._config.arm != STEP_ARM:
            log = self._policy.stream.log
            log.on_target(state.target_position, state.target_quaternion_xyzw, now.ros_ns)
        if jump is not None:
            self._on_jump(jump, state, now)
        return None

    def _on_jump(self, jump: Refusal, state: EndEffectorState, now: Instant) -> None:
        """Forgets what was planned; only what was captured or asked for with the arm where it is now counts."""
        self._count(jump)
        self._policy.stream.forget()
        self._operator.take()
        since = Instant(now.steady_s, state.stamp_ns - 1)
        self._policy.gate.require_also_after(since, "the arm was moved")
        self._operator.gate.require_also_after(since, "the arm was moved")
        if self._phase is Phase.AUTONOMOUS:
            self._go(Phase.HOLD, jump)

    def on_chunk(self, chunk: ActionChunk, now: Instant) -> Refusal | None:
        """A policy's chunk. Returns why it is not executed, or None when it is; then call `tick`."""
        self._chunks_received += 1
        self._policy.hear(now)
        refusal = self._refuse_chunk(chunk, now)
        if refusal is not None:
            self._reject_chunk(refusal, now)
            return refusal
        last_s = self._last_command_s
        earliest_s = now.steady_s if last_s is None else last_s + self._config.command_interval_s
        self._policy.accept(chunk, now, earliest_s, self._config)
        if self._phase is Phase.HOLD:
            self._go(Phase.AUTONOMOUS, Refusal("policy", f"policy {chunk.policy!r} is acting"))
        return None

    def _reject_chunk(self, refusal: Refusal, now: Instant) -> None:
        self._chunks_rejected += 1
        self._policy.reject(refusal, now)
        self._count(refusal)
        if self._phase is Phase.AUTONOMOUS and refusal.sender_broken:
            self._go(Phase.HOLD, refusal)

    def on_operator(self, command: EndEffectorDelta, now: Instant) -> Refusal | None:
        """An operator's command. Any one that is new takes the arm over, even if it cannot be carried out."""
        config, operator = self._config, self._operator
        refusal = operator.refuse(command, now, config, self._barred(), self._phase is Phase.TELEOP)
        if refusal is not None:
            self._count(refusal)
            return refusal
        before = operator.accept(command, now)
        if before is not None:
            self._log(
                True, "operator changed", f"{named(command.source)} has the arm now; {named(before)} was silent before"
            )
            self._counts["operator changed"] += 1
        if self._phase is not Phase.TELEOP:
            self._policy.stream.forget()
            self._go(Phase.TELEOP, Refusal("operator", "the operator has taken over"))
        refusal = operator.put(command, now, config)
        if refusal is not None:
            self._count(refusal)
        return refusal

    def on_heartbeat(self, source: Source, now: Instant, who: str = "") -> None:
        """A sign of life. Once one was heard, its absence counts as the loss of that source.

        Args:
            who: which operator, as in its commands; one without a name speaks for all.
        """
        if source is Source.POLICY:
            self._policy.beat(now)
        else:
            self._operator.beat(who, now)

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
        if source is Source.POLICY:
            self._chunks_received += 1
            self._policy.hear(now)
            self._reject_chunk(refusal, now)
        else:
            self._count(refusal)

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
        moving = self._phase in MOVING
        self._arm.disbelieve(refusal, moving)
        self._count(refusal)
        if refusal.sender_broken and moving:
            self.fault(refusal.text)

    @property
    def arm_trouble(self) -> Refusal | None:
        """What `bar_arm` was told last."""
        return self._arm.trouble

    def bar_arm(self, trouble: Refusal | None) -> None:
        """Why the arm must not be moved now although it reports; None when it may be moved again. Not latched."""
        self._arm.trouble = trouble
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
        self._policy.gate.require_after(now, "the re-arm")
        self._operator.gate.require_after(now, "the re-arm")
        self._arm.begin_anew(now)
        self._operator.bar_who_asks(now, self._config)
        self._go(Phase.HOLD, Refusal("re-armed", "re-armed: waiting for a chunk from a frame captured after it"))
        return Outcome(True, "re-armed: holding until a fresh chunk or an operator's command comes")

    def hand_back(self, now: Instant) -> Outcome:
        """The operator gives the arm back; the policy goes on from a frame captured after this moment."""
        if self._phase is not Phase.TELEOP:
            return Outcome(False, f"nothing to hand back: the phase is {self._phase.name}")
        self._drop_pending()
        self._policy.gate.require_after(now, "the hand-back")
        self._operator.gate.require_after(now, "the hand-back")
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
        self._policy.gate.require_after(now, "the activation")
        self._operator.gate.require_after(now, "the activation")
        self._operator.bar_who_asks(now, self._config)
        if self._commands_sent:
            # Others may have moved the arm since.
            self._arm.begin_anew(now)
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
        policy, arm = self._policy, self._arm
        stamp_ns = policy.frame_stamp_ns
        return Report(
            phase=self._phase,
            reason_code=reason.code,
            reason=reason.text,
            instruction=policy.instruction or "",
            frame_age_ms=float("nan") if stamp_ns is None else (now.ros_ns - stamp_ns) * 1e-6,
            chunk_age_ms=_age_ms(policy.accepted_s, now),
            teleop_age_ms=_age_ms(self._operator.arrived_s, now),
            state_age_ms=_age_ms(arm.arrived_s if arm.state is not None else None, now),
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
        policy, config = self._policy, self._config
        trouble = self._refuse_moving(now) or policy.refuse_silent(now, config) or policy.overdue(now, config)
        if trouble is not None:
            self._go(Phase.HOLD, trouble)
            return None
        if not self._interval_passed(now):
            return None
        stream = policy.stream
        overtaken = stream.overtaken
        due = stream.due(now.steady_s)
        lost = stream.overtaken - overtaken
        if lost:
            self._counts["step overtaken"] += lost
            self._log(
                True, "step overtaken", f"{lost} steps of a chunk were not executed: the control loop came too late"
            )
        if due is None:
            return None
        step, owed = due
        old = policy.refuse_step(step, now, config)
        if old is not None:
            self._count(old)
            self._go(Phase.HOLD, old)
            return None
        if owed is not None:
            self._note_late_answer(owed)
        delta = step.delta.copy()
        delta[GRIPPER] = policy.gripper.apply(delta[GRIPPER], self._gripper_target(), config.gripper_rule)
        following = None
        if step.following is not None:
            following = step.following.copy()
            following[:GRIPPER] *= config.bring_up_scale
        command = self._command(delta, step.chunk.stamp_ns, Source.POLICY, now, step.chunk.policy, following)
        if command is not None:
            # What the policy moved: not the way back after a re-arm, before which nothing else moves.
            moved = self._last_delta if self._arm.way_back is None else np.append(np.zeros(6), command.delta[GRIPPER])
            policy.executed(step, moved, now)
        return command

    def _note_late_answer(self, owed: NDArray[np.float64]) -> None:
        """A step was changed by what had been commanded since its frame."""
        self._counts["late answer: commanded since"] += 1
        metres, radians = (float(np.linalg.norm(owed[part])) for part in (TRANSLATION, ROTATION))
        self._log(
            False,
            "late answer",
            f"late answer: {metres * 1e3:.1f} mm and {radians:.3f} rad commanded since its frame were subtracted",
        )

    def _tick_operator(self, now: Instant) -> Command | None:
        operator, config = self._operator, self._config
        old = operator.drop_old(now, config)
        if old is not None:
            self._count(old)
        command = operator.waiting
        if command is None:
            return None
        trouble = self._refuse_moving(now) or operator.refuse_silent(command.source, now, config)
        if trouble is not None:
            operator.give_up(trouble, now)
            self._count(trouble)
            return None
        if not self._interval_passed(now):
            return None
        operator.take()
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
        arm, config = self._arm, self._config
        state = arm.state
        if self._phase not in MOVING or state is None:
            raise RuntimeError(f"a command was about to be sent in phase {self._phase.name}")
        arm.begin_motion(state, config)
        asked = delta
        way_back = arm.way_back
        # The box must hold wherever the target is by now.
        targets = arm.targets(state)
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
            limited, arm.way_back = way_back.take(limited, step)
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
        arm.sent(limited[TRANSLATION], now)
        return Command(limited, stamp_ns, source, sender, asked, following)

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
        state = self._arm.state
        return state.gripper_target if state is not None else 1.0

    def _button_trouble(self, now: Instant) -> str | None:
        """Why one of the buttons counts as pressed now, or None."""
        config = self._config
        return self._button.trouble(now.steady_s, config.estop_button_timeout_s) or self._shared_button.trouble(
            now.steady_s, config.shared_estop_button_timeout_s
        )

    def _refuse_chunk(self, chunk: ActionChunk, now: Instant) -> Refusal | None:
        barred = self._barred()
        if barred is not None:
            return barred
        if self._phase is Phase.TELEOP:
            return Refusal("operator in charge", f"the operator has the arm; hand back with {self._names.hand_back}")
        return self._policy.refuse(chunk, now, self._config) or self._refuse_moving(now)

    def _barred(self) -> Refusal | None:
        """Why nobody may move the arm, whatever they ask for, or None."""
        if self._phase is Phase.ESTOP:
            return Refusal("emergency stop", f"the emergency stop is latched; re-arm with {self._names.rearm}")
        if self._phase is Phase.FAULT:
            return Refusal("fault", f"a fault is latched; re-arm with {self._names.rearm}")
        return self._inactive

    def _refuse_moving(self, now: Instant) -> Refusal | None:
        """Why the arm may not be moved at all now, whoever asks."""
        arm, config = self._arm, self._config
        return arm.refuse_moving(now, config) or self._refuse_rival(now) or arm.refuse_place(config)

    def _refuse_rival(self, now: Instant) -> Refusal | None:
        """Why the arm holds because of another controller, or None."""
        if self._rival is not None and now.steady_s - self._rival_s > RIVAL_GONE_S:
            self._rival = None
        return self._rival

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
        policy, config = self._policy, self._config
        if policy.instruction == "":
            return policy.no_instruction
        if policy.spec is None:
            return Refusal("no action spec", "no action spec received: is a policy running?")
        return (
            policy.spec_refusal
            or self._refuse_moving(now)
            or policy.refused_lately(now, config)
            or policy.quiet(now, config)
            or self._cause
        )

    def _operator_reason(self, now: Instant) -> Refusal:
        arm, operator, config = self._arm, self._operator, self._config
        trouble = arm.trouble or arm.refuse_place(config) or operator.refused_lately(now, config)
        if trouble is not None:
            return trouble
        arrival_s = operator.arrived_s
        if arrival_s is not None and now.steady_s - arrival_s > config.teleop_timeout_s:
            return Refusal(
                "operator silent",
                f"holding: operator silent for {now.steady_s - arrival_s:.1f} s; "
                f"hand back with {self._names.hand_back}",
            )
        return self._cause

    def _drop_pending(self) -> None:
        self._policy.drop()
        self._operator.drop()

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
            self._operator.release()
        if phase not in MOVING:
            self._policy.gripper.reset()
            self._policy.stream.clear()
            self._operator.take()

    def _count(self, refusal: Refusal) -> None:
        self._counts[refusal.code] += 1
        self._log(True, refusal.code, f"refused: {refusal.text}")

    def _log(self, warning: bool, code: str, text: str) -> None:
        self._events.append(Event(warning, code, text))


def _age_ms(since_s: float | None, now: Instant) -> float:
    return float("nan") if since_s is None else (now.steady_s - since_s) * 1e3


_HANDLERS: Mapping[type[Input[Any]], Callable[[Controller, Any, Instant], Any]] = {
    inputs.Begun: lambda core, given, now: None,
    inputs.Tick: lambda core, given, now: core.tick(now),
    inputs.Configured: lambda core, given, now: core.reconfigure(given.config),
    inputs.InstructionHeard: lambda core, given, now: core.on_instruction(given.text, now),
    inputs.SpecHeard: lambda core, given, now: core.on_spec(given.spec, now),
    inputs.ChunkHeard: lambda core, given, now: core.on_chunk(given.chunk, now),
    inputs.OperatorHeard: lambda core, given, now: core.on_operator(given.command, now),
    inputs.HeartbeatHeard: lambda core, given, now: core.on_heartbeat(given.source, now, given.who),
    inputs.Unread: lambda core, given, now: core.refuse_unread(given.refusal, now, given.source),
    inputs.RivalHeard: lambda core, given, now: core.on_rival(given.what, now),
    inputs.StateHeard: lambda core, given, now: core.on_state(given.state, now),
    inputs.ArmRefused: lambda core, given, now: core.refuse_arm(given.refusal),
    inputs.ArmBarred: lambda core, given, now: core.bar_arm(given.trouble),
    inputs.ButtonHeard: lambda core, given, now: core.on_estop_button(given.pressed, now, given.shared),
    inputs.Stop: lambda core, given, now: core.estop(given.why),
    inputs.Fault: lambda core, given, now: core.fault(given.why),
    inputs.Rearm: lambda core, given, now: core.rearm(now),
    inputs.HandBack: lambda core, given, now: core.hand_back(now),
    inputs.Activate: lambda core, given, now: core.activate(now),
    inputs.Deactivate: lambda core, given, now: core.deactivate(given.why),
    inputs.Forget: lambda core, given, now: core.forget(now),
}
