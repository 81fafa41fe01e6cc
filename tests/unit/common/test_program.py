"""A library that is missing ends a program with one sentence."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from rclpy.node import Node

from magma_common.process.node_main import run_node
from magma_common.process.program import program_of


def broken(tmp_path, monkeypatch, text):
    (tmp_path / "broken_program.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["/somewhere/lib/broken"])
    monkeypatch.delitem(sys.modules, "broken_program", raising=False)
    return program_of({"broken": "broken_program"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import no_such_library.part\n",
            f"broken cannot start: {sys.executable} has no package no_such_library; source",
        ),
        (
            "raise ImportError('libGL.so.1: no such file')\n",
            "broken cannot start: an import failed: libGL.so.1: no such",
        ),
    ],
)
def test_an_import_that_fails_is_told_in_one_sentence(tmp_path, monkeypatch, text, said):
    main = broken(tmp_path, monkeypatch, text)
    with pytest.raises(SystemExit) as end:
        main()
    assert str(end.value).startswith(said) and "docs/ros2.md" in str(end.value)


def test_a_program_that_can_be_imported_returns_its_status(tmp_path, monkeypatch):
    assert broken(tmp_path, monkeypatch, "def main(): return 7\n")() == 7


def test_an_unknown_name_is_told(tmp_path, monkeypatch):
    main = broken(tmp_path, monkeypatch, "")
    monkeypatch.setattr(sys, "argv", ["other"])
    with pytest.raises(SystemExit, match="other is no program of this package, which has: broken"):
        main()


def test_a_library_that_a_node_wants_later_is_told_too(capsys, monkeypatch):
    class Wanting(Node):
        def __init__(self):
            super().__init__("wanting")
            import no_such_library  # noqa: F401

    monkeypatch.setenv("ROS_DOMAIN_ID", "4")
    assert run_node(Wanting, []) == 1
    assert "has no package no_such_library" in capsys.readouterr().err


def test_an_empty_list_that_a_stock_node_cannot_take_is_told_in_a_sentence(capsys, monkeypatch):
    """As stock rclpy has it: `-p topics:=[]` ends the making of a node that declares what it is given."""

    def make():
        raise ValueError("Cannot declare a statically typed parameter with default value of type PARAMETER_NOT_SET")

    monkeypatch.setenv("ROS_DOMAIN_ID", "4")
    assert run_node(make, []) == 2
    assert "an empty list" in capsys.readouterr().err


def test_another_error_of_a_node_is_not_hidden(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "4")
    with pytest.raises(ValueError, match="invalid literal"):
        run_node(lambda: int("x"), [])


PACKAGES = Path(__file__).resolve().parents[3] / "ros2_ws" / "src"


def programs_of(setup_file: Path) -> dict[str, str]:
    """The console scripts of a package: what each name starts."""
    calls = [node for node in ast.walk(ast.parse(setup_file.read_text())) if isinstance(node, ast.keyword)]
    points = [ast.literal_eval(call.value) for call in calls if call.arg == "entry_points"]
    scripts = [script for entry in points for script in entry.get("console_scripts", [])]
    return dict(script.replace(" ", "").split("=") for script in scripts)


@pytest.mark.parametrize(
    "package", sorted(path.parent.name for path in PACKAGES.glob("*/setup.py") if programs_of(path))
)
def test_every_program_is_started_by_its_name(package):
    """The nodes without exception: each of them imports what an environment may lack."""
    started = programs_of(PACKAGES / package / "setup.py")
    assert set(started.values()) == {f"{package}.programs:main"}
    source = (PACKAGES / package / package / "programs.py").read_text()
    (table,) = (ast.literal_eval(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Dict))
    assert table.keys() == started.keys()
    assert all(find_spec(module) for module in table.values())


@pytest.mark.parametrize(
    "name",
    ["camera_source", "controller", "episode_runner", "joy_teleop", "live_view", "policy", "recorder", "simulator"],
)
def test_the_installed_programs_do_so(name):
    # Without the environment's packages, but with our own.
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('cv2', 'av', 'simplejpeg', 'magma_sim', 'mcap', 'numpy'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from importlib.metadata import entry_points\n"
        f"(entry,) = entry_points(group='console_scripts', name={name!r})\n"
        f"sys.argv = [{name!r}]\n"
        "sys.exit(entry.load()())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"{name} cannot start: " in done.stderr and "has no package" in done.stderr
