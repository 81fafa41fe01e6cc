"""Fills every field of a message with values that tell fields and positions apart; the same on rclpy_dds and ROS 2."""

import itertools
import string

_RANGES = {
    "int8": (1 << 7, True),
    "uint8": (1 << 8, False),
    "int16": (1 << 15, True),
    "uint16": (1 << 16, False),
    "int32": (1 << 31, True),
    "uint32": (1 << 32, False),
    "int64": (1 << 63, True),
    "uint64": (1 << 64, False),
}


def _scalar(kind: str, number: int):
    if kind in _RANGES:
        limit, signed = _RANGES[kind]
        value = (number * 0x9E3779B97F4A7C15) % limit
        return -value if signed and number % 2 else value
    if kind in ("float", "double"):
        return number * 0.5 - 8.0
    if kind == "boolean":
        return number % 2 == 1
    if kind == "octet":
        return bytes([number % 256])
    if kind == "char":
        return number % 128
    if kind.startswith("string"):
        return "".join(itertools.islice(itertools.cycle(string.ascii_letters), number % 9)) + "é" * (number % 2)
    raise ValueError(f"no value for a field of type {kind}")


def fill(message, make, counter=None):
    """Set all fields of a message and return it.

    Args:
        message: a new message.
        make: function from ``pkg/Name`` to a new message of that type, for the elements of sequences.
        counter: numbers to make values of.
    """
    counter = counter or itertools.count(1)
    for name, kind in message.get_fields_and_field_types().items():
        if "wstring" in kind:
            continue
        if kind.startswith("sequence<"):
            inner = kind[len("sequence<") : -1]
            element, _, bound = inner.rpartition(", ")
            element, count = (element, min(int(bound), 2)) if bound.isdigit() else (inner, next(counter) % 4)
        elif kind.endswith("]"):
            element, _, size = kind[:-1].rpartition("[")
            count = int(size)
        else:
            if "/" in kind:
                fill(getattr(message, name), make, counter)
            else:
                setattr(message, name, _scalar(kind, next(counter)))
            continue
        if "/" in element:
            setattr(message, name, [fill(make(element), make, counter) for _ in range(count)])
        else:
            setattr(message, name, [_scalar(element, next(counter)) for _ in range(count)])
    return message
