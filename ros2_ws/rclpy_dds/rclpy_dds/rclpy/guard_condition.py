"""Guard conditions: wake an executor from any thread."""

from collections.abc import Callable
from typing import Any

from rclpy_dds._dds.waitset import GuardCondition as _Native

from .callback_groups import CallbackGroup
from .context import Context
from .utilities import get_default_context


class GuardCondition:
    """Calls its callback in the executor after ``trigger``."""

    def __init__(
        self, callback: Callable[..., Any] | None, callback_group: CallbackGroup | None, context: Context | None = None
    ) -> None:
        context = context or get_default_context()
        self._native = _Native(context.participant.entity)
        self.callback = callback
        self.callback_group = callback_group

    @property
    def handle(self) -> _Native:
        """The transport's condition."""
        return self._native

    @property
    def condition(self) -> int:
        """DDS condition to wait for."""
        return self._native.condition

    def trigger(self) -> None:
        """Wake the executor."""
        self._native.trigger()

    def take(self) -> Any:
        """Clear the condition; return arguments for the callback, or None when it was not triggered."""
        return () if self._native.reset() else None

    def run(self) -> Any:
        """Call the callback."""
        return self.callback() if self.callback is not None else None

    def destroy(self) -> None:
        """Delete the condition."""
        self._native.close()
