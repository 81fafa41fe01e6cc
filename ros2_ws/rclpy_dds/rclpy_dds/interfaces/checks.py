"""Checks of values assigned to message fields, as strict as rclpy's with checks on: AssertionError names the field."""

import array
import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from .cdr import ARRAY_CODES, DTYPES, PART_THRESHOLD_BYTES
from .definition import INTEGER_RANGES, FieldType

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_BYTE_BASES = frozenset({"uint8", "char"})


def fail(name: str, expected: str, value: Any) -> AssertionError:
    """Return the error for field ``name``; the value is shown shortened."""
    shown = repr(value)
    if len(shown) > 60:
        shown = shown[:57] + "..."
    return AssertionError(f"The {name!r} field must be {expected}, not {shown} of type {type(value).__name__}")


def integer_range(base: str) -> tuple[int, int]:
    """Return the smallest and largest value of an integer type."""
    return INTEGER_RANGES.get(base, (0, 255))


def check_scalar(name: str, value: Any, base: str, string_bound: int = 0) -> None:
    """Check one element of a primitive or string type.

    Raises:
        AssertionError: wrong Python type or out of range.
    """
    if base in ("string", "wstring"):
        if not isinstance(value, str):
            raise fail(name, "of type 'str'", value)
        if string_bound and len(value) > string_bound:
            raise fail(name, f"a string of at most {string_bound} characters", value)
    elif base == "bool":
        if not isinstance(value, bool):
            raise fail(name, "of type 'bool'", value)
    elif base == "byte":
        if not isinstance(value, bytes | bytearray) or len(value) != 1:
            raise fail(name, "a 'bytes' object of length 1", value)
    elif base in ("float32", "float64"):
        if not isinstance(value, float):
            raise fail(name, "of type 'float'", value)
        if base == "float32" and abs(value) > _FLOAT32_MAX and not math.isinf(value):
            raise fail(name, "a float within the range of 32 bits", value)
    else:
        low, high = integer_range(base)
        if not isinstance(value, int) or not low <= value <= high:
            raise fail(name, f"an integer in [{low}, {high}]", value)


def _is_list_like(value: Any) -> bool:
    return isinstance(value, Sequence | AbstractSet) and not isinstance(value, str | bytes | bytearray | memoryview)


def numeric_sequence(name: str, value: Any, base: str, bound: int) -> Any:
    """Check a value for a numeric sequence field; return what the message keeps.

    ``array.array`` and one-dimensional contiguous numpy arrays of the right type are kept as they are. For uint8, any
    bytes-like object is accepted; a large one is kept without a copy. Anything else becomes an ``array.array``.

    Raises:
        AssertionError: wrong element type, shape, length or range.
    """
    code = ARRAY_CODES[base]
    if isinstance(value, array.array):
        if value.typecode != code and not (value.itemsize == DTYPES[base].itemsize and DTYPES[base] == value.typecode):
            raise fail(name, f"an array.array of type code {code!r}", value)
    elif isinstance(value, np.ndarray):
        if value.dtype != DTYPES[base] or value.ndim != 1:
            raise AssertionError(
                f"The {name!r} field must be a one-dimensional numpy array of {DTYPES[base]}, not "
                f"{value.ndim}-dimensional of {value.dtype}"
            )
        if not value.flags.c_contiguous:
            value = np.ascontiguousarray(value)
    elif isinstance(value, bytes | bytearray | memoryview) and base in _BYTE_BASES:
        try:
            view = np.frombuffer(value, dtype=np.uint8)
        except ValueError as error:
            raise fail(name, f"contiguous bytes ({error})", value) from None
        value = view if view.nbytes >= PART_THRESHOLD_BYTES else array.array("B", view.tobytes())
    elif _is_list_like(value):
        items = list(value)
        for item in items:
            check_scalar(name, item, base)
        value = array.array(code, items)
    else:
        raise fail(name, f"a sequence of {base}", value)
    if bound and len(value) > bound:
        raise AssertionError(f"The {name!r} field takes at most {bound} elements, not {len(value)}")
    return value


def numeric_array(name: str, value: Any, base: str, size: int) -> np.ndarray:
    """Check a value for a numeric fixed-size array field; return a numpy array.

    Raises:
        AssertionError: wrong element type, length or range.
    """
    dtype = DTYPES[base]
    if isinstance(value, np.ndarray):
        if value.dtype != dtype or value.shape != (size,):
            raise AssertionError(
                f"The {name!r} field must be a numpy array of {size} {dtype}, not shape {value.shape} of {value.dtype}"
            )
        return np.ascontiguousarray(value)
    if isinstance(value, bytes | bytearray | memoryview) and base in _BYTE_BASES:
        value = list(bytes(value))
    if not _is_list_like(value):
        raise fail(name, f"a sequence of {size} {base}", value)
    items = list(value)
    if len(items) != size:
        raise AssertionError(f"The {name!r} field needs {size} elements, not {len(items)}")
    for item in items:
        check_scalar(name, item, base)
    return np.array(items, dtype=dtype)


def other_elements(name: str, value: Any, kind: FieldType, element_class: type | None) -> list:
    """Check a value for an array or sequence of strings, booleans, bytes or messages; return it as a list.

    A list is kept as it is, so that it can be appended to afterwards.

    Raises:
        AssertionError: wrong element type or length.
    """
    if not _is_list_like(value):
        if isinstance(value, np.ndarray) and kind.base == "bool":
            value = value.tolist()
        else:
            raise fail(name, f"a sequence of {kind.base}", value)
    items = value if isinstance(value, list) else list(value)
    if element_class is not None:
        for item in items:
            if not isinstance(item, element_class):
                raise fail(name, f"a sequence of {element_class.__name__!r}", item)
    else:
        for item in items:
            check_scalar(name, item, kind.base, kind.string_bound)
    if kind.kind == "array" and len(items) != kind.size:
        raise AssertionError(f"The {name!r} field needs {kind.size} elements, not {len(items)}")
    if kind.kind == "sequence" and kind.size and len(items) > kind.size:
        raise AssertionError(f"The {name!r} field takes at most {kind.size} elements, not {len(items)}")
    return items


def same(one: Any, other: Any) -> bool:
    """Compare two field values that may be arrays of different kinds."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(np.asarray(one), np.asarray(other))
    return one == other
