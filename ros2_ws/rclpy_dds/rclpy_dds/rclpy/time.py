"""Points in time."""

from typing import Any

from rclpy_dds.interfaces import message_class

from .clock_type import ClockType
from .constants import S_TO_NS
from .duration import Duration


class Time:
    """A point in time of one kind of clock, nanosecond resolution."""

    __slots__ = ("_clock_type", "_nanoseconds")

    def __init__(
        self, *, seconds: float = 0, nanoseconds: int = 0, clock_type: ClockType = ClockType.SYSTEM_TIME
    ) -> None:
        if not isinstance(clock_type, ClockType):
            raise TypeError("Clock type must be a ClockType enum")
        if seconds < 0:
            raise ValueError("Seconds value must not be negative")
        if nanoseconds < 0:
            raise ValueError("Nanoseconds value must not be negative")
        total = int(seconds * S_TO_NS) + int(nanoseconds)
        if total >= 2**63:
            raise OverflowError("Total nanoseconds value is too large to store in C time point.")
        self._nanoseconds = total
        self._clock_type = clock_type

    @property
    def nanoseconds(self) -> int:
        """Nanoseconds since the clock's epoch."""
        return self._nanoseconds

    def seconds_nanoseconds(self) -> tuple[int, int]:
        """Return whole seconds and the remaining nanoseconds."""
        return divmod(self._nanoseconds, S_TO_NS)

    @property
    def clock_type(self) -> ClockType:
        """Kind of clock."""
        return self._clock_type

    def __repr__(self) -> str:
        return f"Time(nanoseconds={self._nanoseconds}, clock_type={self._clock_type.name})"

    def __add__(self, other: Duration) -> "Time":
        if not isinstance(other, Duration):
            return NotImplemented
        return _made(self._nanoseconds + other.nanoseconds, self._clock_type, "addition")

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, Time):
            self._require_same_clock(other, "subtract times")
            return Duration(nanoseconds=self._nanoseconds - other._nanoseconds)
        if isinstance(other, Duration):
            return _made(self._nanoseconds - other.nanoseconds, self._clock_type, "subtraction")
        return NotImplemented

    def _require_same_clock(self, other: "Time", what: str) -> None:
        if self._clock_type != other._clock_type:
            raise TypeError(f"Can't {what} with different clock types")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        self._require_same_clock(other, "compare times")
        return self._nanoseconds == other._nanoseconds

    def __hash__(self) -> int:
        return hash((self._nanoseconds, self._clock_type))

    def __lt__(self, other: "Time") -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        self._require_same_clock(other, "compare times")
        return self._nanoseconds < other._nanoseconds

    def __le__(self, other: "Time") -> bool:
        return NotImplemented if not isinstance(other, Time) else not other < self

    def __gt__(self, other: "Time") -> bool:
        return NotImplemented if not isinstance(other, Time) else other < self

    def __ge__(self, other: "Time") -> bool:
        return NotImplemented if not isinstance(other, Time) else not self < other

    def to_msg(self) -> Any:
        """Return a ``builtin_interfaces.msg.Time``."""
        seconds, nanoseconds = divmod(self._nanoseconds, S_TO_NS)
        return message_class("builtin_interfaces/msg/Time")(sec=seconds, nanosec=nanoseconds)

    @classmethod
    def from_msg(cls, msg: Any, clock_type: ClockType = ClockType.ROS_TIME) -> "Time":
        """Return the time of a ``builtin_interfaces.msg.Time``."""
        if not isinstance(msg, message_class("builtin_interfaces/msg/Time")):
            raise TypeError("Must pass a builtin_interfaces.msg.Time object")
        return cls(seconds=msg.sec, nanoseconds=msg.nanosec, clock_type=clock_type)


def _made(nanoseconds: int, clock_type: ClockType, operation: str) -> Time:
    try:
        return Time(nanoseconds=nanoseconds, clock_type=clock_type)
    except (OverflowError, ValueError):
        raise OverflowError(f"{operation.capitalize()} leads to overflow in C storage.") from None
