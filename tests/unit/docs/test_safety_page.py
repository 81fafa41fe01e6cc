"""Every test that docs/safety.md names for a guarantee exists."""

from __future__ import annotations

import re
from pathlib import PurePath

import pytest
from pages import inline_code, text_of, tracked

PAGE = "docs/safety.md"
NAMED = re.compile(r"^(?P<file>[\w/]*\.py)(?:::(?P<name>\w+))?")


def named() -> list[str]:
    """Names of tests and benchmarks, as the page writes them."""
    return sorted({code for code in inline_code(PAGE) if NAMED.match(code)})


def test_the_page_names_tests():
    assert len(named()) > 20


@pytest.mark.parametrize("code", named())
def test_it_exists(code):
    found = NAMED.match(code)
    files = [name for name in tracked() if PurePath(name).match(found["file"])]
    assert len(files) == 1, f"{code}: {files}"
    if found["name"]:
        assert re.search(rf"(def|class) {found['name']}\b", text_of(files[0])), code
