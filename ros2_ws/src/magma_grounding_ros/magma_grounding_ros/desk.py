"""What the grounding node decides: which frame a question is about, whether its answer still holds, what is confirmed.

No clock and no I/O: the caller says what time it is. May be used from any thread.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from magma_contracts.arm_state import EndEffectorState
from magma_contracts.grounding import two_click_instruction
from magma_grounding_ros.frame_history import Frame, FrameHistory
from magma_grounding_ros.scene_change import SceneTolerance, why_changed

STATES_KEPT = 4096
"""Measured states to look through for those of two frames: more than a minute of them at 50 Hz."""
STATE_REACH_NS = 200_000_000
"""A state belongs to a frame when it was measured so close to it."""


class RefusedError(ValueError):
    """A question that is not answered, or an answer that does not hold; the message says why."""


@dataclass(frozen=True)
class DeskSettings:
    """What the desk keeps and accepts.

    Attributes:
        history_bytes: of frames that are kept.
        max_frame_age_s: an older newest frame is refused, for nobody knows what is there now; 0 takes any age.
        proposal_valid_s: so long a proposal can be confirmed.
        tolerance: up to what a scene counts as unchanged.
    """

    history_bytes: int = 64 << 20
    max_frame_age_s: float = 0.0
    proposal_valid_s: float = 60.0
    tolerance: SceneTolerance = field(default_factory=SceneTolerance)


@dataclass(frozen=True)
class Proposal:
    """An instruction that waits for a person's word: its number, text, the frame it is about, and when it was made."""

    number: int
    instruction: str
    frame: Frame
    made_ns: int


class Desk:
    """Frames and arm states go in; questions get their frame here, and answers are checked against what came since."""

    def __init__(self, settings: DeskSettings) -> None:
        self._settings = settings
        self._frames = FrameHistory(settings.history_bytes)
        self._states: OrderedDict[int, EndEffectorState] = OrderedDict()
        self._lock = threading.Lock()
        self._proposals = 0
        self._proposal: Proposal | None = None

    def add_frame(self, frame: Frame) -> None:
        """A frame arrived."""
        self._frames.add(frame)

    def add_state(self, state: EndEffectorState) -> None:
        """A measured state of the arm arrived."""
        with self._lock:
            self._states[state.stamp_ns] = state
            while len(self._states) > STATES_KEPT:
                self._states.popitem(last=False)

    def frame(self, stamp_ns: int, now_ns: int) -> Frame:
        """The frame that a question is about, the newest for 0.

        Raises:
            FrameGoneError: there is none of this time.
            RefusedError: the scene has changed since, or nothing has been seen for too long.
        """
        frame = self._frames.at(stamp_ns)
        self.require_unchanged(frame, now_ns)
        return frame

    def require_unchanged(self, frame: Frame, now_ns: int) -> None:
        """Raises RefusedError when what a frame shows is not what is there now."""
        newest = self._frames.newest()
        age_s = (now_ns - newest.stamp_ns) * 1e-9
        longest_s = self._settings.max_frame_age_s
        if longest_s and age_s > longest_s:
            raise RefusedError(
                f"the camera's newest frame is {age_s:.1f} s old (at most {longest_s:g} s may be), so nobody knows "
                "what is there now; look why the camera is silent"
            )
        with self._lock:
            arm = self._state_at(frame.stamp_ns), self._state_at(newest.stamp_ns)
        why = why_changed(frame, newest, *arm, self._settings.tolerance)
        if why is not None:
            raise RefusedError(f"the scene is not as it was: {why}; wait until it rests and ask again")

    def propose(self, frame: Frame, source: str, target: str, now_ns: int) -> Proposal:
        """An instruction of two names, in the place of the last proposal."""
        with self._lock:
            self._proposals += 1
            self._proposal = Proposal(self._proposals, two_click_instruction(source, target), frame, now_ns)
            return self._proposal

    def forget_proposal(self) -> None:
        """Somebody clicks anew: what was proposed before is not what is looked at now."""
        with self._lock:
            self._proposal = None

    def confirm(self, number: int, now_ns: int) -> Proposal:
        """The proposal of this number, once. Raises RefusedError when it does not hold any more."""
        with self._lock:
            proposal = self._proposal
            if proposal is None or proposal.number != number:
                there = f"number {proposal.number} does" if proposal is not None else "none does"
                raise RefusedError(f"proposal {number} does not wait to be confirmed, {there}; click again")
            self._proposal = None
        waited_s = (now_ns - proposal.made_ns) * 1e-9
        if not 0.0 <= waited_s <= self._settings.proposal_valid_s:
            raise RefusedError(
                f"proposal {number} was made {waited_s:.0f} s ago and holds for {self._settings.proposal_valid_s:g} s; "
                "click again"
            )
        self.require_unchanged(proposal.frame, now_ns)
        return proposal

    def _state_at(self, stamp_ns: int) -> EndEffectorState | None:
        """The state that belongs to a frame, None where there is none. The lock is held."""
        exact = self._states.get(stamp_ns)
        if exact is not None or not self._states:
            return exact
        nearest = min(self._states, key=lambda candidate: abs(candidate - stamp_ns))
        return self._states[nearest] if abs(nearest - stamp_ns) <= STATE_REACH_NS else None


def checked_place(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    """A place (4,) of fractions of a picture. Raises RefusedError for one that is none, or lies outside."""
    place = np.array([x1, y1, x2, y2], dtype=np.float64)
    shown = ", ".join(f"{value:g}" for value in place)
    if not np.isfinite(place).all():
        raise RefusedError(f"the place ({shown}) is no place in a picture; give fractions of its width and height")
    if place.min() < 0.0 or place.max() > 1.0:
        raise RefusedError(f"the place ({shown}) lies outside of the picture, which runs from 0 to 1")
    if x2 < x1 or y2 < y1:
        raise RefusedError(f"the place ({shown}) has its second corner left of or above its first")
    if (x1 == x2) != (y1 == y2):
        raise RefusedError(f"the place ({shown}) has no area; give a box, or a point twice")
    return place
