"""What the peers of a reader or writer announce in their user data."""

import ctypes as ct

from .libddsc import load
from .participant import Reader, Writer
from .qos import read_user_data
from .vendors import has_our_services

_LIMIT = 1024


def matched_writer_user_data(reader: Reader, writer_handle: int) -> dict[str, str] | None:
    """Return the user data of one writer matched with a reader, or None when it is not matched (any more)."""
    lib = load()
    data = lib.dds_get_matched_publication_data(reader.entity, writer_handle)
    if not data:
        return None
    try:
        return read_user_data(data.contents.qos)
    finally:
        lib.dds_builtintopic_free_endpoint(data)


def ids_of_matched_readers(writer: Writer, key: str) -> set[str | None]:
    """Return the value of a user data key for every reader matched with a writer (None: does not announce it).

    Readers of peers that have no services for us are left out.
    """
    lib = load()
    return _ids(writer.entity, key, lib.dds_get_matched_subscriptions, lib.dds_get_matched_subscription_data)


def ids_of_matched_writers(reader: Reader, key: str) -> set[str | None]:
    """Return the value of a user data key for every writer matched with a reader (None: does not announce it).

    Writers of peers that have no services for us are left out.
    """
    lib = load()
    return _ids(reader.entity, key, lib.dds_get_matched_publications, lib.dds_get_matched_publication_data)


def _ids(entity: int, key: str, list_function: object, data_function: object) -> set[str | None]:
    handles = (ct.c_uint64 * _LIMIT)()
    count = list_function(entity, handles, _LIMIT)  # type: ignore[operator]
    found: set[str | None] = set()
    for handle in handles[: max(min(count, _LIMIT), 0)]:
        data = data_function(entity, handle)  # type: ignore[operator]
        if data:
            try:
                if has_our_services(bytes(data.contents.participant_key.v)):
                    found.add(read_user_data(data.contents.qos).get(key))
            finally:
                load().dds_builtintopic_free_endpoint(data)
    return found
