"""Service servers.

On the wire (rmw_cyclonedds): after the CDR header, requests and replies carry the client's 64-bit id and a 64-bit
sequence number, both echoed by the server.
"""

import inspect
import struct
import time
from collections.abc import Callable
from typing import Any

from rclpy_dds._dds.libddsc import DDSError
from rclpy_dds._dds.matching import ids_of_matched_readers, matched_writer_user_data
from rclpy_dds._dds.participant import Reader, Writer
from rclpy_dds.interfaces.cdr import HEADER_BYTES, MalformedMessageError, decode, encode

from .callback_groups import CallbackGroup
from .exceptions import RCLError
from .malformed import MalformedCounter
from .qos import QoSProfile
from .type_support import interface_name

REQUEST_ID = struct.Struct("<Qq")
PAYLOAD_OFFSET = HEADER_BYTES + REQUEST_ID.size

# As rmw_cyclonedds: how long a server waits for the client's reply reader to be discovered.
_REPLY_READER_TIMEOUT_S = 0.1
_REPLY_READER_POLL_S = 0.001


class RequestHeader:
    """Who asked: client id, sequence number, and the DDS handle of the request's writer."""

    __slots__ = ("client_id", "sequence_number", "source_timestamp", "writer_handle")

    def __init__(self, client_id: int, sequence_number: int, writer_handle: int, source_timestamp: int) -> None:
        self.client_id = client_id
        self.sequence_number = sequence_number
        self.writer_handle = writer_handle
        self.source_timestamp = source_timestamp


class Service:
    """Answers requests with its callback; made by ``Node.create_service``.

    Malformed requests are dropped and counted in ``malformed_count``.
    """

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        srv_type: Any,
        srv_name: str,
        callback: Callable[..., Any],
        callback_group: CallbackGroup,
        qos_profile: QoSProfile,
        node: Any,
    ) -> None:
        if not callable(callback):
            raise TypeError(f"The callback of a service must be callable, not {callback!r}")
        self._reader = reader
        self._writer = writer
        self.srv_type = srv_type
        self._interface = interface_name(srv_type, "srv")
        self.srv_name = srv_name
        self.callback = callback
        self.callback_group = callback_group
        self.qos_profile = qos_profile
        self._node = node
        self._reachable: set[int] = set()
        self._malformed = MalformedCounter(f"request of service {srv_name}", node)

    @property
    def service_name(self) -> str:
        """Fully qualified service name."""
        return self.srv_name

    @property
    def handle(self) -> Reader:
        """The transport's reader of requests."""
        return self._reader

    @property
    def condition(self) -> int:
        """DDS condition that holds while there are requests."""
        return self._reader.condition

    @property
    def logger_name(self) -> str:
        """Name of the node's logger."""
        return self._node.get_logger().name

    def take(self) -> tuple | None:
        """Take one request; return request and header, or None."""
        sample = self._reader.take()
        if sample is None:
            return None
        try:
            if len(sample.payload) < PAYLOAD_OFFSET:
                raise MalformedMessageError(f"a request of {len(sample.payload)} bytes")
            request = decode(sample.payload, f"{self._interface}_Request", PAYLOAD_OFFSET)
        except MalformedMessageError as error:
            self._malformed.add(error)
            return None
        client_id, sequence_number = REQUEST_ID.unpack_from(sample.payload, HEADER_BYTES)
        header = RequestHeader(client_id, sequence_number, sample.publication_handle, sample.source_timestamp_ns)
        return request, header

    def run(self, request: Any, header: RequestHeader) -> Any:
        """Call the callback and send its response; returns a coroutine when the callback is one."""
        response = self.callback(request, self.srv_type.Response())
        if inspect.iscoroutine(response):
            return self._finish(response, header)
        self.send_response(response, header)
        return None

    async def _finish(self, coroutine: Any, header: RequestHeader) -> None:
        self.send_response(await coroutine, header)

    def send_response(self, response: Any, header: RequestHeader) -> None:
        """Send a response to the client that asked.

        Raises:
            TypeError: not a response of this service.
        """
        if not isinstance(response, self.srv_type.Response):
            raise TypeError(
                f"The callback of service {self.srv_name!r} must return a {self.srv_type.__name__}.Response, "
                f"not {response!r}"
            )
        if self._reader.closed or not self._node.context.ok():
            return
        self._await_reply_reader(header.writer_handle)
        prefix = REQUEST_ID.pack(header.client_id, header.sequence_number)
        try:
            self._writer.write_parts(encode(response, f"{self._interface}_Response", prefix))
        except DDSError as error:
            raise RCLError(f"Failed to send a response of service {self.srv_name!r}: {error}") from error

    def _await_reply_reader(self, writer_handle: int) -> None:
        """Wait until the asking client's reply reader is matched: a reply before that would be lost."""
        if writer_handle in self._reachable:
            return
        announced = matched_writer_user_data(self._reader, writer_handle)
        client = announced.get("clientid") if announced is not None else None
        if client is None:
            return  # the client is gone, or it announces no id, so that there is nothing to wait for
        deadline = time.monotonic() + _REPLY_READER_TIMEOUT_S
        while client not in ids_of_matched_readers(self._writer, "clientid"):
            if time.monotonic() >= deadline:
                return
            time.sleep(_REPLY_READER_POLL_S)
        self._reachable.add(writer_handle)

    @property
    def malformed_count(self) -> int:
        """How many payloads were dropped."""
        return self._malformed.count

    def configure_introspection(self, clock: Any, service_event_qos_profile: Any, introspection_state: Any) -> None:
        """Service introspection is not covered."""
        raise NotImplementedError("rclpy_dds does not publish service events (configure_introspection)")

    def destroy(self) -> None:
        """Destroy the service; use ``Node.destroy_service``."""
        self._reader.close()
        self._writer.close()

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.destroy()
