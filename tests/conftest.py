"""What all tests share: tests marked `render` are skipped, with the reason, where no Vulkan device can render."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest


@functools.cache
def why_not_rendering() -> str | None:
    """Why this machine cannot render, or None. Asked in a process of its own: a broken driver may take it down."""
    command = [sys.executable, "-m", "magma_sim.render_check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if result.returncode == 0:
        return None
    lines = (result.stderr or result.stdout).strip().splitlines()
    return lines[-1] if lines else f"the renderer ended with status {result.returncode}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("render") is not None:
        reason = why_not_rendering()
        if reason is not None:
            pytest.skip(f"cannot render here: {reason}")
