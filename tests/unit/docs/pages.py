"""The pages of this repository, read for the tests beside this file: headings, links, commands, words in code."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^|\n)\n((?: {4}\S[^\n]*\n)+)")
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_SHELLS = ("sh", "bash")


class Command(NamedTuple):
    """One command of a page, without its comment, and where it stands."""

    page: str
    text: str


@functools.cache
def tracked() -> frozenset[str]:
    """Every file of the repository but build outputs: as git lists it, or as it lies there in an exported tree."""
    git = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return frozenset(name for name in listed.stdout.splitlines() if (ROOT / name).is_file())
    skipped = (".venv", "build", "runs", ".git")
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return frozenset(path.as_posix() for path in found if path.parts[0] not in skipped)


def pages() -> list[str]:
    """Every Markdown page."""
    return sorted(name for name in tracked() if name.endswith(".md"))


@functools.cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@functools.cache
def prose(page: str) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", text_of(page))


@functools.cache
def anchors(page: str) -> frozenset[str]:
    """The anchors that GitHub gives to a page's headings."""
    found: dict[str, int] = {}
    result = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", prose(page), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        count = found[slug] = found.get(slug, -1) + 1
        result.add(f"{slug}-{count}" if count else slug)
    return frozenset(result)


def links(page: str) -> list[str]:
    """Every target of a link or picture that is no address of another site."""
    outside_code = _INLINE.sub("", prose(page))
    # A link's own text may be code.
    named = re.findall(r"\[`[^`\n]+`\]\(([^)\s]+)\)", prose(page))
    found = [*_LINK.findall(outside_code), *named]
    return sorted({target for target in found if not re.match(r"[a-z]+:", target)})


def inline_code(page: str) -> list[str]:
    return _INLINE.findall(prose(page))


def shell_blocks(page: str) -> Iterator[str]:
    """Blocks of commands: fenced as a shell's, or indented."""
    for language, block in _FENCE.findall(text_of(page)):
        if language in _SHELLS:
            yield block
    yield from _INDENTED.findall(prose(page))


def commands(page: str) -> Iterator[Command]:
    """Every command in a page's blocks, with lines that go on joined."""
    for block in shell_blocks(page):
        joined = re.sub(r" *\\\n *", " ", block)
        for line in joined.splitlines():
            bare = re.sub(r"(?:^|\s)#.*", "", line).strip()
            for part in re.split(r" && | ; |; | \| ", bare):
                if part:
                    yield Command(page, part.strip("() "))
