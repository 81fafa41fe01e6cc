"""What the controller's core hears of operators: whose command counts, and the one that waits for its turn."""

from __future__ import annotations

from dataclasses import dataclass

from magma_contracts.actions import EndEffectorDelta
from magma_control.channels.operator_lease import OperatorLease
from magma_control.config import ControllerConfig
from magma_control.freshness import Instant, StampGate, age_s
from magma_control.safety import Refusal, refuse_deltas, refuse_frames


@dataclass(frozen=True)
class _Arrived:
    command: EndEffectorDelta
    steady_s: float


class OperatorChannel:
    """Operators' commands. No clock."""

    def __init__(self, since_s: float) -> None:
        """
        Args:
            since_s: from when on a heartbeat is waited for, by the steady clock.
        """
        self.arrived_s: float | None = None
        """when a command came last from whoever has the arm"""
        self.gate = StampGate("operator command", "operator command")
        self._since_s = since_s
        self._lease = OperatorLease()
        self._waiting: _Arrived | None = None
        self._refused: tuple[Refusal, float] | None = None

    def refuse(
        self, command: EndEffectorDelta, now: Instant, config: ControllerConfig, barred: Refusal | None, has_arm: bool
    ) -> Refusal | None:
        """Why a command takes nobody's arm over, or None; to be called for every command.

        Args:
            barred: why nobody may move the arm.
            has_arm: an operator has the arm: what others want is no reason for that one's standing still.
        """
        not_theirs = self._lease.refuse(
            command.source, now.steady_s, config.teleop_timeout_s, _pause_s(config), barred is not None
        )
        refusal = barred or self.gate.refuse(command.stamp_ns, now, config.teleop_timeout_s, config.future_tolerance_s)
        if refusal is not None:
            self._refused = (refusal, now.steady_s)
        elif not_theirs is not None and not has_arm:
            self._refused = (not_theirs, now.steady_s)
        return refusal or not_theirs

    def accept(self, command: EndEffectorDelta, now: Instant) -> str | None:
        """Gives the arm to the sender of a command that was not refused. Returns who had it before, if another."""
        self.gate.accept(command.stamp_ns)
        self.arrived_s = now.steady_s
        return self._lease.take(command.source, now.steady_s)

    def put(self, command: EndEffectorDelta, now: Instant, config: ControllerConfig) -> Refusal | None:
        """Keeps a command for its turn; returns why it cannot be carried out instead, or None."""
        refusal = refuse_frames([command.frame], config) or refuse_deltas(command.delta[None], config)
        if refusal is not None:
            self.give_up(refusal, now)
            return refusal
        self._refused = None
        self._waiting = _Arrived(command, now.steady_s)
        return None

    @property
    def waiting(self) -> EndEffectorDelta | None:
        """The command that waits for its turn."""
        return self._waiting.command if self._waiting is not None else None

    def drop_old(self, now: Instant, config: ControllerConfig) -> Refusal | None:
        """Drops the command that waits if it has done so for too long, and says so."""
        waiting = self._waiting
        if waiting is None:
            return None
        old_s = age_s(waiting.command.stamp_ns, waiting.steady_s, now)
        if old_s <= config.teleop_timeout_s:
            return None
        self._waiting = None
        return Refusal("operator command too old", f"operator command waited {old_s:.2f} s and was dropped")

    def refuse_silent(self, who: str, now: Instant, config: ControllerConfig) -> Refusal | None:
        """Why an operator's wishes do not count although they come, or None."""
        return self._lease.refuse_silent(
            who, now.steady_s, config.heartbeat_timeout_s, config.require_teleop_heartbeat, self._since_s
        )

    def give_up(self, refusal: Refusal, now: Instant) -> None:
        """What waits is not carried out, for this reason."""
        self._waiting = None
        self._refused = (refusal, now.steady_s)

    def take(self) -> None:
        """The command that waits is carried out, or does not count any more."""
        self._waiting = None

    def drop(self) -> None:
        """As if nothing had been asked for."""
        self._waiting = self._refused = None

    def release(self) -> None:
        """No operator has the arm any more."""
        self._lease.release()

    def bar_who_asks(self, now: Instant, config: ControllerConfig) -> None:
        """The arm becomes free: who asked for it all along has to let go first."""
        self._lease.bar_who_asks(now.steady_s, _pause_s(config))

    def beat(self, who: str, now: Instant) -> None:
        """A sign of life."""
        self._lease.beat(who, now.steady_s)

    def refused_lately(self, now: Instant, config: ControllerConfig) -> Refusal | None:
        """Why the last command was not carried out, while that is news."""
        if self._refused is None or now.steady_s - self._refused[1] > config.watchdog_s:
            return None
        return self._refused[0]


def _pause_s(config: ControllerConfig) -> float:
    """A key or switch that is held asks once per step period."""
    return 2.0 * config.step_period_s
