"""Where commands write is tried before they begin, and what is wrong with it is one sentence."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from magma_contracts.files.outputs import OutputError, check_file, check_folder, explained

NOWHERE = Path("/proc/nowhere")
"""Cannot be made, not even by root."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("mine")
    return path


def test_a_folder_that_can_be_used_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for good in (tmp_path / "there", tmp_path / "new", tmp_path / "new/and/deep"):
        check_folder(good, "--out")
        check_file(good / "page.html", "--out")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_folder_that_cannot_be_used_is_told_with_its_option(file: Path) -> None:
    for bad, why in (
        (file, "is a file; give a folder"),
        (file / "sub/folder", f"cannot be made: {file} is a file"),
        (NOWHERE / "sub", "cannot be written: /proc: "),
    ):
        with pytest.raises(OutputError, match=f"^--out {bad} ") as told:
            check_folder(bad, "--out")
        assert why in str(told.value) and "Errno" not in str(told.value)


def test_a_file_that_cannot_be_written_is_told(file: Path) -> None:
    for bad, why in (
        (file.parent, "is a folder; give the name of a file"),
        (file / "page.html", f"cannot be made: {file} is a file"),
        (NOWHERE, "cannot be written: /proc: "),
    ):
        with pytest.raises(OutputError, match=r"^--plot ") as told:
            check_file(bad, "--plot")
        assert why in str(told.value)
    check_file(file, "--plot")
    assert file.read_text() == "mine"


def test_errors_of_the_system_are_told_without_their_numbers(tmp_path: Path) -> None:
    with pytest.raises(OSError) as error:
        (tmp_path / "no" / "x").write_text("")
    assert explained(error.value) == f"{tmp_path}/no/x: No such file or directory"
    assert explained(OSError("no disk")) == explained(ValueError("no disk")) == "no disk"


COMMANDS = (
    ("magma_sim.demonstrations.command", "--tasks carrot_on_plate --episodes 1 --out BAD"),
    ("magma_eval.command", "run --policy hold --suite tabletop --limit 1 --out BAD"),
    ("magma_eval.command", "merge THERE --out BAD"),
    ("magma_policy.commands.init", "--output BAD"),
    ("magma_policy.commands.track", "THERE --output BAD"),
    ("magma_bringup.demo", "--out BAD"),
    ("magma_policy.commands.act", "THERE/picture.png words --draw BAD/drawn.png"),
    ("magma_policy.commands.chat", "THERE/picture.png words --ask trace --draw BAD/drawn.png"),
    ("magma_recorder.replay_command", "THERE --plot BAD/plot.png"),
)


@pytest.mark.parametrize(("module", "words"), COMMANDS, ids=lambda value: value.split()[0])
@pytest.mark.parametrize("kind", ["a file", "below a file", "not to be made"])
def test_commands_say_in_one_sentence_that_they_cannot_write_there(
    module: str, words: str, kind: str, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {"a file": file, "below a file": file / "sub", "not to be made": NOWHERE}[kind]
    words = words.replace("BAD", str(bad)).replace("THERE", str(file.parent))
    monkeypatch.setattr(sys, "argv", [module, *words.split()])
    try:
        status = import_module(module).main()
    except SystemExit as end:
        status = end.code
    said = status if isinstance(status, str) else capsys.readouterr().err
    assert status and len(said.strip().splitlines()) == 1, said
    assert str(bad) in said and "Errno" not in said and ("--out" in said or "--draw" in said or "--plot" in said)
    assert file.read_text() == "mine"
