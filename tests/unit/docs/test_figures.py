"""Figures stand once, in docs/results.md, and what other pages repeat of them is the same."""

from __future__ import annotations

import re

import pytest
from pages import anchors, pages, text_of
from scipy.stats import binomtest

RESULTS = "docs/results.md"
STUDIES = (RESULTS, "docs/training.md")
_RATE = re.compile(r"\*{0,2}(\d+)/(\d+)\*{0,2} \[(\d+), (\d+)\] %")


def rates(page: str) -> list[tuple[int, int, int, int]]:
    """Successes, episodes and the interval in per cent, wherever a page gives a rate."""
    return [tuple(map(int, found)) for found in _RATE.findall(text_of(page))]


@pytest.mark.parametrize("page", [page for page in pages() if rates(page)])
def test_intervals_are_wilson_s(page):
    for successes, episodes, low, high in rates(page):
        interval = binomtest(successes, episodes).proportion_ci(0.95, method="wilson")
        expected = round(100 * interval.low), round(100 * interval.high)
        assert (low, high) == expected, f"{page}: {successes}/{episodes} [{low}, {high}] %"


@pytest.mark.parametrize("page", [page for page in pages() if rates(page) and page not in STUDIES])
def test_rates_on_other_pages_are_those_of_the_results(page):
    assert set(rates(page)) <= set(rates(RESULTS))


def test_the_readme_s_results_stand_in_the_sections_that_it_links():
    table = re.search(r"^## Results\n(.*?)^## ", text_of("README.md"), re.MULTILINE | re.DOTALL)
    assert table is not None
    rows = [row.split(" | ") for row in table[1].splitlines() if row.startswith("| ")][1:]
    assert len(rows) >= 4
    for _, measured, link in rows:
        anchor = re.search(r"docs/results\.md#([\w-]+)", link)
        assert anchor is not None and anchor[1] in anchors(RESULTS)
        section = section_of(anchor[1])
        for number in re.findall(r"\d+(?:\.\d+)?", _RATE.sub("", measured)):
            if number != "95":  # of "95th percentile"
                assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.]\d)", section), (
                    f"{number} is not in #{anchor[1]}"
                )


def section_of(anchor: str) -> str:
    """A section of the results, up to the next heading."""
    for part in re.split(r"^(?=##+ )", text_of(RESULTS), flags=re.MULTILINE):
        title = part.splitlines()[0].lstrip("# ").lower()
        if re.sub(r"[^\w\- ]", "", title).replace(" ", "-") == anchor:
            return part
    raise AssertionError(f"no section #{anchor}")


def test_every_section_of_results_says_when_and_how():
    parts = re.split(r"^(?=##+ )", text_of(RESULTS), flags=re.MULTILINE)[1:]
    for part in parts:
        has_figures = re.search(r"^\|.*\d", part, re.MULTILINE)
        if has_figures:
            assert re.search(r"\d{4}-\d{2}-\d{2}", part), part.splitlines()[0]
            assert "`" in part, part.splitlines()[0]


def test_the_readme_is_short():
    assert len(text_of("README.md").splitlines()) <= 120
