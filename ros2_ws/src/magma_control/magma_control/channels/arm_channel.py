"""What the controller's core hears of the arm: where it is, whether that is believed, and what is under way to it."""

from __future__ import annotations

import numpy as np

from magma_contracts.arm_state import EndEffectorState
from magma_control.channels.agreement import ONE_REPORT, Confirmation, ReportAgreement
from magma_control.channels.rebase import WayBack
from magma_control.channels.under_way import FloatArray, UnderWay
from magma_control.config import STEP_ARM, ControllerConfig
from magma_control.freshness import Instant, StampGate, age_s
from magma_control.safety import STATE_JUMP_M, Refusal, refuse_jump, refuse_state

STILL_M = 0.005
"""Reports of an arm that stands differ by no more."""


class ArmChannel:
    """The arm's reports. No clock."""

    def __init__(self, config: ControllerConfig) -> None:
        self.state: EndEffectorState | None = None
        """the last report that was believed"""
        self.arrived_s = 0.0
        """when it came, by the steady clock"""
        self.refusal: Refusal | None = None
        """why the report after it was not believed"""
        self.trouble: Refusal | None = None
        """why the arm must not be moved although it reports"""
        self.way_back: WayBack | None = None
        """what the target still owes to a re-arm"""
        self._gate = StampGate("end effector state", "arm state")
        confirmation = ONE_REPORT if config.command_interval_s <= 0.0 else Confirmation()
        self._places = ReportAgreement(confirmation, STILL_M, STATE_JUMP_M, config.max_speed_m_s)
        self._jumped_since_rearm = False
        self._rebase_after_s: float | None = None
        self._under_way = UnderWay()

    def refuse(self, state: EndEffectorState, now: Instant, config: ControllerConfig) -> Refusal | None:
        """Why a report is not believed, or None."""
        return refuse_state(state, config) or self._gate.refuse(
            state.stamp_ns, now, config.state_timeout_s, config.future_tolerance_s
        )

    def accept(self, state: EndEffectorState, now: Instant, config: ControllerConfig) -> Refusal | None:
        """Takes a report that was not refused; returns the jump that it tells of, if any."""
        self._gate.accept(state.stamp_ns)
        jump = refuse_jump(self.state, state, config) if self.state is not None else None
        self.state, self.arrived_s, self.refusal = state, now.steady_s, None
        if config.arm != STEP_ARM:
            # The stage behind the core has taken every command at once, and judges the arm's reports.
            self._under_way.clear()
            return jump
        place = np.concatenate([state.position, state.target_position])
        self._jumped_since_rearm |= self._places.add(place, now.steady_s, state.stamp_ns)
        delay_s = 0.0 if config.command_interval_s <= 0.0 else config.state_timeout_s
        give_up_s = delay_s + config.state_timeout_s
        self._under_way.on_report(state.target_position, state.stamp_ns, now, delay_s, give_up_s)
        return jump

    def disbelieve(self, refusal: Refusal, moving: bool) -> None:
        """A report that is not believed. One that makes no sense leaves a resting arm's place unknown."""
        self.refusal = refusal
        if refusal.sender_broken and not moving:
            self.state = None

    def refuse_moving(self, now: Instant, config: ControllerConfig) -> Refusal | None:
        """Why the arm may not be moved now, or None; see also `refuse_place`."""
        if self.trouble is not None:
            return self.trouble
        state = self.state
        if state is None:
            return self.refusal or Refusal(
                "no end effector state", "no end effector state received: is the arm driver or simulator running?"
            )
        old_s = age_s(state.stamp_ns, self.arrived_s, now)
        if old_s > config.state_timeout_s:
            if self.refusal is not None:
                return self.refusal
            return Refusal("arm state too old", f"end effector state is {old_s:.1f} s old: arm driver silent")
        if self._rebase_after_s is not None and self.arrived_s <= self._rebase_after_s:
            return Refusal("waiting for arm state", "waiting for an end effector state from after the re-arm")
        return None

    def refuse_place(self, config: ControllerConfig) -> Refusal | None:
        """Why it is not sure where an arm that takes deltas is, or None."""
        places = self._places
        unsure = places.contradicting or (self._rebase_after_s is not None and self._jumped_since_rearm)
        if not unsure or places.confirmed is not None or config.arm != STEP_ARM:
            return None
        return Refusal(
            "arm states contradict",
            "the arm is reported here and there, faster than it can move: holding until its reports agree; "
            "are there two publishers of its state?",
        )

    def begin_anew(self, now: Instant) -> None:
        """The next motion starts from where the arm is measured, once it has reported that."""
        self._rebase_after_s = now.steady_s
        self.way_back = None
        self._jumped_since_rearm = False

    def begin_motion(self, state: EndEffectorState, config: ControllerConfig) -> None:
        """A motion starts: the first one after `begin_anew` owes the way back to where the arm was measured."""
        if self._rebase_after_s is None:
            return
        # Once: an arm that hangs a little below its target must not be followed down with every command.
        self._rebase_after_s = None
        # A joint-level arm has begun anew from where it was measured already.
        self.way_back = WayBack.of(state) if config.arm == STEP_ARM else None

    def targets(self, state: EndEffectorState) -> tuple[FloatArray, FloatArray]:
        """The corners of where the arm's target may be: a command that the last report may or may not contain yet."""
        return self._under_way.corners(state.target_position)

    def sent(self, translation: FloatArray, now: Instant) -> None:
        """A command is on its way. (3,) m."""
        self._under_way.add(translation, now)
