"""Nodes."""

import contextlib
import struct
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeVar

from rclpy_dds._dds import names
from rclpy_dds._dds.libddsc import DDSError
from rclpy_dds._dds.participant import Reader, Writer, drain
from rclpy_dds.interfaces import message_class
from rclpy_dds.interfaces.type_hash import user_data

from . import intra_process, logging
from .arguments import ParsedArguments, node_matches, parse_arguments
from .callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
from .client import Client
from .clock import Clock, ROSClock
from .constants import S_TO_NS
from .context import Context
from .event_handler import EndpointEvents, EventHandler, PublisherEventCallbacks, SubscriptionEventCallbacks
from .exceptions import InvalidHandle, NotInitializedException, RCLError
from .guard_condition import GuardCondition
from .impl.logging_severity import LoggingSeverity
from .node_graph import NodeGraph
from .node_parameters import NodeParameters
from .parameter import Parameter
from .parameter_service import ParameterService
from .publisher import Publisher
from .qos import (
    DurabilityPolicy,
    QoSProfile,
    ReliabilityPolicy,
    endpoint_policies,
    qos_profile_parameter_events,
    qos_profile_rosout_default,
    qos_profile_services_default,
)
from .qos_overriding_options import QoSOverridingOptions, overridden
from .service import Service
from .subscription import Subscription
from .time_source import TimeSource
from .timer import Rate, Timer
from .type_support import check_is_valid_msg_type, check_is_valid_srv_type, interface_name
from .utilities import get_default_context
from .validate_names import (
    expand_topic_name,
    remap_name,
    validate_full_topic_name,
    validate_namespace,
    validate_node_name,
    validate_topic_name,
)

HIDDEN_NODE_PREFIX = "_"

ServiceType = TypeVar("ServiceType", bound=Service)
ClientType = TypeVar("ClientType", bound=Client)

_endpoint_counter_lock = threading.Lock()
_endpoint_counter = 0


def _unique_id(participant_guid: bytes) -> str:
    """Return an id for a client or server: participant prefix and a counter, as rmw_cyclonedds makes and writes it."""
    global _endpoint_counter
    with _endpoint_counter_lock:
        _endpoint_counter += 1
        raw = participant_guid[:12] + struct.pack(">I", _endpoint_counter)
    return ".".join(f"{byte:x}" for byte in raw)


