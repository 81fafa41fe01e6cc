"""Pictures with captions, from folders, tar shards and Parquet files, one by one and always in the same order.

A shard is what one worker reads at a time: a tar or Parquet file, or some files of a folder. Whatever cannot be read as
a pair is counted under a reason and left out; whole shards that cannot be read are errors.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from magma_contracts.text import encodes, printable
from magma_policy.errors import CommandError
from magma_policy.files.image_files import decode_image, encoded_png
from magma_policy.grit.records import LONGEST_CAPTION
from magma_policy.grit.rendered import describe
from magma_policy.grounding.scenes import SceneError, read_scene_file, scene_files

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
CAPTIONS = (".txt", ".caption")
SHARDS = (".tar", ".parquet", ".npz")
"""The last are the files of a set of rendered scenes (`magma-scenes`)."""
TABLE = "captions.jsonl"
"""Of a folder: lines of {"file_name": …, "caption": …}, where captions do not lie beside the pictures."""
CAPTION_NAMES = ("caption", "text", "TEXT")
PICTURE_NAMES = ("image", "jpg", "jpeg", "png", "webp")
KEY_NAMES = ("key", "__key__", "id")
PER_PART = 500
"""Pairs of a folder that make a shard."""
LARGEST_PICTURE, LARGEST_TEXT = 256 * 2**20, 2**20
"""Bytes of a picture in a tar, and of a caption or its JSON."""


@dataclass(frozen=True)
class Pair:
    """A picture with its caption.

    Attributes:
        key: its name in its source.
        caption: in English.
        data: the picture's file.
        fields: what else its source tells, such as id, url and, of GRIT, noun_chunks and ref_exps.
    """

    key: str
    caption: str
    data: bytes = field(repr=False)
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def image(self) -> np.ndarray:
        """uint8 rgb (H, W, 3). Raises CommandError."""
        return decode_image(self.data, self.key)


@dataclass(frozen=True)
class Shard:
    """A part of a source.

    Attributes:
        path: the file, or the folder.
        names: of a folder, the pictures of this part.
    """

    path: Path
    names: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """Tells other contents apart, without reading them: names, sizes and times of change, of pictures and of the
        captions beside them."""
        digest = hashlib.blake2b(digest_size=8)
        for file in _files_of(self):
            state = file.stat()
            digest.update(f"{file.name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def _files_of(shard: Shard) -> Iterator[Path]:
    if not shard.names:
        yield shard.path
        return
    if (shard.path / TABLE).is_file():
        yield shard.path / TABLE
    for name in shard.names:
        yield shard.path / name
        beside = ((shard.path / name).with_suffix(ending) for ending in (*CAPTIONS, ".json"))
        yield from (file for file in beside if file.is_file())


def shards_of(sources: tuple[Path, ...]) -> list[Shard]:
    """All shards of files and folders, in order. Raises CommandError where there is nothing to read."""
    found: list[Shard] = []
    for source in sources:
        if source.is_file():
            if source.suffix not in SHARDS:
                raise CommandError(f"{source}: pairs are read from {', '.join(SHARDS)} files and folders of pictures")
            found.append(Shard(source))
        elif source.is_dir():
            found += _of_folder(source)
        else:
            raise CommandError(f"{source}: no such file or folder")
    return found


def _of_folder(folder: Path) -> list[Shard]:
    scenes = scene_files(folder)
    if scenes:
        return [Shard(path) for path in scenes]
    inside = sorted(
        path for path in folder.iterdir() if path.suffix in SHARDS and path.suffix != ".npz" and path.is_file()
    )
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURES and path.is_file()
    )
    if not inside and not names:
        raise CommandError(f"{folder}: neither pictures nor .tar or .parquet files are in it")
    parts = [tuple(names[start : start + PER_PART]) for start in range(0, len(names), PER_PART)]
    return [*(Shard(path) for path in inside), *(Shard(folder, part) for part in parts)]


def pairs_of(shard: Shard, dropped: Counter[str]) -> Iterator[Pair]:
    """The pairs of a shard; what is none is counted by reason. Raises CommandError for a shard that cannot be read."""
    if shard.names:
        yield from _folder_pairs(shard, dropped)
    elif shard.path.suffix == ".tar":
        yield from _tar_pairs(shard.path, dropped)
    elif shard.path.suffix == ".npz":
        yield from _scene_pairs(shard.path)
    else:
        yield from _parquet_pairs(shard.path, dropped)


def _pair(key: str, caption: Any, data: bytes | None, fields: Mapping[str, Any], dropped: Counter[str]) -> Pair | None:
    """A pair, or None where one half is missing."""
    if data is None:
        dropped["pair: no picture"] += 1
    elif not isinstance(caption, str) or not caption.strip():
        dropped["pair: no caption"] += 1
    elif len(caption) > LONGEST_CAPTION:
        dropped["pair: caption too long"] += 1
    elif not encodes(caption):
        dropped["pair: half a character in the caption"] += 1
    elif not encodes(key):
        dropped["pair: half a character in the name"] += 1
    else:
        return Pair(key, caption, data, fields)
    return None


def _folder_pairs(shard: Shard, dropped: Counter[str]) -> Iterator[Pair]:
    table = _table(shard.path / TABLE)
    for name in shard.names:
        path = shard.path / name
        caption = table.get(name)
        if caption is None:
            beside = (path.with_suffix(ending) for ending in CAPTIONS)
            caption = next((_text(file.read_bytes()) for file in beside if file.is_file()), None)
        fields = _fields(path.with_suffix(".json").read_bytes()) if path.with_suffix(".json").is_file() else {}
        key = PurePosixPath(name).with_suffix("").as_posix()
        found = _pair(key, caption or _named(fields, CAPTION_NAMES), path.read_bytes(), fields, dropped)
        if found is not None:
            yield found


def _table(path: Path) -> dict[str, str]:
    """Captions by file name."""
    if not path.is_file():
        return {}
    found = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        row = _fields(line)
        name, caption = row.get("file_name"), row.get("caption")
        if not isinstance(name, str) or not isinstance(caption, str):
            raise CommandError(f'{path}, line {number}: expected {{"file_name": …, "caption": …}}')
        found[name] = caption
    return found


def _tar_pairs(path: Path, dropped: Counter[str]) -> Iterator[Pair]:
    """As webdataset and img2dataset write them: files of one name and several endings, one behind the other."""
    key, parts, large = "", dict[str, bytes](), False
    try:
        with tarfile.open(path, "r|*") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                # A name ends at the first dot behind its last slash, as webdataset has it.
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                here = f"{folder}/{stem}" if folder else stem
                if here != key and parts:
                    yield from _tar_pair(key, parts, large, dropped)
                    parts, large = {}, False
                key, ending = here, f".{ending.lower()}"
                most = LARGEST_PICTURE if ending in PICTURES else LARGEST_TEXT
                # Only what a pair is made of is read; a name of anything else still is a row without a picture.
                wanted = ending in (*PICTURES, *CAPTIONS, ".json")
                large |= wanted and member.size > most
                file = tar.extractfile(member) if wanted and member.size <= most else None
                parts[ending if wanted else ""] = file.read() if file is not None else b""
    except (tarfile.TarError, EOFError, OSError) as error:
        raise CommandError(f"{path}: cannot be read as a tar file: {printable(error, 200)}") from error
    if parts:
        yield from _tar_pair(key, parts, large, dropped)


def _tar_pair(key: str, parts: Mapping[str, bytes], large: bool, dropped: Counter[str]) -> Iterator[Pair]:
    if large:
        dropped["pair: file too large"] += 1
        return
    fields = _fields(parts.get(".json", b""))
    caption = next((_text(parts[ending]) for ending in CAPTIONS if ending in parts), None)
    data = next((parts[ending] for ending in PICTURES if ending in parts), None)
    # A member's name may be shortened or a number; the record's own key stands in its JSON.
    told = fields.get("key")
    key = told if isinstance(told, str) and told else key
    found = _pair(key, caption or _named(fields, CAPTION_NAMES), data, fields, dropped)
    if found is not None:
        yield found


def _parquet_pairs(path: Path, dropped: Counter[str]) -> Iterator[Pair]:
    for number, row in enumerate(parquet_rows(path)):
        picture = _named(row, PICTURE_NAMES)
        if isinstance(picture, dict):  # as the Hub's datasets keep pictures
            picture = picture.get("bytes")
        key = _named(row, KEY_NAMES)
        data = picture if isinstance(picture, bytes) and picture else None
        fields = {name: value for name, value in row.items() if name not in PICTURE_NAMES}
        name = f"{path.stem}-{number:06d}" if key is None else str(key)
        found = _pair(name, _named(row, CAPTION_NAMES), data, fields, dropped)
        if found is not None:
            yield found


def _scene_pairs(path: Path) -> Iterator[Pair]:
    """Rendered scenes, with captions of their truth."""
    try:
        images, scenes = read_scene_file(path)
    except SceneError as error:
        raise CommandError(str(error)) from error
    for row, (image, scene) in enumerate(zip(images, scenes, strict=True)):
        key = scene_key(path, row)
        told = describe(scene.things, key)
        if told is not None:
            yield Pair(key, told.text, encoded_png(image))


def scene_key(path: Path, row: int) -> str:
    """The key of a scene: its set, the file in it, and the row there."""
    return f"{path.parent.parent.name}-{path.stem}-{row:04d}"


def parquet_rows(path: Path, batch: int = 256) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, read by and by. Raises CommandError."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            for rows in file.iter_batches(batch_size=batch):
                yield from rows.to_pylist()
    # A text that is no UTF-8 is a ValueError.
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise CommandError(f"{path}: cannot be read as Parquet: {printable(error, 200)}") from error


def _named(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").strip()


def _fields(data: bytes) -> dict[str, Any]:
    """The object of a JSON text; {} where it is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
