"""Set-up tries every import of the program, so that none fails later."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest

from setup import imports, requirements


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Makes a package of a name with a source."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return make


def test_imports_are_found_wherever_they_stand():
    text = "import a, b.c as d\nfrom e.f import g\nfrom . import h\nfrom .i import j\ndef k():\n    import l\n"
    assert sorted(imports.imported_names(text)) == ["a", "b.c", "e.f", "l"]


def test_what_only_a_type_checker_reads_is_left_out():
    guarded = "    from _typeshed import Any\nelse:\n    import a\nimport b\n"
    for condition in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        assert sorted(imports.imported_names(f"if {condition}:\n{guarded}")) == ["a", "b"]
    assert sorted(imports.imported_names("if True:\n    import a\n")) == ["a"]


def test_the_standard_library_and_our_own_are_left_out(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("import os.path, ours.part, theirs.one, theirs.two, simpler_env, cotracker\n")
    found = imports.needed([path], frozenset({"ours"}))
    assert found["theirs"] == ["theirs.one", "theirs.two"]
    assert set(found) == {"theirs", *imports.LOADED_BY_NAME}


def test_what_only_some_nodes_import_is_among_what_is_tried():
    files = [path for folder in imports.SOURCES for path in Path(imports.ROOT, folder).rglob("*.py")]
    assert {"pinocchio", "pink", "ruckig", "sapien", "mani_skill", "cyclonedds", "cv2", "mcap", "torch"} <= set(
        imports.needed(files, frozenset())
    )


def test_everything_that_is_tried_can_be_found():
    """What only another environment has is named in ELSEWHERE; otherwise set-up fails on every machine."""
    files = [path for folder in imports.SOURCES for path in Path(imports.ROOT, folder).rglob("*.py")]
    own = frozenset(path.parent.name for path in files if path.name == "__init__.py")
    assert [top for top in imports.needed(files, own) if importlib.util.find_spec(top) is None] == []


def brought_along(names: Iterable[str]) -> set[str]:
    """Distributions and all that they need, by name, as they are installed here."""
    found: set[str] = set()
    waiting = [*names]
    while waiting:
        name = requirements.name_of(waiting.pop())
        if name not in found:
            found.add(name)
            with suppress(metadata.PackageNotFoundError):
                waiting += [need for need in metadata.requires(name) or () if "extra ==" not in need]
    return found


def test_what_only_an_extra_brings_along_is_optional():
    """Otherwise set-up fails on every machine where nobody asked for the extra."""
    files = [path for folder in imports.SOURCES for path in Path(imports.ROOT, folder).rglob("*.py")]
    own = frozenset(path.parent.name for path in files if path.name == "__init__.py")
    always = brought_along(requirements.declared(imports.ROOT)[0])
    makers = metadata.packages_distributions()
    for top in imports.needed(files, own):
        theirs = {requirements.name_of(name) for name in makers.get(top, ())}
        assert not theirs or theirs & always or top in imports.OPTIONAL, f"{top} comes with an extra only"


def test_what_fails_is_told_as_it_is(library):
    text = "libq.so.9: cannot open shared object file"
    broken = library("magma_test_broken", f"print('noise'); raise ImportError({text!r} + '\\nmore')")
    dying = library("magma_test_dying", "import os; os._exit(7)")
    fine = library("magma_test_fine", "")
    assert dict(imports.try_imports({fine: [fine], broken: [broken]})) == {fine: "", broken: f"ImportError: {text}"}
    said = dict(imports.try_imports({fine: [fine], dying: [dying]}))
    assert said[fine] == "" and "ended the process" in said[dying]


def test_one_import_does_not_help_the_next(library):
    first = library("magma_test_first", "import sys; sys.magma_test_loaded = True")
    second = library("magma_test_second", "import sys; sys.magma_test_loaded")
    assert dict(imports.try_imports({first: [first]})) == {first: ""}
    assert "AttributeError" in dict(imports.try_imports({second: [second]}))[second]


def test_a_program_that_a_library_brings_along_is_started(library, tmp_path, monkeypatch):
    name = library("magma_test_driven", "")
    monkeypatch.setattr(imports, "PROGRAMS", {name: "driver"})
    assert "FileNotFoundError" in dict(imports.try_imports({name: [name]}))[name]
    program = tmp_path / "driver"
    program.write_text("#!/bin/sh\n[ $1 = --version ] || exit 3\necho libq.so.9: cannot open >&2\nexit 127\n")
    program.chmod(0o755)
    assert dict(imports.try_imports({name: [name]})) == {name: "libq.so.9: cannot open"}
    program.write_text("#!/bin/sh\necho v1\n")
    assert dict(imports.try_imports({name: [name]})) == {name: ""}
