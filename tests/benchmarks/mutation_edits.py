"""Edits of files: seeded, some blind, some aware of the format, so that what is damaged lies behind the first check.

Each is a function (bytes, random.Random) -> bytes. An edit that finds nothing to hold on to falls back on bytes.
"""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import yaml

Edit = Callable[[bytes, random.Random], bytes]

INTEGERS = (0, -1, 1, 2, 255, 256, 2**15, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30)
NUMBERS = (
    "1e308",
    "-1e308",
    "1e400",
    "1e-320",
    "0.0",
    "-0.0",
    "NaN",
    "Infinity",
    "-Infinity",
    "9" * 5000,
    "0x10",
    "1_0",
)
TEXTS = (
    "", " ", "a" * 5000, "\x00", "\x1b[2J\x1b]0;title\x07", "\ud83d", "\u202eabc", "é" * 50,
    "../../../etc/passwd", "/dev/zero", "/etc/passwd", "..", ".", "~", "a/b", "file:///dev/zero",
    "<script>alert(1)</script>", "{{7*7}}", "%s%n", "nan", "null", "true", "\n\n",
)  # fmt: skip
"""among them: terminal escapes, half a character, text that runs backwards, paths out of the folder"""
LARGE = 20_000
"""Bytes of a JSON document that is mostly edited object by object."""
_INNERMOST = re.compile(rb"\{[^{}]*\}")
BYTES = (
    b"\x00",
    b"\xff",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\n",
    b"\r",
    b"\x1b[2J",
    b"PK\x03\x04",
    b"version https://git-lfs",
)


def bytes_edits(data: bytes, rng: random.Random) -> bytes:
    """Cuts, flips, splices, repeats, inserts, and writes extreme numbers over the bytes."""
    if not data:
        return rng.choice(BYTES)
    size = len(data)
    place = _place(size, rng)
    choice = rng.randrange(9)
    if choice == 0:
        return data[:place]
    if choice == 1:
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 10, 100))):
            changed[_place(size, rng)] = rng.randrange(256)
        return bytes(changed)
    if choice == 2:
        changed = bytearray(data)
        changed[place] ^= 1 << rng.randrange(8)
        return bytes(changed)
    length = rng.choice((1, 2, 4, 8, 16, 100, 1000))
    if choice == 3:  # one part over another
        source = rng.randrange(size)
        part = data[source : source + length]
        return data[:place] + part + data[place + len(part) :]
    if choice == 4:  # a part twice
        return data[: place + length] + data[place : place + length] + data[place + length :]
    if choice == 5:
        return data[:place] + data[place + length :]
    if choice == 6:
        return data[:place] + rng.choice((*BYTES, rng.randbytes(length), b"\0" * length)) + data[place:]
    if choice == 7:
        value = rng.choice(INTEGERS) % 2**64
        number = struct.pack("<Q", value)[: rng.choice((1, 2, 4, 8))]
        number = number[:: rng.choice((1, -1))]
        return data[:place] + number + data[place + len(number) :]
    return data + rng.choice((data, data[:place], b"\0" * length, b"\n"))


def _place(size: int, rng: random.Random) -> int:
    """Where: half of the time in the first kilobyte or the last, where headers and indices are."""
    near = min(size, 1024)
    return rng.choice((rng.randrange(size), rng.randrange(size), rng.randrange(near), size - 1 - rng.randrange(near)))


def line_edits(data: bytes, rng: random.Random) -> bytes:
    """Lines of text: repeated, left out, exchanged, moved, joined; a number or a word in them replaced."""
    lines = data.split(b"\n")
    place, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    choice = rng.randrange(8)
    if choice == 0:
        lines.insert(other, lines[place])
    elif choice == 1:
        del lines[place]
    elif choice == 2:
        lines[place], lines[other] = lines[other], lines[place]
    elif choice == 3:
        lines[place] = rng.choice((b" ", b"  ", b"\t", b"- ", b"# ")) + lines[place]
    elif choice == 4:
        lines[place] = lines[place].strip()
    elif choice == 5:
        lines.insert(place, lines[other][: rng.randrange(len(lines[other]) + 1)])
    elif choice == 6:
        lines[place] = _one(rb"-?\d+\.?\d*(e-?\d+)?", lines[place], _number(rng).encode(), rng)
    else:
        lines[place] = _one(rb"\w+", lines[place], rng.choice(TEXTS).encode("utf-8", "surrogatepass"), rng)
    return b"\n".join(lines)


def _one(pattern: bytes, text: bytes, new: bytes, rng: random.Random) -> bytes:
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    match = rng.choice(found)
    return text[: match.start()] + new + text[match.end() :]


