"""ctypes binding of the libddsc shared object that ships in the ``cyclonedds`` wheel.

Only the functions used here are bound. Most are in the public header ``dds/dds.h``; the serialised-data functions
(``ddsi_serdata_*``) and the layout of ``dds_topic_descriptor_t`` are not promised to be stable, which is why the wheel
is pinned and why :func:`load` refuses any other version. ctypes releases the GIL around every call, except those of
:func:`quick`.
"""

import ctypes as ct
import functools
import importlib.util
import os
from pathlib import Path
from typing import ClassVar, TypeVar

EXPECTED_VERSION = "11.0.1"

Entity = ct.c_int32
Handle = ct.c_uint64
Duration = ct.c_int64

INFINITY = 2**63 - 1
RETCODE_TIMEOUT = -10
RETCODE_BAD_PARAMETER = -3
RETCODE_ALREADY_DELETED = -9
RETCODE_PRECONDITION_NOT_MET = -4

# dds_public_impl.h: DDS_MIN_PSEUDO_HANDLE; dds.h: the built-in topics that follow it.
_MIN_PSEUDO_HANDLE = 0x7FFF0000
LIBRARY = _MIN_PSEUDO_HANDLE + 256
BUILTIN_PARTICIPANT = _MIN_PSEUDO_HANDLE + 1
BUILTIN_PUBLICATION = _MIN_PSEUDO_HANDLE + 3
BUILTIN_SUBSCRIPTION = _MIN_PSEUDO_HANDLE + 4

ANY_STATE = 0x7F
ALIVE_STATE = 0x03 | 0x0C | 0x10
GONE_STATE = 0x03 | 0x0C | 0x20 | 0x40
SERDATA_KIND_DATA = 2


class DDSError(RuntimeError):
    """A call into libddsc failed."""

    def __init__(self, what: str, code: int) -> None:
        self.code = code
        super().__init__(f"{what} failed: {describe_code(code)} ({code})")


class WheelMismatchError(ImportError):
    """The installed ``cyclonedds`` wheel is not the one this package was written for."""


class Guid(ct.Structure):
    """``dds_guid_t``: 12-byte participant prefix and 4-byte entity id."""

    _fields_: ClassVar = [("v", ct.c_ubyte * 16)]


class IoVector(ct.Structure):
    """``ddsrt_iovec_t`` (POSIX ``struct iovec``)."""

    _fields_: ClassVar = [("base", ct.c_void_p), ("length", ct.c_size_t)]


class BytesVector(ct.Structure):
    """``struct iovec`` whose base may be set to a ``bytes`` object directly."""

    _fields_: ClassVar = [("base", ct.c_char_p), ("length", ct.c_size_t)]


class SampleInfo(ct.Structure):
    """``dds_sample_info_t``."""

    _fields_: ClassVar = [
        ("sample_state", ct.c_int),
        ("view_state", ct.c_int),
        ("instance_state", ct.c_int),
        ("valid_data", ct.c_bool),
        ("source_timestamp", ct.c_int64),
        ("instance_handle", ct.c_uint64),
        ("publication_handle", ct.c_uint64),
        ("disposed_generation_count", ct.c_uint32),
        ("no_writers_generation_count", ct.c_uint32),
        ("sample_rank", ct.c_uint32),
        ("generation_rank", ct.c_uint32),
        ("absolute_generation_rank", ct.c_uint32),
    ]


class _TypeBlob(ct.Structure):
    _fields_: ClassVar = [("data", ct.c_void_p), ("size", ct.c_uint32)]


class TopicDescriptor(ct.Structure):
    """``dds_topic_descriptor_t`` (documented as unstable)."""

    _fields_: ClassVar = [
        ("size", ct.c_uint32),
        ("align", ct.c_uint32),
        ("flagset", ct.c_uint32),
        ("key_count", ct.c_uint32),
        ("type_name", ct.c_char_p),
        ("keys", ct.c_void_p),
        ("ops_count", ct.c_uint32),
        ("ops", ct.POINTER(ct.c_uint32)),
        ("meta", ct.c_char_p),
        ("type_information", _TypeBlob),
        ("type_mapping", _TypeBlob),
        ("restrict_data_representation", ct.c_uint32),
    ]


