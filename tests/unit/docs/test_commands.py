"""Every command that a page shows exists, with the flags, launch arguments and parameters that it is given there.

Nothing is started: parsers are asked for their help, launch files and configurations are read.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.util
import io
import itertools
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import ROOT, Command, commands, inline_code, pages, text_of, tracked

from magma_policy.commands.train import RECIPES

WORKSPACE = ROOT / "ros2_ws/src"
# Programs of other projects, whose options are theirs.
WITH_VERBS = ("magma-eval", "magma-recording", "magma-data", "rclpy-dds")
"""programs whose first word decides which options there are"""
OTHERS = frozenset(
    {
        "chmod",
        "curl",
        "export",
        "openssl",
        "pip",
        "ray",
        "source",
        "sudo",
        "torchrun",
        "accelerate",
        "git",
        "ruff",
        ".venv-lmms-eval/bin/python",
    }
)
# Commands of an installed ROS 2 that rclpy_dds does not have; pages name them for such an installation.
STOCK_ONLY = frozenset({"security", "bag"})
# Options that pages name of programs that are not ours.
# Misspelt on purpose, to show what is said then.
MISSPELT = frozenset({"forse_n"})
OTHER_OPTIONS = frozenset(
    {"--symlink-install", "--ros-args", "--from-paths", "--ignore-src", "--help", "--log_samples", "--include_path"}
)


def shown() -> list[Command]:
    """Every command of every page, without what only stands before it."""
    return [command for page in pages() for command in commands(page)]


def words_of(command: Command) -> list[str]:
    """A command's words, without variables that are set for it."""
    words = shlex.split(command.text.replace("`", "'"))
    while words and re.fullmatch(r"[A-Z_0-9]+=.*", words[0]):
        words = words[1:]
    return words


@functools.cache
def programs() -> dict[str, str]:
    """Console scripts of this repository: name -> `module:function`."""
    found: dict[str, str] = {}
    for name in tracked():
        if name.endswith("pyproject.toml"):
            block = re.search(r"^\[project\.scripts\]\n(.*?)(?=^\[|\Z)", text_of(name), re.MULTILINE | re.DOTALL)
            found |= dict(re.findall(r'^([\w-]+) = "([\w.:]+)"', block[1] if block else "", re.MULTILINE))
        elif name.startswith("ros2_ws/src/") and name.endswith("/setup.py"):
            found |= dict(re.findall(r'"([\w-]+) = ([\w.]+:\w+)"', text_of(name)))
    return found


@functools.cache
def executables() -> dict[str, set[str]]:
    """What `ros2 run` finds: package -> names."""
    found = {}
    for setup in WORKSPACE.glob("*/setup.py"):
        found[setup.parent.name] = set(re.findall(r'"([\w-]+) = [\w.]+:\w+"', setup.read_text(encoding="utf-8")))
    return found


@functools.cache
def help_of(name: str, *verbs: str) -> str:
    """What a console script prints for `--help`, asked in this process so that it imports nothing twice."""
    module, _, function = programs()[name].partition(":")
    printed = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        patch.setattr(sys, "argv", [name, *verbs, "--help"])
        patch.setenv("COLUMNS", "250")
        patch.setenv("NO_COLOR", "1")
        with contextlib.suppress(SystemExit):
            getattr(importlib.import_module(module), function)()
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue())


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w.-]*", text))


def refuse_options(command: Command, words: list[str], known: str) -> str | None:
    """Which option of some words is not in a help text, in a sentence."""
    for word in words:
        if word.startswith("-") and len(word) > 1 and not re.fullmatch(r"-[\d.]+", word):
            name = word.partition("=")[0]
            if name not in options_in(known) and name.replace("_", "-") not in options_in(known):
                return f"{command.page}: `{command.text}`: there is no {name}"
    return None


def refuse(command: Command) -> str | None:
    """Why a command of a page cannot be right, or None."""
    return refuse_words(command, words_of(command))


def refuse_words(command: Command, words: list[str]) -> str | None:
    first, rest = words[0], words[1:]
    if first in OTHERS:
        return None
    if first == "./run":
        return refuse_run(command, rest)
    if first == "ros2":
        return refuse_ros2(command, rest)
    if first == "pytest":
        return refuse_paths(command, rest)
    if first in ("python", "python3"):
        return refuse_python(command, rest)
    if first == "rclpy-dds" or first in programs():
        verbs = [word for word in rest[:1] if first in WITH_VERBS and word.isalpha()]
        if first == "magma-train" and "--recipe" in rest:
            # The recipe decides what other options there are.
            verbs = rest[rest.index("--recipe") :][:2]
        return refuse_options(command, rest, help_of(first, *verbs))
    return f"{command.page}: `{command.text}`: there is no command {first}"


