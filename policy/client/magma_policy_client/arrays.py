"""numpy arrays as bytes: a dtype from a short list, the shape, and the elements. Nothing in it can run code.

Layout: one byte dtype code, one byte number of dimensions, one little-endian uint32 per dimension, then the elements
in C order, little-endian.
"""

from __future__ import annotations

import struct

import numpy as np

from magma_policy_client.errors import ProtocolError

DTYPES: tuple[np.dtype, ...] = tuple(
    np.dtype(name) for name in ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8", "|b1")
)
"""Allowed element types; the position is the code on the wire. No objects, strings or structures."""

MAX_DIMENSIONS = 8


def pack_array(array: np.ndarray) -> bytes:
    """Array to bytes. Raises ProtocolError for a dtype that is not allowed or more than `MAX_DIMENSIONS` dimensions."""
    little = array.dtype.newbyteorder("<")
    if little not in DTYPES:
        raise ProtocolError(f"arrays of dtype {array.dtype} cannot be sent; allowed: {', '.join(map(str, DTYPES))}")
    if array.ndim > MAX_DIMENSIONS:
        raise ProtocolError(f"arrays of {array.ndim} dimensions cannot be sent; at most {MAX_DIMENSIONS}")
    if any(side >= 2**32 for side in array.shape):
        raise ProtocolError(f"array of shape {array.shape} is too large to be sent")
    header = struct.pack(f"<BB{array.ndim}I", DTYPES.index(little), array.ndim, *array.shape)
    return header + array.astype(little, order="C", copy=False).tobytes()


def unpack_array(data: bytes) -> np.ndarray:
    """Bytes to a read-only array on top of them. Raises ProtocolError unless they are exactly one array."""
    if len(data) < 2:
        raise ProtocolError(f"an array needs at least 2 bytes, got {len(data)}")
    code, dimensions = data[0], data[1]
    if code >= len(DTYPES):
        raise ProtocolError(f"unknown array dtype code {code}")
    if dimensions > MAX_DIMENSIONS:
        raise ProtocolError(f"array with {dimensions} dimensions; at most {MAX_DIMENSIONS} are allowed")
    start = 2 + 4 * dimensions
    if len(data) < start:
        raise ProtocolError(f"array header of {dimensions} dimensions is cut off after {len(data)} bytes")
    shape = struct.unpack_from(f"<{dimensions}I", data, 2)
    dtype = DTYPES[code]
    size = dtype.itemsize
    for side in shape:  # Python's integers cannot overflow
        size *= side
    if len(data) - start != size:
        raise ProtocolError(f"array {dtype} {shape} needs {size} bytes, got {len(data) - start}")
    if dtype == np.bool_ and (np.frombuffer(data, np.uint8, offset=start) > 1).any():
        raise ProtocolError("array of bool holds a byte other than 0 and 1")
    try:
        return np.frombuffer(data, dtype=dtype, offset=start).reshape(shape)
    except ValueError as error:  # an empty array whose other sides are too large for numpy
        raise ProtocolError(f"array {dtype} {shape}: {error}") from error
