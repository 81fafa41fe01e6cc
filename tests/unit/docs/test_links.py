"""What a page points at is there: pages, headings, pictures, files."""

from __future__ import annotations

import posixpath
import re

import pytest
from pages import ROOT, anchors, inline_code, links, pages, tracked

# Words in pages that look like files of this repository and are somebody else's, or made by a reader.
NOT_OURS = frozenset({"magma_model.py"})
TOP = sorted({name.split("/")[0] for name in tracked() if "/" in name})
OURS = re.compile(rf"(?:(?:{'|'.join(map(re.escape, TOP))})/[\w./-]+|[\w-]+\.(?:py|sh))(?:::[\w:]+)?")


def resolved(page: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page):
    for link in links(page):
        target, _, anchor = link.partition("#")
        path = resolved(page, target) if target else page
        path = f"{path}/README.md" if f"{path}/README.md" in tracked() else path
        assert path in tracked(), f"{page} links to {link}, which is not there"
        if anchor:
            assert anchor in anchors(path), f"{page} links to {link}, but {path} has no such heading"


def is_there(page: str, name: str) -> bool:
    """Whether a word names a file or a folder, from the root or a folder above the page, or a file by its name alone.

    After ``::`` stands something in that file.
    """
    path, _, inside = name.partition("::")
    path = path.rstrip("/")
    above = page.split("/")[:-1]
    froms = ["/".join([*above[:depth], path]) for depth in range(len(above) + 1)]
    folders = [each for each in froms if any(other.startswith(each + "/") for other in tracked())]
    files = [each for each in froms if each in tracked()]
    files += [other for other in tracked() if "/" not in path and other.endswith("/" + path)]
    if not inside:
        return bool(folders or files)
    return any(re.search(rf"\b{inside.split('::')[-1]}\b", (ROOT / each).read_text(encoding="utf-8")) for each in files)


@pytest.mark.parametrize("page", [page for page in pages() if page != "CHANGELOG.md"])
def test_files_that_a_page_names_exist(page):
    for code in inline_code(page):
        for word in code.split():
            placeholder = re.search(r"/[A-Z]+\b", word) or word.startswith("build/")
            if OURS.fullmatch(word) and word not in NOT_OURS and not placeholder:
                assert is_there(page, word), f"{page} names {word}, which is not there"


def test_a_dead_link_a_dead_anchor_and_a_dead_file_are_found(tmp_path, monkeypatch):
    import pages as reader

    page = tmp_path / "page.md"
    page.write_text("# A heading\n[a](gone.md) [b](#no) [c](#a-heading) `[d](code.md)`\n```sh\n[e](block.md)\n```\n")
    with monkeypatch.context() as patch:
        patch.setattr(reader, "ROOT", tmp_path)
        assert reader.links("page.md") == ["#a-heading", "#no", "gone.md"]
        assert reader.anchors("page.md") == {"a-heading"}
    assert not is_there("README.md", "tests/unit/test_that_was_never_there.py")
    assert is_there("README.md", "tests/unit/docs/test_links.py::test_links_lead_somewhere")
    assert not is_there("README.md", "tests/unit/docs/pages.py::test_that_is_not_in_it")
