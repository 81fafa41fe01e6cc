"""Named arrays from .npz files that anyone may have written, or damaged: never pickle, and no more memory than the file
can hold."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from magma_contracts.text import printable

DEFLATE_RATIO = 1032
"""No deflated data grow more than so many times (zlib's technical notes)."""


class ArrayFileError(ValueError):
    """A file of arrays cannot be read; the message says why."""


def read_arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Those of the named arrays that a file has; others are not read.

    Raises:
        ArrayFileError: no such file, no .npz, cut off, damaged, or with Python objects.
    """
    if not path.is_file():
        raise ArrayFileError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.removesuffix(".npy") in names]
            if len({entry.filename.removesuffix(".npy") for entry in entries}) < len(entries):
                raise ArrayFileError("an array occurs twice")
            if sum(entry.compress_size for entry in entries) > os.path.getsize(path):
                raise ArrayFileError("its parts overlap")
            return {entry.filename.removesuffix(".npy"): _read(archive, entry) for entry in entries}
    # Not a list of types: on damaged files zipfile and numpy let almost any error through (struct.error, zlib.error,
    # NotImplementedError, SyntaxError, …).
    except Exception as error:
        raise ArrayFileError(f"{path}: cannot be read ({printable(error) or type(error).__name__})") from error


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """One array, its size checked against the archive's before memory is taken."""
    name = entry.filename
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArrayFileError(f"{name} is encrypted or packed in a way that numpy does not write")
    if entry.file_size > entry.compress_size * DEFLATE_RATIO:
        raise ArrayFileError(f"{name} claims {entry.file_size} bytes, more than its part of the file can hold")
    with archive.open(entry) as stream:
        version = npy.read_magic(stream)
        readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        if version not in readers:
            raise ArrayFileError(f"{name} is an array of version {version}, expected 1.0 or 2.0")
        shape, column_first, dtype = readers[version](stream)
        if dtype.hasobject or dtype.names is not None:
            raise ArrayFileError(f"{name} holds Python objects or records, which are not read")
        count = 1
        for side in shape:
            count *= side
        if min(shape, default=0) < 0 or count * dtype.itemsize != entry.file_size - stream.tell():
            raise ArrayFileError(f"{name} has not the size that its shape {shape} takes")
        if not dtype.itemsize and count > entry.file_size:
            raise ArrayFileError(f"{name} holds {count} empty values")
        raw = bytearray()
        # To the end, where the archive compares its checksum; it gives out no more than the size that was checked.
        while chunk := stream.read(1 << 20):
            raw += chunk
    if len(raw) < count * dtype.itemsize:
        raise ArrayFileError(f"{name} is cut off")
    if not raw:
        return np.zeros(shape, dtype)
    if (
        dtype.kind == "U"
        and int(np.frombuffer(raw, np.dtype(np.uint32).newbyteorder(dtype.byteorder)).max()) > sys.maxunicode
    ):
        raise ArrayFileError(f"{name} holds text that is none")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if column_first else "C")
