"""Parquet files as numpy arrays and back: nothing that a damaged file holds gets past as another exception, and no more
memory is taken than its rows can need."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from magma_contracts.text import brief, printable
from magma_data.errors import DatasetError
from magma_data.info import Feature

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""A picture inside of a parquet file: its encoded bytes, and the name that it once had."""
LARGEST_PART = 1 << 33
"""Bytes of one row group of a file once it is unpacked; a file that claims more is damaged."""
_WIDEST_RATIO = 1 << 16
"""How many times larger than the file a part may claim to be: run lengths pack constants far, but not without end."""


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A parquet file, its checksums compared where it has some. Raises DatasetError, also for what fails inside."""
    if not path.is_file():
        raise DatasetError(f"{path}: no such file")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            _check_claims(path, file.metadata)
            yield file
    except DatasetError:
        raise
    # Not a list of types: on damaged files the library lets almost any error through, its own, OSError, MemoryError,
    # UnicodeDecodeError, OverflowError, …
    except Exception as error:
        raise DatasetError(
            f"{path}: cannot be read ({printable(error, 160) or type(error).__name__}); is it cut off or damaged?"
        ) from error


def _check_claims(path: Path, metadata: pq.FileMetaData) -> None:
    most = min(LARGEST_PART, os.path.getsize(path) * _WIDEST_RATIO)
    rows = 0
    for number in range(metadata.num_row_groups):
        # Not `group.column(n)`: where the statistics of a column are damaged, it ends the process.
        group = metadata.row_group(number)
        rows += group.num_rows
        if not 0 <= group.total_byte_size <= most:
            raise DatasetError(
                f"{path}: a part claims {group.total_byte_size} bytes, more than the file can hold; it is damaged"
            )
    if rows != metadata.num_rows:
        raise DatasetError(f"{path}: its parts have {rows} rows, but it claims {metadata.num_rows}; it is damaged")


def row_count(path: Path) -> int:
    """Rows of a file, by its footer."""
    with opened(path) as file:
        return int(file.metadata.num_rows)


def read(path: Path, columns: Sequence[str], start: int = 0, stop: int | None = None) -> pa.Table:
    """Rows start .. stop of some columns, from the row groups that have them and no others.

    Raises:
        DatasetError: no such file, column or rows, or damage.
    """
    with opened(path) as file:
        there = file.schema_arrow.names
        lacking = [name for name in columns if name not in there]
        if lacking:
            raise DatasetError(f"{path}: has no column {', '.join(map(brief, lacking))}")
        twice = next((name for name in columns if there.count(name) > 1), None)
        if twice is not None:
            raise DatasetError(f"{path}: has the column {brief(twice)} {there.count(twice)} times; which one counts?")
        stop = file.metadata.num_rows if stop is None else stop
        if not 0 <= start <= stop <= file.metadata.num_rows:
            raise DatasetError(f"{path}: has {file.metadata.num_rows} rows, but {start} to {stop} are looked for in it")
        groups, first, begin = [], None, 0
        for number in range(file.metadata.num_row_groups):
            end = begin + file.metadata.row_group(number).num_rows
            if begin < stop and end > start:
                groups.append(number)
                first = begin if first is None else first
            begin = end
        table = file.read_row_groups(groups, columns=[*columns], use_threads=False)
        table = table.slice(start - (first or 0), stop - start)
        if table.num_rows != stop - start:
            raise DatasetError(f"{path}: gave {table.num_rows} rows of {stop - start}; it is damaged")
        return table


def names(path: Path) -> list[str]:
    """The columns of a file."""
    with opened(path) as file:
        return list(file.schema_arrow.names)


def numbers(path: Path, name: str, column: pa.ChunkedArray, feature: Feature) -> np.ndarray:
    """A column as an array (rows, *shape) of the feature's dtype; shape (1,) may also be stored as plain numbers.

    Raises:
        DatasetError: nothing where a number should be, other lengths than the shape's, or no numbers.
    """
    rows, where = len(column), f"{path}: column {brief(name)}"
    try:
        array: Any = column.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = array.chunk(0) if array.num_chunks else pa.array([], type=column.type)
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        while (
            pa.types.is_list(array.type)
            or pa.types.is_large_list(array.type)
            or pa.types.is_fixed_size_list(array.type)
        ):
            if array.null_count:
                raise DatasetError(f"{where} has {array.null_count} rows without a value")
            lengths = np.unique(np.asarray(array.value_lengths()))
            if len(lengths) > 1:
                raise DatasetError(f"{where} has lists of {lengths[0]} to {lengths[-1]} numbers, expected one length")
            array = array.flatten()
        if array.null_count:
            raise DatasetError(f"{where} has {array.null_count} values missing")
        kind = array.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise DatasetError(f"{where} holds {printable(kind, 60)}, expected {feature.dtype}")
        flat = array.to_numpy(zero_copy_only=False)
    except DatasetError:
        raise
    except Exception as error:
        raise DatasetError(f"{where} cannot be read ({printable(error, 120)})") from error
    wanted = np.dtype(feature.dtype)
    if (flat.dtype.kind == "f" and wanted.kind in "iu") or (wanted.kind == "b") != (flat.dtype.kind == "b"):
        raise DatasetError(f"{where} holds {flat.dtype}, but {wanted} is said of it")
    if flat.size != rows * math.prod(feature.shape):
        raise DatasetError(
            f"{where} has {flat.size} numbers in {rows} rows, but the shape {feature.shape} is said of it"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        made = flat.astype(wanted)
    return made.reshape(rows, *feature.shape)


def texts(path: Path, name: str, column: pa.ChunkedArray) -> list[str]:
    """A column of text. Raises DatasetError."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise DatasetError(f"{path}: column {brief(name)} holds {printable(column.type, 60)}, expected text")
    return listed(path, name, column)