def _number(rng: random.Random) -> str:
    return rng.choice((*NUMBERS, str(rng.choice(INTEGERS)), repr(rng.gauss(0, 10))))


class _Pairs(list[tuple[Any, Any]]):
    """An object as its pairs, so that a key can stand in it twice."""


class _Raw(str):
    """A text that is written as it is: numbers that no JSON writer gives."""


def json_edits(data: bytes, rng: random.Random) -> bytes:
    """Values, names and places in a JSON document."""
    if len(data) > LARGE and rng.random() < 0.8:
        # Taking all of a tokenizer apart for one value of it takes longer than reading it.
        inner = _INNERMOST.search(data, rng.randrange(len(data)))
        if inner is not None:
            return data[: inner.start()] + json_edits(inner.group(), rng) + data[inner.end() :]
    try:
        tree = json.loads(data, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return bytes_edits(data, rng)
    return _dump(_edited(tree, rng)).encode("utf-8", "surrogatepass")


def jsonl_edits(data: bytes, rng: random.Random) -> bytes:
    """The same in one line of a file of JSON lines."""
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    lines[place] = json_edits(lines[place], rng) if lines[place] else bytes_edits(lines[place], rng)
    return b"\n".join(lines)


def yaml_edits(data: bytes, rng: random.Random) -> bytes:
    """Values, names and places in a YAML document, and what only YAML has: tags, anchors that multiply."""
    if b"&" in data:  # anchors of an edit before this one; taken apart they are what they stand for
        return line_edits(data, rng)
    try:
        tree = _as_pairs(yaml.safe_load(data))
    except (yaml.YAMLError, ValueError, RecursionError):
        return line_edits(data, rng)
    if rng.random() < 0.15:
        bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
        )
        extra = rng.choice(
            (
                bomb,
                "x: !!python/object/apply:os.getcwd []\n",
                "? [a, b]\n: 1\n",
                "<<: *nothing\n",
                "[" * 3000,
                "--- 1\n",
            )
        )
        return data + b"\n" + extra.encode()
    return _dump(_edited(tree, rng)).encode("utf-8", "surrogatepass")


