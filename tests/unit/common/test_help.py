"""What every command says about itself."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest

from magma_bringup import demo

COMMANDS = {
    entry.name: entry
    for entry in importlib.metadata.entry_points(group="console_scripts")
    if entry.name[:6] == "magma-"
}
EVALUATOR = ("list", "run", "merge", "report", "compare", "power")
CALLS = [(name,) for name in sorted(COMMANDS)] + [("magma-eval", word) for word in EVALUATOR]


def test_the_commands_of_all_packages_are_there():
    assert {"magma-act", "magma-demos", "magma-eval", "magma-export", "magma-serve", "magma-train"} <= set(COMMANDS)


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("words", [*CALLS, ("./run demo",)], ids=" ".join)
def test_options_fit_the_terminal_and_help_shows_no_empty_default(words, columns, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [*words, "--help"])
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as ended:
        demo.parse(["--help"]) if words[0] == "./run demo" else COMMANDS[words[0]].load()()
    shown = capsys.readouterr()
    text = shown.out + shown.err
    assert ended.value.code in (0, None), text
    assert "usage" in text.lower()
    assert "default: )" not in text
    # Paragraphs are the terminal's to wrap; a box would be torn.
    assert [line for line in text.splitlines() if line[:1] in "╭│╰" and len(line) > columns] == []