class BuiltinParticipant(ct.Structure):
    """``dds_builtintopic_participant_t``."""

    _fields_: ClassVar = [("key", Guid), ("qos", ct.c_void_p)]


class BuiltinEndpoint(ct.Structure):
    """``dds_builtintopic_endpoint_t``."""

    _fields_: ClassVar = [
        ("key", Guid),
        ("participant_key", Guid),
        ("participant_handle", ct.c_uint64),
        ("topic_name", ct.c_char_p),
        ("type_name", ct.c_char_p),
        ("qos", ct.c_void_p),
    ]


class MatchedStatus(ct.Structure):
    """``dds_publication_matched_status_t`` and ``dds_subscription_matched_status_t``."""

    _fields_: ClassVar = [
        ("total_count", ct.c_uint32),
        ("total_count_change", ct.c_int32),
        ("current_count", ct.c_uint32),
        ("current_count_change", ct.c_int32),
        ("last_handle", ct.c_uint64),
    ]


_P = ct.c_void_p
_SIGNATURES: dict = {
    "dds_create_domain": (Entity, [ct.c_uint32, ct.c_char_p]),
    "dds_create_participant": (Entity, [ct.c_uint32, _P, _P]),
    "dds_create_topic": (Entity, [Entity, ct.POINTER(TopicDescriptor), ct.c_char_p, _P, _P]),
    "dds_create_writer": (Entity, [Entity, Entity, _P, _P]),
    "dds_create_reader": (Entity, [Entity, Entity, _P, _P]),
    "dds_create_waitset": (Entity, [Entity]),
    "dds_create_guardcondition": (Entity, [Entity]),
    "dds_create_readcondition": (Entity, [Entity, ct.c_uint32]),
    "dds_set_guardcondition": (ct.c_int32, [Entity, ct.c_bool]),
    "dds_take_guardcondition": (ct.c_int32, [Entity, ct.POINTER(ct.c_bool)]),
    "dds_waitset_attach": (ct.c_int32, [Entity, Entity, ct.c_ssize_t]),
    "dds_waitset_detach": (ct.c_int32, [Entity, Entity]),
    "dds_waitset_wait": (ct.c_int32, [Entity, ct.POINTER(ct.c_ssize_t), ct.c_size_t, Duration]),
    "dds_delete": (ct.c_int32, [Entity]),
    "dds_get_guid": (ct.c_int32, [Entity, ct.POINTER(Guid)]),
    "dds_get_instance_handle": (ct.c_int32, [Entity, ct.POINTER(Handle)]),
    "dds_get_entity_sertype": (ct.c_int32, [Entity, ct.POINTER(_P)]),
    "dds_writecdr": (ct.c_int32, [Entity, _P]),
    "dds_takecdr": (ct.c_int32, [Entity, ct.POINTER(_P), ct.c_uint32, ct.POINTER(SampleInfo), ct.c_uint32]),
    "dds_read_mask": (
        ct.c_int32,
        [Entity, ct.POINTER(_P), ct.POINTER(SampleInfo), ct.c_size_t, ct.c_uint32, ct.c_uint32],
    ),
    "dds_take_mask": (
        ct.c_int32,
        [Entity, ct.POINTER(_P), ct.POINTER(SampleInfo), ct.c_size_t, ct.c_uint32, ct.c_uint32],
    ),
    "dds_return_loan": (ct.c_int32, [Entity, ct.POINTER(_P), ct.c_int32]),
    "dds_get_matched_subscriptions": (ct.c_int32, [Entity, ct.POINTER(Handle), ct.c_size_t]),
    "dds_get_matched_publications": (ct.c_int32, [Entity, ct.POINTER(Handle), ct.c_size_t]),
    "dds_get_matched_subscription_data": (ct.POINTER(BuiltinEndpoint), [Entity, Handle]),
    "dds_get_matched_publication_data": (ct.POINTER(BuiltinEndpoint), [Entity, Handle]),
    "dds_builtintopic_free_endpoint": (None, [ct.POINTER(BuiltinEndpoint)]),
    "dds_set_status_mask": (ct.c_int32, [Entity, ct.c_uint32]),
    "dds_get_status_changes": (ct.c_int32, [Entity, ct.POINTER(ct.c_uint32)]),
    "dds_get_publication_matched_status": (ct.c_int32, [Entity, _P]),
    "dds_get_subscription_matched_status": (ct.c_int32, [Entity, _P]),
    "dds_get_offered_deadline_missed_status": (ct.c_int32, [Entity, _P]),
    "dds_get_requested_deadline_missed_status": (ct.c_int32, [Entity, _P]),
    "dds_get_offered_incompatible_qos_status": (ct.c_int32, [Entity, _P]),
    "dds_get_requested_incompatible_qos_status": (ct.c_int32, [Entity, _P]),
    "dds_get_sample_lost_status": (ct.c_int32, [Entity, _P]),
    "dds_get_liveliness_lost_status": (ct.c_int32, [Entity, _P]),
    "dds_get_liveliness_changed_status": (ct.c_int32, [Entity, _P]),
    "dds_wait_for_acks": (ct.c_int32, [Entity, Duration]),
    "dds_assert_liveliness": (ct.c_int32, [Entity]),
    "dds_strretcode": (ct.c_char_p, [ct.c_int32]),
    "dds_free": (None, [_P]),
    "dds_create_qos": (_P, []),
    "dds_delete_qos": (None, [_P]),
    "dds_qset_userdata": (None, [_P, ct.c_char_p, ct.c_size_t]),
    "dds_qset_durability": (None, [_P, ct.c_int]),
    "dds_qset_reliability": (None, [_P, ct.c_int, Duration]),
    "dds_qset_history": (None, [_P, ct.c_int, ct.c_int32]),
    "dds_qset_deadline": (None, [_P, Duration]),
    "dds_qset_lifespan": (None, [_P, Duration]),
    "dds_qset_liveliness": (None, [_P, ct.c_int, Duration]),
    "dds_qset_durability_service": (
        None,
        [_P, Duration, ct.c_int, ct.c_int32, ct.c_int32, ct.c_int32, ct.c_int32],
    ),
    "dds_qset_writer_data_lifecycle": (None, [_P, ct.c_bool]),
    "dds_qset_ignorelocal": (None, [_P, ct.c_int]),
    "dds_qset_data_representation": (None, [_P, ct.c_uint32, ct.POINTER(ct.c_int16)]),
    "dds_qget_userdata": (ct.c_bool, [_P, ct.POINTER(_P), ct.POINTER(ct.c_size_t)]),
    "dds_qget_durability": (ct.c_bool, [_P, ct.POINTER(ct.c_int)]),
    "dds_qget_reliability": (ct.c_bool, [_P, ct.POINTER(ct.c_int), ct.POINTER(Duration)]),
    "dds_qget_history": (ct.c_bool, [_P, ct.POINTER(ct.c_int), ct.POINTER(ct.c_int32)]),
    "dds_qget_deadline": (ct.c_bool, [_P, ct.POINTER(Duration)]),
    "dds_qget_lifespan": (ct.c_bool, [_P, ct.POINTER(Duration)]),
    "dds_qget_liveliness": (ct.c_bool, [_P, ct.POINTER(ct.c_int), ct.POINTER(Duration)]),
    "ddsi_serdata_from_ser_iov": (_P, [_P, ct.c_int, ct.c_size_t, _P, ct.c_size_t]),
    "ddsi_serdata_size": (ct.c_uint32, [_P]),
    "ddsi_serdata_to_ser": (None, [_P, ct.c_size_t, ct.c_size_t, _P]),
    "ddsi_serdata_to_ser_ref": (_P, [_P, ct.c_size_t, ct.c_size_t, ct.POINTER(IoVector)]),
    "ddsi_serdata_to_ser_unref": (None, [_P, ct.POINTER(IoVector)]),
    "ddsi_serdata_unref": (None, [_P]),
}


