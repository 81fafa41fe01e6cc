"""DDS participant, writers and readers that carry serialised messages."""

import array
import contextlib
import ctypes as ct
import os
import struct
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from . import config
from .libddsc import (
    ANY_STATE,
    INFINITY,
    LIBRARY,
    RETCODE_ALREADY_DELETED,
    RETCODE_BAD_PARAMETER,
    RETCODE_TIMEOUT,
    SERDATA_KIND_DATA,
    BytesVector,
    DDSError,
    Guid,
    IoVector,
    SampleInfo,
    TopicDescriptor,
    WheelMismatchError,
    check,
    load,
    quick,
)
from .qos import EndpointPolicies, native_qos

# Payloads up to this size are copied out of libddsc; larger ones are handed on as views of its buffer.
VIEW_THRESHOLD_BYTES = 64 * 1024

# One octet at offset 0, then return (dds_opcodes.h: DDS_OP_ADR | DDS_OP_TYPE_1BY). libddsc keeps a received sample
# whole and checks only what the program describes; every ROS message has at least one byte, so this serves all types.
_OPAQUE_OPS = (ct.c_uint32 * 3)(0x01010000, 0, 0)
_RESTRICT_DATA_REPRESENTATION = 1 << 7

_CLOSE_PATIENCE_S = 0.2
# As Cyclone's default for one writer (WriterLingerDuration).
_DRAIN_PATIENCE_S = 1.0

Buffer = bytes | bytearray | memoryview | np.ndarray | array.array


# Received buffers that somebody still looks at; they belong to the domain they came through.
_views: set[int] = set()


class Sample(NamedTuple):
    """One received sample: the whole CDR stream including its 4-byte header, and where it came from."""

    payload: Any  # bytes, a memoryview, or a SharedPayload that did not go over DDS
    source_timestamp_ns: int
    publication_handle: int


# One call instead of attributes one by one.
_new_tuple = tuple.__new__
_TAKEN = struct.Struct(
    f"<Q{SampleInfo.valid_data.offset}x?"
    f"{SampleInfo.source_timestamp.offset - SampleInfo.valid_data.offset - 1}xq"
    f"{SampleInfo.publication_handle.offset - SampleInfo.source_timestamp.offset - 8}xQ"
    f"{ct.sizeof(SampleInfo) - SampleInfo.publication_handle.offset - 8}x"
)


