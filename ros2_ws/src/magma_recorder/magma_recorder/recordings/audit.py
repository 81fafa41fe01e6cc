"""Counts what a recording holds and lacks, topic by topic. The same code runs while recording and afterwards."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from magma_recorder import topics
from magma_recorder.definitions import decoded

INTERVALS_KEPT = 4096
LATE_FACTOR = 2.5
"""An interval this many times the usual one counts as a gap."""
_UINT32 = 2**32


def header_stamp_ns(data: bytes) -> int | None:
    """The stamp of a serialised message that begins with a std_msgs/Header; None when the bytes are too short.

    CDR: four bytes of encapsulation, whose second tells the byte order, then int32 seconds and uint32 nanoseconds
    (OMG, "DDS Interoperability Wire Protocol" 2.5, section 10.2).
    """
    if len(data) < 12:
        return None
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


@dataclass
class TopicAudit:
    """What is known about one topic of a recording. Times are nanoseconds."""

    topic: str
    stamped: bool
    count: int = 0
    size_bytes: int = 0
    dropped: int = 0
    """received by the recorder but not in the file"""
    lost: int = 0
    """numbered by their sender and never received, or received and dropped"""
    backwards: int = 0
    """stamped earlier than the message before"""
    repeated: int = 0
    """stamped like the message before"""
    restarts: int = 0
    """the sender's numbering began anew"""
    first_ns: int = 0
    last_ns: int = 0
    _last_sequence: int | None = None
    _last_number: int | None = None
    _last_stamp_ns: int | None = None
    _intervals_s: deque[float] = field(default_factory=lambda: deque(maxlen=INTERVALS_KEPT))

    def add(self, log_ns: int, sequence: int, data: bytes, numbers: tuple[int, int] | None) -> None:
        """Takes one recorded message.

        Args:
            sequence: the recorder's own count of received messages, modulo 2^32; a jump is what it dropped.
            numbers: the sender's number of this message and of the one that must follow; None when it numbers none.
        """
        if self.count == 0:
            self.first_ns = log_ns
        self.last_ns = max(self.last_ns, log_ns)
        self.count += 1
        self.size_bytes += len(data)
        if self._last_sequence is not None:
            self.dropped += max(0, (sequence - self._last_sequence) % _UINT32 - 1)
        self._last_sequence = sequence
        if numbers is not None:
            number, following = numbers
            if self._last_number is not None:
                if number > self._last_number:
                    self.lost += number - self._last_number
                elif number < self._last_number:
                    self.restarts += 1
            self._last_number = following
        stamp_ns = header_stamp_ns(data) if self.stamped else log_ns
        if stamp_ns is None:
            return
        if self._last_stamp_ns is not None:
            interval_s = (stamp_ns - self._last_stamp_ns) * 1e-9
            if interval_s < 0:
                self.backwards += 1
            elif interval_s == 0:
                self.repeated += 1
            else:
                self._intervals_s.append(interval_s)
        self._last_stamp_ns = stamp_ns

    @property
    def period_s(self) -> float:
        """The usual time between two stamps; NaN before there are two."""
        return float(np.median(self._intervals_s)) if self._intervals_s else float("nan")

    @property
    def longest_gap_s(self) -> float:
        """NaN before there are two stamps."""
        return max(self._intervals_s) if self._intervals_s else float("nan")

    @property
    def gaps(self) -> int:
        """Intervals that are much longer than the usual one."""
        limit_s = LATE_FACTOR * self.period_s
        return sum(interval_s > limit_s for interval_s in self._intervals_s)


_NUMBERED: Mapping[str, tuple[str, Callable[[Any], tuple[int, int]]]] = {
    topics.ACTION_CHUNK: (
        "magma_interfaces/msg/ActionChunk",
        lambda message: (int(message.sequence), int(message.sequence) + 1),
    ),
    topics.JOURNAL: (
        "magma_interfaces/msg/ControllerJournal",
        lambda message: (int(message.first), int(message.first) + len(message.kinds)),
    ),
}
"""Topics whose messages carry numbers, with how to read the number of this message and of the next."""


