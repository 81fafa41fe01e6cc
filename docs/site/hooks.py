"""Hooks of MkDocs: pages that lie beside the code become pages of the site, and Markdown is read as GitHub reads it.

A page's links are those of the repository, so that they work where the files lie. Here a link to another page leads to
that page of the site, and a link to any other file to a copy of it, as text.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from markdown import Markdown
from markdown.extensions import Extension
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = "docs/"
BESIDE_THE_CODE = (
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "policy/**/README.md",
    "sim/**/README.md",
    "ros2_ws/**/README.md",
    "ros2_ws/rclpy_dds/docs/*.md",
)
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_CODE = re.compile(r"(^```.*?^```[^\n]*$|^ *```.*?^ *```[^\n]*$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_TEXT = re.compile(r"(?!\s|[-*] |\d+\. |\|).")
_BLOCK = re.compile(r"^(?:[-*] |\d+\. |\|)")


class _TwoSpaces(Extension):
    """What belongs to an item of a list is indented by two spaces, as in CommonMark; Python-Markdown wants four."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 (Python-Markdown's name)
        md.tab_length = 2


def on_config(config: MkDocsConfig) -> None:
    """Adds the extension above, which has no name of its own."""
    config.markdown_extensions.append(_TwoSpaces())  # type: ignore[arg-type]


def pages_beside_the_code(root: Path = ROOT) -> list[str]:
    """Paths in the repository."""
    found = {path.relative_to(root).as_posix() for pattern in BESIDE_THE_CODE for path in root.glob(pattern)}
    return sorted(found)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages beside the code."""
    for path in pages_beside_the_code():
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def in_repository(uri: str) -> str:
    """Where a page or file of the site lies in the repository."""
    return uri if (ROOT / uri).is_file() and not (ROOT / DOCS / uri).is_file() else DOCS + uri


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns the repository's links into the site's, and sets lists and tables apart as Python-Markdown wants it."""
    here = in_repository(page.file.src_uri)
    return outside_code(separate_blocks(markdown), lambda text: relink(text, here, page, config, files))


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """Applies a change to what is neither a block of code nor code in a line."""
    parts = _CODE.split(markdown)
    return "".join(part if index % 2 else change(part) for index, part in enumerate(parts))


def separate_blocks(markdown: str) -> str:
    """An empty line before a list or table that follows a line of text at once."""
    lines: list[str] = []
    fenced = False
    for line in markdown.split("\n"):
        before = lines[-1] if lines else ""
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and _BLOCK.match(line) and _TEXT.match(before):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


def relink(text: str, here: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrites the links of a text that lies at `here` in the repository."""

    def replaced(match: re.Match[str]) -> str:
        target, hash_sign, anchor = match[2].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(here), unquote(target)))
        path = f"{path}/README.md" if (ROOT / path / "README.md").is_file() else path
        uri = path.removeprefix(DOCS)
        if files.get_file_from_path(uri) is None:
            if not (ROOT / path).is_file():
                return match[0]  # left for --strict to complain about
            uri = f"source/{path}.txt"
            if files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, content=(ROOT / path).read_bytes()))
        return match[1] + relative(uri, page.file.src_uri) + hash_sign + anchor + match[3]

    return _LINK.sub(replaced, text)


def relative(uri: str, origin: str) -> str:
    """The way from one page of the site to another."""
    return posixpath.relpath(uri, posixpath.dirname(origin) or ".")