def refuse_run(command: Command, rest: list[str]) -> str | None:
    if not rest:
        return None
    cases = re.search(r"^case \"\$command\" in\n(.*?)^esac", text_of("run"), re.MULTILINE | re.DOTALL)
    assert cases is not None
    known = {name for names in re.findall(r"^    ([\w|-]+)\)", cases[1], re.MULTILINE) for name in names.split("|")}
    if rest[0] not in known:
        return f"{command.page}: `{command.text}`: ./run knows no {rest[0]}"
    if rest[0] == "exec":
        return refuse_words(command, rest[1:]) if rest[1:] else None
    if rest[0] == "demo":
        return refuse_options(command, rest[1:], demo_help())
    if rest[0] == "setup-simpler":
        return refuse_options(command, rest[1:], help_of("magma-simpler-setup"))
    return None


@functools.cache
def demo_help() -> str:
    """Of `python -m magma_bringup.demo`, which `./run demo` is."""
    from magma_bringup import demo

    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", ["demo", "--help"])
        patch.setenv("COLUMNS", "250")
        with contextlib.suppress(SystemExit):
            demo.main()
    return printed.getvalue()


def refuse_python(command: Command, rest: list[str]) -> str | None:
    if rest[0] == "-m":
        if rest[1] == "pytest":
            return refuse_paths(command, rest[2:])
        if rest[1] == "magma_bringup.demo":
            return refuse_options(command, rest[2:], demo_help())
        if importlib.util.find_spec(rest[1]) is None:
            return f"{command.page}: `{command.text}`: there is no module {rest[1]}"
        return None
    if rest[0] not in tracked():
        return f"{command.page}: `{command.text}`: there is no file {rest[0]}"
    source = text_of(rest[0])
    # A script's options are in its argparse calls, or are the fields of its dataclasses.
    fields = {"--" + name.replace("_", "-") for name in re.findall(r"^ +(\w+): ", source, re.MULTILINE)}
    return refuse_options(command, rest[1:], " ".join([source, *fields, "--help"]))


def refuse_paths(command: Command, rest: list[str]) -> str | None:
    for word in rest:
        if "/" in word and not (ROOT / word.partition("::")[0]).exists():
            return f"{command.page}: `{command.text}`: there is no {word}"
    return None


@functools.cache
def launch_arguments() -> dict[str, set[str]]:
    """Launch file -> its arguments."""
    return {
        path.name: set(re.findall(r'DeclareLaunchArgument\(\s*"(\w+)"', path.read_text(encoding="utf-8")))
        for path in (ROOT / "launch").glob("*.launch.py")
    }


