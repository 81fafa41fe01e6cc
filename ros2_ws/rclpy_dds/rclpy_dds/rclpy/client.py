"""Service clients."""

import threading
import time
from typing import Any, TypeVar

from rclpy_dds._dds.libddsc import DDSError
from rclpy_dds._dds.matching import ids_of_matched_readers, ids_of_matched_writers
from rclpy_dds._dds.participant import Reader, Writer
from rclpy_dds.interfaces.cdr import HEADER_BYTES, MalformedMessageError, decode, encode

from .callback_groups import CallbackGroup
from .exceptions import InvalidHandle, RCLError
from .malformed import MalformedCounter
from .qos import QoSProfile
from .service import PAYLOAD_OFFSET, REQUEST_ID
from .task import Future
from .type_support import interface_name

_SERVICE_POLL_S = 0.01

FutureType = TypeVar("FutureType", bound=Future)


class Client:
    """Calls a service; made by ``Node.create_client``. Thread-safe.

    Malformed responses are dropped and counted in ``malformed_count``.
    """

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        srv_type: Any,
        srv_name: str,
        qos_profile: QoSProfile,
        callback_group: CallbackGroup,
        node: Any,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self.srv_type = srv_type
        self._interface = interface_name(srv_type, "srv")
        self.srv_name = srv_name
        self.qos_profile = qos_profile
        self.callback_group = callback_group
        self._node = node
        self.context = node.context
        self._lock = threading.Lock()
        self._sequence_number = 0
        self._pending: dict[int, Future] = {}
        self._malformed = MalformedCounter(f"response of service {srv_name}", node)

    @property
    def service_name(self) -> str:
        """Fully qualified service name."""
        return self.srv_name

    @property
    def handle(self) -> Writer:
        """The transport's writer of requests."""
        return self._writer

    @property
    def condition(self) -> int:
        """DDS condition that holds while there are responses."""
        return self._reader.condition

    @property
    def logger_name(self) -> str:
        """Name of the node's logger."""
        return self._node.get_logger().name

    def call(self, request: Any, timeout_sec: float | None = None) -> Any:
        """Call the service and wait; an executor must be spinning in another thread.

        Returns:
            The response, or None when the time is over or the context was shut down.

        Raises:
            TypeError: not a request of this service.
        """
        if not isinstance(request, self.srv_type.Request):
            raise TypeError(f"Expected a {self.srv_type.__name__}.Request, got {request!r}")
        event = threading.Event()
        future = self.call_async(request)
        future.add_done_callback(lambda _: event.set())
        deadline = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
        while not event.is_set() and self.context.ok():
            left = 0.1 if deadline is None else min(deadline - time.monotonic(), 0.1)
            if left <= 0 or event.wait(left):
                break
        if not future.done():
            self.remove_pending_request(future)
            return None
        return future.result()

    def call_async(self, request: Any) -> Future:
        """Send a request; the returned future gets the response.

        Raises:
            TypeError: not a request of this service.
            InvalidHandle: the client was destroyed.
        """
        if not isinstance(request, self.srv_type.Request):
            raise TypeError(f"Expected a {self.srv_type.__name__}.Request, got {request!r}")
        return self._send(request, Future())

    def _send(self, request: Any, future: FutureType) -> FutureType:
        """Send a request whose response goes to ``future``."""
        if self._writer.closed:
            raise InvalidHandle("cannot use Destroyable because destruction was requested (the client is gone)")
        with self._lock:
            self._sequence_number += 1
            number = self._sequence_number
            self._pending[number] = future
        prefix = REQUEST_ID.pack(self._writer.instance_handle, number)
        try:
            self._writer.write_parts(encode(request, f"{self._interface}_Request", prefix))
        except BaseException as error:
            with self._lock:
                self._pending.pop(number, None)
            if isinstance(error, DDSError):
                raise RCLError(f"Failed to call service {self.srv_name!r}: {error}") from error
            raise
        future.add_done_callback(self.remove_pending_request)
        return future

    def remove_pending_request(self, future: Future) -> None:
        """Forget a request; a response that comes later is dropped."""
        with self._lock:
            for number, pending in list(self._pending.items()):
                if pending is future:
                    del self._pending[number]

    def get_pending_request(self, sequence_number: int) -> Future:
        """Return the future of a request that has no response yet.

        Raises:
            KeyError: no such request.
        """
        with self._lock:
            return self._pending[sequence_number]

    def take(self) -> tuple | None:
        """Take one response; return its future and the response, or None."""
        sample = self._reader.take()
        if sample is None:
            return None
        if len(sample.payload) < PAYLOAD_OFFSET:
            self._malformed.add(MalformedMessageError(f"a response of {len(sample.payload)} bytes"))
            return None
        client_id, number = REQUEST_ID.unpack_from(sample.payload, HEADER_BYTES)
        if client_id != self._writer.instance_handle:
            return None  # for another client of the service: all read the same topic
        with self._lock:
            future = self._pending.get(number)
        if future is None:
            return None
        try:
            return future, decode(sample.payload, f"{self._interface}_Response", PAYLOAD_OFFSET)
        except MalformedMessageError as error:
            self._malformed.add(error)
            return None

    def run(self, future: Future, response: Any) -> None:
        """Complete a future."""
        if not future.cancelled():
            future.set_result(response)

    def service_is_ready(self) -> bool:
        """Return whether a server has been discovered, with both its request reader and its reply writer."""
        if self._writer.closed:
            return False
        servers = ids_of_matched_readers(self._writer, "serviceid")
        repliers = ids_of_matched_writers(self._reader, "serviceid")
        if None in servers and None in repliers:
            return True  # a server that announces no id
        return bool((servers & repliers) - {None})

    def wait_for_service(self, timeout_sec: float | None = None) -> bool:
        """Wait until the service is ready; return whether it is."""
        deadline = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
        while self.context.ok() and not self._writer.closed:
            if self.service_is_ready():
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False
            left = _SERVICE_POLL_S if deadline is None else min(_SERVICE_POLL_S, deadline - time.monotonic())
            time.sleep(max(left, 0.0))
        return False

    @property
    def malformed_count(self) -> int:
        """How many payloads were dropped."""
        return self._malformed.count

    def configure_introspection(self, clock: Any, service_event_qos_profile: Any, introspection_state: Any) -> None:
        """Service introspection is not covered."""
        raise NotImplementedError("rclpy_dds does not publish service events (configure_introspection)")

    def destroy(self) -> None:
        """Destroy the client; use ``Node.destroy_client``."""
        self._reader.close()
        self._writer.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.destroy()
