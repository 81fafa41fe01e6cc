"""Which of several operators has the arm. No clock, no I/O, no ROS."""

from __future__ import annotations

from collections import OrderedDict

from magma_control.channels.heartbeat import Heartbeat
from magma_control.safety import Refusal

REMEMBERED = 32
"""Operators to keep account of: whoever sends under ever new names must not fill the memory."""


class OperatorLease:
    """The arm belongs to one operator at a time, and to nobody else until that one was silent for a while.

    An operator is known by what its commands carry as their source, which is unique for each process that sends any
    (`keyboard@host:pid`): two keyboards are two operators. The death of the holder ends the lease and nothing else: the
    arm holds, and only another operator, or a hand-back, moves it on.
    """

    def __init__(self) -> None:
        self._holder: str | None = None
        self._held_s = 0.0
        self._asked_s: OrderedDict[str, float] = OrderedDict()
        self._barred_s: dict[str, float] = {}
        self._must_pause: set[str] = set()
        self._heartbeats: OrderedDict[str, Heartbeat] = OrderedDict()

    @property
    def holder(self) -> str | None:
        """Who has the arm, or had it last since nobody took it over; None while no operator has."""
        return self._holder

    def refuse(self, who: str, now_s: float, timeout_s: float, pause_s: float, barred: bool) -> Refusal | None:
        """Judges who asks for the arm; to be called for each command, also for those that are refused for other
        reasons before.

        Args:
            timeout_s: longest silence of the holder.
            pause_s: longer than this, a pause between two commands means that key or switch were let go.
            barred: nobody may move the arm now, whoever asks.
        """
        asked_s = self._asked_s.pop(who, None)
        self._asked_s[who] = now_s
        if len(self._asked_s) > REMEMBERED:
            forgotten = self._asked_s.popitem(last=False)[0]
            self._must_pause.discard(forgotten)
            self._barred_s.pop(forgotten, None)
        if barred:
            self._barred_s[who] = now_s
        if who in self._must_pause:
            if asked_s is not None and now_s - asked_s <= pause_s:
                return Refusal(
                    "operator has not let go",
                    f"{named(who)} asked for the arm while it was barred and has not let go since: let go of keys, "
                    "sticks and switches, then take over anew",
                )
            self._must_pause.discard(who)
        holder = self._holder
        if holder is None or who == holder or now_s - self._held_s > timeout_s:
            return None
        return Refusal(
            "another operator has the arm",
            f"{named(who)} is not followed: {named(holder)} has the arm; let go there first",
        )

    def take(self, who: str, now_s: float) -> str | None:
        """Gives the arm to an operator who was not refused. Returns the operator who had it before, if another."""
        before, self._holder, self._held_s = self._holder, who, now_s
        return before if before != who else None

    def release(self) -> None:
        """No operator has the arm any more."""
        self._holder = None

    def bar_who_asks(self, now_s: float, pause_s: float) -> None:
        """The arm becomes free now: whoever asked for it while it was barred, and within the last pause, holds a key or
        switch, and must let go once before anything is followed."""
        self._must_pause |= {who for who, asked_s in self._barred_s.items() if now_s - asked_s <= pause_s}
        self._barred_s.clear()

    def beat(self, who: str, now_s: float) -> None:
        """A sign of life of an operator's device."""
        if who not in self._heartbeats:
            self._heartbeats[who] = Heartbeat(named(who))
        self._heartbeats.move_to_end(who)
        self._heartbeats[who].beat(now_s)
        if len(self._heartbeats) > REMEMBERED:
            self._heartbeats.popitem(last=False)

    def refuse_silent(self, who: str, now_s: float, timeout_s: float, required: bool, since_s: float) -> Refusal | None:
        """Why an operator counts as lost although commands come, or None. A heartbeat without a name counts for all;
        see `Heartbeat.refuse`."""
        heartbeat = self._heartbeats.get(who) or self._heartbeats.get("") or Heartbeat(named(who))
        refusal = heartbeat.refuse(now_s, timeout_s, required, since_s)
        if refusal is None:
            return None
        code = "operator without heartbeat" if "without" in refusal.code else "operator heartbeat lost"
        return Refusal(code, refusal.text)


def named(who: str) -> str:
    """For texts."""
    return who or "an operator without a name"
