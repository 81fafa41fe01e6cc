"""ROS 2 quality of service to and from DDS policies, as rmw_cyclonedds maps them."""

import ctypes as ct
from contextlib import contextmanager
from typing import Any, NamedTuple

from .libddsc import INFINITY, load

# rmw/types.h
RELIABILITY_RELIABLE, RELIABILITY_BEST_EFFORT = 1, 2
DURABILITY_TRANSIENT_LOCAL, DURABILITY_VOLATILE = 1, 2
HISTORY_KEEP_LAST, HISTORY_KEEP_ALL, HISTORY_UNKNOWN = 1, 2, 3
LIVELINESS_AUTOMATIC, LIVELINESS_MANUAL_BY_TOPIC = 1, 3

_IGNORE_LOCAL_PARTICIPANT = 1
_XCDR1 = (ct.c_int16 * 1)(0)


class EndpointPolicies(NamedTuple):
    """What the network announces of an endpoint's quality of service; rmw numbers, times in nanoseconds.

    A time of ``INFINITY`` means that the policy is not in use.
    """

    reliability: int
    durability: int
    history: int
    depth: int
    deadline_ns: int
    lifespan_ns: int
    liveliness: int
    liveliness_lease_ns: int


@contextmanager
def native_qos(policies: EndpointPolicies | None, user_data: str = "", ignore_local: bool = False):
    """Yield a ``dds_qos_t*`` and free it afterwards. Without policies it is for a participant."""
    lib = load()
    qos = lib.dds_create_qos()
    try:
        if user_data:
            raw = user_data.encode()
            lib.dds_qset_userdata(qos, raw, len(raw))
        if policies is not None:
            _set_policies(lib, qos, policies)
        if ignore_local:
            lib.dds_qset_ignorelocal(qos, _IGNORE_LOCAL_PARTICIPANT)
        yield qos
    finally:
        lib.dds_delete_qos(qos)


def _set_policies(lib: Any, qos: int, policies: EndpointPolicies) -> None:
    lib.dds_qset_writer_data_lifecycle(qos, False)
    keep_all = policies.history == HISTORY_KEEP_ALL
    history = (1, -1) if keep_all else (0, max(policies.depth, 1))
    lib.dds_qset_history(qos, *history)
    lib.dds_qset_reliability(qos, 0 if policies.reliability == RELIABILITY_BEST_EFFORT else 1, INFINITY)
    if policies.durability == DURABILITY_TRANSIENT_LOCAL:
        lib.dds_qset_durability(qos, 1)
        lib.dds_qset_durability_service(qos, 0, *history, -1, -1, -1)
    else:
        lib.dds_qset_durability(qos, 0)
    if policies.deadline_ns != INFINITY:
        lib.dds_qset_deadline(qos, policies.deadline_ns)
    if policies.lifespan_ns != INFINITY:
        lib.dds_qset_lifespan(qos, policies.lifespan_ns)
    kind = 2 if policies.liveliness == LIVELINESS_MANUAL_BY_TOPIC else 0
    lib.dds_qset_liveliness(qos, kind, policies.liveliness_lease_ns)
    lib.dds_qset_data_representation(qos, 1, _XCDR1)


def read_policies(qos: int) -> EndpointPolicies:
    """Read the policies of a discovered endpoint. Depth and history are not announced by every vendor."""
    lib = load()
    number, count, duration = ct.c_int(), ct.c_int32(), ct.c_int64()
    reliability = durability = history = depth = 0
    deadline = lifespan = lease = INFINITY
    liveliness = LIVELINESS_AUTOMATIC
    if lib.dds_qget_reliability(qos, number, duration):
        reliability = RELIABILITY_RELIABLE if number.value == 1 else RELIABILITY_BEST_EFFORT
    if lib.dds_qget_durability(qos, number):
        durability = DURABILITY_VOLATILE if number.value == 0 else DURABILITY_TRANSIENT_LOCAL
    if lib.dds_qget_history(qos, number, count):
        history = HISTORY_KEEP_ALL if number.value == 1 else HISTORY_KEEP_LAST
        depth = max(count.value, 0)
    else:
        history = HISTORY_UNKNOWN
    if lib.dds_qget_deadline(qos, duration):
        deadline = duration.value
    if lib.dds_qget_lifespan(qos, duration):
        lifespan = duration.value
    if lib.dds_qget_liveliness(qos, number, duration):
        liveliness = LIVELINESS_AUTOMATIC if number.value == 0 else LIVELINESS_MANUAL_BY_TOPIC
        lease = duration.value
    return EndpointPolicies(reliability, durability, history, depth, deadline, lifespan, liveliness, lease)


def read_user_data(qos: int) -> dict[str, str]:
    """Read the ``key=value;`` pairs that ROS 2 puts into the user data of participants and endpoints."""
    lib = load()
    value, size = ct.c_void_p(), ct.c_size_t()
    if not lib.dds_qget_userdata(qos, value, size) or not value.value:
        return {}
    try:
        text = ct.string_at(value.value, size.value).decode("utf-8", "replace")
    finally:
        lib.dds_free(value)
    pairs = (entry.partition("=") for entry in text.split(";") if "=" in entry)
    return {key: data for key, _, data in pairs}
