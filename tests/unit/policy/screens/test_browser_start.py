"""A browser that does not start is told in one sentence, with what helps."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright", reason="Playwright is not installed; run: ./run setup screens")

from magma_policy.errors import CommandError
from magma_policy.screens import browser
from magma_policy.screens.browser import BrowserSettings, PageBrowser


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("FATAL: No usable sandbox! Update your kernel", "apt-get install chromium-sandbox"),
        ("error while loading shared libraries: libnss3.so", "does not start"),
    ],
)
def test_a_program_that_ends_at_once(tmp_path, said, told):
    program = tmp_path / "chromium"
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(CommandError, match=told) as caught:
        PageBrowser(BrowserSettings(executable=program, sandbox=False))
    assert "\n" not in str(caught.value)


def test_a_driver_that_ends_at_once(monkeypatch):
    class Broken:
        def start(self):
            raise Exception("Connection closed while reading from the driver")

    monkeypatch.setattr(browser, "sync_playwright", Broken)
    with pytest.raises(CommandError, match="setup screens"):
        PageBrowser(BrowserSettings(executable="/bin/true", sandbox=False))
