"""Communication statuses of readers and writers: missed deadlines, liveliness, matches, incompatible QoS."""

import ctypes as ct
from typing import Any, ClassVar, NamedTuple

from .libddsc import MatchedStatus, check, load

# dds.h: dds_status_id_t
OFFERED_DEADLINE_MISSED = 1
REQUESTED_DEADLINE_MISSED = 2
OFFERED_INCOMPATIBLE_QOS = 3
REQUESTED_INCOMPATIBLE_QOS = 4
SAMPLE_LOST = 5
LIVELINESS_LOST = 9
LIVELINESS_CHANGED = 10
PUBLICATION_MATCHED = 11
SUBSCRIPTION_MATCHED = 12

# dds_public_qosdefs.h: dds_qos_policy_id_t
POLICY_NAMES = {2: "DURABILITY", 4: "DEADLINE", 8: "LIVELINESS", 11: "RELIABILITY", 13: "HISTORY", 21: "LIFESPAN"}


class CountStatus(ct.Structure):
    """Deadlines, lost liveliness, lost samples: the statuses that begin with these two fields."""

    _fields_: ClassVar = [
        ("total_count", ct.c_uint32),
        ("total_count_change", ct.c_int32),
        ("last_handle", ct.c_uint64),
    ]


class IncompatibleQosStatus(ct.Structure):
    """``dds_offered_incompatible_qos_status_t`` and ``dds_requested_incompatible_qos_status_t``."""

    _fields_: ClassVar = [
        ("total_count", ct.c_uint32),
        ("total_count_change", ct.c_int32),
        ("last_policy_id", ct.c_uint32),
    ]


class LivelinessChangedStatus(ct.Structure):
    """``dds_liveliness_changed_status_t``."""

    _fields_: ClassVar = [
        ("alive_count", ct.c_uint32),
        ("not_alive_count", ct.c_uint32),
        ("alive_count_change", ct.c_int32),
        ("not_alive_count_change", ct.c_int32),
        ("last_handle", ct.c_uint64),
    ]


class _Kind(NamedTuple):
    function: str
    structure: type[ct.Structure]


_KINDS = {
    OFFERED_DEADLINE_MISSED: _Kind("dds_get_offered_deadline_missed_status", CountStatus),
    REQUESTED_DEADLINE_MISSED: _Kind("dds_get_requested_deadline_missed_status", CountStatus),
    OFFERED_INCOMPATIBLE_QOS: _Kind("dds_get_offered_incompatible_qos_status", IncompatibleQosStatus),
    REQUESTED_INCOMPATIBLE_QOS: _Kind("dds_get_requested_incompatible_qos_status", IncompatibleQosStatus),
    SAMPLE_LOST: _Kind("dds_get_sample_lost_status", CountStatus),
    LIVELINESS_LOST: _Kind("dds_get_liveliness_lost_status", CountStatus),
    LIVELINESS_CHANGED: _Kind("dds_get_liveliness_changed_status", LivelinessChangedStatus),
    PUBLICATION_MATCHED: _Kind("dds_get_publication_matched_status", MatchedStatus),
    SUBSCRIPTION_MATCHED: _Kind("dds_get_subscription_matched_status", MatchedStatus),
}


def read_status(entity: int, status: int) -> Any:
    """Return a status of a reader or writer; its changes count from the last time it was read."""
    kind = _KINDS[status]
    result = kind.structure()
    check(getattr(load(), kind.function)(entity, ct.byref(result)), kind.function)
    return result


def watch(entity: int, statuses: list[int]) -> None:
    """Let a waitset to which the entity is attached return when one of these statuses has changed, and only then."""
    mask = sum(1 << status for status in statuses)
    check(load().dds_set_status_mask(entity, mask), "dds_set_status_mask")


def changed(entity: int, statuses: list[int]) -> list[int]:
    """Return those of the statuses that have changed since they were read."""
    changes = ct.c_uint32()
    check(load().dds_get_status_changes(entity, ct.byref(changes)), "dds_get_status_changes")
    return [status for status in statuses if changes.value >> status & 1]
