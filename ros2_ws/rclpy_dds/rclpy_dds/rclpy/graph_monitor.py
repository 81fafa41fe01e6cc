"""Warnings about peers that the nodes of a context cannot talk to, and why."""

from collections import Counter
from typing import Any

from rclpy_dds._dds import events
from rclpy_dds._dds.graph import Endpoint, Graph
from rclpy_dds._dds.libddsc import DDSError
from rclpy_dds._dds.qos import EndpointPolicies

from .publisher import Publisher
from .qos import incompatibilities, profile_of_endpoint


class GraphMonitor:
    """Looks for peers that endpoints do not match, for other nodes of the same name, and for nodes whose middleware has
    no services for us. Each is said once.

    DDS only counts endpoints that do not match. When a count has grown, they are looked up in the graph.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._counts: dict[bytes, int] = {}
        self._said: set[frozenset[bytes]] = set()
        self._said_names: set[str] = set()
        self._said_fast_dds = False

    def check(self, nodes: list[Any]) -> None:
        """Look at the graph around these nodes and log what is new."""
        self._check_qos(nodes)
        self._check_names(nodes)
        if not self._said_fast_dds and nodes:
            self._check_vendors(nodes[0])

    def _check_names(self, nodes: list[Any]) -> None:
        counts = Counter(node.full_name for node in self._graph.nodes())
        for node in nodes:
            name = node.get_fully_qualified_name()
            if counts[name] > 1 and name not in self._said_names:
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

    def _check_qos(self, nodes: list[Any]) -> None:
        affected = [
            (node, entity)
            for node in nodes
            for entity in (*node.publishers, *node.subscriptions)
            if entity._warns_of_incompatible_qos and self._has_grown(entity)
        ]
        if not affected:
            return
        endpoints = {endpoint.gid: endpoint for endpoint in self._graph.endpoints()}
        owners = {gid: owner.full_name for owner in self._graph.nodes() for gid in (*owner.readers, *owner.writers)}
        for node, entity in affected:
            own = endpoints.get(entity.handle.guid)
            if own is not None:
                self._explain(node, own, [peer for peer in endpoints.values() if _concerns(own, peer)], owners)

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
            topic = own.topic[2:] if own.topic.startswith("rt/") else own.topic
            publisher, subscription = (
                f"{owners.get(entry.gid, 'an unknown node')} ({_describe(entry.policies)})"
                for entry in (writer, reader)
            )
            node.get_logger().warning(
                f"Incompatible QoS on topic {topic!r}: no messages pass from the publisher of {publisher} to the "
                f"subscription of {subscription}. {' '.join(reasons)}"
            )


def _concerns(own: Endpoint, peer: Endpoint) -> bool:
    return peer.is_writer != own.is_writer and peer.topic == own.topic and peer.type == own.type


def _describe(policies: EndpointPolicies) -> str:
    profile = profile_of_endpoint(policies)
    return f"{profile.reliability.short_key}, {profile.durability.short_key}"
