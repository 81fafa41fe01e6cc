"""Waiting for readers and wake-ups."""

import ctypes as ct

from .libddsc import INFINITY, check, load


class GuardCondition:
    """A wake-up that any thread may trigger."""

    def __init__(self, participant: int) -> None:
        self._lib = load()
        self.condition = check(self._lib.dds_create_guardcondition(participant), "dds_create_guardcondition")
        self.closed = False

    def trigger(self) -> None:
        """Wake a waitset that holds this condition."""
        if not self.closed:
            self._lib.dds_set_guardcondition(self.condition, True)

    def reset(self) -> bool:
        """Clear the condition; return whether it had been triggered."""
        triggered = ct.c_bool()
        if not self.closed:
            self._lib.dds_take_guardcondition(self.condition, ct.byref(triggered))
        return triggered.value

    def close(self) -> None:
        """Delete the condition."""
        if not self.closed:
            self.closed = True
            self._lib.dds_delete(self.condition)


class WaitSet:
    """A set of conditions to wait for; used by one thread at a time."""

    def __init__(self, participant: int) -> None:
        self._lib = load()
        self.entity = check(self._lib.dds_create_waitset(participant), "dds_create_waitset")
        self._wait = self._lib.dds_waitset_wait
        self._attached: set[int] = set()
        self._results = (ct.c_ssize_t * 8)()
        self.closed = False

    def wait(self, conditions: set[int], timeout_ns: int | None) -> list[int]:
        """Wait until one of the conditions holds or the time is over; return those that hold.

        A condition that was deleted meanwhile is left out.
        """
        if self.closed:
            return []
        if conditions != self._attached:
            self._attach(conditions)
        if len(conditions) > len(self._results):
            self._results = (ct.c_ssize_t * (2 * len(conditions)))()
        limit = INFINITY if timeout_ns is None else max(int(timeout_ns), 0)
        count = self._wait(self.entity, self._results, len(self._results), limit)
        if count == 1:
            return [self._results[0]]
        if count < 0:
            if self.closed:
                return []
            check(count, "dds_waitset_wait")
        return self._results[: min(count, len(self._results))]

    def _attach(self, conditions: set[int]) -> None:
        for condition in self._attached - conditions:
            self._lib.dds_waitset_detach(self.entity, condition)
        attached = self._attached & conditions
        for condition in conditions - self._attached:
            if self._lib.dds_waitset_attach(self.entity, condition, condition) >= 0:
                attached.add(condition)
        self._attached = attached

    def close(self) -> None:
        """Delete the waitset."""
        if not self.closed:
            self.closed = True
            self._lib.dds_delete(self.entity)
