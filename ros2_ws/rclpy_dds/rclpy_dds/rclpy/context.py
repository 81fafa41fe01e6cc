"""Contexts: what ``init`` and ``shutdown`` act on. A context owns the DDS participant of its nodes."""

import atexit
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from inspect import ismethod
from typing import TYPE_CHECKING, Any

from . import logging
from .arguments import ParsedArguments, parse_arguments
from .exceptions import RCLError

if TYPE_CHECKING:
    from rclpy_dds._dds.graph import Graph
    from rclpy_dds._dds.participant import Participant

    from .graph_monitor import GraphMonitor
    from .node import Node

_contexts: "weakref.WeakSet[Context]" = weakref.WeakSet()


class Context:
    """Life cycle of communications in a process: initialised once, shut down once."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._initialized = False
        self._ok = False
        self._leaving = False
        self._callbacks: list[Any] = []
        self._wakeups: list[Any] = []
        self._nodes: list[weakref.ReferenceType[Node]] = []
        self._participant: Participant | None = None
        self._graph: Graph | None = None
        self._graph_monitor: GraphMonitor | None = None
        self._domain_id = 0
        self._process_id = os.getpid()
        self.arguments = ParsedArguments()

    @property
    def handle(self) -> "Context | None":
        """The context itself once it is initialised; there is no separate C object here."""
        return self if self._initialized else None

    def init(
        self, args: list[str] | None = None, *, initialize_logging: bool = True, domain_id: int | None = None
    ) -> None:
        """Initialise. ``args`` defaults to ``sys.argv``; ``domain_id`` to ``ROS_DOMAIN_ID``.

        Raises:
            RuntimeError: initialised before, or the domain id is negative.
            UnknownROSArgsError: ``--ros-args`` holds something that is not understood.
        """
        from rclpy_dds._dds.config import domain_id as environment_domain_id

        with self._lock:
            if domain_id is not None and domain_id < 0:
                raise RuntimeError(f"Domain id ({domain_id}) should not be lower than zero.")
            if self._initialized:
                raise RuntimeError("Context.init() must only be called once")
            self.arguments = parse_arguments(sys.argv if args is None else args)
            self._domain_id = environment_domain_id() if domain_id is None else domain_id
            self._process_id = os.getpid()
            self._initialized = self._ok = True
            if initialize_logging:
                logging.configure(self.arguments)
            _contexts.add(self)

    def destroy(self) -> None:
        """Shut down if needed and release the participant."""
        self.try_shutdown()

    @property
    def participant(self) -> "Participant":
        """The DDS participant, created on first use."""
        from rclpy_dds._dds.participant import Participant

        with self._lock:
            self.check_process()
            if not self._ok:
                raise RCLError("the context is not initialised or was shut down")
            if self._participant is None:
                self._participant = Participant(self._domain_id)
            return self._participant

    @property
    def graph(self) -> "Graph":
        """The view of all nodes and endpoints, created on first use."""
        from rclpy_dds._dds.graph import Graph

        with self._lock:
            if self._graph is None:
                self._graph = Graph(self.participant)
            return self._graph

    def maintain(self) -> None:
        """Called by executors now and then."""
        from .graph_monitor import GraphMonitor

        graph = self._graph
        if graph is None or not self._ok:
            return
        graph.maintain()
        with self._lock:
            if self._graph_monitor is None:
                self._graph_monitor = GraphMonitor(graph)
            nodes = [node for node in (reference() for reference in self._nodes) if node is not None]
            monitor = self._graph_monitor
        monitor.check(nodes)

    def track_node(self, node: "Node") -> None:
        """Destroy this node at shutdown."""
        with self._lock:
            self._nodes.append(weakref.ref(node))

    def untrack_node(self, node: "Node") -> None:
        """Stop tracking a node that is being destroyed."""
        with self._lock:
            self._nodes = [reference for reference in self._nodes if reference() not in (None, node)]

    def ok(self) -> bool:
        """Return whether the context is initialised and not shut down."""
        return self._ok

    def forked(self) -> bool:
        """Return whether the context belongs to the process that this one was forked from."""
        return self._initialized and self._process_id != os.getpid()

    def check_process(self) -> None:
        """Raise RCLError when the context was inherited by a fork."""
        if self.forked():
            raise RCLError("the context was initialised before a fork: call rclpy.init() in the child process")

    def leaving(self) -> bool:
        """Return whether the interpreter is ending: executors of daemon threads then stop without an error."""
        return self._leaving

    def add_wakeup(self, callback: Callable[[], None]) -> None:
        """Call a bound method (held weakly), from any thread, whenever executors are to look again, as at shutdown."""
        reference = weakref.WeakMethod(callback)
        with self._lock:
            self._wakeups = [entry for entry in self._wakeups if entry() is not None and entry != reference]
            self._wakeups.append(reference)

    def wake(self) -> None:
        """Wake all executors of this context."""
        for reference in list(self._wakeups):
            callback = reference()
            if callback is not None:
                callback()

    def interrupt(self) -> None:
        """Stop being ok, from a signal: executors end, nodes live until they are destroyed."""
        self._ok = False
        self.wake()

    def shutdown(self) -> None:
        """Shut down: destroys the nodes of this context.

        Raises:
            RuntimeError: the context was not initialised.
            RCLError: it is shut down already.
        """
        if not self._initialized:
            raise RuntimeError("Context must be initialized before it can be shutdown")
        if not self._cleanup():
            raise RCLError("failed to shutdown: rcl_shutdown already called on the given context")

    def try_shutdown(self) -> None:
        """Shut down unless that happened before."""
        if self._initialized and (self._ok or self._participant is not None):
            self._cleanup()

    def _cleanup(self) -> bool:
        """Destroy nodes, call the callbacks, release the participant; return whether the context had been ok."""
        # Not under the lock: callbacks of other threads that are still running may need it to come to their end.
        if self._participant is not None:
            self._participant.drain()
        for reference in list(self._nodes):
            node = reference()
            if node is not None:
                node.destroy_node()
        with self._lock:
            was_ok, self._ok = self._ok, False
            callbacks, self._callbacks = self._callbacks, []
        self.wake()
        for weak in callbacks:
            callback = weak() if isinstance(weak, weakref.WeakMethod) else weak
            if callback is not None:
                callback()
        self._close_participant()
        return was_ok

    def _close_participant(self) -> None:
        with self._lock:
            if self._graph is not None:
                self._graph.close()
                self._graph = None
            if self._participant is not None:
                self._participant.close()
                self._participant = None

    def on_shutdown(self, callback: Callable[[], None]) -> None:
        """Call a function at shutdown; a bound method is held weakly. At once when already shut down."""
        if not callable(callback):
            raise TypeError(f"callback should be a callable, got {type(callback)}")
        with self._lock:
            if self._initialized and not self._ok:
                callback()
            else:
                self._callbacks.append(weakref.WeakMethod(callback) if ismethod(callback) else callback)

    def get_domain_id(self) -> int:
        """Return the domain id in use."""
        if not self._initialized:
            raise RuntimeError("Context must be initialized before it can have a domain id")
        return self._domain_id

    def __enter__(self) -> "Context":
        if not self._initialized:
            warnings.warn(
                "init() must be called on a Context before using it in a Python context manager. "
                "Calling init() with no arguments, this usage is deprecated",
                stacklevel=2,
            )
            self.init()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.try_shutdown()


def _after_fork() -> None:
    # The threads behind inherited contexts do not exist here, and their locks may be held by them.
    for context in list(_contexts):
        context._lock = threading.RLock()
        context._ok = False
        context._participant = context._graph = context._graph_monitor = None
        context._nodes, context._wakeups, context._callbacks = [], [], []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def interrupt_all() -> None:
    """Stop all contexts of this process from being ok."""
    for context in list(_contexts):
        if context.ok():
            context.interrupt()


def wake_all() -> None:
    """Wake the executors of all contexts."""
    for context in list(_contexts):
        context.wake()


@atexit.register
def _leave() -> None:
    # Tell peers that this process leaves, rather than let its lease run out.
    for context in list(_contexts):
        context._leaving = True
        context.interrupt()
        if context._process_id == os.getpid():
            context._close_participant()
