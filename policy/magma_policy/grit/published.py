"""The published GRIT, as users have it: its records in Parquet files, and those pictures that are still to be had.

Pictures lie in a folder under the record's `key` or `id`, as img2dataset writes them, or in tar shards whose JSON holds
the record. A third of them and more is usually gone: what is missing is counted.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from magma_policy.errors import CommandError
from magma_policy.grit.pairs import PICTURES, Pair, Shard, pairs_of, parquet_rows
from magma_policy.grit.records import Record, RecordError


class PictureIndex:
    """The picture files below a folder, by their names without endings."""

    def __init__(self, folder: Path | None) -> None:
        """Raises CommandError where there is no such folder."""
        self._files: dict[str, Path] = {}
        if folder is None:
            return
        if not folder.is_dir():
            raise CommandError(f"--pictures {folder}: there is no such folder")
        for here, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                stem, ending = os.path.splitext(name)
                if ending.lower() in PICTURES:
                    self._files.setdefault(stem, Path(here, name))

    def find(self, record: Record) -> Path | None:
        """A record's picture, or None."""
        by_key = self._files.get(record.key)
        return by_key if by_key is not None or record.id is None else self._files.get(str(record.id))


def published_records(shard: Shard, pictures: PictureIndex, counts: Counter[str]) -> Iterator[tuple[Pair, Record]]:
    """The records of a shard that have a picture. `counts` gets what is damaged and what is missing."""
    if shard.path.suffix == ".parquet":
        for row in parquet_rows(shard.path):
            counts["pairs"] += 1
            record = _record(row, counts)
            if record is None:
                continue
            path = pictures.find(record)
            if path is None:
                counts["dropped picture: missing"] += 1
                continue
            try:
                data = path.read_bytes()
            except OSError:
                counts["dropped picture: cannot be read"] += 1
                continue
            yield from _with_picture(Pair(record.key, record.caption, data, row), record, counts)
        return
    for pair in pairs_of(shard, counts):
        counts["pairs"] += 1
        record = _record({"key": pair.key, **pair.fields, "caption": pair.fields.get("caption", pair.caption)}, counts)
        if record is not None:
            yield from _with_picture(pair, record, counts)


def _record(row: dict[str, object], counts: Counter[str]) -> Record | None:
    try:
        record = Record.of(row)
    except RecordError as error:
        # What is wrong with it is told by the field's name, so that counts stay few.
        field = str(error).split(maxsplit=1)[0].partition("[")[0].rstrip(":")
        counts[f"dropped record: {field}"] += 1
        return None
    if not record.expressions:
        counts["dropped picture: no box"] += 1
        return None
    return record


def _with_picture(pair: Pair, record: Record, counts: Counter[str]) -> Iterator[tuple[Pair, Record]]:
    try:
        pair.image()
    except CommandError:
        counts["dropped picture: cannot be read"] += 1
        return
    counts["records"] += 1
    counts["boxes"] += len(record.chunks)
    yield pair, record
