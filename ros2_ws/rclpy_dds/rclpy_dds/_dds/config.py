"""Cyclone DDS configuration: loopback by default, sized for camera images.

Follows the environment variables of ROS 2: ``ROS_DOMAIN_ID``, ``ROS_AUTOMATIC_DISCOVERY_RANGE``, ``ROS_STATIC_PEERS``,
``ROS_LOCALHOST_ONLY``. When ``CYCLONEDDS_URI`` is set, that configuration is used alone.
"""

import os
import socket
import sys
import warnings
from pathlib import Path
from xml.sax.saxutils import quoteattr

# A 1280x720 rgb8 image is 2.8 MB; the receive buffer should hold one whole image.
RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
WRITER_CACHE_BYTES = 16 * 1024 * 1024
# Highest participant index that fits the port range of one domain is 119; stock ROS 2 looks at 0..32 on loopback.
MAX_PARTICIPANT_INDEX = 64
_RMEM_MAX = Path("/proc/sys/net/core/rmem_max")
_RMEM_DEFAULT = Path("/proc/sys/net/core/rmem_default")

RANGES = ("LOCALHOST", "SUBNET", "OFF", "SYSTEM_DEFAULT")


def domain_id() -> int:
    """Return ``ROS_DOMAIN_ID`` (default 0).

    Raises:
        ValueError: the variable is not an integer from 0 to 232.
    """
    text = os.environ.get("ROS_DOMAIN_ID", "").strip()
    if not text:
        return 0
    try:
        value = int(text)
    except ValueError:
        raise ValueError(f"ROS_DOMAIN_ID must be an integer from 0 to 232, not {text!r}") from None
    if not 0 <= value <= 232:
        raise ValueError(f"ROS_DOMAIN_ID must be from 0 to 232, not {value}")
    return value


def discovery_range() -> str:
    """Return the discovery range in force: one of :data:`RANGES`, ``LOCALHOST`` when nothing is set.

    Raises:
        ValueError: ``ROS_AUTOMATIC_DISCOVERY_RANGE`` or ``ROS_LOCALHOST_ONLY`` has an unknown value.
    """
    localhost_only = os.environ.get("ROS_LOCALHOST_ONLY", "").strip()
    if localhost_only not in ("", "0", "1"):
        raise ValueError(f"ROS_LOCALHOST_ONLY must be 0 or 1, not {localhost_only!r}")
    if localhost_only == "1":
        return "LOCALHOST"
    value = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").strip().upper()
    if not value:
        return "LOCALHOST"
    if value not in RANGES:
        raise ValueError(f"ROS_AUTOMATIC_DISCOVERY_RANGE must be one of {', '.join(RANGES)}, not {value!r}")
    return value


def reach_hint() -> str | None:
    """Return what to set for a graph with stock nodes; None when the user has chosen a range."""
    chosen = ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", "CYCLONEDDS_URI")
    if any(os.environ.get(name, "").strip() for name in chosen):
        return None
    return (
        f"ROS domain {domain_id()}, this machine only. For nodes of a ROS 2 installation, whose own default is SUBNET, "
        "set ROS_AUTOMATIC_DISCOVERY_RANGE on both sides: LOCALHOST, or SUBNET for other machines"
    )


def static_peers() -> list[str]:
    """Return the hosts that ``ROS_STATIC_PEERS`` names, separated by ``;``.

    Raises:
        ValueError: a name cannot be resolved; libddsc would end the process.
    """
    peers = [peer.strip() for peer in os.environ.get("ROS_STATIC_PEERS", "").split(";") if peer.strip()]
    for peer in peers:
        try:
            socket.getaddrinfo(peer, None)
        except OSError as error:
            raise ValueError(f"ROS_STATIC_PEERS names {peer!r}, which cannot be resolved: {error}") from None
    return peers


def receive_buffer_limit() -> int | None:
    """Return the kernel's limit for socket receive buffers in bytes, or None when it cannot be read."""
    try:
        return int(_RMEM_MAX.read_text())
    except (OSError, ValueError):
        return None


