"""Base class of everything in a launch file whose text is known only while launching."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .launch_context import LaunchContext


class Substitution:
    """A piece of text that is computed from the launch context."""

    def perform(self, context: LaunchContext) -> str:
        """Return the text for this context."""
        raise NotImplementedError(f"{type(self).__name__} does not implement perform()")

    def describe(self) -> str:
        """Return how the substitution is shown by `ros2 launch --show-args` and `--print`."""
        return type(self).__name__