def _as_pairs(value: Any) -> Any:
    if isinstance(value, dict):
        return _Pairs((str(key), _as_pairs(item)) for key, item in value.items())
    if isinstance(value, list):
        return [_as_pairs(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _edited(tree: Any, rng: random.Random) -> Any:
    """The tree with one thing changed."""
    places: list[tuple[Any, int]] = []

    def walk(node: Any) -> None:
        if isinstance(node, list):
            for index, item in enumerate(node):
                places.append((node, index))
                walk(item[1] if isinstance(node, _Pairs) else item)

    walk(tree)
    if not places:
        return _value(tree, rng)
    node, index = rng.choice(places)
    choice = rng.randrange(6)
    if choice == 0:
        del node[index]
    elif choice == 1:  # twice, perhaps with another value
        item = node[index]
        if isinstance(node, _Pairs) and rng.random() < 0.7:
            item = (item[0], _value(item[1], rng))
        node.insert(rng.randrange(len(node) + 1), item)
    elif choice == 2 and isinstance(node, _Pairs):
        name, item = node[index]
        node[index] = (rng.choice((*TEXTS, name + "x", name.upper(), name[:-1])), item)
    elif choice == 3:
        other, place = rng.choice(places)
        source = other[place][1] if isinstance(other, _Pairs) else other[place]
        _put(node, index, _copy(source))
    else:
        old = node[index][1] if isinstance(node, _Pairs) else node[index]
        _put(node, index, _value(old, rng))
    return tree


def _copy(value: Any) -> Any:
    if isinstance(value, _Pairs):
        return _Pairs((name, _copy(item)) for name, item in value)
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _put(node: Any, index: int, value: Any) -> None:
    node[index] = (node[index][0], value) if isinstance(node, _Pairs) else value


def _value(old: Any, rng: random.Random) -> Any:
    """Another value, half of the time of the same kind."""
    if rng.random() < 0.5 and isinstance(old, (int, float)) and not isinstance(old, bool):
        return _Raw(_number(rng))
    if rng.random() < 0.5 and isinstance(old, str):
        return rng.choice((*TEXTS, old + "x", old[:-1], old + rng.choice(TEXTS)))
    deep = _Raw("[" * 5000 + "]" * 5000) if rng.random() < 0.1 else []
    return rng.choice(
        (
            None,
            True,
            False,
            _Raw(_number(rng)),
            rng.choice(TEXTS),
            [],
            _Pairs(),
            deep,
            [old],
            _Pairs([("a", old)]),
            [old] * 1000,
        )
    )


def _dump(value: Any) -> str:
    if isinstance(value, _Raw):
        return str(value)
    if isinstance(value, _Pairs):
        return "{" + ", ".join(f"{json.dumps(str(name))}: {_dump(item)}" for name, item in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_dump, value)) + "]"
    return json.dumps(value)


def xml_edits(data: bytes, rng: random.Random) -> bytes:
    """Elements and attributes of an XML document, and entities."""
    elements = list(re.finditer(rb"<(\w+)[^<>]*/>|<(\w+)[^<>]*>[^<>]*</\2>", data))
    tags = list(re.finditer(rb"</?\w+[^<>]*>", data))
    values = list(re.finditer(rb'(\w+)="([^"]*)"', data))
    choice = rng.randrange(7)
    if choice == 0 and elements:
        match = rng.choice(elements)
        place = rng.choice(elements).start()
        return data[:place] + match.group() * rng.choice((1, 1, 2, 1000)) + data[place:]
    if choice == 1 and elements:
        match = rng.choice(elements)
        return data[: match.start()] + data[match.end() :]
    if choice == 2 and tags:
        match = rng.choice(tags)
        return data[: match.start()] + data[match.end() :]
    if choice == 3 and tags:
        place = rng.choice(tags).end()
        return (
            data[:place]
            + rng.choice((b"<a>" * 20000, b"<a>" * 300 + b"</a>" * 300, b"&lol;", b"<!--", b"]]>"))
            + data[place:]
        )
    if choice == 4:
        entities = b'<!DOCTYPE a [<!ENTITY l0 "lol">' + b"".join(
            b'<!ENTITY l%d "%s">' % (n + 1, b"&l%d;" % n * 10) for n in range(9)
        )
        return (
            entities
            + rng.choice((b"]>", b'<!ENTITY x SYSTEM "file:///etc/passwd">]>'))
            + _one(rb'="[^"]*"', data, b'="&l9;"', rng)
        )
    if not values:
        return bytes_edits(data, rng)
    match = rng.choice(values)
    if choice == 5:
        new = rng.choice(values).group(2)
    else:
        words = match.group(2).split() or [b""]
        words[rng.randrange(len(words))] = rng.choice((_number(rng), rng.choice(TEXTS))).encode(
            "utf-8", "surrogatepass"
        )
        new = b" ".join(words)
    return data[: match.start(2)] + new + data[match.end(2) :]


def zip_edits(inner: Edit) -> Edit:
    """Edits of one member of a zip archive (npz), written back with a right checksum; or of the archive's own order."""

    def edit(data: bytes, rng: random.Random) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = [(item.filename, archive.read(item)) for item in archive.infolist()]
        except Exception:  # an archive that an edit before this one has damaged
            return bytes_edits(data, rng)
        if not members:
            return bytes_edits(data, rng)
        place = rng.randrange(len(members))
        name, content = members[place]
        choice = rng.randrange(8)
        if choice == 0:
            del members[place]
        elif choice == 1:
            members.append((rng.choice((name, "../" + name, "/" + name, "extra.npy")), content))
        elif choice == 2:
            members[place] = (name, rng.choice(members)[1])
        else:
            members[place] = (name, inner(content, rng))
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            for member, bytes_of in members:
                archive.writestr(zipfile.ZipInfo(member), bytes_of)
        return out.getvalue()

    return edit


def npy_edits(data: bytes, rng: random.Random) -> bytes:
    """The header of a .npy file: dtype and shape that the content does not have, with a right length."""
    match = re.match(rb"\x93NUMPY\x01\x00(..)(\{.*?\})\s*\n", data, re.DOTALL)
    if match is None or rng.random() < 0.3:
        return bytes_edits(data, rng)
    header = match.group(2)
    kinds = (b"<f8", b"<f4", b"<f2", b"|O", b"<i8", b"<U5", b"|b1", b"|u1", b"<c16", b"<M8[ns]", b"|V8", b">f8", b"|S3")
    shapes = (b"()", b"(0,)", b"(1,)", b"(2, 2)", b"(-1,)", b"(1000000000000,)", b"(4294967296, 4294967296)", b"(3, 7)")
    if rng.random() < 0.5:
        header = re.sub(rb"'descr': '[^']*'", b"'descr': '%s'" % rng.choice(kinds), header)
    else:
        header = re.sub(rb"'shape': \([^)]*\)", b"'shape': " + rng.choice(shapes), header)
    header = header.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data[match.end() :]


def safetensors_edits(data: bytes, rng: random.Random) -> bytes:
    """The JSON header of a safetensors file, with a right length."""
    if len(data) < 8:
        return bytes_edits(data, rng)
    (length,) = struct.unpack_from("<Q", data)
    if length > len(data) - 8:
        return bytes_edits(data, rng)
    header = json_edits(data[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]
