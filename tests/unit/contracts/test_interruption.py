"""Ctrl-C ends every command in one sentence, with the status that shells expect."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from magma_common.process import program
from magma_contracts.interruption import ends_on_interrupt
from magma_eval import command as evaluation
from magma_sim.backends.simpler_original import installation
from magma_sim.demonstrations import command as demonstrations


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_is_not_interrupted_goes_its_way(capsys) -> None:
    with ends_on_interrupt("magma-x"):
        pass
    with pytest.raises(ValueError, match="other"), ends_on_interrupt("magma-x"):
        raise ValueError("other")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "module", "work", "main"),
    [
        (["magma-eval", "list"], evaluation.ListCommand, "run", evaluation.main),
        (["magma-demos", "--out", "OUT"], demonstrations, "generate", demonstrations.main),
        (["magma-simpler-setup", "--source", "OUT"], installation, "set_up", installation.main),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_commands_end_with_a_sentence(words, module, work, main, monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(module, work, interrupted)
    monkeypatch.setattr(sys, "argv", [word.replace("OUT", str(tmp_path)) for word in words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 130 and said.startswith(f"{words[0]}: interrupted") and said.count("\n") == 1


def test_programs_of_a_package_do_too(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/magma-replay"])
    for module in (SimpleNamespace(main=interrupted), None):
        monkeypatch.setattr(program.importlib, "import_module", lambda name, m=module: m or interrupted())
        with pytest.raises(SystemExit) as ended:
            program.program_of({"magma-replay": "magma_recorder.replay_command"})()
        assert ended.value.code == 130 and capsys.readouterr().err == "magma-replay: interrupted\n"