_QUICK = [
    "dds_takecdr",
    "ddsi_serdata_from_ser_iov",
    "ddsi_serdata_size",
    "ddsi_serdata_to_ser",
    "ddsi_serdata_to_ser_ref",
    "ddsi_serdata_to_ser_unref",
    "ddsi_serdata_unref",
]
_Library = TypeVar("_Library", bound=ct.CDLL)


@functools.lru_cache(maxsize=1)
def _library_path() -> Path:
    spec = importlib.util.find_spec("cyclonedds")
    package = Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None
    if package is None:
        raise WheelMismatchError(f"rclpy_dds needs the cyclonedds wheel: pip install cyclonedds=={EXPECTED_VERSION}")
    # The names of the metadata folders, because importlib.metadata takes longer to import than all of this module.
    versions = [
        folder.name.removesuffix(".dist-info").split("-")[1] for folder in package.parent.glob("cyclonedds-*.dist-info")
    ]
    version = versions[0] if versions else "unknown"
    if version != EXPECTED_VERSION:
        raise WheelMismatchError(
            f"rclpy_dds uses libddsc's C interface as of cyclonedds {EXPECTED_VERSION}, but version {version} is "
            f"installed: pip install cyclonedds=={EXPECTED_VERSION}"
        )
    for folder in (package.parent / "cyclonedds.libs", package / ".dylibs"):
        for candidate in sorted(folder.glob("libddsc*")):
            return candidate
    raise WheelMismatchError(
        f"No libddsc found in the cyclonedds {version} installation: install the binary wheel of "
        f"cyclonedds=={EXPECTED_VERSION} (it exists for Linux x86_64 and macOS arm64)"
    )


