"""Says by name which parts of ROS 2's launch are not covered here, instead of failing with a bare import error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NoReturn


def not_covered(module: str, names: Iterable[str]) -> Callable[[str], NoReturn]:
    """Return a module-level `__getattr__` that raises NotImplementedError for `names` and AttributeError for the rest.

    A module-level `__getattr__` (PEP 562) also serves `from module import name`.
    """
    known = frozenset(names)

    def getattr_(name: str) -> NoReturn:
        if name in known:
            raise NotImplementedError(
                f"{module}.{name} is not covered by rclpy_dds; it needs a ROS 2 installation (source its setup.bash)"
            )
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return getattr_
