"""What a policy acts on next: always the newest camera frame, never a queue of old ones."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from magma_contracts.arm_state import EndEffectorState

STATES_KEPT = 64
"""Measured states to look through for the one that belongs to a frame; more than any camera delay needs."""


@dataclass(frozen=True)
class ActRequest:
    """One thing to act on.

    Attributes:
        stamp_ns: capture time of the frame.
        pixels: uint8 (H, W, 3) RGB.
        state: measured state at that time; None when none is wanted.
        instruction: what to do.
        generation: counts instructions; a result for another generation than the present one must be dropped.
        restarted: whether this is the first request since the instruction was given.
        received_s: when the frame arrived, on the clock of `time.monotonic`.
    """

    stamp_ns: int
    pixels: np.ndarray
    state: EndEffectorState | None
    instruction: str
    generation: int
    restarted: bool
    received_s: float


class NewestObservation:
    """Meeting point of the threads that receive and the one thread that acts.

    `set_instruction`, `add_frame`, `add_state`, `current_generation`, `stop` may be called from any thread; `take` from
    one.
    """

    def __init__(
        self, with_state: bool, tolerance_s: float = 0.0, full_name: Callable[[str], str] = lambda name: f"/{name}"
    ) -> None:
        """
        Args:
            with_state: whether a frame needs a measured state.
            tolerance_s: how far the stamps of frame and state may lie apart, in seconds; 0 = equal stamps.
            full_name: of a topic, for texts; as it is in no namespace if not given.

        Raises:
            ValueError: negative or not finite tolerance.
        """
        if not (np.isfinite(tolerance_s) and tolerance_s >= 0):
            raise ValueError(f"tolerance_s must be a number of at least 0, not {tolerance_s}")
        self._with_state = with_state
        self._full_name = full_name
        self._tolerance_ns = round(tolerance_s * 1e9)
        self._changed = threading.Condition()
        self._frame: tuple[int, np.ndarray, float] | None = None
        self._states: OrderedDict[int, EndEffectorState] = OrderedDict()
        self._instruction = ""
        self._generation = 0
        self._taken_generation = 0
        self._stopped = False
        self.overtaken = 0
        """frames that a newer one replaced before the policy could look at them"""

    def set_instruction(self, instruction: str) -> None:
        """A new task begins, unless the words are those in force. Empty: nothing to do.

        More than one node may publish the same instruction; what is being done goes on then.
        """
        with self._changed:
            if instruction.strip() == self._instruction:
                return
            self._instruction = instruction.strip()
            self._generation += 1
            self._changed.notify_all()

    def add_frame(self, stamp_ns: int, pixels: np.ndarray) -> None:
        """A frame arrived: capture stamp and uint8 (H, W, 3) RGB pixels, which must not be written to any more."""
        with self._changed:
            if self._frame is not None:
                self.overtaken += 1
            self._frame = (stamp_ns, pixels, time.monotonic())
            self._changed.notify_all()

    def add_state(self, state: EndEffectorState) -> None:
        """A measured state arrived."""
        with self._changed:
            self._states[state.stamp_ns] = state
            while len(self._states) > STATES_KEPT:
                self._states.popitem(last=False)
            self._changed.notify_all()

    def current_generation(self) -> int:
        """Number of the instruction in force."""
        with self._changed:
            return self._generation

    def stop(self) -> None:
        """Makes `take` return None now and for ever."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def waiting_for(self) -> str | None:
        """What keeps `take` from returning, for a person to read; None when nothing does."""
        with self._changed:
            return self._obstacle()

    def take(self) -> ActRequest | None:
        """Waits for an instruction and a frame with its state, and hands them out once. None after `stop`."""
        with self._changed:
            while not self._stopped and self._obstacle() is not None:
                self._changed.wait()
            if self._stopped or self._frame is None:
                return None
            (stamp_ns, pixels, received_s), self._frame = self._frame, None
            restarted = self._taken_generation != self._generation
            self._taken_generation = self._generation
            state = self._matching(stamp_ns) if self._with_state else None
            return ActRequest(stamp_ns, pixels, state, self._instruction, self._generation, restarted, received_s)

    def _obstacle(self) -> str | None:
        if not self._instruction:
            return f"an instruction on {self._full_name('magma/instruction')}"
        if self._frame is None:
            return f"a frame on {self._full_name('magma/frame')}"
        if self._with_state and self._matching(self._frame[0]) is None:
            topic = self._full_name("magma/end_effector_state")
            return f"the end effector state that belongs to the frame on {topic}"
        return None

    def _matching(self, stamp_ns: int) -> EndEffectorState | None:
        exact = self._states.get(stamp_ns)
        if exact is not None or not self._tolerance_ns or not self._states:
            return exact
        nearest = min(self._states, key=lambda candidate: abs(candidate - stamp_ns))
        return self._states[nearest] if abs(nearest - stamp_ns) <= self._tolerance_ns else None