class Writer:
    """A DDS data writer for serialised messages. Thread-safe."""

    def __init__(self, entity: int) -> None:
        self._lib = load()
        self.entity = entity
        self.guid = _guid(entity)
        self.instance_handle = _instance_handle(entity)
        sertype = ct.c_void_p()
        check(self._lib.dds_get_entity_sertype(entity, ct.byref(sertype)), "dds_get_entity_sertype")
        self._sertype = sertype.value
        # Between a serdata's creation and its writing the writer, which owns the sertype, must not be deleted.
        self._lock = threading.Lock()
        self._vector = BytesVector()
        self._vector_reference = ct.byref(self._vector)
        self._serdata_from_bytes = quick().ddsi_serdata_from_ser_iov
        self._write_serdata = self._lib.dds_writecdr
        self._handles = (ct.c_uint64 * 8)()
        self.closed = False
        self.drained = False

    def write(self, payload: bytes) -> None:
        """Write one message given as a whole CDR stream (header included, length a multiple of 4)."""
        size = len(payload)
        if size > VIEW_THRESHOLD_BYTES:
            self._write_vectors(ct.byref(BytesVector(payload, size)), 1, size)
            return
        with self._lock:
            if self.closed:
                raise DDSError("dds_writecdr", RETCODE_ALREADY_DELETED)
            vector = self._vector
            vector.base = payload
            vector.length = size
            self._send(self._serdata_from_bytes(self._sertype, SERDATA_KIND_DATA, 1, self._vector_reference, size))

    def write_parts(self, parts: Sequence[Buffer]) -> None:
        """Write one message whose CDR stream is the concatenation of ``parts``, without joining them here."""
        if len(parts) == 1:
            self.write(bytes(parts[0]))
            return
        vectors = (BytesVector * len(parts))()
        held: list[bytes | memoryview] = []  # keeps memory in its place during the call
        total = 0
        for vector, part in zip(vectors, parts, strict=True):
            if isinstance(part, np.ndarray):
                vector.base = part.__array_interface__["data"][0]
                size = part.nbytes
            elif isinstance(part, array.array):
                held.append(memoryview(part))
                vector.base, count = part.buffer_info()
                size = count * part.itemsize
            else:
                text = bytes(part)
                held.append(text)
                vector.base = text
                size = len(text)
            vector.length = size
            total += size
        self._write_vectors(vectors, len(parts), total)

    def _write_vectors(self, vectors: object, count: int, total: int) -> None:
        with self._lock:
            if self.closed:
                raise DDSError("dds_writecdr", RETCODE_ALREADY_DELETED)
            # Copies everything: without the GIL, so that other threads run meanwhile.
            self._send(self._lib.ddsi_serdata_from_ser_iov(self._sertype, SERDATA_KIND_DATA, count, vectors, total))

    def _send(self, serdata: int | None) -> None:
        if not serdata:
            raise DDSError("ddsi_serdata_from_ser_iov", RETCODE_BAD_PARAMETER)
        code = self._write_serdata(self.entity, serdata)
        if code:
            check(code, "dds_writecdr")

    def matched_count(self) -> int:
        """Number of readers this writer is matched with."""
        # Not the matched status: reading it would take the change from a callback that waits for it.
        return check(self._lib.dds_get_matched_subscriptions(self.entity, None, 0), "dds_get_matched_subscriptions")

    def matched_handles(self) -> list[int]:
        """Instance handles of the readers this writer is matched with."""
        room = len(self._handles)
        count = check(
            self._lib.dds_get_matched_subscriptions(self.entity, self._handles, room), "dds_get_matched_subscriptions"
        )
        if count > room:
            self._handles = (ct.c_uint64 * (2 * count))()
            return self.matched_handles()
        return self._handles[:count]

    def assert_liveliness(self) -> None:
        """Show that the writer is alive, for liveliness manual by topic."""
        check(self._lib.dds_assert_liveliness(self.entity), "dds_assert_liveliness")

    def wait_for_acks(self, timeout_ns: int | None) -> bool:
        """Wait until all reliable readers have everything; False when the time (None: unlimited) is over."""
        code = self._lib.dds_wait_for_acks(self.entity, INFINITY if timeout_ns is None else timeout_ns)
        if code == RETCODE_TIMEOUT:
            return False
        check(code, "dds_wait_for_acks")
        return True

    def close(self) -> None:
        """Delete the writer, once its readers have what was written; further writes raise :class:`DDSError`."""
        drain([self])
        # A write can block for long only with a keep-all history and a stalled reader; deleting the writer ends it.
        acquired = self._lock.acquire(timeout=_CLOSE_PATIENCE_S)
        try:
            if not self.closed:
                self.closed = True
                self._lib.dds_delete(self.entity)
        finally:
            if acquired:
                self._lock.release()


def drain(writers: Iterable[Writer], patience_s: float = _DRAIN_PATIENCE_S) -> None:
    """Wait until reliable readers have received everything from these writers, at most ``patience_s`` in all.

    A writer is waited for once, so that a reader that does not answer costs this time once and not for every writer.
    """
    deadline = time.monotonic() + patience_s
    for writer in writers:
        if writer.drained or writer.closed:
            continue
        writer.drained = True
        with contextlib.suppress(DDSError):
            writer.wait_for_acks(max(int((deadline - time.monotonic()) * 1e9), 0))


class Reader:
    """A DDS data reader for serialised messages. ``take`` may be called from one thread at a time."""

    def __init__(self, entity: int) -> None:
        self._lib = load()
        self.entity = entity
        self.guid = _guid(entity)
        self.instance_handle = _instance_handle(entity)
        self.condition = check(self._lib.dds_create_readcondition(entity, ANY_STATE), "dds_create_readcondition")
        self._taken = (ct.c_ubyte * _TAKEN.size)()  # where dds_takecdr puts the sample and what is known about it
        self._serdata = ct.cast(self._taken, ct.POINTER(ct.c_void_p))
        self._info = ct.cast(ct.addressof(self._taken) + ct.sizeof(ct.c_void_p), ct.POINTER(SampleInfo))
        self._quick = quick()
        self._take = self._quick.dds_takecdr
        self._buffer = _SmallBuffer(1024)
        self._lock = threading.Lock()
        self.closed = False

    def take(self) -> Sample | None:
        """Take the oldest sample, or None when there is none."""
        with self._lock:
            while not self.closed:
                taken = self._take(self.entity, self._serdata, 1, self._info, ANY_STATE)
                if taken <= 0:
                    if taken < 0 and not self.closed:
                        check(taken, "dds_takecdr")
                    return None
                serdata, valid, timestamp, writer = _TAKEN.unpack(self._taken)
                if not valid:
                    self._quick.ddsi_serdata_unref(serdata)
                    continue
                return _new_tuple(Sample, (self._payload(serdata), timestamp, writer))
        return None

    def _payload(self, serdata: int) -> bytes | memoryview:
        """Return the bytes of a sample and give the sample back: at once when small, else with the last view of it."""
        lib = self._quick
        size = lib.ddsi_serdata_size(serdata)
        if size > VIEW_THRESHOLD_BYTES:
            return _view(lib, serdata, size)
        if size > self._buffer.size:
            self._buffer = _SmallBuffer(size * 2)
        buffer = self._buffer
        lib.ddsi_serdata_to_ser(serdata, 0, size, buffer.address)
        lib.ddsi_serdata_unref(serdata)
        return buffer.view[:size].tobytes()

    def matched_count(self) -> int:
        """Number of writers this reader is matched with."""
        return check(self._lib.dds_get_matched_publications(self.entity, None, 0), "dds_get_matched_publications")

    def close(self) -> None:
        """Delete the reader and its condition; samples already taken stay valid."""
        with self._lock:
            if not self.closed:
                self.closed = True
                self._lib.dds_delete(self.entity)


