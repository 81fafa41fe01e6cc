"""Maps with numpy arrays as msgpack, in the forms that openpi and vla-eval give arrays. Nothing in them can run code.

Both write an array as a map of its bytes, dtype and shape; the keys of that map are bytes with openpi and text with
vla-eval. Objects, structures, complex numbers and texts are no element types here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from magma_policy_client.codec import Counter, short
from magma_policy_client.errors import ProtocolError

DTYPES = frozenset(
    f"{order}{kind}{size}"
    for order in "<>=|"
    for kind, sizes in (("b", (1,)), ("i", (1, 2, 4, 8)), ("u", (1, 2, 4, 8)), ("f", (2, 4, 8)))
    for size in sizes
)
"""As numpy writes them: byte order, kind, bytes of an element."""
MOST_ENTRIES = 4096
"""Of one map or list."""
MOST_DIMENSIONS = 8
DEEPEST = 32
"""Maps in maps; what is deeper is no answer of a policy."""


@dataclass(frozen=True)
class ArrayForm:
    """How a protocol marks its arrays."""

    array: str | bytes
    """key of the map that is an array"""
    data: str | bytes
    dtype: str | bytes
    shape: str | bytes
    scalar: str | bytes | None = None
    """key of the map that is one number of numpy's"""
    picture: str | None = None
    """key of the map that is a packed picture"""


OPENPI = ArrayForm(b"__ndarray__", b"data", b"dtype", b"shape", scalar=b"__npgeneric__")
VLA_EVAL = ArrayForm("__ndarray__", "data", "dtype", "shape", picture="__image__")


def pack(values: Mapping[Any, Any], form: ArrayForm) -> bytes:
    """A map of text, numbers, arrays, lists and maps as bytes. Raises ProtocolError for anything else in it."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype.str in DTYPES:
            data = np.ascontiguousarray(value).tobytes()
            return {form.array: True, form.data: data, form.dtype: value.dtype.str, form.shape: list(value.shape)}
        if isinstance(value, (np.bool_, np.integer, np.floating)):
            return value.item()
        raise TypeError(f"{type(value).__name__} has no form on the wire")

    try:
        return bytes(msgpack.packb(values, default=plain))
    except (TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f"a message cannot be packed: {error}") from error


def unpack(data: bytes, form: ArrayForm, picture: Callable[[Mapping[Any, Any]], Any] | None = None) -> dict[Any, Any]:
    """Bytes as a map; arrays in it are read-only and lie on the bytes. `picture` makes something of a packed picture,
    which is refused without. Raises ProtocolError for anything else, and for more values than `codec.MAX_VALUES`."""
    counted = Counter()

    def made(value: dict[Any, Any]) -> Any:
        counted(value)
        if form.array in value:
            return array_of(value, form)
        if form.scalar is not None and form.scalar in value:
            number = value.get(form.data)
            if isinstance(number, (bool, int, float)):
                return number
            raise ProtocolError(f"a number of numpy's holds {short(number)}")
        if form.picture is not None and form.picture in value:
            if picture is not None:
                return picture(value)
            raise ProtocolError("the server sent a picture, which no answer of a policy has")
        return value

    try:
        values = msgpack.unpackb(
            data, raw=False, object_hook=made, list_hook=counted, ext_hook=_no_extension, max_map_len=MOST_ENTRIES,
            max_array_len=MOST_ENTRIES,
        )  # fmt: skip
    except ProtocolError:
        raise
    # As in `codec`: the unpacker's errors have no common base.
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError, msgpack.UnpackException) as error:
        raise ProtocolError(f"not a msgpack message: {type(error).__name__}") from error
    if not isinstance(values, dict):
        raise ProtocolError(f"expected a map, got {type(values).__name__}")
    _check_depth(values, DEEPEST)
    return values


def array_of(value: Mapping[Any, Any], form: ArrayForm) -> np.ndarray:
    """The array that a map describes. Raises ProtocolError."""
    data, dtype, shape = (value.get(key) for key in (form.data, form.dtype, form.shape))
    if isinstance(dtype, bytes):
        dtype = dtype.decode("ascii", "replace")
    if not isinstance(data, bytes) or not isinstance(dtype, str) or dtype not in DTYPES:
        raise ProtocolError(f"an array of dtype {short(dtype)} and {short(type(data).__name__)}; numbers are taken")
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS or not all(_is_side(side) for side in shape):
        raise ProtocolError(f"an array has the shape {short(shape)}, which is none")
    kind = np.dtype(dtype)
    if math.prod(shape) * kind.itemsize != len(data):
        raise ProtocolError(f"an array of {dtype} and shape {shape} has {len(data)} bytes")
    if kind == np.bool_ and (np.frombuffer(data, np.uint8) > 1).any():
        raise ProtocolError("an array of bool holds a byte other than 0 and 1")
    return np.frombuffer(data, kind).reshape(shape)


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _no_extension(code: int, data: bytes) -> Any:
    raise ProtocolError(f"unknown extension type {code} of {len(data)} bytes")


def _check_depth(value: Any, left: int) -> None:
    if left == 0:
        raise ProtocolError(f"a message of more than {DEEPEST} maps and lists inside of each other")
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            _check_depth(inner, left - 1)
