"""What a node can find out about the graph."""

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from rclpy_dds._dds import names
from rclpy_dds._dds.graph import Endpoint, NodeInfo

from .exceptions import NodeNameNonExistentError
from .qos import profile_of_endpoint
from .topic_endpoint_info import TopicEndpointInfo, TopicEndpointTypeEnum, TypeHash
from .validate_names import expand_topic_name, validate_full_topic_name

if TYPE_CHECKING:
    from .context import Context

NamesAndTypes = list[tuple[str, list[str]]]


def _collect(pairs: Any) -> NamesAndTypes:
    found: dict[str, set[str]] = defaultdict(set)
    for name, kind in pairs:
        if name is not None and kind is not None:
            found[name].add(kind)
    return [(name, sorted(kinds)) for name, kinds in sorted(found.items())]


class NodeGraph:
    """Part of :class:`Node`: lists nodes, topics, services and their endpoints."""

    context: "Context"

    if TYPE_CHECKING:  # what Node itself provides

        def get_name(self) -> str: ...

        def get_namespace(self) -> str: ...

        def resolve_topic_name(self, topic: str, *, only_expand: bool = False) -> str: ...

        def resolve_service_name(self, service: str, *, only_expand: bool = False) -> str: ...

    def get_topic_names_and_types(self, no_demangle: bool = False) -> NamesAndTypes:
        """Return all topics with their types."""
        endpoints = self.context.graph.endpoints()
        if no_demangle:
            return _collect((entry.topic, entry.type) for entry in endpoints)
        return _collect((names.ros_topic(entry.topic), names.ros_type(entry.type)) for entry in endpoints)

    def get_service_names_and_types(self) -> NamesAndTypes:
        """Return all services with their types."""
        return _collect(
            (names.ros_service(entry.topic), names.ros_service_type(entry.type))
            for entry in self.context.graph.endpoints()
        )

    def get_node_names(self) -> list[str]:
        """Return the names of all nodes, without namespaces."""
        return [node.name for node in self.context.graph.nodes()]

    def get_fully_qualified_node_names(self) -> list[str]:
        """Return the fully qualified names of all nodes."""
        return [node.full_name for node in self.context.graph.nodes()]

    def get_node_names_and_namespaces(self) -> list[tuple[str, str]]:
        """Return names and namespaces of all nodes."""
        return [(node.name, node.namespace) for node in self.context.graph.nodes()]

    def get_node_names_and_namespaces_with_enclaves(self) -> list[tuple[str, str, str]]:
        """Return names, namespaces and enclaves of all nodes; the enclave is always ``/``."""
        return [(node.name, node.namespace, "/") for node in self.context.graph.nodes()]

    def __endpoints_of(self, node_name: str, node_namespace: str) -> tuple[NodeInfo, list[Endpoint]]:
        node = self.context.graph.find_node(node_namespace, node_name)
        if node is None:
            raise NodeNameNonExistentError(
                f"cannot get the topics and services of node {node_name!r} in {node_namespace!r}: it does not exist"
            )
        return node, self.context.graph.endpoints()

    def get_publisher_names_and_types_by_node(
        self, node_name: str, node_namespace: str, no_demangle: bool = False
    ) -> NamesAndTypes:
        """Return the topics a node publishes.

        Raises:
            NodeNameNonExistentError: no such node.
        """
        node, endpoints = self.__endpoints_of(node_name, node_namespace)
        return _topics((entry for entry in endpoints if entry.gid in node.writers), no_demangle)

    def get_subscriber_names_and_types_by_node(
        self, node_name: str, node_namespace: str, no_demangle: bool = False
    ) -> NamesAndTypes:
        """Return the topics a node subscribes to.

        Raises:
            NodeNameNonExistentError: no such node.
        """
        node, endpoints = self.__endpoints_of(node_name, node_namespace)
        return _topics((entry for entry in endpoints if entry.gid in node.readers), no_demangle)

    def get_service_names_and_types_by_node(self, node_name: str, node_namespace: str) -> NamesAndTypes:
        """Return the services a node offers.

        Raises:
            NodeNameNonExistentError: no such node.
        """
        node, endpoints = self.__endpoints_of(node_name, node_namespace)
        return _collect(
            (names.ros_service(entry.topic), names.ros_service_type(entry.type))
            for entry in endpoints
            if entry.gid in node.readers and entry.topic.startswith("rq/")
        )

    def get_client_names_and_types_by_node(self, node_name: str, node_namespace: str) -> NamesAndTypes:
        """Return the services a node has clients of.

        Raises:
            NodeNameNonExistentError: no such node.
        """
        node, endpoints = self.__endpoints_of(node_name, node_namespace)
        return _collect(
            (names.ros_service(entry.topic), names.ros_service_type(entry.type))
            for entry in endpoints
            if entry.gid in node.writers and entry.topic.startswith("rq/")
        )

    def count_publishers(self, topic_name: str) -> int:
        """Return the number of publishers of a topic."""
        return self.context.graph.count(names.dds_topic(self.__full_topic_name(topic_name)), writers=True)

    def count_subscribers(self, topic_name: str) -> int:
        """Return the number of subscriptions of a topic."""
        return self.context.graph.count(names.dds_topic(self.__full_topic_name(topic_name)), writers=False)

    def count_clients(self, service_name: str) -> int:
        """Return the number of clients of a service."""
        service = self.__full_service_name(service_name)
        return self.context.graph.count(names.request_topic(service), writers=True)

    def count_services(self, service_name: str) -> int:
        """Return the number of servers of a service."""
        service = self.__full_service_name(service_name)
        return self.context.graph.count(names.request_topic(service), writers=False)

    def __full_topic_name(self, name: str) -> str:
        full = expand_topic_name(name, self.get_name(), self.get_namespace())
        validate_full_topic_name(full)
        return full

    def __full_service_name(self, name: str) -> str:
        full = expand_topic_name(name, self.get_name(), self.get_namespace())
        validate_full_topic_name(full, is_service=True)
        return full

    def get_publishers_info_by_topic(self, topic_name: str, no_mangle: bool = False) -> list[TopicEndpointInfo]:
        """Return information on all publishers of a topic (``no_mangle``: ``topic_name`` is a DDS topic)."""
        return self.__info_by_topic(topic_name, no_mangle, writers=True)

    def get_subscriptions_info_by_topic(self, topic_name: str, no_mangle: bool = False) -> list[TopicEndpointInfo]:
        """Return information on all subscriptions of a topic (``no_mangle``: ``topic_name`` is a DDS topic)."""
        return self.__info_by_topic(topic_name, no_mangle, writers=False)

    def __info_by_topic(self, topic_name: str, no_mangle: bool, writers: bool) -> list[TopicEndpointInfo]:
        if no_mangle:
            topic = topic_name
        else:
            topic = names.dds_topic(self.resolve_topic_name(topic_name))
        graph = self.context.graph
        nodes = graph.nodes()
        found = []
        for entry in graph.endpoints(writers=writers, readers=not writers):
            if entry.topic != topic:
                continue
            owner = next((node for node in nodes if entry.gid in (node.writers if writers else node.readers)), None)
            kind = entry.type if no_mangle else names.ros_type(entry.type) or entry.type
            found.append(
                TopicEndpointInfo(
                    node_name=owner.name if owner else "_NODE_NAME_UNKNOWN_",
                    node_namespace=owner.namespace if owner else "_NODE_NAMESPACE_UNKNOWN_",
                    topic_type=kind,
                    topic_type_hash=TypeHash.from_text(entry.user_data.get("typehash", "")),
                    endpoint_type=TopicEndpointTypeEnum.PUBLISHER if writers else TopicEndpointTypeEnum.SUBSCRIPTION,
                    endpoint_gid=entry.gid,
                    qos_profile=profile_of_endpoint(entry.policies),
                )
            )
        return found

    def wait_for_node(self, fully_qualified_node_name: str, timeout: float) -> bool:
        """Wait until a node is there; return whether it is."""
        name = "/" + fully_qualified_node_name.lstrip("/")
        deadline = time.monotonic() + timeout
        while self.context.ok():
            if name in self.get_fully_qualified_node_names():
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return False


def _topics(endpoints: Any, no_demangle: bool) -> NamesAndTypes:
    if no_demangle:
        return _collect((entry.topic, entry.type) for entry in endpoints)
    return _collect((names.ros_topic(entry.topic), names.ros_type(entry.type)) for entry in endpoints)
