"""A launch tells where the operator's page is, and tells it on the terminal alone."""

from __future__ import annotations

import re
import urllib.request

import pytest

TOKEN = "a-token-that-is-in-no-file-at-all"


def test_the_address_is_printed_and_its_token_is_in_no_log(launch, wait, tmp_path, monkeypatch):
    pytest.importorskip("nicegui", reason="the extra `console` is not installed")
    logs = tmp_path / "logs"
    monkeypatch.setenv("ROS_LOG_DIR", str(logs))
    monkeypatch.setenv("MAGMA_CONSOLE_TOKEN", TOKEN)
    started = launch("sim:=none", "policy:=hold", "console:=true", "console_port:=0")
    printed = wait(
        lambda: re.search(
            r"console: open (http://127\.0\.0\.1:\d+/)\S*" + TOKEN, started.log.read_text(errors="replace")
        ),
        "the page's address",
    )
    assert urllib.request.urlopen(printed[1], timeout=60.0).status == 200
    started.interrupt()
    files = [path for path in logs.rglob("*") if path.is_file()]
    assert files and not any(TOKEN in path.read_text(errors="replace") for path in files)