class Node(NodeParameters, NodeGraph):
    """A node: name, parameters, publishers, subscriptions, services, clients, timers.

    Internal names are private to the class (two underscores) or those of rclpy, because users derive from it and may
    use any other name for themselves.
    """

    def __init__(
        self,
        node_name: str,
        *,
        context: Context | None = None,
        cli_args: list[str] | None = None,
        namespace: str | None = None,
        use_global_arguments: bool = True,
        enable_rosout: bool = True,
        rosout_qos_profile: QoSProfile | int = qos_profile_rosout_default,
        start_parameter_services: bool = True,
        parameter_overrides: list[Parameter] | None = None,
        allow_undeclared_parameters: bool = False,
        automatically_declare_parameters_from_overrides: bool = False,
        enable_logger_service: bool = False,
    ) -> None:
        """
        Args:
            node_name: name; ``__node:=`` on the command line replaces it.
            context: context, the default one when None.
            cli_args: arguments of this node alone, as if after ``--ros-args``.
            namespace: namespace; ``__ns:=`` replaces it.
            use_global_arguments: also follow the arguments of the context.
            enable_rosout: publish log messages on ``/rosout``.
            rosout_qos_profile: quality of service of ``/rosout``.
            start_parameter_services: offer the parameter services.
            parameter_overrides: values for parameters that will be declared.
            allow_undeclared_parameters: setting and getting undeclared parameters is no error.
            automatically_declare_parameters_from_overrides: declare what is overridden at once.
            enable_logger_service: offer services to get and set logger levels.

        Raises:
            NotInitializedException: ``rclpy.init`` has not been called.
            InvalidNodeNameException, InvalidNamespaceException: a name is not valid.
        """
        self.context = context or get_default_context()
        self.context.check_process()
        if not self.context.ok():
            raise NotInitializedException("cannot create node")
        arguments = self.__merge_arguments(cli_args, use_global_arguments)
        self.__remaps = arguments.remaps
        self.__name, self.__namespace = self.__resolve_own_name(node_name, namespace)
        self.__destroyed = True  # until there is something to destroy
        self.__executor_weakref: weakref.ReferenceType | None = None
        self.__lock = threading.RLock()
        self.__publishers: list[Publisher] = []
        self.__subscriptions: list[Subscription] = []
        self.__clients: list[Client] = []
        self.__services: list[Service] = []
        self.__timers: list[Timer] = []
        self.__guards: list[GuardCondition] = []
        self.__events: list[EndpointEvents] = []
        self.__rates: dict[Rate, Timer] = {}
        self.__waited: list[Any] = []
        self._default_callback_group = MutuallyExclusiveCallbackGroup()
        overrides = self.__parameter_values(arguments)
        overrides.update({parameter.name: parameter for parameter in parameter_overrides or []})
        self._dds_init_parameters(overrides, allow_undeclared_parameters)
        self._logger = logging.get_logger(self.get_fully_qualified_name().strip("/").replace("/", "."))
        self._clock = ROSClock()
        self._time_source = TimeSource()
        self.__graph_node = self.context.graph.add_node(self.__namespace, self.__name)
        self.__destroyed = False
        self.context.track_node(self)

        self.__rosout: Publisher | None = None
        if enable_rosout:
            self.__rosout = self.create_publisher(
                message_class("rcl_interfaces/msg/Log"), "/rosout", rosout_qos_profile
            )
            logging.add_sink(self._logger.name, self.__publish_log)
        self._parameter_event_publisher = self.create_publisher(
            message_class("rcl_interfaces/msg/ParameterEvent"), "/parameter_events", qos_profile_parameter_events
        )
        if automatically_declare_parameters_from_overrides:
            descriptor = message_class("rcl_interfaces/msg/ParameterDescriptor")
            given = self._parameter_overrides.items()
            self.declare_parameters(
                "",
                [(name, entry.value, descriptor(dynamic_typing=True)) for name, entry in given],
                ignore_override=True,
            )
        self._time_source.attach_node(self)
        self._time_source.attach_clock(self._clock)
        if start_parameter_services:
            self._parameter_service = ParameterService(self)
            self.__start_type_description_service()
        if enable_logger_service:
            from .logging_service import LoggingService

            self.__logging_service = LoggingService(self)

    # --- name and arguments ---

    def __merge_arguments(self, cli_args: list[str] | None, use_global: bool) -> ParsedArguments:
        local = parse_arguments(["--ros-args", *cli_args]) if cli_args else ParsedArguments()
        if use_global:
            # Own arguments go first: the first matching remapping and the last parameter value win.
            local.remaps += self.context.arguments.remaps
            local.parameters = self.context.arguments.parameters + local.parameters
        return local

    def __resolve_own_name(self, name: str, namespace: str | None) -> tuple[str, str]:
        namespace = namespace or "/"
        if not namespace.startswith("/"):
            namespace = "/" + namespace
        # As in rcl, a rule for one node only ("node:__ns:=/a") means the name after renaming.
        for kind in ("name", "namespace"):
            rule = next((rule for rule in self.__remaps if rule.kind == kind and rule.node in ("", name)), None)
            if rule is not None and kind == "name":
                name = rule.replacement
            elif rule is not None:
                namespace = rule.replacement
        validate_node_name(name)
        validate_namespace(namespace)
        return name, namespace

    def __parameter_values(self, arguments: ParsedArguments) -> dict[str, Parameter]:
        full_name = self.get_fully_qualified_name()
        return {
            entry.name: Parameter(entry.name, value=entry.value)
            for entry in arguments.parameters
            if node_matches(entry.node, full_name)
        }

    def get_name(self) -> str:
        """Return the node's name."""
        return self.__name

    def get_namespace(self) -> str:
        """Return the node's namespace."""
        return self.__namespace

    def get_fully_qualified_name(self) -> str:
        """Return ``/namespace/name``."""
        return f"{self.__namespace.rstrip('/')}/{self.__name}"

    def get_clock(self) -> Clock:
        """Return the node's clock (ROS time)."""
        return self._clock

    def get_logger(self) -> Any:
        """Return the node's logger."""
        return self._logger

    @property
    def handle(self) -> "Node":
        """The node itself: there is no separate C object here."""
        if self.__destroyed:
            raise InvalidHandle("cannot use Destroyable because destruction was requested (the node is gone)")
        return self

    @property
    def default_callback_group(self) -> CallbackGroup:
        """Group of entities that name none: mutually exclusive."""
        return self._default_callback_group

    @property
    def publishers(self) -> Iterator[Publisher]:
        """Publishers of this node."""
        yield from list(self.__publishers)

    @property
    def subscriptions(self) -> Iterator[Subscription]:
        """Subscriptions of this node."""
        yield from list(self.__subscriptions)

    @property
    def clients(self) -> Iterator[Client]:
        """Clients of this node."""
        yield from list(self.__clients)

    @property
    def services(self) -> Iterator[Service]:
        """Services of this node."""
        yield from list(self.__services)

    @property
    def timers(self) -> Iterator[Timer]:
        """Timers of this node."""
        yield from list(self.__timers)

    @property
    def guards(self) -> Iterator[GuardCondition]:
        """Guard conditions of this node."""
        yield from list(self.__guards)

    @property
    def waitables(self) -> Iterator[Any]:
        """Waitables: there are none here."""
        yield from ()

    # --- executor ---

    @property
    def executor(self) -> Any:
        """The executor this node was added to, or None."""
        return self.__executor_weakref() if self.__executor_weakref is not None else None

    @executor.setter
    def executor(self, new_executor: Any) -> None:
        current = self.executor
        if current is new_executor:
            return
        if current is not None:
            current.remove_node(self)
        if new_executor is None:
            self.__executor_weakref = None
        else:
            new_executor.add_node(self)
            self.__executor_weakref = weakref.ref(new_executor)

    def _wake_executor(self) -> None:
        executor = self.executor
        if executor is not None:
            executor.wake()

    def _dds_forget_executor(self, executor: Any) -> None:
        """Called by an executor that removes this node."""
        if self.executor is executor:
            self.__executor_weakref = None

    def _dds_waited_entities(self) -> list[Any]:
        return self.__waited

    def __list_waited(self) -> None:
        self.__waited = [
            *self.__subscriptions,
            *self.__guards,
            *self.__clients,
            *self.__services,
            *self.__events,
        ]

    def __register(self, entity: Any, collection: list, group: CallbackGroup | None) -> None:
        if group is not None:
            group.add_entity(entity)
        with self.__lock:
            collection.append(entity)
            self.__list_waited()
        self._wake_executor()

    def __unregister(self, entity: Any, collection: list) -> bool:
        with self.__lock:
            if entity not in collection:
                return False
            collection.remove(entity)
            self.__list_waited()
        self._wake_executor()
        return True

    # --- names ---

    def resolve_topic_name(self, topic: str, *, only_expand: bool = False) -> str:
        """Return the fully qualified name of a topic, remapped unless ``only_expand``."""
        return self.__resolve(topic, "topic", only_expand)

    def resolve_service_name(self, service: str, *, only_expand: bool = False) -> str:
        """Return the fully qualified name of a service, remapped unless ``only_expand``."""
        return self.__resolve(service, "service", only_expand)

    def __resolve(self, name: str, kind: str, only_expand: bool) -> str:
        is_service = kind == "service"
        validate_topic_name(name, is_service=is_service)
        full = expand_topic_name(name, self.__name, self.__namespace)
        if not only_expand:
            full = remap_name(full, kind, self.__remaps, self.__name, self.__namespace)
        validate_full_topic_name(full, is_service=is_service)
        return full

    @staticmethod
    def __profile(qos_profile: QoSProfile | int) -> QoSProfile:
        if isinstance(qos_profile, QoSProfile):
            return qos_profile
        if isinstance(qos_profile, int) and not isinstance(qos_profile, bool):
            if qos_profile < 0:
                raise ValueError("history depth must be greater than or equal to zero")
            return QoSProfile(depth=qos_profile)
        raise TypeError(f"Expected QoSProfile or int, but received {type(qos_profile)!r}")

    # --- topics ---

    def create_publisher(
        self,
        msg_type: type,
        topic: str,
        qos_profile: QoSProfile | int,
        *,
        callback_group: CallbackGroup | None = None,
        event_callbacks: PublisherEventCallbacks | None = None,
        qos_overriding_options: QoSOverridingOptions | None = None,
        publisher_class: type[Publisher] = Publisher,
    ) -> Publisher:
        """Create a publisher.

        Args:
            msg_type: message class.
            topic: name, subject to expansion and remapping.
            qos_profile: quality of service, or the depth of a reliable keep-last history.
            callback_group: group for event callbacks.
            event_callbacks: callbacks for QoS events.
            qos_overriding_options: policies that can be set by parameters.
            publisher_class: class of the result.

        Raises:
            InvalidTopicNameException, RuntimeError: invalid name or message type.
        """
        profile = self.__profile(qos_profile)
        check_is_valid_msg_type(msg_type)
        callbacks = event_callbacks or PublisherEventCallbacks()
        handlers = callbacks.create_event_handlers()
        full = self.resolve_topic_name(topic)
        profile = overridden(self, full, profile, qos_overriding_options, publishes=True)
        name = interface_name(msg_type, "msg")
        try:
            writer = self.context.participant.create_writer(
                names.dds_topic(full, profile.avoid_ros_namespace_conventions),
                names.dds_type(name),
                endpoint_policies(profile),
                user_data(name),
            )
        except DDSError as error:
            raise RCLError(f"Cannot create a publisher on {full!r}: {error}") from error
        group = callback_group or self._default_callback_group
        publisher = publisher_class(writer, msg_type, full, profile, group, self)
        self.__register(publisher, self.__publishers, None)
        self.__watch(publisher, handlers, callbacks)
        self.context.graph.add_endpoints(self.__graph_node, writers=(writer.guid,))
        return publisher

    def create_subscription(
        self,
        msg_type: type,
        topic: str,
        callback: Callable[..., Any],
        qos_profile: QoSProfile | int,
        *,
        callback_group: CallbackGroup | None = None,
        event_callbacks: SubscriptionEventCallbacks | None = None,
        qos_overriding_options: QoSOverridingOptions | None = None,
        raw: bool = False,
        content_filter_options: Any = None,
    ) -> Subscription:
        """Create a subscription.

        Args:
            msg_type: message class.
            topic: name, subject to expansion and remapping.
            callback: called with the message, or with the message and a dictionary of its times.
            qos_profile: quality of service, or the depth of a reliable keep-last history.
            callback_group: group of the callback.
            event_callbacks: callbacks for QoS events.
            qos_overriding_options: policies that can be set by parameters.
            raw: pass the serialised message as ``bytes``.
            content_filter_options: not covered.

        Raises:
            InvalidTopicNameException, RuntimeError: invalid name or message type.
        """
        if content_filter_options is not None:
            raise NotImplementedError("rclpy_dds has no content filters (content_filter_options)")
        profile = self.__profile(qos_profile)
        check_is_valid_msg_type(msg_type)
        callbacks = event_callbacks or SubscriptionEventCallbacks()
        handlers = callbacks.create_event_handlers()
        full = self.resolve_topic_name(topic)
        profile = overridden(self, full, profile, qos_overriding_options, publishes=False)
        name = interface_name(msg_type, "msg")
        dds_topic = names.dds_topic(full, profile.avoid_ros_namespace_conventions)
        try:
            reader = self.context.participant.create_reader(
                dds_topic, names.dds_type(name), endpoint_policies(self.__adapted(profile, dds_topic)), user_data(name)
            )
        except DDSError as error:
            raise RCLError(f"Cannot create a subscription on {full!r}: {error}") from error
        group = callback_group or self._default_callback_group
        subscription = Subscription(reader, msg_type, full, callback, group, profile, raw, self)
        self.__register(subscription, self.__subscriptions, group)
        intra_process.register(subscription)
        self.__watch(subscription, handlers, callbacks)
        self.context.graph.add_endpoints(self.__graph_node, readers=(reader.guid,))
        return subscription

    def __watch(
        self,
        endpoint: Publisher | Subscription,
        handlers: list[EventHandler],
        callbacks: PublisherEventCallbacks | SubscriptionEventCallbacks,
    ) -> None:
        """Deliver the events of an endpoint."""
        endpoint.event_handlers = handlers
        endpoint._event_callbacks = callbacks
        if handlers:
            events = EndpointEvents(endpoint.handle.entity, handlers, endpoint.callback_group)
            endpoint._events = events
            self.__register(events, self.__events, endpoint.callback_group)

    def __adapted(self, profile: QoSProfile, dds_topic: str) -> QoSProfile:
        """Replace best-available policies by the strongest that all present publishers offer."""
        best_reliability = profile.reliability is ReliabilityPolicy.BEST_AVAILABLE
        best_durability = profile.durability is DurabilityPolicy.BEST_AVAILABLE
        if not best_reliability and not best_durability:
            return profile
        offers = [entry.policies for entry in self.context.graph.endpoints(readers=False) if entry.topic == dds_topic]
        adapted = profile.copy()
        if best_reliability:
            reliable = all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
            adapted.reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        if best_durability:
            latched = all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
            adapted.durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        return adapted

    # --- services ---

    def create_service(
        self,
        srv_type: type,
        srv_name: str,
        callback: Callable[..., Any],
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> Service:
        """Create a service server; ``callback(request, response)`` returns the response.

        Raises:
            InvalidServiceNameException, RuntimeError: invalid name or service type.
        """
        return self._dds_create_service(Service, srv_type, srv_name, callback, qos_profile, callback_group)

    def _dds_create_service(
        self,
        service_class: type[ServiceType],
        srv_type: type,
        srv_name: str,
        callback: Callable[..., Any],
        qos_profile: QoSProfile,
        callback_group: CallbackGroup | None,
    ) -> ServiceType:
        """Create a service of a class of its own."""
        check_is_valid_srv_type(srv_type)
        full = self.resolve_service_name(srv_name)
        group = callback_group or self._default_callback_group
        reader, writer = self.__create_service_endpoints(srv_type, full, qos_profile, serves=True)
        service = service_class(reader, writer, srv_type, full, callback, group, qos_profile, self)
        self.__register(service, self.__services, group)
        self.context.graph.add_endpoints(self.__graph_node, readers=(reader.guid,), writers=(writer.guid,))
        return service

    def __create_service_endpoints(
        self, srv_type: type, full: str, qos_profile: QoSProfile, *, serves: bool
    ) -> tuple[Reader, Writer]:
        """Create what a server (or else a client) of the service ``full`` receives with and sends with."""
        name, policies = interface_name(srv_type, "srv"), endpoint_policies(qos_profile)
        identity = self.__id("serviceid" if serves else "clientid")
        reply, request = (
            (topic(full), names.dds_type(kind), policies, identity + user_data(kind))
            for topic, kind in (
                (names.reply_topic, f"{name}_Response"),
                (names.request_topic, f"{name}_Request"),
            )
        )
        participant = self.context.participant
        # The reply's way first: nobody should see where to ask before it is there.
        if serves:
            writer = participant.create_writer(*reply)
            return participant.create_reader(*request), writer
        reader = participant.create_reader(*reply)
        return reader, participant.create_writer(*request)

    def create_client(
        self,
        srv_type: type,
        srv_name: str,
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> Client:
        """Create a service client.

        Raises:
            InvalidServiceNameException, RuntimeError: invalid name or service type.
        """
        return self._dds_create_client(Client, srv_type, srv_name, qos_profile, callback_group)

    def _dds_create_client(
        self,
        client_class: type[ClientType],
        srv_type: type,
        srv_name: str,
        qos_profile: QoSProfile,
        callback_group: CallbackGroup | None,
    ) -> ClientType:
        """Create a client of a class of its own."""
        check_is_valid_srv_type(srv_type)
        full = self.resolve_service_name(srv_name)
        group = callback_group or self._default_callback_group
        reader, writer = self.__create_service_endpoints(srv_type, full, qos_profile, serves=False)
        client = client_class(writer, reader, srv_type, full, qos_profile, group, self)
        self.__register(client, self.__clients, group)
        self.context.graph.add_endpoints(self.__graph_node, readers=(reader.guid,), writers=(writer.guid,))
        return client

    def __id(self, key: str) -> str:
        return f"{key}={_unique_id(self.context.participant.guid)};"

    def __start_type_description_service(self) -> None:
        from .type_description_service import TypeDescriptionService

        self._type_description_service = TypeDescriptionService(self)

    # --- time ---

    def create_timer(
        self,
        timer_period_sec: float,
        callback: Callable[..., Any],
        callback_group: CallbackGroup | None = None,
        clock: Clock | None = None,
        autostart: bool = True,
    ) -> Timer:
        """Create a timer.

        Args:
            timer_period_sec: period in seconds.
            callback: function to call.
            callback_group: its group.
            clock: clock that decides when the period is over; the node's when None.
            autostart: start at once; otherwise with ``Timer.reset``.
        """
        group = callback_group or self._default_callback_group
        timer = Timer(
            callback,
            group,
            int(float(timer_period_sec) * S_TO_NS),
            clock or self._clock,
            context=self.context,
            autostart=autostart,
        )
        self.__register(timer, self.__timers, group)
        return timer

    def create_rate(self, frequency: float, clock: Clock | None = None) -> Rate:
        """Create a rate of ``frequency`` Hz, by the node's clock or another.

        Raises:
            ValueError: the frequency is not positive.
        """
        if frequency <= 0:
            raise ValueError("frequency must be > 0")
        timer = self.create_timer(1.0 / frequency, lambda: None, MutuallyExclusiveCallbackGroup(), clock)
        rate = Rate(timer, context=self.context)
        self.__rates[rate] = timer
        return rate

    def create_guard_condition(
        self, callback: Callable[..., Any], callback_group: CallbackGroup | None = None
    ) -> GuardCondition:
        """Create a guard condition, whose callback runs in the executor after ``trigger``."""
        group = callback_group or self._default_callback_group
        guard = GuardCondition(callback, group, self.context)
        self.__register(guard, self.__guards, group)
        return guard

    def add_waitable(self, waitable: Any) -> None:
        """Waitables are not covered."""
        raise NotImplementedError("rclpy_dds has no user-defined waitables (Node.add_waitable)")

    def remove_waitable(self, waitable: Any) -> None:
        """Waitables are not covered."""
        raise NotImplementedError("rclpy_dds has no user-defined waitables (Node.remove_waitable)")

    # --- log ---

    def __publish_log(self, now: int, severity: LoggingSeverity, name: str, message: str, frame: FrameType) -> None:
        publisher = self.__rosout
        if publisher is None or publisher.handle.closed or not self.context.ok():
            return
        seconds, nanoseconds = divmod(now, S_TO_NS)
        log = message_class("rcl_interfaces/msg/Log")(
            level=int(severity),
            name=name,
            msg=message,
            file=frame.f_code.co_filename,
            function=frame.f_code.co_name,
            line=frame.f_lineno,
        )
        log.stamp.sec, log.stamp.nanosec = seconds, nanoseconds
        with contextlib.suppress(RCLError):  # shut down by another thread since the check
            publisher.publish(log)

    # --- destruction ---

    def __destroy_endpoints(self, entity: Any, collection: list, readers: tuple = (), writers: tuple = ()) -> bool:
        if not self.__unregister(entity, collection):
            return False
        entity.destroy()
        if self.context.ok():
            self.context.graph.remove_endpoints(
                self.__graph_node,
                readers=tuple(reader.guid for reader in readers),
                writers=tuple(writer.guid for writer in writers),
            )
        return True

    def __unwatch(self, endpoint: Publisher | Subscription) -> None:
        if endpoint._events is not None:
            self.__unregister(endpoint._events, self.__events)

    def destroy_publisher(self, publisher: Publisher) -> bool:
        """Destroy a publisher of this node; return False when it is not one."""
        self.__unwatch(publisher)
        return self.__destroy_endpoints(publisher, self.__publishers, writers=(publisher._writer,))

    def destroy_subscription(self, subscription: Subscription) -> bool:
        """Destroy a subscription of this node; return False when it is not one."""
        self.__unwatch(subscription)
        return self.__destroy_endpoints(subscription, self.__subscriptions, readers=(subscription._reader,))

    def destroy_service(self, service: Service) -> bool:
        """Destroy a service of this node; return False when it is not one."""
        return self.__destroy_endpoints(service, self.__services, (service._reader,), (service._writer,))

    def destroy_client(self, client: Client) -> bool:
        """Destroy a client of this node; return False when it is not one."""
        return self.__destroy_endpoints(client, self.__clients, (client._reader,), (client._writer,))

    def destroy_timer(self, timer: Timer) -> bool:
        """Destroy a timer of this node; return False when it is not one."""
        found = self.__unregister(timer, self.__timers)
        if found:
            timer.destroy()
        return found

    def destroy_guard_condition(self, guard: GuardCondition) -> bool:
        """Destroy a guard condition of this node; return False when it is not one."""
        found = self.__unregister(guard, self.__guards)
        if found:
            guard.destroy()
        return found

    def destroy_rate(self, rate: Rate) -> bool:
        """Destroy a rate of this node; return False when it is not one."""
        timer = self.__rates.pop(rate, None)
        if timer is None:
            return False
        self.destroy_timer(timer)
        rate.destroy()
        return True

    def destroy_node(self) -> None:
        """Destroy the node and everything it has."""
        with self.__lock:
            if self.__destroyed:
                return
            self.__destroyed = True
        if self.context.forked():
            return  # it lives on in the parent process
        self.context.untrack_node(self)
        executor = self.executor
        if executor is not None:
            executor.remove_node(self)
        logging.remove_sink(self._logger.name, self.__publish_log)
        self._parameter_event_publisher = None
        self.__rosout = None
        self._time_source.detach_node()
        # The graph first: one announcement that the node is gone instead of one for each endpoint.
        if self.context._graph is not None:
            self.context._graph.remove_node(self.__graph_node)
        for rate in list(self.__rates):
            rate.destroy()
        self.__rates.clear()
        with self.__lock:
            entities = [*self.__publishers, *self.__timers, *self.__waited]
            for collection in (
                self.__publishers,
                self.__subscriptions,
                self.__clients,
                self.__services,
                self.__timers,
                self.__guards,
                self.__events,
            ):
                collection.clear()
            self.__waited = []
        drain(entity._writer for entity in entities if hasattr(entity, "_writer"))
        for entity in entities:
            entity.destroy()

    def __del__(self) -> None:
        # A node that is dropped without being destroyed leaves the graph as well.
        if not sys.is_finalizing() and getattr(self, "_Node__destroyed", True) is False:
            self.destroy_node()

    def __enter__(self) -> "Node":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.destroy_node()

    def __repr__(self) -> str:
        return f"<Node {self.get_fully_qualified_name()}>"


__all__ = ["HIDDEN_NODE_PREFIX", "Node"]
