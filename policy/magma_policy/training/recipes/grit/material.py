"""What there is to learn from, read once: pictures as the network sees them, and what is said about them.

Whatever cannot be used is left out and counted by its reason; files that cannot be read are errors.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from magma_contracts.text import encodes
from magma_policy.demonstrations.frame_store import FrameStore
from magma_policy.errors import CommandError
from magma_policy.families.kosmos2 import stretched
from magma_policy.files.image_files import decode_image
from magma_policy.grit.pairs import Shard, pairs_of, shards_of
from magma_policy.grit.published import PictureIndex, published_records
from magma_policy.grit.records import Record
from magma_policy.grit.run import CARD, TARS
from magma_policy.training.recipes.grit.config import GritConfig

LONGEST_LINE = 16 * 2**20
"""Bytes of a line of a .jsonl file."""


@dataclass
class Material:
    """Everything of a run, pictures by their rows.

    Attributes:
        pictures: uint8 (P, side, side, 3).
        records, pairs: what is said about a picture, and its row.
        texts: plain ones.
        documents: texts, and rows of pictures between.
        dropped: how many were left out, by reason.
        identity: a hash of all that was read.
    """

    pictures: np.ndarray
    records: list[tuple[Record, int]] = field(default_factory=list)
    pairs: list[tuple[str, int]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    documents: list[tuple[str | int, ...]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    identity: str = ""

    def __str__(self) -> str:
        """In one line."""
        kinds = ("records", "pairs", "texts", "documents")
        told = ", ".join(f"{len(getattr(self, kind))} {kind}" for kind in kinds if getattr(self, kind))
        boxes = sum(len(record.expressions) for record, _ in self.records)
        left = "; ".join(f"{reason} {count}" for reason, count in sorted(self.dropped.items()))
        return f"{told}, {len(self.pictures)} pictures, {boxes} boxes{f'; left out: {left}' if left else ''}"

    def words(self) -> Iterator[str]:
        """All texts, for a vocabulary."""
        yield from (record.caption for record, _ in self.records)
        yield from (caption for caption, _ in self.pairs)
        yield from self.texts
        yield from (part for parts in self.documents for part in parts if isinstance(part, str))


class _Reader:
    """Reads for one run; `side`: of the pictures as the network sees them."""

    def __init__(self, side: int, memory_bytes: float, folder: Path | None) -> None:
        self._side, self._store = side, FrameStore(memory_bytes, folder)
        self._digest = hashlib.sha256()
        self.found = Material(np.zeros((0, side, side, 3), np.uint8))

    def note(self, *parts: bytes) -> None:
        """Adds to what tells other data apart."""
        for part in parts:
            self._digest.update(len(part).to_bytes(8, "little") + part)

    def picture(self, data: bytes, name: str) -> int:
        """The row of a picture's file. Raises CommandError where it cannot be read."""
        row = self._store.count
        self._store.add(stretched(decode_image(data, name), self._side)[None])
        self.note(data)
        return row

    def records(self, sources: Sequence[Path], pictures: Path | None) -> None:
        index = PictureIndex(pictures)
        counts: Counter[str] = Counter()
        for shard in record_shards(sources):
            for pair, record in published_records(shard, index, counts):
                self.found.records.append((record, self.picture(pair.data, record.key)))
                self.note(json.dumps(record.as_json()).encode())
        if not self.found.records:
            reasons = ", ".join(f"{reason} {count}" for reason, count in _dropped(counts).items()) or "it is empty"
            raise CommandError(f"{', '.join(map(str, sources))}: no record with its picture is in it ({reasons})")
        self.found.dropped.update(_dropped(counts))

    def pairs(self, sources: Sequence[Path]) -> None:
        counts: Counter[str] = Counter()
        for shard in shards_of(tuple(sources)):
            for pair in pairs_of(shard, counts):
                try:
                    row = self.picture(pair.data, pair.key)
                except CommandError:
                    counts["dropped picture: cannot be read"] += 1
                    continue
                self.found.pairs.append((pair.caption, row))
                self.note(pair.caption.encode())
        self.found.dropped.update(_dropped(counts))

    def texts(self, sources: Sequence[Path]) -> None:
        for path in sources:
            if path.suffix == ".jsonl":
                for row in _rows(path, self.found.dropped):
                    self._text(row.get("text"))
            else:
                self._text(_bytes(path).decode("utf-8", "replace"))

    def _text(self, text: Any) -> None:
        if not isinstance(text, str) or not text.strip() or not encodes(text):
            self.found.dropped["text: none in it"] += 1
            return
        self.found.texts.append(text)
        self.note(text.encode())

    def documents(self, sources: Sequence[Path], pictures: Path | None) -> None:
        if sources and pictures is None:
            raise CommandError("documents only name their pictures; give their folder as --pictures")
        for path in sources:
            for row in _rows(path, self.found.dropped):
                parts = self._document(row, pictures) if pictures is not None else None
                if parts is None:
                    self.found.dropped["document: not as MMC4 has them, or without its pictures"] += 1
                else:
                    self.found.documents.append(parts)

    def _document(self, row: dict[str, Any], pictures: Path) -> tuple[str | int, ...] | None:
        sentences, shown = row.get("text_list"), row.get("image_info")
        if not isinstance(sentences, list) or not isinstance(shown, list) or not sentences:
            return None
        if not all(isinstance(sentence, str) and encodes(sentence) for sentence in sentences):
            return None
        at: dict[int, list[int]] = {}
        for one in shown:
            name, place = (one.get("image_name"), one.get("matched_text_index")) if isinstance(one, dict) else (0, 0)
            # A name is one of a file in the folder, and leads nowhere else.
            if not isinstance(name, str) or not encodes(name) or name in ("", ".", "..") or {"/", "\0"} & set(name):
                return None
            if type(place) is not int:
                return None
            try:
                found = self.picture((pictures / name).read_bytes(), name)
            except (OSError, CommandError):
                continue
            at.setdefault(place, []).append(found)
        if not at:
            return None
        self.note(json.dumps([sentences, {place: len(rows) for place, rows in sorted(at.items())}]).encode())
        parts: list[str | int] = []
        for number, sentence in enumerate(sentences):
            parts += [*at.get(number, []), sentence]
        return tuple(parts)

    def done(self) -> Material:
        pictures = self._store.joined()
        if pictures is not None:
            self.found.pictures = pictures
        self.found.identity = self._digest.hexdigest()[:16]
        return self.found


