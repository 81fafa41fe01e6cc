"""Filters that take messages and pass some of them on, alone or in sets that belong together.

Every filter has ``registerCallback``; the names are those of ROS 2's package.
"""

import bisect
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from rclpy_dds.rclpy.clock import ROSClock
from rclpy_dds.rclpy.duration import Duration
from rclpy_dds.rclpy.node import Node
from rclpy_dds.rclpy.time import Time

__all__ = [
    "ApproximateTimeSynchronizer",
    "Cache",
    "SimpleFilter",
    "Subscriber",
    "TimeSynchronizer",
]


class SimpleFilter:
    """Base of filters: holds callbacks and calls them."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., Any], tuple]] = {}

    def registerCallback(self, cb: Callable[..., Any], *args: Any) -> int:
        """Call ``cb`` with each message (or set of messages) and ``args``; return a number of the callback."""
        number = len(self.callbacks)
        self.callbacks[number] = (cb, args)
        return number

    def signalMessage(self, *msg: Any) -> None:
        """Call the callbacks."""
        for callback, args in list(self.callbacks.values()):
            callback(*(msg + args))


class Subscriber(SimpleFilter):
    """A subscription as a filter."""

    def __init__(self, node: Node, msg_type: type, topic: str, qos_profile: Any = 10, **kwargs: Any) -> None:
        """
        Args:
            node: node that subscribes.
            msg_type: message class.
            topic: topic name.
            qos_profile: quality of service or depth.
            kwargs: options of ``Node.create_subscription``.
        """
        super().__init__()
        self.node = node
        self.topic = topic
        self.sub = node.create_subscription(msg_type, topic, self.callback, qos_profile, **kwargs)

    def callback(self, msg: Any) -> None:
        """Pass a message on."""
        self.signalMessage(msg)

    def getTopic(self) -> str:
        """Return the topic as it was given."""
        return self.topic

    def __getattr__(self, key: str) -> Any:
        return getattr(self.__dict__["sub"], key) if "sub" in self.__dict__ else super().__getattribute__(key)


class _Stamps:
    """How a message gets its time."""

    def __init__(self, allow_headerless: bool, sync_arrival_time: bool) -> None:
        self._allow_headerless = allow_headerless
        self._sync_arrival_time = sync_arrival_time
        self._clock = ROSClock()

    def of(self, message: Any) -> int:
        """Return nanoseconds: the header's stamp, or the time of arrival.

        Raises:
            TypeError: the message has no header and that is not allowed.
        """
        if self._sync_arrival_time:
            return self._clock.now().nanoseconds
        stamp = getattr(getattr(message, "header", None), "stamp", None)
        if stamp is not None:
            return stamp.sec * 1_000_000_000 + stamp.nanosec
        if self._allow_headerless:
            return self._clock.now().nanoseconds
        raise TypeError(
            f"Cannot use message filters with non-stamped messages such as {type(message)}: use the 'allow_headerless' "
            "constructor option to take the time of arrival instead"
        )


class Cache(SimpleFilter):
    """Keeps the latest messages of a filter and passes all of them on. Thread-safe."""

    def __init__(self, f: SimpleFilter | None = None, cache_size: int = 1, allow_headerless: bool = False) -> None:
        """
        Args:
            f: filter to listen to; none when None.
            cache_size: how many messages are kept.
            allow_headerless: take the time of arrival for messages without a header.
        """
        super().__init__()
        self.cache_size = cache_size
        self.allow_headerless = allow_headerless
        self._stamps = _Stamps(allow_headerless, False)
        self._lock = threading.RLock()
        self._times: list[int] = []
        self.cache_msgs: list[Any] = []
        if f is not None:
            self.connectInput(f)

    def connectInput(self, f: SimpleFilter) -> None:
        """Listen to a filter."""
        self.incoming_connection = f.registerCallback(self.add)

    def add(self, msg: Any) -> None:
        """Take in a message."""
        stamp = self._stamps.of(msg)
        with self._lock:
            place = bisect.bisect_right(self._times, stamp)
            self._times.insert(place, stamp)
            self.cache_msgs.insert(place, msg)
            del self._times[: -self.cache_size], self.cache_msgs[: -self.cache_size]
        self.signalMessage(msg)

    def getInterval(self, from_stamp: Time, to_stamp: Time) -> list[Any]:
        """Return the messages from one time to another, both included."""
        with self._lock:
            first = bisect.bisect_left(self._times, from_stamp.nanoseconds)
            last = bisect.bisect_right(self._times, to_stamp.nanoseconds)
            return self.cache_msgs[first:last]

    def getElemAfterTime(self, stamp: Time) -> Any:
        """Return the oldest message at or after a time, or None."""
        with self._lock:
            place = bisect.bisect_left(self._times, stamp.nanoseconds)
            return self.cache_msgs[place] if place < len(self.cache_msgs) else None

    def getElemBeforeTime(self, stamp: Time) -> Any:
        """Return the newest message at or before a time, or None."""
        with self._lock:
            place = bisect.bisect_right(self._times, stamp.nanoseconds)
            return self.cache_msgs[place - 1] if place else None

    def getLatestTime(self) -> Time | None:
        """Return the time of the newest message, or None."""
        with self._lock:
            return _ros_time(self._times[-1]) if self._times else None

    getLastestTime = getLatestTime

    def getOldestTime(self) -> Time | None:
        """Return the time of the oldest message, or None."""
        with self._lock:
            return _ros_time(self._times[0]) if self._times else None

    def getLast(self) -> Any:
        """Return the newest message, or None."""
        with self._lock:
            return self.cache_msgs[-1] if self.cache_msgs else None


def _ros_time(nanoseconds: int) -> Time:
    from rclpy_dds.rclpy.clock_type import ClockType

    return Time(nanoseconds=nanoseconds, clock_type=ClockType.ROS_TIME)


class TimeSynchronizer(SimpleFilter):
    """Passes on sets of messages, one of each filter, with equal stamps. Thread-safe.

    Sets come in the order of time; messages older than a set that was passed on are dropped.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        """
        Args:
            fs: filters, in the order of the callback's arguments.
            queue_size: how many messages of each filter wait for the others.
        """
        super().__init__()
        if queue_size < 1:
            raise ValueError(f"queue_size must be positive, not {queue_size}")
        self.queue_size = queue_size
        self._lock = threading.RLock()
        self._stamps = _Stamps(False, False)
        self.connectInput(fs)

    def connectInput(self, fs: Sequence[SimpleFilter]) -> None:
        """Listen to filters, from the beginning."""
        self.queues: list[dict[int, Any]] = [{} for _ in fs]
        self.input_connections = [
            f.registerCallback(self.add, queue, index)
            for index, (f, queue) in enumerate(zip(fs, self.queues, strict=True))
        ]

    def add(self, msg: Any, my_queue: dict[int, Any], my_queue_index: int | None = None) -> None:
        """Take in a message of one of the filters."""
        stamp = self._stamps.of(msg)
        # Callbacks run under the lock, so that sets are passed on in their order.
        with self._lock:
            my_queue[stamp] = msg
            while len(my_queue) > self.queue_size:
                del my_queue[min(my_queue)]
            chosen = self._choose(stamp, my_queue)
            if chosen is None:
                return
            messages = [queue[time] for queue, time in zip(self.queues, chosen, strict=True)]
            for queue, time in zip(self.queues, chosen, strict=True):
                for old in [entry for entry in queue if entry <= time]:
                    del queue[old]
            self.signalMessage(*messages)

    def _choose(self, stamp: int, my_queue: dict[int, Any]) -> tuple[int, ...] | None:
        """Return the stamps of a set, one for each queue, or None."""
        return (stamp,) * len(self.queues) if all(stamp in queue for queue in self.queues) else None


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Passes on sets of messages, one of each filter, whose stamps lie within ``slop``. Thread-safe.

    A set is looked for whenever a message comes in, and contains it; among several the one closest in time is taken.
    """

    def __init__(
        self,
        fs: Sequence[SimpleFilter],
        queue_size: int,
        slop: float | Duration,
        allow_headerless: bool = False,
        sync_arrival_time: bool = False,
    ) -> None:
        """
        Args:
            fs: filters, in the order of the callback's arguments.
            queue_size: how many messages of each filter wait for the others.
            slop: largest difference of the stamps in a set, in seconds.
            allow_headerless: take the time of arrival for messages without a header.
            sync_arrival_time: take it for all messages.
        """
        self.slop = slop if isinstance(slop, Duration) else Duration(nanoseconds=int(slop * 1e9))
        super().__init__(fs, queue_size)
        self._stamps = _Stamps(allow_headerless, sync_arrival_time)

    def _choose(self, stamp: int, my_queue: dict[int, Any]) -> tuple[int, ...] | None:
        slop = self.slop.nanoseconds
        candidates = []
        for queue in self.queues:
            if queue is my_queue:
                candidates.append([stamp])
                continue
            near = sorted((time for time in queue if abs(time - stamp) <= slop), key=lambda time: abs(time - stamp))
            if not near:
                return None
            candidates.append(near)
        sets = (times for times in itertools.product(*candidates) if max(times) - min(times) <= slop)
        return min(sets, key=lambda times: sum(abs(time - stamp) for time in times), default=None)