class _SmallBuffer:
    """Memory that small samples are copied to on their way to ``bytes``."""

    __slots__ = ("address", "size", "view")

    def __init__(self, size: int) -> None:
        self.size = size
        memory = (ct.c_ubyte * size)()
        self.address = ct.addressof(memory)
        self.view = memoryview(memory).cast("B")


def _view(lib: ct.PyDLL, serdata: int, size: int) -> memoryview:
    vector = IoVector()
    reference = lib.ddsi_serdata_to_ser_ref(serdata, 0, size, ct.byref(vector))
    lib.ddsi_serdata_unref(serdata)
    memory = (ct.c_ubyte * size).from_address(vector.base)
    # The buffer may also be in a writer's history: read-only. It is released with the last view of it.
    _views.add(id(memory))
    release = weakref.finalize(memory, _release, lib, reference, vector, id(memory))
    release.atexit = False  # type: ignore[misc]
    return memoryview(memory).cast("B").toreadonly()


def is_received_buffer(memory: object) -> bool:
    """Return whether memory (what a memoryview is of) is that of a received sample, which nobody changes."""
    return id(memory) in _views


def _release(lib: ct.PyDLL, reference: int, vector: IoVector, view: int) -> None:
    lib.ddsi_serdata_to_ser_unref(reference, ct.byref(vector))
    _views.discard(view)


def _guid(entity: int) -> bytes:
    guid = Guid()
    check(load().dds_get_guid(entity, ct.byref(guid)), "dds_get_guid")
    return bytes(guid.v)


def _instance_handle(entity: int) -> int:
    handle = ct.c_uint64()
    check(load().dds_get_instance_handle(entity, ct.byref(handle)), "dds_get_instance_handle")
    return handle.value


class _Domain:
    """A configured domain of this process."""

    def __init__(self, entity: int) -> None:
        self.entity = entity
        self.participants = 0


