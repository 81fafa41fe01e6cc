"""What the pages show of the robot: kept as it is heard, told as plain values. No clock, no I/O, no ROS."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_contracts.geometry.rotations import axis_angle_from_quaternion, conjugate, multiply

FloatArray = NDArray[np.float64]

PHASES = ("HOLD", "AUTONOMOUS", "TELEOP", "ESTOP", "FAULT")
"""By the numbers of ControllerState.msg."""
HOLD, AUTONOMOUS, TELEOP, ESTOP, FAULT = range(5)
EVENTS_KEPT = 60
TRACE_S = 30.0
MOST_POINTS = 600
"""Of the traces: commands come a few times per second."""
LONGEST_TEXT = 500
FOUND_S = 20.0
"""Boxes are about one frame: they are shown so long."""
AGE_LIMITS = {
    "frame": "max_frame_age_s",
    "chunk": "watchdog_s",
    "teleop": "teleop_timeout_s",
    "state": "state_timeout_s",
}
"""Which parameter of the controller limits which age."""


@dataclass(frozen=True)
class Controller:
    """One report of the controller."""

    phase: int
    reason: str
    instruction: str
    ages_ms: Mapping[str, float]
    """by the names of AGE_LIMITS; NaN when there has been none"""
    chunks_received: int
    commands_sent: int
    chunks_rejected: int
    commands_clipped: int
    counts: Mapping[str, int]
    """refusals and clips by reason"""


class ViewState:
    """Everything that is shown, by the moment at which it was heard."""

    def __init__(self) -> None:
        self._controller: tuple[Controller, float] | None = None
        self._limits_ms: dict[str, float] = {}
        self._events: deque[tuple[int, float, str, str]] = deque(maxlen=EVENTS_KEPT)
        self._event_number = 0
        self._points: deque[tuple[int, float, str, list[float]]] = deque(maxlen=3 * MOST_POINTS)
        self._point_number = 0
        self._pose: tuple[FloatArray, FloatArray, float, float] | None = None
        self._pose_at_command: tuple[FloatArray, FloatArray] | None = None
        self._devices: dict[str, tuple[bool, float]] = {}
        self._holder = ""
        self._stages: list[tuple[str, float]] = []
        self._policy = ""
        self._instruction: dict[str, Any] = {}
        self._episode: dict[str, Any] = {}
        self._recording: dict[str, Any] = {}
        self._found: tuple[Sequence[Mapping[str, Any]], float] = ((), -math.inf)

    # What is heard

    def controller(self, report: Controller, now_s: float) -> None:
        """A report of the controller; changes become events."""
        before = self._controller[0] if self._controller is not None else None
        self._controller = (report, now_s)
        if before is None or before.phase != report.phase:
            name = phase_name(report.phase)
            self._event(now_s, "alarm" if report.phase in (ESTOP, FAULT) else "phase", f"{name}: {report.reason}")
            if report.phase != TELEOP:
                self._holder = ""
        elif before.reason != report.reason and not _same_but_numbers(before.reason, report.reason):
            self._event(now_s, "reason", report.reason)
        for name, count in report.counts.items():
            more = count - (before.counts.get(name, 0) if before is not None else count)
            if more > 0:
                kind = "clip" if name.startswith("clipped") else "refusal"
                self._event(now_s, kind, name if more == 1 else f"{name} ({more} times)")

    def limits(self, parameters: Mapping[str, float]) -> None:
        """Parameters of the controller, by name, in seconds."""
        for age, name in AGE_LIMITS.items():
            if name in parameters:
                self._limits_ms[age] = 1e3 * parameters[name]

    def pose(self, position: FloatArray, quaternion_xyzw: FloatArray, gripper: float, now_s: float) -> None:
        """The measured pose of the end effector."""
        self._pose = (position, quaternion_xyzw, gripper, now_s)

    def device(self, name: str, engaged: bool, now_s: float) -> None:
        """The heartbeat of an operator's device."""
        self._devices[name] = (engaged, now_s)
        if len(self._devices) > 64:
            del self._devices[min(self._devices, key=lambda known: self._devices[known][1])]

    def asked(self, delta: Sequence[float], now_s: float) -> None:
        """The motion (7,) that a policy or an operator asks for."""
        self._point(now_s, "asked", delta)

    def commanded(self, delta: Sequence[float], source: str, now_s: float) -> None:
        """The motion (7,) that was sent to the arm. What the arm did since the last one is what was executed."""
        if self._controller is not None and self._controller[0].phase == TELEOP:
            self._holder = source
        self._point(now_s, "commanded", delta)
        if self._pose is None:
            return
        position, quaternion, gripper, _ = self._pose
        if self._pose_at_command is not None:
            before, turned = self._pose_at_command
            turn = axis_angle_from_quaternion(multiply(quaternion, conjugate(turned)))
            self._point(now_s, "executed", [*(position - before), *turn, gripper])
        self._pose_at_command = (position, quaternion)

    def stages(self, policy: str, stages: Sequence[tuple[str, float]]) -> None:
        """Where the policy's time went, milliseconds."""
        self._policy, self._stages = policy, list(stages)

    def instruction(self, text: str, asked_by: str, number: int) -> None:
        """The instruction in force."""
        self._instruction = {"text": text[:LONGEST_TEXT], "by": asked_by[:100], "number": number}

    def episode(self, values: Mapping[str, Any]) -> None:
        """Progress of a simulated episode."""
        self._episode = dict(values)

    def recording(self, values: Mapping[str, Any]) -> None:
        """What is being recorded; empty = nothing."""
        self._recording = dict(values)

    def found(self, marks: Sequence[Mapping[str, Any]], now_s: float) -> None:
        """What the model that points has found, as `pointing.shares_of` tells it."""
        self._found = marks, now_s

    def event(self, now_s: float, kind: str, text: str) -> None:
        """Something that happened in the console itself."""
        self._event(now_s, kind, text)

    # What is told

    @property
    def phase(self) -> int | None:
        """What the controller said last; None before it said anything."""
        return self._controller[0].phase if self._controller is not None else None

    def holder(self, now_s: float) -> str:
        """Who has the arm, as far as what was heard tells; empty = nobody, or the policy."""
        if self.phase != TELEOP:
            return ""
        if self._holder:
            return self._holder
        engaged = [name for name, (held, since_s) in self._devices.items() if held and now_s - since_s < 1.0]
        return engaged[0] if len(engaged) == 1 else ""

    def lives(self, device: str, now_s: float, silent_s: float) -> bool:
        """Whether an operator's device was heard lately."""
        known = self._devices.get(device)
        return known is not None and now_s - known[1] <= silent_s

    def snapshot(self, now_s: float, silent_s: float) -> dict[str, Any]:
        """What is shown now, without traces and events.

        Args:
            silent_s: after so long without a report the controller counts as gone.
        """
        told: dict[str, Any] = {
            "phase": "NO CONTROLLER",
            "reason": "no controller is heard: is it running, with the same ROS_DOMAIN_ID and namespace?",
            "holder": "",
            "policy": self._policy,
            "instruction": self._instruction,
            "ages": [],
            "counters": {},
            "counts": {},
            "stages": self._stages,
            "episode": self._episode,
            "recording": self._recording,
            "found": list(self._found[0]) if now_s - self._found[1] <= FOUND_S else [],
        }
        if self._controller is None:
            return told
        report, heard_s = self._controller
        silent = now_s - heard_s
        if silent > silent_s:
            told["reason"] = f"the controller has been silent for {silent:.0f} s; it was in {phase_name(report.phase)}"
            return told
        told.update(
            phase=phase_name(report.phase),
            reason=report.reason[:LONGEST_TEXT],
            holder=self.holder(now_s),
            ages=[
                {"name": name, "ms": number(report.ages_ms.get(name)), "limit_ms": number(self._limits_ms.get(name))}
                for name in AGE_LIMITS
            ],
            counters={
                "chunks": report.chunks_received,
                "commands": report.commands_sent,
                "rejected": report.chunks_rejected,
                "clipped": report.commands_clipped,
            },
            counts=dict(report.counts),
        )
        if not self._instruction:
            told["instruction"] = {"text": report.instruction[:LONGEST_TEXT], "by": "", "number": 0}
        return told

    def points_after(self, known: int, now_s: float) -> tuple[int, list[list[Any]]]:
        """Points of the traces that a page does not have yet: age in seconds, name, (7,) values."""
        fresh = [
            [round(now_s - at_s, 3), name, values]
            for numbered, at_s, name, values in self._points
            if numbered > known and now_s - at_s <= TRACE_S
        ]
        return self._point_number, fresh

    def events_after(self, known: int, now_s: float) -> tuple[int, list[list[Any]]]:
        """Events that a page does not have yet: age in seconds, kind, text."""
        fresh = [
            [round(now_s - at_s, 1), kind, text] for numbered, at_s, kind, text in self._events if numbered > known
        ]
        return self._event_number, fresh

    def _event(self, now_s: float, kind: str, text: str) -> None:
        self._event_number += 1
        self._events.append((self._event_number, now_s, kind, text[:LONGEST_TEXT]))

    def _point(self, now_s: float, name: str, values: Sequence[float]) -> None:
        if not all(math.isfinite(value) for value in values):
            return
        self._point_number += 1
        self._points.append((self._point_number, now_s, name, [round(float(value), 5) for value in values]))


def phase_name(number: int) -> str:
    """The name of a phase; one that is not known by its number."""
    return PHASES[number] if 0 <= number < len(PHASES) else f"PHASE {number}"


def number(value: float | None) -> float | None:
    """For JSON, which knows no NaN."""
    return None if value is None or not math.isfinite(value) else round(float(value), 1)


def _same_but_numbers(one: str, other: str) -> bool:
    """Whether two sentences differ in their numbers only: `silent for 0.5 s`, `silent for 0.6 s`."""

    def words(text: str) -> str:
        return "".join(character for character in text if not character.isdigit() and character != ".")

    return words(one) == words(other)
