"""Whose implementation of DDS a peer is. A GUID begins with the vendor's id (DDS-RTPS 2.5, section 9.3.1.5)."""

# https://www.dds-foundation.org/dds-rtps-vendor-and-product-ids
_NAMES = {
    b"\x01\x01": "RTI Connext",
    b"\x01\x03": "OpenDDS",
    b"\x01\x0f": "Fast DDS",
    b"\x01\x10": "Cyclone DDS",
    b"\x01\x12": "RustDDS",
    b"\x01\x14": "Dust DDS",
}
CYCLONE_DDS = "Cyclone DDS"
FAST_DDS = "Fast DDS"


def vendor(guid: bytes) -> str:
    """Return the DDS implementation of a participant or endpoint."""
    return _NAMES.get(bytes(guid[:2]), f"vendor {guid[0]:02x}.{guid[1]:02x}")


def has_our_services(guid: bytes) -> bool:
    """Return whether services of a peer can be called, and can call ours.

    ``rmw_cyclonedds_cpp`` puts the ids of a request in front of the message, the others beside it, where libddsc cannot
    reach them: endpoints match, but no answer ever comes.
    """
    return vendor(guid) == CYCLONE_DDS