def read_material(config: GritConfig, side: int) -> Material:
    """All that a run learns from. Raises CommandError or RecordError."""
    folder = config.output if config.output.is_dir() else None
    reader = _Reader(side, config.pictures_in_memory_gib * 2**30, folder)
    reader.records(config.records, config.pictures)
    reader.pairs(config.pairs)
    reader.texts(config.texts)
    reader.documents(config.documents, config.pictures)
    return reader.done()


def read_records(sources: Sequence[Path], pictures: Path | None, side: int) -> Material:
    """Records alone. Raises CommandError."""
    reader = _Reader(side, float("inf"), None)
    reader.records(sources, pictures)
    return reader.done()


def record_shards(sources: Sequence[Path]) -> list[Shard]:
    """Where records lie with their pictures: of an output of `magma-grit` its tar shards. Raises CommandError."""
    places = []
    for source in sources:
        inside = source / TARS
        if (source / CARD).is_file() and not inside.is_dir():
            raise CommandError(f"{source}: its records lie there without their pictures; make them with --tars")
        places.append(inside if (source / CARD).is_file() else source)
    return shards_of(tuple(places))


def _dropped(counts: Counter[str]) -> Counter[str]:
    return Counter({reason: count for reason, count in counts.items() if ":" in reason})


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror or error}") from error


def _rows(path: Path, dropped: Counter[str]) -> Iterator[dict[str, Any]]:
    """Objects of a .jsonl file; lines that are none are counted. Raises CommandError."""
    try:
        with path.open("rb") as lines:
            while line := lines.readline(LONGEST_LINE):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                if isinstance(row, dict):
                    yield row
                else:
                    dropped["line: no object of JSON"] += 1
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror or error}") from error
