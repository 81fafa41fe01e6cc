"""The default context, and small helpers."""

import os
import threading

from .arguments import remove_ros_args as _remove_ros_args
from .context import Context
from .signals import get_current_signal_handlers_options as get_current_signal_handlers_options

_default_context: Context | None = None
_lock = threading.Lock()


def _after_fork() -> None:
    global _default_context, _lock
    _lock = threading.Lock()
    _default_context = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def get_default_context(*, shutting_down: bool = False) -> Context:
    """Return the default context, created when needed.

    Raises:
        RuntimeError: ``shutting_down`` is set and there is none.
    """
    global _default_context
    with _lock:
        if _default_context is None:
            if shutting_down:
                raise RuntimeError("Cannot shutdown a context that does not exist")
            _default_context = Context()
        return _default_context


def remove_ros_args(args: list[str] | None = None) -> list[str]:
    """Return ``args`` (default ``sys.argv``) without what belongs to ``--ros-args``."""
    return _remove_ros_args(args)


def ok(*, context: Context | None = None) -> bool:
    """Return whether a context is initialised and not shut down."""
    return (context or get_default_context()).ok()


def shutdown(*, context: Context | None = None) -> None:
    """Shut down a context; the default context is replaced by a new one on next use."""
    global _default_context
    if context is not None and context is not _default_context:
        context.shutdown()
        return
    current = get_default_context(shutting_down=True)
    try:
        current.shutdown()
    finally:
        with _lock:
            _default_context = None


def try_shutdown(*, context: Context | None = None) -> None:
    """Like :func:`shutdown`, without an error when there is nothing to shut down."""
    global _default_context
    if context is not None and context is not _default_context:
        context.try_shutdown()
        return
    with _lock:
        current, _default_context = _default_context, None
    if current is not None:
        current.try_shutdown()


def get_rmw_implementation_identifier() -> str:
    """Return the name of the middleware whose wire format is used."""
    return "rmw_cyclonedds_cpp"


def get_available_rmw_implementations() -> set[str]:
    """Return the names of all middlewares that can be used."""
    return {"rmw_cyclonedds_cpp"}


def timeout_sec_to_nsec(timeout_sec: float | None) -> int:
    """Return nanoseconds; -1 (wait forever) for None or a negative value."""
    return -1 if timeout_sec is None or timeout_sec < 0 else int(timeout_sec * 1e9)