def listed(path: Path, name: str, column: pa.ChunkedArray) -> list[Any]:
    """A column as Python's own values, none of them missing. Raises DatasetError."""
    try:
        column.validate(full=True)
        found: list[Any] = column.to_pylist()
    except Exception as error:
        raise DatasetError(f"{path}: column {brief(name)} cannot be read ({printable(error, 120)})") from error
    if any(value is None for value in found):
        raise DatasetError(f"{path}: column {brief(name)} lacks values")
    return found


def arrow_type(feature: Feature) -> pa.DataType:
    """The type of a feature's column, as the `datasets` library stores it."""
    if feature.dtype == "image":
        return IMAGE
    kind = pa.string() if feature.dtype == "string" else pa.from_numpy_dtype(np.dtype(feature.dtype))
    if feature.shape == (1,):
        return kind
    if len(feature.shape) == 1:
        return pa.list_(kind, feature.shape[0])
    for _ in feature.shape:
        kind = pa.list_(kind)
    return kind


def column_of(values: Any, feature: Feature) -> pa.Array:
    """A column of an array (rows, *shape), of pictures' bytes, or of texts."""
    kind = arrow_type(feature)
    if feature.dtype == "image":
        return pa.array([{"bytes": data, "path": None} for data in values], type=IMAGE)
    if feature.dtype == "string" or feature.shape == (1,):
        return pa.array(values if feature.dtype == "string" else np.asarray(values).reshape(-1), type=kind)
    array = np.ascontiguousarray(values)
    made: Any = pa.array(array.reshape(-1))
    if len(feature.shape) == 1:
        return pa.FixedSizeListArray.from_arrays(made, feature.shape[0])
    for axis in range(len(feature.shape), 0, -1):
        count = math.prod(array.shape[:axis])
        made = pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * array.shape[axis], made)
    return made


def described(features: Mapping[str, Feature]) -> dict[bytes, bytes]:
    """The schema's metadata by which the `datasets` library knows pictures and arrays."""

    def one(feature: Feature) -> dict[str, Any]:
        value = {"dtype": feature.dtype, "_type": "Value"}
        if feature.dtype == "image":
            return {"_type": "Image"}
        if feature.shape == (1,):
            return value
        if len(feature.shape) == 1:
            return {"feature": value, "length": feature.shape[0], "_type": "Sequence"}
        return {"shape": [*feature.shape], "dtype": feature.dtype, "_type": f"Array{len(feature.shape)}D"}

    known = {"info": {"features": {name: one(feature) for name, feature in features.items()}}}
    return {b"huggingface": json.dumps(known).encode()}


def write(path: Path, groups: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Writes a file of one row group for each table, with checksums, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with (
            partial.open("wb") as file,
            pq.ParquetWriter(file, schema, compression="snappy", write_page_checksum=True) as writer,
        ):
            for table in groups:
                writer.write_table(table)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
