"""Keeps a log readable when the same thing happens many times a second."""

from __future__ import annotations


class LogThrottle:
    """Lets each kind of line through once per period and counts those it kept back."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._last_s: dict[str, float] = {}
        self._kept_back: dict[str, int] = {}

    def pass_through(self, code: str, text: str, now_s: float) -> str | None:
        """The line to write, or None to keep it back; `now_s` is a monotonic time."""
        last_s = self._last_s.get(code)
        if last_s is not None and now_s - last_s < self._period_s:
            self._kept_back[code] = self._kept_back.get(code, 0) + 1
            return None
        self._last_s[code] = now_s
        kept_back = self._kept_back.pop(code, 0)
        return f"{text} (and {kept_back} more like it)" if kept_back else text
