"""rclpy's API on Cyclone DDS: entry points. See the README of rclpy_dds for what is covered."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .context import Context as Context
from .parameter import Parameter as Parameter
from .signals import SignalHandlerOptions as SignalHandlerOptions
from .signals import install_signal_handlers as install_signal_handlers
from .signals import uninstall_signal_handlers as uninstall_signal_handlers
from .task import Future as Future
from .utilities import get_default_context as get_default_context
from .utilities import get_rmw_implementation_identifier as get_rmw_implementation_identifier
from .utilities import ok as ok
from .utilities import shutdown as _shutdown
from .utilities import try_shutdown as _try_shutdown

if TYPE_CHECKING:
    from .executors import Executor
    from .node import Node


def __getattr__(name: str) -> Any:
    """Import a submodule when it is first used as an attribute, as in ``rclpy.executors.MultiThreadedExecutor``."""
    full = f"{__name__}.{name}"
    try:
        return import_module(full)
    except ModuleNotFoundError as error:
        if error.name != full:
            raise
        raise AttributeError(f"rclpy_dds has no rclpy.{name}") from None


class InitContextManager:
    """What :func:`init` returns: shuts down at the end of a ``with`` block."""

    def __init__(
        self,
        args: list[str] | None,
        context: Context | None,
        domain_id: int | None,
        signal_handler_options: SignalHandlerOptions | None,
    ) -> None:
        default = get_default_context()
        self.context = default if context is None else context
        if signal_handler_options is None:
            is_default = self.context is default
            signal_handler_options = SignalHandlerOptions.ALL if is_default else SignalHandlerOptions.NO
        self.installed_signal_handlers = signal_handler_options != SignalHandlerOptions.NO
        self.context.init(args, domain_id=domain_id)
        install_signal_handlers(signal_handler_options)

    def __enter__(self) -> "InitContextManager":
        return self

    def __exit__(self, *exception: Any) -> None:
        context = None if self.context is get_default_context() else self.context
        try_shutdown(context=context, uninstall_handlers=self.installed_signal_handlers)


def init(
    *,
    args: list[str] | None = None,
    context: Context | None = None,
    domain_id: int | None = None,
    signal_handler_options: SignalHandlerOptions | None = None,
) -> InitContextManager:
    """Initialise communications.

    Args:
        args: command line, ``sys.argv`` when None.
        context: context, the default one when None.
        domain_id: DDS domain, ``ROS_DOMAIN_ID`` when None.
        signal_handler_options: which signals end the contexts; SIGINT and SIGTERM for the default context when None.
    """
    return InitContextManager(args, context, domain_id, signal_handler_options)


_global_executor: "Executor | None" = None


def _after_fork() -> None:
    global _global_executor
    _global_executor = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def get_global_executor() -> "Executor":
    """Return the executor that the module's spin functions use."""
    global _global_executor
    if _global_executor is None:
        from .executors import SingleThreadedExecutor

        _global_executor = SingleThreadedExecutor()

        def reset() -> None:
            global _global_executor
            executor, _global_executor = _global_executor, None
            if executor is not None:
                executor.shutdown()

        get_default_context().on_shutdown(reset)
    return _global_executor


def shutdown(*, context: Context | None = None, uninstall_handlers: bool | None = None) -> None:
    """Shut down a context (default: the default one); destroys its nodes.

    Raises:
        RuntimeError, RCLError: there is nothing to shut down, or it was shut down before (for example by a signal);
            :func:`try_shutdown` does not mind.
    """
    is_default = context is None or context is get_default_context()
    try:
        _shutdown(context=context)
    finally:
        if uninstall_handlers or (uninstall_handlers is None and is_default):
            uninstall_signal_handlers()


def try_shutdown(*, context: Context | None = None, uninstall_handlers: bool | None = None) -> None:
    """Shut down a context unless that happened before."""
    is_default = context is None or context is get_default_context()
    _try_shutdown(context=context)
    if uninstall_handlers or (uninstall_handlers is None and is_default):
        uninstall_signal_handlers()


def create_node(node_name: str, **options: Any) -> "Node":
    """Create a node; the options are those of :class:`rclpy.node.Node`."""
    from .node import Node

    return Node(node_name, **options)


def spin_once(node: "Node", *, executor: "Executor | None" = None, timeout_sec: float | None = None) -> None:
    """Run one callback of a node, or wait for one at most ``timeout_sec`` seconds."""
    executor = get_global_executor() if executor is None else executor
    try:
        executor.add_node(node)
        executor.spin_once(timeout_sec=timeout_sec)
    finally:
        executor.remove_node(node)


def spin(node: "Node", executor: "Executor | None" = None) -> None:
    """Run callbacks of a node until the context is shut down.

    Raises:
        ExternalShutdownException: a signal or another thread shut the context down.
    """
    executor = get_global_executor() if executor is None else executor
    try:
        executor.add_node(node)
        while executor.context.ok():
            executor.spin_once()
    finally:
        executor.remove_node(node)


def spin_until_future_complete(
    node: "Node", future: Future, executor: "Executor | None" = None, timeout_sec: float | None = None
) -> None:
    """Run callbacks of a node until a future is done, the time is over, or the context is shut down."""
    executor = get_global_executor() if executor is None else executor
    added = False
    try:
        added = executor.add_node(node)
        executor.spin_until_future_complete(future, timeout_sec)
    finally:
        if added:
            executor.remove_node(node)
