"""A copy of `./run` whose environment is a stand-in: its Python says what it was called with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
TELL = """
import json, os, sys
print(json.dumps({"cwd": os.getcwd(), "words": sys.argv[1:], "environment": dict(os.environ)}))
"""


@dataclass(frozen=True)
class Checkout:
    """A checkout and a person's home."""

    root: Path
    venv: Path
    home: Path
    bin: Path
    """first on the PATH"""

    def program(self, folder: Path, name: str, text: str) -> Path:
        """Writes a shell script that can be called."""
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
        return path

    def call(
        self, *words: str, cwd: Path | None = None, given: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs ./run."""
        path = environment.pop("PATH", f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin")
        return subprocess.run(
            [self.root / "run", *words],
            cwd=cwd or self.root,
            input=given,
            env={"HOME": str(self.home), "PATH": path, "LANG": "C.UTF-8", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def told(self, result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
        """What the stand-in of Python said."""
        assert result.returncode == 0, result.stderr
        return json.loads(next(line for line in result.stdout.splitlines() if line.startswith("{")))


@pytest.fixture
def bare_checkout(tmp_path: Path) -> Checkout:
    """A checkout in which nothing is set up, in a path with spaces and a quote."""
    root = tmp_path / "it's a robot"
    root.mkdir()
    shutil.copy(ROOT / "run", root)
    shutil.copytree(ROOT / "setup", root / "setup", ignore=shutil.ignore_patterns("__pycache__"))
    needed = ("policy", "policy/client", "sim", "sim/magma_eval", "ros2_ws/rclpy_dds")
    for name in (*(f"{folder}/pyproject.toml" for folder in needed), "tests/requirements.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for name in ("ros2_ws/src", "launch"):
        (root / name).mkdir()
    checkout = Checkout(root, root / ".venv", tmp_path / "home", tmp_path / "bin")
    checkout.home.mkdir()
    # The system's own may be too old or too new.
    checkout.program(checkout.bin, "python3", f'exec {sys.executable} "$@"')
    return checkout


@pytest.fixture
def checkout(bare_checkout: Checkout) -> Checkout:
    """A checkout that is set up, with a stand-in for Python in its environment."""
    bare_checkout.program(bare_checkout.venv / "bin", "python", f"exec {sys.executable} -c '{TELL}' \"$@\"")
    command = 'ROOT=$1 VENV=$1/.venv PYTHON=python3; . "$ROOT/setup/setup.sh"; fingerprint'
    stamp = subprocess.run(
        ["bash", "-euc", command, "bash", bare_checkout.root],
        env={**os.environ, "PATH": f"{bare_checkout.bin}:/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    (bare_checkout.venv / ".magma-setup").write_text(f"{stamp.strip()}\nall\n")
    return bare_checkout