def fast_dds_buffer_advice() -> str | None:
    """Return what pictures to nodes on Fast DDS need, which takes the kernel's default buffer; None when nothing."""
    try:
        size = int(_RMEM_DEFAULT.read_text())
    except (OSError, ValueError):
        return None
    if size >= RECEIVE_BUFFER_BYTES:
        return None
    return (
        f"net.core.rmem_default is {size} bytes, which nodes on Fast DDS take for their sockets: most best-effort "
        f"pictures to them get lost; sudo sysctl -w net.core.rmem_default={RECEIVE_BUFFER_BYTES} and start them again "
        "(without root: a profile of theirs, see settings.md of rclpy_dds)"
    )


def domain_xml() -> str | None:
    """Return the configuration to create the domain with, or None to leave it to ``CYCLONEDDS_URI``."""
    if os.environ.get("CYCLONEDDS_URI", "").strip():
        return None
    chosen = discovery_range()
    limit = receive_buffer_limit()
    # With ``min`` Cyclone fails when the kernel refuses, with ``max`` it takes what it gets.
    bound = "min" if limit is not None and limit >= RECEIVE_BUFFER_BYTES else "max"
    internal = (
        f'<SocketReceiveBufferSize {bound}="{RECEIVE_BUFFER_BYTES}B"/>'
        f"<Watermarks><WhcHigh>{WRITER_CACHE_BYTES}B</WhcHigh><WhcHighInit>{WRITER_CACHE_BYTES}B</WhcHighInit>"
        "</Watermarks>"
        # By default, deleting a writer waits a second for readers that do not answer, writer after writer.
        # Participant.drain does this waiting for all writers at once.
        "<WriterLingerDuration>0ms</WriterLingerDuration>"
    )
    peers = static_peers()
    if chosen == "SYSTEM_DEFAULT":
        general, discovery = "", _discovery(peers)
    elif chosen == "SUBNET":
        # lo is always selected: Cyclone 11 drops discovery packets that arrive on an interface it did not select.
        general = (
            '<Interfaces><NetworkInterface autodetermine="true"/><NetworkInterface name="lo" multicast="false"/>'
            "</Interfaces>"
        )
        discovery = _discovery(["127.0.0.1", *peers])
    else:
        interface = "lo0" if sys.platform == "darwin" else "lo"
        general = (
            f'<Interfaces><NetworkInterface name="{interface}"/></Interfaces><AllowMulticast>false</AllowMulticast>'
            # Few large fragments: the loopback interface carries them whole.
            "<MaxMessageSize>65500B</MaxMessageSize><FragmentSize>65000B</FragmentSize>"
        )
        if chosen == "OFF":
            discovery = f"<Tag>off-{os.getpid()}-{os.urandom(8).hex()}</Tag>"
        else:
            discovery = _discovery(["127.0.0.1", *peers])
    return (
        f'<CycloneDDS><Domain Id="any"><General>{general}</General><Discovery>{discovery}</Discovery>'
        f"<Internal>{internal}</Internal></Domain></CycloneDDS>"
    )


def source() -> str:
    """Return what an error message adds when the configuration is not this module's."""
    own = os.environ.get("CYCLONEDDS_URI", "").strip()
    return f" with CYCLONEDDS_URI={own[:80]!r} (libddsc's line above says what is wrong with it)" if own else ""


def _discovery(peers: list[str]) -> str:
    listed = "".join(f"<Peer Address={quoteattr(peer)}/>" for peer in peers)
    return (
        "<ParticipantIndex>auto</ParticipantIndex>"
        f"<MaxAutoParticipantIndex>{MAX_PARTICIPANT_INDEX}</MaxAutoParticipantIndex>"
        + (f"<Peers>{listed}</Peers>" if listed else "")
    )


_warned = False


def warn_about_small_buffers() -> None:
    """Warn once per process when the kernel's receive buffer limit is below one 720p image."""
    global _warned
    limit = receive_buffer_limit()
    if _warned or limit is None or limit >= RECEIVE_BUFFER_BYTES:
        return
    _warned = True
    warnings.warn(
        f"net.core.rmem_max is {limit} bytes, below one 1280x720 image: large messages will be late or lost. "
        f"Raise it with: sudo sysctl -w net.core.rmem_max={RECEIVE_BUFFER_BYTES}",
        RuntimeWarning,
        stacklevel=2,
    )