class Participant:
    """A DDS participant in one domain. Create it after any fork: libddsc's threads do not survive one.

    Raises:
        WheelMismatchError: the wheel is not the expected one or does not behave like it.
        DDSError: the participant cannot be created.
    """

    _domains_lock = threading.Lock()
    _domains: ClassVar[dict[int, _Domain]] = {}
    _self_tested = False
    _library_kept = False

    def __init__(self, domain: int) -> None:
        self._lib = load()
        self.domain = domain
        self.process_id = os.getpid()
        config.warn_about_small_buffers()
        with Participant._domains_lock:
            self._keep_library()
            self._enter_domain()
            try:
                with native_qos(None, "enclave=/;") as qos:
                    self.entity = check(
                        self._lib.dds_create_participant(domain, qos, None),
                        f"Creating a DDS participant in domain {domain}{config.source()}",
                    )
            except DDSError:
                self._leave_domain()
                raise
        self.guid = _guid(self.entity)
        self._writers: weakref.WeakSet[Writer] = weakref.WeakSet()
        self.closed = False
        with Participant._domains_lock:
            if not Participant._self_tested:
                self._self_test()
                Participant._self_tested = True

    def _keep_library(self) -> None:
        """Keep libddsc initialised without a domain: another thread may still ask it about what has been deleted."""
        if not Participant._library_kept:
            check(self._lib.dds_create_guardcondition(LIBRARY), "dds_create_guardcondition")
            Participant._library_kept = True

    def _enter_domain(self) -> None:
        """Configure the domain for its first participant; the configuration stays while there are others."""
        xml = config.domain_xml()
        if self.domain not in Participant._domains:
            if xml is None:
                return
            what = (
                f"Configuring DDS domain {self.domain} (its ports are on UDP {7400 + 250 * self.domain} and above; on "
                f"one machine it has room for {config.MAX_PARTICIPANT_INDEX + 1} processes, another ROS_DOMAIN_ID has "
                "its own)"
            )
            entity = check(self._lib.dds_create_domain(self.domain, xml.encode()), what)
            Participant._domains[self.domain] = _Domain(entity)
        Participant._domains[self.domain].participants += 1

    def _leave_domain(self) -> None:
        """Release sockets and threads of a domain without participants, unless somebody looks at what came from it."""
        domain = Participant._domains.get(self.domain)
        if domain is None:
            return
        domain.participants -= 1
        if domain.participants == 0 and not _views:
            del Participant._domains[self.domain]
            self._lib.dds_delete(domain.entity)

    def _self_test(self) -> None:
        """Send one sample from a writer to a reader of this participant: the ABI is the expected one."""
        name = f"rclpy_dds_self_test_{self.process_id}"
        policies = EndpointPolicies(1, 2, 1, 1, 2**63 - 1, 2**63 - 1, 1, 2**63 - 1)
        payload = bytes([0, 1, 0, 0, *range(1, 9)])
        # Stock ROS 2 logs a warning for every endpoint without a type hash.
        announcement = f"typehash=RIHS01_{'0' * 64};"
        reader = self.create_reader(name, "rclpy_dds::SelfTest_", policies, announcement)
        writer = self.create_writer(name, "rclpy_dds::SelfTest_", policies, announcement)
        try:
            writer.write_parts([payload[:8], payload[8:]])
            sample = reader.take()
            if sample is None or bytes(sample.payload) != payload or sample.source_timestamp_ns <= 0:
                raise WheelMismatchError(
                    "libddsc did not return what was written to it (wrote "
                    f"{payload.hex()}, read {bytes(sample.payload).hex() if sample else 'nothing'}): "
                    "reinstall cyclonedds==11.0.1"
                )
        finally:
            writer.close()
            reader.close()

    def _create_topic(self, name: str, type_name: str) -> int:
        descriptor = TopicDescriptor(
            size=1,
            align=1,
            flagset=_RESTRICT_DATA_REPRESENTATION,
            type_name=type_name.encode(),
            ops_count=2,
            ops=ct.cast(_OPAQUE_OPS, ct.POINTER(ct.c_uint32)),
            meta=b"",
            restrict_data_representation=1,
        )
        return check(
            self._lib.dds_create_topic(self.entity, ct.byref(descriptor), name.encode(), None, None),
            f"Creating DDS topic {name!r} of type {type_name!r}",
        )

    def create_writer(self, topic: str, type_name: str, policies: EndpointPolicies, user_data: str = "") -> Writer:
        """Create a writer on a DDS topic name with a DDS type name."""
        handle = self._create_topic(topic, type_name)
        try:
            with native_qos(policies, user_data) as qos:
                entity = self._lib.dds_create_writer(self.entity, handle, qos, None)
                writer = Writer(check(entity, f"Creating a DDS writer on {topic!r}"))
                self._writers.add(writer)
                return writer
        finally:
            self._lib.dds_delete(handle)

    def create_reader(
        self, topic: str, type_name: str, policies: EndpointPolicies, user_data: str = "", ignore_local: bool = False
    ) -> Reader:
        """Create a reader on a DDS topic name with a DDS type name."""
        handle = self._create_topic(topic, type_name)
        try:
            with native_qos(policies, user_data, ignore_local) as qos:
                entity = self._lib.dds_create_reader(self.entity, handle, qos, None)
                return Reader(check(entity, f"Creating a DDS reader on {topic!r}"))
        finally:
            self._lib.dds_delete(handle)

    def drain(self) -> None:
        """Wait until readers have received what this participant's writers wrote; see :func:`drain`."""
        drain(list(self._writers))

    def close(self) -> None:
        """Delete the participant and everything in it. In a forked child this does nothing."""
        if not self.closed:
            self.closed = True
            if os.getpid() == self.process_id:
                self.drain()
                self._lib.dds_delete(self.entity)
                with Participant._domains_lock:
                    self._leave_domain()


def _after_fork() -> None:
    Participant._domains_lock = threading.Lock()
    Participant._domains = {}
    Participant._self_tested = Participant._library_kept = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
