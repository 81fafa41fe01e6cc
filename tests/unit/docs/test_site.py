"""The site is built strictly: every page, link and heading; and it asks no other machine for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from pages import ROOT, pages

pytest.importorskip("material", reason="needs the extra docs: ./run setup docs")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_page_is_on_the_site(site):
    for page in pages():
        if page == "README.md" or page.startswith(".github/"):
            continue  # the site begins with docs/index.md
        path = site / page.removeprefix("docs/")
        built = path.with_name("index.html") if path.name == "README.md" else path.with_suffix(".html")
        assert built.is_file(), f"{page} is not on the site"


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.rglob("*.html"):
        fetched = re.findall(r'<(?:script|img|iframe)[^>]*src="(https?:[^"]*)"', page.read_text(encoding="utf-8"))
        fetched += re.findall(
            r'<link[^>]*rel="(?:stylesheet|preconnect|icon)"[^>]*href="(https?:[^"]*)"',
            page.read_text(encoding="utf-8"),
        )
        assert not fetched, f"{page.relative_to(site)} fetches {fetched}"


def test_links_to_sources_lead_to_a_copy_as_text(site):
    link = re.search(r'href="([^"]*constraints\.txt[^"]*)"', (site / "first_steps.html").read_text(encoding="utf-8"))
    assert link is not None
    copy = site / link[1]
    assert copy.read_bytes() == (ROOT / "setup/constraints.txt").read_bytes()


def test_blocks_are_read_as_github_reads_them(site):
    html = (site / "training.html").read_text(encoding="utf-8")
    assert re.search(
        r"<li>.{0,400}?<div class=\"highlight\">", html, re.DOTALL
    )  # a block of code within an item of a list