@functools.cache
def parameters(package: str) -> set[str]:
    """Names of the parameters of a package's nodes: the fields of its configurations."""
    found: set[str] = set()
    for path in (WORKSPACE / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found |= {
                    each.target.id
                    for each in node.body
                    if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
                }
    return found


def refuse_ros2(command: Command, rest: list[str]) -> str | None:
    if rest[0] in STOCK_ONLY:
        return None
    where = f"{command.page}: `{command.text}`"
    if rest[0] == "launch" and rest[1] == "magma_bringup":
        known = launch_arguments().get(rest[2])
        if known is None:
            return f"{where}: there is no launch file {rest[2]}"
        given = {word.partition(":=")[0] for word in rest[3:] if ":=" in word}
        return f"{where}: {rest[2]} has no argument {sorted(given - known)}" if given - known else None
    if rest[0] == "run" and rest[1] in executables():
        if rest[2] not in executables()[rest[1]]:
            return f"{where}: {rest[1]} has no program {rest[2]}"
        if "--ros-args" in rest:
            given = {word.partition(":=")[0] for before, word in itertools.pairwise(rest) if before == "-p"}
            if given - parameters(rest[1]):
                return f"{where}: {rest[1]} has no parameter {sorted(given - parameters(rest[1]))}"
            return None
        return refuse_options(command, rest[3:], demo_help()) if rest[2] == "demo" else None
    if rest[:2] == ["param", "set"] and rest[2] == "/controller" and rest[3] not in parameters("magma_control"):
        return f"{where}: the controller has no parameter {rest[3]}"
    return refuse_tool(where, rest)


def refuse_tool(where: str, words: list[str]) -> str | None:
    """What rclpy_dds' `ros2` says to a command line."""
    tool = pytest.importorskip("rclpy_dds.cli.main")
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            tool._parser(words[0])[0].parse_args(words)
    except SystemExit as end:
        return f"{where}: {said.getvalue().strip().splitlines()[-1]}" if end.code else None
    return None


@pytest.mark.parametrize("page", sorted({command.page for command in shown()}))
def test_commands_of_a_page_exist(page):
    refused = [refusal for command in commands(page) if (refusal := refuse(command))]
    assert not refused, "\n".join(refused)


def test_what_is_wrong_with_a_command_is_found():
    wrong = {
        "./run fly": "fly",
        "./run exec magma-eval run --suit tabletop": "--suit",
        "magma-teach --out x": "magma-teach",
        "magma-demos --no-pictures": "--no-pictures",
        "ros2 launch magma_bringup robot.launch.py speed:=fast": "speed",
        "ros2 launch magma_bringup arm.launch.py": "arm.launch.py",
        "ros2 run magma_teleop joystick": "joystick",
        "ros2 run magma_recorder recorder --ros-args -p folder:=x": "folder",
        "ros2 param set /controller slowness 1": "slowness",
        "ros2 topic hear /x": "hear",
        "python tests/benchmarks/nothing.py": "nothing.py",
        "python tests/benchmarks/faults.py --everything": "--everything",
        "pytest tests/nothing": "tests/nothing",
    }
    for text, named in wrong.items():
        refusal = refuse(Command("page.md", text))
        assert refusal is not None and named in refusal.removeprefix(f"page.md: `{text}`"), text


def words_in_line(page: str) -> Iterator[str]:
    for code in inline_code(page):
        yield from re.split(r"[\s,;()\[\]']+", code)


@functools.cache
def all_launch_words() -> set[str]:
    every = set().union(*launch_arguments().values())
    for package in executables():
        every |= parameters(package)
    return every | MISSPELT | {"sigterm_timeout", "sigkill_timeout", "name", "__ns", "__node"}  # ROS 2's own


@functools.cache
def all_options() -> set[str]:
    """Every option that any program or script of this repository knows, as its source or help says it."""
    found = set(OTHER_OPTIONS) | options_in(demo_help()) | options_in(text_of("run"))
    for name in programs():
        if name.startswith("magma-"):
            found |= options_in(help_of(name))
    for verb in ("run", "list", "report", "compare", "merge", "power"):
        found |= options_in(help_of("magma-eval", verb))
    for recipe in RECIPES:
        found |= options_in(help_of("magma-train", "--recipe", recipe))
    for name in tracked():
        if name.endswith(".py") and name.startswith(("tests/benchmarks/", "ros2_ws/rclpy_dds/", "setup/")):
            found |= options_in(text_of(name))
            found |= {
                "--" + field.replace("_", "-") for field in re.findall(r"^    (\w+): ", text_of(name), re.MULTILINE)
            }
    return found


@pytest.mark.parametrize("page", [page for page in pages() if page != "CHANGELOG.md"])
def test_options_and_arguments_that_a_sentence_names_exist(page):
    for word in words_in_line(page):
        if match := re.fullmatch(r"(\w+):=.*", word):
            assert match[1] in all_launch_words(), f"{page} names the argument {match[1]}, which nothing has"
        if re.fullmatch(r"--[a-z][\w.-]*", word):
            assert word in all_options(), f"{page} names the option {word}, which nothing has"


@pytest.mark.parametrize("page", [page for page in pages() if page.startswith("ros2_ws/src/")])
def test_parameters_in_a_package_s_tables_exist(page):
    package = Path(page).parts[2]
    for header, rows in re.findall(
        r"^(\| *(?:parameter|name)[^\n]*default[^\n]*)\n\|[-|: ]+\n((?:\|[^\n]*\n?)+)", text_of(page), re.MULTILINE
    ):
        for row in rows.splitlines():
            for name in re.findall(r"`(\w+)`", row.split("|")[1]):
                assert name in parameters(package), f"{page}: {header.strip()}: {package} has no parameter {name}"
