"""Warnings about peers that the nodes of a context cannot talk to, and why."""

import time
from collections import Counter, defaultdict
from typing import Any

from rclpy_dds._dds import config, events, names
from rclpy_dds._dds.graph import Endpoint, Graph
from rclpy_dds._dds.libddsc import DDSError
from rclpy_dds._dds.qos import EndpointPolicies

from .event_handler import IncompatibleTypeInfo
from .publisher import Publisher
from .qos import incompatibilities, profile_of_endpoint

# A process that was killed is in the graph until its lease of 10 s ends; a node started again is no clash.
CLASH_PATIENCE_S = 12.0


class GraphMonitor:
    """Looks for peers that endpoints do not match, in quality of service or type, for other nodes of the same name, and
    for nodes whose middleware has no services for us. Each is said once.

    DDS only counts endpoints whose quality of service does not match, and says nothing about types. When a count has
    grown, or a topic has got a second type, the endpoints are looked up in the graph.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._counts: dict[bytes, int] = {}
        self._said: set[frozenset[bytes]] = set()
        self._types: dict[str, set[str]] = defaultdict(set)
        self._clashing_since: dict[str, float] = {}
        self._said_names: set[str] = set()
        self._said_fast_dds = False

    def check(self, nodes: list[Any]) -> None:
        """Look at the graph around these nodes and log what is new."""
        self._check_qos(nodes)
        self._check_types(nodes)
        self._check_names(nodes)
        if not self._said_fast_dds and nodes:
            self._check_vendors(nodes[0])

    def _check_names(self, nodes: list[Any]) -> None:
        counts = Counter(node.full_name for node in self._graph.nodes())
        clashes = {node.get_fully_qualified_name(): node for node in nodes}
        clashes = {name: node for name, node in clashes.items() if counts[name] > 1}
        now = time.monotonic()
        self._clashing_since = {name: self._clashing_since.get(name, now) for name in clashes}
        for name, node in clashes.items():
            if name in self._said_names or now - self._clashing_since[name] < CLASH_PATIENCE_S:
                continue
            self._said_names.add(name)
            node.get_logger().warning(
                f"There are {counts[name]} nodes with the name {name!r} in domain {node.context.get_domain_id()}: "
                "their services and parameters get in each other's way. If the other one is not yours, choose "
                "another ROS_DOMAIN_ID, otherwise another name (__node:=...)."
            )

    def _check_vendors(self, node: Any) -> None:
        strangers = self._graph.fast_dds_nodes()
        if not strangers:
            return
        self._said_fast_dds = True
        node.get_logger().warning(
            f"Nodes with eProsima Fast DDS (rmw_fastrtps_cpp, the default of ROS 2) are in the graph: "
            f"{', '.join(strangers)}. Topics work with them. Services, parameters and actions cannot, because Fast DDS "
            "sends the identity of a request beside the message, where Cyclone DDS cannot reach it. Start them with "
            "RMW_IMPLEMENTATION=rmw_cyclonedds_cpp."
        )
        advice = config.fast_dds_buffer_advice()
        if advice is not None:
            node.get_logger().warning(advice)

    def _check_qos(self, nodes: list[Any]) -> None:
        affected = [
            (node, entity)
            for node, entity in _endpoints_of(nodes)
            if entity._event_callbacks.warns_of_incompatible_qos() and self._has_grown(entity)
        ]
        if not affected:
            return
        endpoints, owners = self._all_endpoints()
        for node, entity in affected:
            own = endpoints.get(entity.handle.guid)
            if own is not None:
                self._explain(node, own, [peer for peer in endpoints.values() if _concerns(own, peer)], owners)

    def _all_endpoints(self) -> tuple[dict[bytes, Endpoint], dict[bytes, str]]:
        """Return endpoints and the names of their nodes, by the endpoint's id."""
        endpoints = {endpoint.gid: endpoint for endpoint in self._graph.endpoints()}
        owners = {gid: owner.full_name for owner in self._graph.nodes() for gid in (*owner.readers, *owner.writers)}
        return endpoints, owners

    def _check_types(self, nodes: list[Any]) -> None:
        suspects = set()
        for topic, kind in self._graph.new_types():
            if kind not in self._types[topic]:
                self._types[topic].add(kind)
                suspects.add(topic)
        suspects = {topic for topic in suspects if len(self._types[topic]) > 1}
        if not suspects:
            return
        endpoints, owners = self._all_endpoints()
        for topic in suspects:
            present = [endpoint for endpoint in endpoints.values() if endpoint.topic == topic]
            self._types[topic] = {endpoint.type for endpoint in present}  # others are gone
            told = False
            for node, entity in _endpoints_of(nodes):
                own = endpoints.get(entity.handle.guid)
                if own not in present:
                    continue
                strangers = sum(peer.is_writer != own.is_writer and peer.type != own.type for peer in present)
                if strangers and entity._event_callbacks.incompatible_type is not None:
                    information = IncompatibleTypeInfo(strangers, strangers)
                    node.executor.create_task(entity._event_callbacks.incompatible_type, information)
                elif strangers and entity._event_callbacks.use_default_callbacks and not told:
                    told = True
                    kinds = ", ".join(sorted({_describe_type(entry, owners) for entry in present}))
                    node.get_logger().warning(
                        f"Topic {_shown(topic)!r} has different types, between which no messages pass: {kinds}."
                    )

    def _has_grown(self, entity: Any) -> bool:
        is_writer = isinstance(entity, Publisher)
        kind = events.OFFERED_INCOMPATIBLE_QOS if is_writer else events.REQUESTED_INCOMPATIBLE_QOS
        try:
            count = events.read_status(entity.handle.entity, kind).total_count
        except DDSError:
            return False  # destroyed meanwhile
        known = self._counts.get(entity.handle.guid, 0)
        if count != known:
            self._counts[entity.handle.guid] = count
        return count > known

    def _explain(self, node: Any, own: Endpoint, peers: list[Endpoint], owners: dict[bytes, str]) -> None:
        for peer in peers:
            writer, reader = (own, peer) if own.is_writer else (peer, own)
            reasons = incompatibilities(writer.policies, reader.policies)
            pair = frozenset((own.gid, peer.gid))
            if not reasons or pair in self._said:
                continue
            self._said.add(pair)
            publisher, subscription = (
                f"{owners.get(entry.gid, 'an unknown node')} ({_describe(entry.policies)})"
                for entry in (writer, reader)
            )
            node.get_logger().warning(
                f"Incompatible QoS on topic {_shown(own.topic)!r}: no messages pass from the publisher of {publisher} "
                f"to the subscription of {subscription}. {' '.join(reasons)}"
            )


def _endpoints_of(nodes: list[Any]) -> list[tuple[Any, Any]]:
    return [(node, entity) for node in nodes for entity in (*node.publishers, *node.subscriptions)]


def _shown(topic: str) -> str:
    return names.ros_topic(topic) or topic


def _describe_type(endpoint: Endpoint, owners: dict[bytes, str]) -> str:
    role = "publisher" if endpoint.is_writer else "subscription"
    kind = names.ros_type(endpoint.type) or endpoint.type
    return f"{kind} ({role} of {owners.get(endpoint.gid, 'an unknown node')})"


def _concerns(own: Endpoint, peer: Endpoint) -> bool:
    return peer.is_writer != own.is_writer and peer.topic == own.topic and peer.type == own.type


def _describe(policies: EndpointPolicies) -> str:
    profile = profile_of_endpoint(policies)
    return f"{profile.reliability.short_key}, {profile.durability.short_key}"
