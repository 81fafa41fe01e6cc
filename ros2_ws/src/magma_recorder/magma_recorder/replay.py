"""Runs a recording through the safety stage again and compares: same code, same inputs, same commands."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from magma_common.conversions import delta_from_msg
from magma_contracts.actions import EndEffectorDelta
from magma_control.commands import Command
from magma_control.inputs import StateHeard
from magma_control.journal import JournalPlayer
from magma_control.phases import Phase
from magma_recorder import topics
from magma_recorder.recordings.recording import Recording, RecordingError


@dataclass(frozen=True)
class TimedCommand:
    """A command that the replay sent, and when the controller had sent it."""

    ros_ns: int
    command: Command


@dataclass(frozen=True)
class TimedState:
    """A report of the arm, at the time at which the controller got it."""

    ros_ns: int
    position: NDArray[np.float64]
    """(3,) measured"""
    target_position: NDArray[np.float64]
    """(3,)"""
    gripper: float
    gripper_target: float


@dataclass
class Replay:
    """What a recording led to when it was run again."""

    path: Path
    commands: list[TimedCommand] = field(default_factory=list)
    recorded: list[EndEffectorDelta] = field(default_factory=list)
    received_ns: list[int] = field(default_factory=list)
    """when the recorder received each recorded command"""
    states: list[TimedState] = field(default_factory=list)
    phases: list[tuple[int, Phase]] = field(default_factory=list)
    """ROS time, nanoseconds, and the phase from then on"""
    counts: dict[str, int] = field(default_factory=dict)
    """refusals and clips of the replay, by reason"""
    begin_ns: int = 0
    end_ns: int = 0
    """of what was played, ROS time"""
    content: str = ""
    """names the recording by its bytes"""
    journal_late: int = 0
    """entries before the first that could be played"""
    journal_missing: int = 0
    """entries lost in between"""
    equal: int = 0
    """recorded commands that the replay sent too, bit for bit and in order"""
    different: int = 0
    """recorded commands that it did not send"""
    before_journal: int = 0
    """recorded commands from before the first journal message that could be played; likewise"""
    after_journal: int = 0
    """recorded commands from after the last journal message: there is nothing to compare them with"""

    @property
    def exact(self) -> bool:
        """Whether every recorded command that the journal covers came out again, bit for bit."""
        return self.different == 0 and self.equal > 0

    def text(self) -> str:
        """The result for a person."""
        lines = [
            f"{self.path} (content {self.content}): {len(self.recorded)} commands recorded, "
            f"{len(self.commands)} sent in the replay, {self.equal} equal bit for bit, {self.different} different"
        ]
        if self.before_journal:
            lines.append(f"{self.before_journal} commands were recorded before the journal says how the controller was")
        if self.after_journal:
            lines.append(f"{self.after_journal} commands were recorded after the end of the journal")
        if self.journal_late:
            lines.append(f"played from the controller's state after its first {self.journal_late} inputs")
        if self.journal_missing:
            lines.append(
                f"{self.journal_missing} journal entries were lost; what follows, up to its next state, may differ"
            )
        lines += [f"  {count:6d}  {reason}" for reason, count in self.counts.items()]
        return "\n".join(lines)


def replay(path: Path, namespace: str | None = None) -> Replay:
    """Runs a recording through a new controller.

    Args:
        path: the recording.
        namespace: of the robot, where it holds several.

    Raises:
        RecordingError: no recording, or one without the controller's journal.
        magma_control.journal.JournalError: a journal that does not fit this version of the controller.
    """
    result = Replay(path)
    player = JournalPlayer()
    found = False
    recording = Recording(path, namespace)
    result.content = recording.content
    for item in recording.read({topics.JOURNAL, topics.COMMAND}):
        if item.name == topics.COMMAND:
            result.recorded.append(delta_from_msg(item.message))
            result.received_ns.append(item.log_ns)
            continue
        found = True
        for entry, command in player.play(item.message):
            now_ns = entry.now.ros_ns
            result.begin_ns = result.begin_ns or now_ns
            result.end_ns = max(result.end_ns, now_ns)
            if isinstance(entry.given, StateHeard):
                state = entry.given.state
                result.states.append(
                    TimedState(now_ns, state.position, state.target_position, state.gripper, state.gripper_target)
                )
            if command is not None:
                result.commands.append(TimedCommand(now_ns, command))
            phase = player.core.phase
            if not result.phases or result.phases[-1][1] is not phase:
                result.phases.append((now_ns, phase))
    if not found:
        raise RecordingError(f"{path} holds no {topics.JOURNAL}: it cannot be run again")
    result.counts = player.core.report(player.core.now).counts
    result.journal_late, result.journal_missing = player.late, player.missing
    _compare(result)
    return result


def _compare(result: Replay) -> None:
    """Finds each recorded command among those of the replay, in order. The replay may hold more: commands from before
    the recorder listened, or lost on the way to it."""
    sent = [_bits(item.command.delta, item.command.stamp_ns) for item in result.commands]
    position = 0
    for command, received_ns in zip(result.recorded, result.received_ns, strict=True):
        try:
            position = sent.index(_bits(command.delta, command.stamp_ns), position) + 1
        except ValueError:
            if received_ns > result.end_ns:
                result.after_journal += 1
            elif received_ns < result.begin_ns:
                result.before_journal += 1
            else:
                result.different += 1
        else:
            result.equal += 1


def _bits(delta: NDArray[np.float64], stamp_ns: int) -> tuple[bytes, int]:
    return delta.astype(np.float64).tobytes(), stamp_ns
