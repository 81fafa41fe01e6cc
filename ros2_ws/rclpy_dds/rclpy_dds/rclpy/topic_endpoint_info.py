"""Information about publishers and subscriptions of a topic."""

from enum import IntEnum
from typing import Any

from .qos import QoSProfile


class TopicEndpointTypeEnum(IntEnum):
    """Publisher or subscription."""

    INVALID = 0
    PUBLISHER = 1
    SUBSCRIPTION = 2


class TypeHash:
    """A type hash: version and 32 bytes."""

    def __init__(self, version: int = -1, value: bytes = bytes(32)) -> None:
        self.version = version
        self.value = value

    @classmethod
    def from_text(cls, text: str) -> "TypeHash":
        """Return the hash of a text ``RIHS01_<64 hex digits>``; an invalid one when the text is not of this form."""
        prefix, _, digits = text.partition("_")
        if prefix.startswith("RIHS") and prefix[4:].isdigit() and len(digits) == 64:
            try:
                return cls(int(prefix[4:]), bytes.fromhex(digits))
            except ValueError:
                return cls()
        return cls()

    def __str__(self) -> str:
        return "INVALID" if self.version < 0 else f"RIHS{self.version:02d}_{self.value.hex()}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeHash) and (self.version, self.value) == (other.version, other.value)

    __hash__ = None  # type: ignore[assignment]


class TopicEndpointInfo:
    """One publisher or subscription of a topic."""

    def __init__(
        self,
        *,
        node_name: str = "",
        node_namespace: str = "",
        topic_type: str = "",
        topic_type_hash: TypeHash | None = None,
        endpoint_type: TopicEndpointTypeEnum = TopicEndpointTypeEnum.INVALID,
        endpoint_gid: Any = (),
        qos_profile: QoSProfile | None = None,
    ) -> None:
        self.node_name = node_name
        self.node_namespace = node_namespace
        self.topic_type = topic_type
        self.topic_type_hash = topic_type_hash or TypeHash()
        self.endpoint_type = endpoint_type
        self.endpoint_gid = list(endpoint_gid)
        self.qos_profile = qos_profile

    def __str__(self) -> str:
        gid = ".".join(f"{byte:02x}" for byte in self.endpoint_gid)
        lines = [
            f"Node name: {self.node_name}",
            f"Node namespace: {self.node_namespace}",
            f"Topic type: {self.topic_type}",
            f"Topic type hash: {self.topic_type_hash}",
            f"Endpoint type: {self.endpoint_type.name}",
            f"GID: {gid}",
            "QoS profile:",
        ]
        profile = self.qos_profile
        if profile is not None:
            history = profile.history.name
            if history == "KEEP_LAST":
                history += f" ({profile.depth})"
            lines += [
                f"  Reliability: {profile.reliability.name}",
                f"  History (Depth): {history}",
                f"  Durability: {profile.durability.name}",
                f"  Lifespan: {profile.lifespan}",
                f"  Deadline: {profile.deadline}",
                f"  Liveliness: {profile.liveliness.name}",
                f"  Liveliness lease duration: {profile.liveliness_lease_duration}",
            ]
        return "\n".join(lines)