_inherited = False


@functools.lru_cache(maxsize=1)
def _instance_path() -> str:
    """Return the path to load from.

    After a fork libddsc is there with its parent's state, but without its threads. Loaded from another file it begins
    anew, and what was inherited is left alone.
    """
    path = _library_path()
    if not _inherited:
        return str(path)
    if not hasattr(os, "memfd_create"):
        raise ImportError("This process was forked from one that uses rclpy: start processes by 'spawn' instead")
    copy = os.memfd_create("libddsc")  # stays open: the library is loaded from it more than once
    os.write(copy, path.read_bytes())
    return f"/proc/self/fd/{copy}"


def _after_fork() -> None:
    global _inherited
    _inherited = _inherited or load.cache_info().currsize > 0
    for function in (_instance_path, load, quick):
        function.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@functools.lru_cache(maxsize=1)
def load() -> ct.CDLL:
    """Return the bound library.

    A ``CDLL`` object of its own is used, because ctypes caches function objects per ``CDLL`` and the ``cyclonedds``
    package sets other argument types on its own.

    Raises:
        WheelMismatchError: wrong version, no shared object, or a symbol is missing.
    """
    return _bind(ct.CDLL, list(_SIGNATURES))


@functools.lru_cache(maxsize=1)
def quick() -> ct.PyDLL:
    """Return the functions that never wait for anything, bound so that they keep the GIL.

    Giving the GIL up costs more than they do, and getting it back from a busy thread can take 5 ms each time. libddsc's
    own threads never need the GIL (no listener is ever set), so a lock of theirs cannot wait for it.
    """
    return _bind(ct.PyDLL, _QUICK)


def _bind(kind: type[_Library], names: list[str]) -> _Library:
    path = _instance_path()
    library = kind(path)
    for name in names:
        result, arguments = _SIGNATURES[name]
        try:
            function = getattr(library, name)
        except AttributeError:
            raise WheelMismatchError(
                f"{path} lacks the function {name!r}: rclpy_dds needs the wheel cyclonedds=={EXPECTED_VERSION}"
            ) from None
        function.restype = result
        function.argtypes = arguments
    return library


def describe_code(code: int) -> str:
    """Return libddsc's words for a return code."""
    text = load().dds_strretcode(code)
    return text.decode() if text else "unknown return code"


def check(code: int, what: str) -> int:
    """Return ``code`` when it is not an error.

    Raises:
        DDSError: ``code`` is negative; ``what`` names the call.
    """
    if code < 0:
        raise DDSError(what, code)
    return code
