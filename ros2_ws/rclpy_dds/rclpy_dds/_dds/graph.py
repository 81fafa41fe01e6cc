"""The ROS graph: which nodes there are and which endpoints belong to them.

Endpoints come from DDS discovery (the built-in topics); the nodes behind them from the topic ``ros_discovery_info``,
on which every participant publishes its nodes with the ids of their endpoints.
"""

import ctypes as ct
import threading
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rclpy_dds.interfaces import message_class
from rclpy_dds.interfaces.cdr import MalformedMessageError, decode, encode
from rclpy_dds.interfaces.type_hash import user_data

from . import names
from .libddsc import (
    ALIVE_STATE,
    ANY_STATE,
    BUILTIN_PARTICIPANT,
    BUILTIN_PUBLICATION,
    BUILTIN_SUBSCRIPTION,
    GONE_STATE,
    INFINITY,
    BuiltinEndpoint,
    BuiltinParticipant,
    SampleInfo,
    check,
    load,
)
from .participant import Participant
from .qos import (
    DURABILITY_TRANSIENT_LOCAL,
    HISTORY_KEEP_LAST,
    LIVELINESS_AUTOMATIC,
    RELIABILITY_RELIABLE,
    EndpointPolicies,
    read_policies,
    read_user_data,
)
from .vendors import FAST_DDS, vendor

_TOPIC = "ros_discovery_info"
_TYPE = "rmw_dds_common/msg/ParticipantEntitiesInfo"
_WRITER_POLICIES = EndpointPolicies(
    RELIABILITY_RELIABLE,
    DURABILITY_TRANSIENT_LOCAL,
    HISTORY_KEEP_LAST,
    1,
    INFINITY,
    INFINITY,
    LIVELINESS_AUTOMATIC,
    INFINITY,
)
# Stock nodes keep all; without keys, a history of one would keep the announcement of one participant only.
_READER_POLICIES = _WRITER_POLICIES._replace(depth=2000)


class Endpoint(NamedTuple):
    """A discovered reader or writer."""

    gid: bytes
    participant: bytes
    is_writer: bool
    topic: str
    type: str
    policies: EndpointPolicies
    user_data: dict[str, str]


@dataclass
class LocalNode:
    """A node of this process and its endpoints' ids."""

    namespace: str
    name: str
    readers: set[bytes] = field(default_factory=set)
    writers: set[bytes] = field(default_factory=set)

    @property
    def full_name(self) -> str:
        """Fully qualified name."""
        return f"{self.namespace.rstrip('/')}/{self.name}"


class NodeInfo(NamedTuple):
    """A node of the graph."""

    namespace: str
    name: str
    readers: frozenset[bytes]
    writers: frozenset[bytes]

    @property
    def full_name(self) -> str:
        """Fully qualified name."""
        return f"{self.namespace.rstrip('/')}/{self.name}"


