"""A library that cannot be imported is told as it is: missing, or there and broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from magma_contracts.imports import import_problem

BROKEN = "libsomething.so.7: cannot open shared object file: No such file or directory"


def test_a_missing_package_is_named_with_the_remedy():
    error = ModuleNotFoundError("No module named 'pink'", name="pink")
    assert import_problem(error, "pip install x", "pinocchio", "pink") == "pink is not installed: pip install x"


@pytest.mark.parametrize(
    "error",
    [
        ImportError(BROKEN),
        ImportError("cannot import name 'a' from 'pink'", name="pink"),
        ModuleNotFoundError("No module named 'qpsolvers'", name="qpsolvers"),
    ],
)
def test_what_is_there_and_broken_is_told_as_it_is(error):
    said = import_problem(error, "pip install x", "pinocchio", "pink")
    assert str(error) in said and "not installed" not in said and "pip install" not in said


def _kinematics_with(folder: Path, text: str) -> str:
    (folder / "pinocchio").mkdir()
    (folder / "pinocchio" / "__init__.py").write_text(text)
    result = subprocess.run(
        [sys.executable, "-c", "import magma_control.motion.kinematics"],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    return result.stderr.splitlines()[-1]


def test_kinematics_names_the_system_library_that_pinocchio_lacks(tmp_path):
    said = _kinematics_with(tmp_path, f"raise ImportError({BROKEN!r})")
    assert BROKEN in said and "not installed" not in said


def test_kinematics_names_the_package_that_is_not_there(tmp_path):
    said = _kinematics_with(tmp_path, "raise ModuleNotFoundError(\"No module named 'pinocchio'\", name='pinocchio')")
    assert "pinocchio is not installed: pip install pin pin-pink daqp" in said
