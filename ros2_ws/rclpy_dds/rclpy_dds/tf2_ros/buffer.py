"""Buffers that nodes use."""

import threading
import time as _time
from collections.abc import Callable
from typing import Any

from rclpy_dds.interfaces import service_class
from rclpy_dds.rclpy.clock import Clock, JumpThreshold, TimeJump
from rclpy_dds.rclpy.duration import Duration
from rclpy_dds.rclpy.logging import get_logger
from rclpy_dds.rclpy.node import Node
from rclpy_dds.rclpy.task import Future
from rclpy_dds.rclpy.time import Time

from .buffer_core import BufferCore
from .buffer_interface import NO_WAIT, BufferInterface
from .exceptions import TransformException

__all__ = ["Buffer"]

_POLL_S = 0.02


class Buffer(BufferCore, BufferInterface):
    """Transforms with waiting for them; a :class:`TransformListener` fills it."""

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        """
        Args:
            cache_time: for how long transforms are kept; 10 s when None.
            node: offers the service ``tf2_frames``, and its clock clears the buffer when time jumps back.
        """
        BufferCore.__init__(self, cache_time)
        BufferInterface.__init__(self)
        self._new_data_callbacks: list[Callable[[], None]] = []
        self._callbacks_lock = threading.RLock()
        self.clock = Clock() if node is None else node.get_clock()
        if node is not None:
            self.srv = node.create_service(service_class("tf2_msgs/srv/FrameGraph"), "tf2_frames", self.__get_frames)
        threshold = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)
        self.jump_handle = self.clock.create_jump_callback(threshold, post_callback=self.time_jump_callback)

    def __get_frames(self, request: Any, response: Any) -> Any:
        response.frame_yaml = self.all_frames_as_yaml()
        return response

    def time_jump_callback(self, time_jump: TimeJump) -> None:
        """Clear the buffer: what was known belongs to another time."""
        get_logger("tf2_buffer").warning("Detected jump back in time. Clearing tf buffer.")
        self.clear()

    def set_transform(self, transform: Any, authority: str) -> None:
        """Store a transform; see :class:`BufferCore`."""
        super().set_transform(transform, authority)
        self._call_new_data_callbacks()

    def set_transform_static(self, transform: Any, authority: str) -> None:
        """Store a transform that holds at all times."""
        super().set_transform_static(transform, authority)
        self._call_new_data_callbacks()

    def _call_new_data_callbacks(self) -> None:
        with self._callbacks_lock:
            callbacks = list(self._new_data_callbacks)
        for callback in callbacks:
            callback()

    def _remove_callback(self, callback: Callable[[], None]) -> None:
        with self._callbacks_lock:
            if callback in self._new_data_callbacks:
                self._new_data_callbacks.remove(callback)

    def lookup_transform(self, target_frame: str, source_frame: str, time: Time, timeout: Duration = NO_WAIT) -> Any:
        """Return the transform that takes data from the source frame to the target frame.

        Args:
            target_frame: frame of the result.
            source_frame: frame of the data.
            time: time of the data; ``Time()`` is the latest time for which it is known.
            timeout: how long to wait for it. An executor must receive transforms in another thread meanwhile.

        Raises:
            LookupException, ConnectivityException, ExtrapolationException, InvalidArgumentException
        """
        self.can_transform(target_frame, source_frame, time, timeout)
        return self.lookup_transform_core(target_frame, source_frame, time)

    async def lookup_transform_async(self, target_frame: str, source_frame: str, time: Time) -> Any:
        """Wait for a transform in a coroutine and return it; see :meth:`lookup_transform`."""
        return await self.wait_for_transform_async(target_frame, source_frame, time)

    def lookup_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
        timeout: Duration = NO_WAIT,
    ) -> Any:
        """Return the transform from the source frame at one time to the target frame at another.

        ``fixed_frame`` is a frame that did not move in between.

        Raises:
            LookupException, ConnectivityException, ExtrapolationException, InvalidArgumentException
        """
        self.can_transform_full(target_frame, target_time, source_frame, source_time, fixed_frame, timeout)
        return self.lookup_transform_full_core(target_frame, target_time, source_frame, source_time, fixed_frame)

    async def lookup_transform_full_async(
        self, target_frame: str, target_time: Time, source_frame: str, source_time: Time, fixed_frame: str
    ) -> Any:
        """Wait for a transform between two times in a coroutine and return it."""
        return await self.wait_for_transform_full_async(
            target_frame, target_time, source_frame, source_time, fixed_frame
        )

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration = NO_WAIT,
        return_debug_tuple: bool = False,
    ) -> Any:
        """Return whether a transform is known, waiting for it at most ``timeout``.

        With ``return_debug_tuple`` the result is a tuple of that and the reason.
        """
        result = _wait(lambda: self.can_transform_core(target_frame, source_frame, time), timeout)
        return result if return_debug_tuple else result[0]

    def can_transform_full(
        self,
        target_frame: str,
        target_time: Time,
        source_frame: str,
        source_time: Time,
        fixed_frame: str,
        timeout: Duration = NO_WAIT,
        return_debug_tuple: bool = False,
    ) -> Any:
        """Return whether a transform between two times is known, waiting for it at most ``timeout``."""
        result = _wait(
            lambda: self.can_transform_full_core(target_frame, target_time, source_frame, source_time, fixed_frame),
            timeout,
        )
        return result if return_debug_tuple else result[0]

    def wait_for_transform_async(self, target_frame: str, source_frame: str, time: Time) -> Future:
        """Return a future that gets the transform when it is known."""
        return self.__future(lambda: self.lookup_transform_core(target_frame, source_frame, time))

    def wait_for_transform_full_async(
        self, target_frame: str, target_time: Time, source_frame: str, source_time: Time, fixed_frame: str
    ) -> Future:
        """Return a future that gets the transform between two times when it is known."""
        return self.__future(
            lambda: self.lookup_transform_full_core(target_frame, target_time, source_frame, source_time, fixed_frame)
        )

    def __future(self, lookup: Callable[[], Any]) -> Future:
        future = Future()

        def attempt() -> None:
            if future.done():
                return
            try:
                result = lookup()
            except TransformException:
                return  # not yet
            future.set_result(result)

        with self._callbacks_lock:
            self._new_data_callbacks.append(attempt)
        future.add_done_callback(lambda _: self._remove_callback(attempt))
        attempt()
        return future


def _wait(attempt: Callable[[], tuple[bool, str]], timeout: Duration) -> tuple[bool, str]:
    deadline = _time.monotonic() + timeout.nanoseconds * 1e-9
    while True:
        result = attempt()
        left = deadline - _time.monotonic()
        if result[0] or left <= 0:
            return result
        _time.sleep(min(_POLL_S, left))