class Graph:
    """View of the graph from one participant, and announcement of its own nodes. Thread-safe."""

    def __init__(self, participant: Participant) -> None:
        self._lib = load()
        self._participant = participant
        self._lock = threading.RLock()
        self._nodes: list[LocalNode] = []
        self._remote: dict[bytes, tuple[NodeInfo, ...]] = {}
        self._seen_participants: set[bytes] = set()
        self._gid_size = len(message_class("rmw_dds_common/msg/Gid")().data)
        type_name = names.dds_type(_TYPE)
        announcement = user_data(_TYPE)
        self._reader = participant.create_reader(_TOPIC, type_name, _READER_POLICIES, announcement, ignore_local=True)
        self._writer = participant.create_writer(_TOPIC, type_name, _WRITER_POLICIES, announcement)
        self._builtin = {
            topic: check(self._lib.dds_create_reader(participant.entity, topic, None, None), "Reading DDS discovery")
            for topic in (BUILTIN_PARTICIPANT, BUILTIN_PUBLICATION, BUILTIN_SUBSCRIPTION)
        }
        # Readers of their own, from which each endpoint is taken once: see new_types.
        self._news = [
            check(self._lib.dds_create_reader(participant.entity, topic, None, None), "Reading DDS discovery")
            for topic in (BUILTIN_PUBLICATION, BUILTIN_SUBSCRIPTION)
        ]
        self.closed = False

    # --- own nodes ---

    def add_node(self, namespace: str, name: str) -> LocalNode:
        """Announce a node of this process."""
        node = LocalNode(namespace, name)
        with self._lock:
            self._nodes.append(node)
            self._publish()
        return node

    def remove_node(self, node: LocalNode) -> None:
        """Withdraw a node."""
        with self._lock:
            if node in self._nodes:
                self._nodes = [entry for entry in self._nodes if entry is not node]
                self._publish()

    def add_endpoints(self, node: LocalNode, readers: tuple[bytes, ...] = (), writers: tuple[bytes, ...] = ()) -> None:
        """Announce readers and writers of a node."""
        with self._lock:
            node.readers.update(readers)
            node.writers.update(writers)
            self._publish()

    def remove_endpoints(
        self, node: LocalNode, readers: tuple[bytes, ...] = (), writers: tuple[bytes, ...] = ()
    ) -> None:
        """Withdraw readers and writers of a node."""
        with self._lock:
            node.readers.difference_update(readers)
            node.writers.difference_update(writers)
            self._publish()

    def _gid(self, guid: bytes) -> Any:
        return message_class("rmw_dds_common/msg/Gid")(data=list(guid.ljust(self._gid_size, b"\0")))

    def _publish(self) -> None:
        if self.closed:
            return
        node_class = message_class("rmw_dds_common/msg/NodeEntitiesInfo")
        message = message_class(_TYPE)(
            gid=self._gid(self._participant.guid),
            node_entities_info_seq=[
                node_class(
                    node_namespace=node.namespace,
                    node_name=node.name,
                    reader_gid_seq=[self._gid(guid) for guid in sorted(node.readers)],
                    writer_gid_seq=[self._gid(guid) for guid in sorted(node.writers)],
                )
                for node in self._nodes
            ],
        )
        self._writer.write_parts(encode(message, _TYPE))

    # --- all nodes ---

    def nodes(self) -> list[NodeInfo]:
        """Return all nodes, those of this participant first."""
        with self._lock:
            self._take_announcements()
            alive = self._participants()
            own = [
                NodeInfo(node.namespace, node.name, frozenset(node.readers), frozenset(node.writers))
                for node in self._nodes
            ]
            others = [node for guid, nodes in self._remote.items() if guid in alive for node in nodes]
            return own + others

    def find_node(self, namespace: str, name: str) -> NodeInfo | None:
        """Return a node, or None; several nodes of one name are taken together."""
        found = [node for node in self.nodes() if node.name == name and node.namespace == namespace]
        if not found:
            return None
        readers = frozenset().union(*(node.readers for node in found))
        writers = frozenset().union(*(node.writers for node in found))
        return NodeInfo(namespace, name, readers, writers)

    def _take_announcements(self) -> None:
        while (sample := self._reader.take()) is not None:
            try:
                message = decode(sample.payload, _TYPE)
            except MalformedMessageError:
                continue
            self._remote[_guid_of(message.gid)] = tuple(
                NodeInfo(
                    entry.node_namespace,
                    entry.node_name,
                    frozenset(_guid_of(gid) for gid in entry.reader_gid_seq),
                    frozenset(_guid_of(gid) for gid in entry.writer_gid_seq),
                )
                for entry in message.node_entities_info_seq
            )

    def _participants(self) -> set[bytes]:
        alive = {bytes(sample.key.v) for sample in self._samples(BUILTIN_PARTICIPANT, BuiltinParticipant)}
        for guid in [guid for guid in self._remote if guid not in alive]:
            # Its announcement may have come before its discovery: forget it only when it has been seen and is gone.
            if guid in self._seen_participants:
                del self._remote[guid]
        self._seen_participants |= alive
        return alive

    def participants(self) -> set[bytes]:
        """Return the GUIDs of the other participants of the domain."""
        with self._lock:
            return self._participants() - {self._participant.guid}

    def is_settled(self) -> bool:
        """Return whether every participant that was discovered has said which nodes it holds."""
        with self._lock:
            self._take_announcements()
            return self.participants() <= self._remote.keys()

    def fast_dds_nodes(self) -> list[str]:
        """Return the fully qualified names of the nodes that run on eProsima Fast DDS."""
        with self._lock:
            if self.closed:
                return []
            alive = self._participants()
            return sorted(
                node.full_name
                for guid, nodes in self._remote.items()
                if guid in alive and vendor(guid) == FAST_DDS
                for node in nodes
            )

    def maintain(self) -> None:
        """Take in what has been announced, and drop what is gone; otherwise both would pile up in the readers."""
        with self._lock:
            if self.closed:
                return
            self._take_announcements()
            limit = 256
            pointers = (ct.c_void_p * limit)()
            infos = (SampleInfo * limit)()
            for reader in self._builtin.values():
                while (count := self._lib.dds_take_mask(reader, pointers, infos, limit, limit, GONE_STATE)) > 0:
                    self._lib.dds_return_loan(reader, pointers, count)

    # --- endpoints ---

    def endpoints(self, writers: bool = True, readers: bool = True) -> list[Endpoint]:
        """Return all endpoints of the domain."""
        found = []
        with self._lock:
            for topic, wanted in ((BUILTIN_PUBLICATION, writers), (BUILTIN_SUBSCRIPTION, readers)):
                if wanted:
                    for sample in self._samples(topic, BuiltinEndpoint):
                        found.append(_endpoint(sample, topic == BUILTIN_PUBLICATION))
        return found

    def new_types(self) -> list[tuple[str, str]]:
        """Return DDS topic and type of the endpoints that were discovered since the last call."""
        found: list[tuple[str, str]] = []
        limit = 256
        pointers = (ct.c_void_p * limit)()
        infos = (SampleInfo * limit)()
        with self._lock:
            for reader in () if self.closed else self._news:
                while (count := self._lib.dds_take_mask(reader, pointers, infos, limit, limit, ANY_STATE)) > 0:
                    for index in range(count):
                        if infos[index].valid_data:
                            sample = BuiltinEndpoint.from_address(pointers[index] or 0)
                            found.append(
                                (sample.topic_name.decode(errors="replace"), sample.type_name.decode(errors="replace"))
                            )
                    self._lib.dds_return_loan(reader, pointers, count)
        return found

    def count(self, topic: str, *, writers: bool) -> int:
        """Return the number of writers or readers of a DDS topic."""
        raw = topic.encode()
        kind = BUILTIN_PUBLICATION if writers else BUILTIN_SUBSCRIPTION
        with self._lock:
            return sum(1 for sample in self._samples(kind, BuiltinEndpoint) if sample.topic_name == raw)

    def _samples(self, topic: int, kind: Any) -> Any:
        """Yield the alive samples of a built-in topic; each is valid until the next one."""
        if self.closed:
            return
        reader = self._builtin[topic]
        limit = 512
        while True:
            pointers = (ct.c_void_p * limit)()
            infos = (SampleInfo * limit)()
            count = check(
                self._lib.dds_read_mask(reader, pointers, infos, limit, limit, ALIVE_STATE), "Reading DDS discovery"
            )
            if count == 0:
                return
            if count < limit:
                break
            self._lib.dds_return_loan(reader, pointers, count)
            limit *= 4
        try:
            for index in range(count):
                if infos[index].valid_data:
                    yield kind.from_address(pointers[index])
        finally:
            self._lib.dds_return_loan(reader, pointers, count)

    def close(self) -> None:
        """Stop using the participant."""
        with self._lock:
            if not self.closed:
                self.closed = True
                self._reader.close()
                self._writer.close()
                for reader in (*self._builtin.values(), *self._news):
                    self._lib.dds_delete(reader)


def _guid_of(gid: Any) -> bytes:
    return gid.data[:16].tobytes()


def _endpoint(sample: BuiltinEndpoint, is_writer: bool) -> Endpoint:
    return Endpoint(
        bytes(sample.key.v),
        bytes(sample.participant_key.v),
        is_writer,
        sample.topic_name.decode("utf-8", "replace"),
        sample.type_name.decode("utf-8", "replace"),
        read_policies(sample.qos),
        read_user_data(sample.qos),
    )
