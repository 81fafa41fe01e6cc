"""Chromium's own sandbox, which it does not have as root: the browser is started as another user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="Playwright is not installed; run: ./run setup screens")
if shutil.which("chromium") is None:
    pytest.skip("no Chromium here; run: ./run setup screens", allow_module_level=True)

# Opens a page, and tells of every process that draws pages what the kernel says of it.
SCRIPT = """
import json, os, sys
from pathlib import Path
from magma_policy.screens.browser import BrowserSettings, PageBrowser

folder = Path(sys.argv[1])
page = folder / "page.html"
page.write_text("<!doctype html><button>Press</button>")
with PageBrowser(BrowserSettings(folder=folder, width=300, height=200)) as browser:
    browser.open(page.as_uri())
    names = [candidate.name for candidate in browser.view().candidates]
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes()
            lines = (entry / "status").read_text().splitlines()
        except OSError:
            continue
        found[entry.name] = words, dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)
    ours, before = {str(os.getpid())}, 0
    while len(ours) > before:
        before = len(ours)
        ours |= {name for name, (_, status) in found.items() if status["PPid"] in ours}
    drawing = [
        [status["Seccomp"], b"--no-sandbox" in words]
        for name, (words, status) in found.items()
        if name in ours - {str(os.getpid())} and b"--type=renderer" in words
    ]
print(json.dumps({"names": names, "drawing": drawing, "user": os.getuid()}))
"""
# Only the user changes: the interpreter may lie where nobody but root can read.
AS_NOBODY = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that anybody may write to; pytest's own are their maker's alone."""
    made = Path(tempfile.mkdtemp(prefix="magma-sandbox-"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_pages_are_drawn_in_the_sandbox_by_a_user_who_is_not_root(folder: Path):
    before: tuple[str, ...] = ()
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("as root this needs setpriv, of util-linux")
        before = AS_NOBODY
    environment = {**os.environ, "HOME": str(folder), "XDG_CACHE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    done = subprocess.run(
        [*before, sys.executable, "-c", SCRIPT, str(folder)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if "Operation not permitted" in done.stderr and "setpriv" in done.stderr:
        pytest.skip(f"this machine lets nobody become another user: {done.stderr.strip()[-200:]}")
    if "gets no sandbox on this machine" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["names"] == ["Press"] and told["user"] != 0
    # 2 is a filter of system calls, which the sandbox sets and nothing else here does.
    assert told["drawing"] and all(drawn == ["2", False] for drawn in told["drawing"])
