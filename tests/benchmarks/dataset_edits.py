"""Edits of parquet files and mp4 films that know their form; as those of `mutation_edits`."""

from __future__ import annotations

import contextlib
import random
import struct
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from mutation_edits import INTEGERS, TEXTS, bytes_edits

BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"edts", b"udta", b"moof", b"traf")
"""Boxes of an mp4 film that hold boxes."""


def mp4_edits(data: bytes, rng: random.Random) -> bytes:
    """Boxes of an mp4 film: left out, twice, in another's place, renamed; sizes and numbers of the tables in them."""
    boxes = _boxes(data, 0, len(data))
    if not boxes:
        return bytes_edits(data, rng)
    begin, end = rng.choice(boxes)
    choice = rng.randrange(6)
    if choice == 0:
        return data[:begin] + data[end:]
    if choice == 1:
        return data[:end] + data[begin:end] + data[end:]
    if choice == 2:
        other, stop = rng.choice(boxes)
        return data[:begin] + data[other:stop] + data[end:]
    if choice == 3:
        return data[: begin + 4] + rng.choice((*BOXES, b"free", b"mdat", b"stts", b"\0" * 4)) + data[begin + 8 :]
    number = struct.pack(">I", rng.choice(INTEGERS) % 2**32)
    place = begin if choice == 4 else begin + 8 + 4 * rng.randrange(max(1, (end - begin - 8) // 4))
    return data[:place] + number + data[place + 4 :]


def _boxes(data: bytes, begin: int, end: int) -> list[tuple[int, int]]:
    """Where every box begins and ends, those in others after them."""
    found = []
    while begin + 8 <= end:
        size = int.from_bytes(data[begin : begin + 4], "big")
        if not 8 <= size <= end - begin:
            break
        found.append((begin, begin + size))
        if data[begin + 4 : begin + 8] in BOXES:
            found += _boxes(data, begin + 8, begin + size)
        begin += size
    return found


def parquet_edits(data: bytes, rng: random.Random) -> bytes:
    """Values, rows, columns and types of a parquet file, written back as a whole one: what lies behind its checks."""
    try:
        table = pq.read_table(pa.BufferReader(data), use_threads=False)
        names, rows = table.column_names, table.num_rows
    except Exception:  # a file that an edit before this one has damaged
        return bytes_edits(data, rng)
    if not names:
        return bytes_edits(data, rng)
    name = rng.choice(names)
    place = names.index(name)
    column = table.column(name)
    choice = rng.randrange(9)
    with contextlib.suppress(pa.ArrowException, TypeError, ValueError, OverflowError):
        if choice == 0:
            table = table.drop_columns([name])
        elif choice == 1:
            table = table.rename_columns([rng.choice((*TEXTS[:8], *names)) if n == name else n for n in names])
        elif choice == 2:
            order = [rng.randrange(max(1, rows)) for _ in range(rng.choice((0, 1, rows, rows + 1, 2 * rows)))]
            table = table.take(pa.array(order, pa.int64()))
        elif choice == 3:
            table = table.set_column(place, name, pa.nulls(rows, column.type))
        elif choice == 4:
            kind = rng.choice((pa.string(), pa.int8(), pa.int64(), pa.uint64(), pa.float16(), pa.float64(), pa.bool_()))
            table = table.set_column(place, name, column.cast(kind, safe=False))
        elif choice == 5:
            table = table.set_column(place, name, table.column(rng.choice(names)))
        elif choice == 6:
            table = table.append_column(rng.choice(("extra", name)), column)
        else:
            values = column.to_pylist()
            if values:
                row = rng.randrange(len(values))
                values[row] = _cell(values[row], rng)
            table = table.set_column(place, name, pa.array(values, column.type))
    if rng.random() < 0.2:
        table = table.replace_schema_metadata({rng.choice((b"pandas", b"huggingface", b"x")): rng.randbytes(20)})
    out = pa.BufferOutputStream()
    pq.write_table(table, out)
    return bytes(out.getvalue().to_pybytes())


def _cell(old: Any, rng: random.Random) -> Any:
    """Another value of a cell, of the same kind mostly."""
    if isinstance(old, list):
        return rng.choice((None, [], [*old, *old], old[:-1], [_cell(old[0], rng), *old[1:]] if old else [None]))
    if isinstance(old, dict):
        key = rng.choice(list(old))
        return {**old, key: _cell(old[key], rng)}
    if isinstance(old, bytes):
        return rng.choice((None, b"", bytes_edits(old, rng)))
    if isinstance(old, float):
        return rng.choice((None, float("nan"), float("inf"), -float("inf"), 1e308, -old, old + 1.0, 0.0, 5e-324))
    if isinstance(old, str):
        return rng.choice((None, *(text for text in TEXTS if text.isascii()), old + "x"))
    return rng.choice((None, *INTEGERS))
