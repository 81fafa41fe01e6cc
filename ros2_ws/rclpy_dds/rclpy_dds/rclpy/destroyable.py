"""What can be destroyed."""

from typing import Any, Protocol


class DestroyableType(Protocol):
    """An object that is destroyed at the end of a ``with`` block."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *exception: Any) -> None: ...
