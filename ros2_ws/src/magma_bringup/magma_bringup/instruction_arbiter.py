"""Which of the instructions that were asked for is in force. No clock and no ROS: the caller says what time it is."""

from __future__ import annotations

from dataclasses import dataclass

MAX_LENGTH = 1000
"""Characters. More is no instruction but a mistake, and would go to the policy with every frame."""


@dataclass(frozen=True)
class InForce:
    """The instruction in force; times are nanoseconds of ROS time."""

    number: int
    """counts up by one with each change, from 1"""
    text: str
    """empty: nothing is to be done"""
    asked_by: str
    asked_ns: int
    since_ns: int


@dataclass(frozen=True)
class Answer:
    """What became of a request."""

    accepted: bool
    """whether what was asked for is in force now"""
    message: str
    """why not; empty when accepted"""
    changed: bool
    """whether something else was in force before"""


class InstructionArbiter:
    """Orders requests by when they were asked for, whatever the order in which they arrive.

    The request asked for last stands; one that was overtaken on its way is refused. Nothing to do is never refused: a
    stop from a machine whose clock is slow is still a stop.
    """

    def __init__(self) -> None:
        self.in_force: InForce | None = None
        """None while nobody has asked for anything"""
        self._newest_ns = 0
        """when the newest accepted request was asked for"""

    def ask(self, text: str, asked_by: str, asked_ns: int, now_ns: int, replaces: int = 0) -> Answer:
        """Somebody asks for an instruction.

        Args:
            text: what to do; empty or blank = nothing.
            asked_by: for a person to read.
            asked_ns: when it was asked for, nanoseconds of ROS time; 0 = now. The future counts as now.
            now_ns: the present ROS time.
            replaces: only if the instruction with this number is in force; 0 = whatever is.
        """
        text = text.strip()
        before = self.in_force
        if len(text) > MAX_LENGTH:
            return Answer(False, f"{len(text)} characters are no instruction: at most {MAX_LENGTH}", False)
        if replaces and (before is None or before.number != replaces):
            there = f"number {before.number} is" if before is not None else "nothing is"
            return Answer(False, f"{there} in force, not number {replaces}", False)
        asked_ns = min(asked_ns or now_ns, now_ns)
        # After the clock was set back nobody knows what was asked for before and what after: what comes last stands.
        newest_ns = self._newest_ns if self._newest_ns <= now_ns else 0
        same = before is not None and before.text == text
        if text and before is not None and not same and asked_ns < newest_ns:
            earlier_s = (newest_ns - asked_ns) * 1e-9
            return Answer(
                False,
                f"{text!r} was asked for {earlier_s:.3f} s before {before.text or 'nothing to do'!r}, which "
                f"{before.asked_by} asked for and which is in force; ask again, or set the clocks alike",
                False,
            )
        self._newest_ns = max(newest_ns, asked_ns)
        if same:
            return Answer(True, "", False)
        number = before.number + 1 if before is not None else 1
        self.in_force = InForce(number, text, asked_by, asked_ns, now_ns)
        return Answer(True, "", True)