class RecordingAudit:
    """Takes every recorded message once, in order, and knows what is missing."""

    def __init__(self) -> None:
        self.topics: dict[str, TopicAudit] = {}
        self._stamped = {item.known_name: item.stamped for item in topics.TOPICS}
        self._commands: dict[str, _CommandCount] = {}
        """of the controllers, by namespace"""

    def add(self, topic: str, log_ns: int, sequence: int, data: bytes) -> None:
        """Takes one message of the recording.

        Args:
            topic: as recorded.
            sequence: that of the MCAP record.
            data: CDR.
        """
        name = topics.recorded_name(topic)
        known = name.known if name is not None else topic
        item = self.topics.get(topic)
        if item is None:
            item = self.topics[topic] = TopicAudit(topic, self._stamped.get(known, False))
        item.add(log_ns, sequence, data, _numbers(known, data))
        if known == topics.CONTROLLER_STATE and name is not None:
            self._count_commands(name.namespace, data)

    @property
    def commands_lost(self) -> int | None:
        """How many more commands the controllers say they sent between their first and their last reports than are
        recorded; one may be on its way at either end. None without two reports."""
        counts = [lost for namespace in self._commands if (lost := self._commands_lost(namespace)) is not None]
        return sum(counts) if counts else None

    def _commands_lost(self, namespace: str) -> int | None:
        """The same for one controller."""
        count = self._commands.get(namespace)
        if count is None or count.sent[1] < count.sent[0]:
            return None
        return max(0, count.sent[1] - count.sent[0] - (count.at_last_report - count.before))

    def rows(self) -> list[dict[str, Any]]:
        """One row per topic, sorted, ready for JSON; numbers that do not exist are None."""
        rows = []
        for name in sorted(self.topics):
            item = self.topics[name]
            told = topics.recorded_name(name)
            lost = item.lost
            if told is not None and told.known == topics.COMMAND:
                lost = self._commands_lost(told.namespace) or 0
            rows.append(
                {
                    "topic": name,
                    "messages": item.count,
                    "bytes": item.size_bytes,
                    "period_s": _finite(item.period_s),
                    "longest_gap_s": _finite(item.longest_gap_s),
                    "gaps": item.gaps,
                    "dropped": item.dropped,
                    "lost": lost,
                    "backwards": item.backwards,
                    "repeated": item.repeated,
                    "restarts": item.restarts,
                }
            )
        return rows

    def table(self) -> str:
        """The rows for a person."""
        lines = [
            f"{'topic':<42}{'messages':>9}{'period':>9}{'longest':>9}{'gaps':>6}{'dropped':>9}{'lost':>6}"
            f"{'back':>6}{'repeat':>7}"
        ]
        for row in self.rows():
            period = "-" if row["period_s"] is None else f"{row['period_s'] * 1e3:.0f} ms"
            longest = "-" if row["longest_gap_s"] is None else f"{row['longest_gap_s'] * 1e3:.0f} ms"
            lines.append(
                f"{row['topic']:<42}{row['messages']:>9}{period:>9}{longest:>9}{row['gaps']:>6}{row['dropped']:>9}"
                f"{row['lost']:>6}{row['backwards']:>6}{row['repeated']:>7}"
            )
        return "\n".join(lines)

    def _count_commands(self, namespace: str, data: bytes) -> None:
        sent = int(decoded(data, "magma_interfaces/msg/ControllerState").commands_sent)
        commands = self.topics.get(namespace + topics.COMMAND)
        recorded = commands.count if commands is not None else 0
        before = self._commands.get(namespace)
        if before is None or sent < before.sent[1]:
            self._commands[namespace] = _CommandCount((sent, sent), recorded, recorded)
        else:
            self._commands[namespace] = _CommandCount((before.sent[0], sent), before.before, recorded)


@dataclass(frozen=True)
class _CommandCount:
    """A controller's commands, by its reports and in the recording."""

    sent: tuple[int, int]
    """what it says it has sent: at its first report and at the last"""
    before: int
    """recorded before the first"""
    at_last_report: int
    """recorded until the last"""


def _numbers(topic: str, data: bytes) -> tuple[int, int] | None:
    numbered = _NUMBERED.get(topic)
    if numbered is None:
        return None
    type_name, numbers_of = numbered
    return numbers_of(decoded(data, type_name))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
