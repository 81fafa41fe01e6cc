"""When an operator had the arm: from what the controller reports. No clock, no I/O, no ROS."""

from __future__ import annotations

from dataclasses import dataclass, field

TELEOP = 2
"""ControllerState.TELEOP"""
PHASE_NAMES = ("HOLD", "AUTONOMOUS", "TELEOP", "ESTOP", "FAULT")
UNKNOWN_DEVICE = "unknown device"


@dataclass(frozen=True)
class Intervention:
    """One time during which an operator had the arm. Times are nanoseconds of ROS time on the controller's machine."""

    start_ns: int
    end_ns: int
    devices: tuple[str, ...]
    """in the order in which they first asked for the arm"""
    followed_by: str
    """name of the phase that followed; empty when the recording ended before"""
    commands: int
    """commands of the operator that were sent to the arm"""

    @property
    def device(self) -> str:
        """The devices as one text."""
        return ", ".join(self.devices) or UNKNOWN_DEVICE


@dataclass
class _Open:
    start_ns: int
    devices: list[str] = field(default_factory=list)
    commands: int = 0


class InterventionTracker:
    """Follows the controller's phase and the commands that it sends; tells each intervention when it is over."""

    def __init__(self) -> None:
        self._open: _Open | None = None
        self._last_ns = 0
        self._asked_by = ""
        """device of the operator's last command: the one that takes over is known before the phase changes"""
        self._known: set[str] = set()

    def on_operator_command(self, stamp_ns: int, device: str) -> None:
        """An operator's device asked for a motion (/teleop/command)."""
        self._last_ns = max(self._last_ns, stamp_ns)
        self._asked_by = device or UNKNOWN_DEVICE
        self._known.add(self._asked_by)

    def on_command(self, stamp_ns: int, source: str) -> None:
        """The controller sent a command (/magma/command). One of the policy's may still arrive after the change of
        phase, on another topic: it is told by its source."""
        self._last_ns = max(self._last_ns, stamp_ns)
        device = source or self._asked_by
        if self._open is None or (source and source not in self._known):
            return
        self._open.commands += 1
        if device and device not in self._open.devices:
            self._open.devices.append(device)

    def on_phase(self, stamp_ns: int, phase: int) -> Intervention | None:
        """The controller reported its phase (/magma/controller_state). Returns the intervention that ended by it."""
        self._last_ns = max(self._last_ns, stamp_ns)
        if phase == TELEOP:
            if self._open is None:
                self._open = _Open(stamp_ns, [self._asked_by] if self._asked_by else [])
            return None
        return self._close(stamp_ns, PHASE_NAMES[phase] if phase < len(PHASE_NAMES) else f"phase {phase}")

    def end(self) -> Intervention | None:
        """The recording ends; returns the intervention that was still going on."""
        return self._close(self._last_ns, "")

    def _close(self, stamp_ns: int, followed_by: str) -> Intervention | None:
        item, self._open = self._open, None
        if item is None:
            return None
        return Intervention(item.start_ns, stamp_ns, tuple(item.devices), followed_by, item.commands)
