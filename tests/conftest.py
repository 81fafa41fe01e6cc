"""What all tests share: tests marked `render` are skipped, with the reason, where no Vulkan device can render; and
`tests/benchmarks` can be looked into."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

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


@pytest.fixture(scope="session")
def load_benchmark() -> Iterator[Callable[[str], ModuleType]]:
    """Loads a file of `tests/benchmarks`, for a little of what it measures at length."""
    loaded = []

    def load(name: str) -> ModuleType:
        path = Path(__file__).parent / "benchmarks" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"{name}_benchmark", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up by its name
        loaded.append(spec.name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in loaded:
        sys.modules.pop(name, None)
