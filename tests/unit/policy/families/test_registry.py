"""A checkpoint's config.json says its family; nobody outside of a family knows more of it than its front."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import magma_policy
from magma_contracts.errors import ConfigError
from magma_policy.families import registry

PACKAGE = Path(magma_policy.__file__).parent


def folder(path, **config):
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_the_config_says_the_family(tmp_path, tiny_checkpoint):
    assert registry.family_of(tiny_checkpoint) == "magma", "this project's own layout names none"
    assert registry.family_of(folder(tmp_path / "named", model_type="magma")) == "magma"
    by_class = folder(tmp_path / "class", model_type="other", architectures=["MagmaForCausalLM"])
    assert registry.family_of(by_class) == "magma"


@pytest.mark.parametrize("said", ["llava", "x" * 10_000, "\x1b[2J"])
def test_another_family_is_refused_in_one_sentence(tmp_path, said):
    with pytest.raises(ConfigError, match=r"names no family of models.*'magma'") as caught:
        magma_policy.load(folder(tmp_path / "other", model_type=said))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


@pytest.mark.parametrize("said", [None, 7, ["magma"], {"magma": 1}])
def test_what_is_no_name_is_left_to_the_reader_of_this_projects_files(tmp_path, said):
    assert registry.family_of(folder(tmp_path / "odd", model_type=said)) == "magma"


def test_a_family_that_is_not_known_is_refused():
    with pytest.raises(ConfigError, match="no family of models 'nobody'"):
        registry.family("nobody")


def test_a_family_talks_only_where_its_entry_says_so(tmp_path, monkeypatch):
    added = registry.Entry("magma_policy.families.added", ("Added",))
    monkeypatch.setattr(registry, "FAMILIES", {**registry.FAMILIES, "added": added})
    with pytest.raises(ConfigError, match="a checkpoint of added, which acts and does not talk"):
        registry.require_talking(folder(tmp_path / "added", model_type="added"))
    registry.require_talking(folder(tmp_path / "magma", model_type="magma"))


def test_no_family_is_imported_before_it_is_asked_for():
    code = (
        "import sys, magma_policy.families.registry\n"
        "unwanted = ('torch', 'transformers', 'magma_policy.families.magma')\n"
        "loaded = [name for name in sys.modules if name.startswith(unwanted)]\n"
        "assert not loaded, loaded[:5]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def imports_of(path):
    """Modules that a file names in its imports, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def submodules(of):
    return {path.stem for path in (PACKAGE / of).iterdir() if path.suffix == ".py"} - {"__init__"}


def test_outside_of_a_family_only_its_front_is_known():
    for entry in registry.FAMILIES.values():
        home = PACKAGE / Path(*entry.package.split(".")[1:])
        inside = {f"{entry.package}.{name}" for name in submodules(home)}
        for path in PACKAGE.rglob("*.py"):
            if home not in path.parents:
                deep = [name for name in imports_of(path) if name in inside or name.rpartition(".")[0] in inside]
                assert not deep, f"{path.relative_to(PACKAGE)} knows {deep}"


@pytest.mark.parametrize(
    ("room", "unknown"),
    [
        ("training/loop", ("magma_policy.training.recipes", "magma_policy.families")),
        ("inference", ("magma_policy.families.magma", "magma_policy.training", "magma_policy.commands")),
        ("embodiments", ("magma_policy.families", "magma_policy.training", "magma_policy.serving")),
        ("marks", ("magma_policy.families", "magma_policy.training", "magma_policy.commands")),
        ("files", ("magma_policy.families", "magma_policy.training", "magma_policy.commands")),
        ("demonstrations", ("magma_policy.families", "magma_policy.training", "magma_policy.commands")),
        ("families", ("magma_policy.training", "magma_policy.serving", "magma_policy.commands")),
        ("serving", ("magma_policy.families.magma", "magma_policy.training", "magma_policy.commands")),
    ],
)
def test_rooms_know_only_what_lies_below_them(room, unknown):
    for path in (PACKAGE / room).rglob("*.py"):
        wrong = [name for name in imports_of(path) if name.startswith(unknown)]
        assert not wrong, f"{path.relative_to(PACKAGE)} imports {wrong}"
