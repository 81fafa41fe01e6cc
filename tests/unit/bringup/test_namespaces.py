"""Where the nodes of a launch lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from magma_bringup.launching.namespaces import files_in_namespace, full_namespace
from magma_contracts.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "pushed", "full"),
    [
        ("", "", "/"),
        ("/", "", "/"),
        ("left", "", "/left"),
        ("/left/", "", "/left"),
        ("cell/left", "", "/cell/left"),
        ("", "/cell", "/cell"),
        ("left", "/cell", "/cell/left"),
        ("left", "/cell/", "/cell/left"),
        ("/left", "/cell", "/left"),
    ],
)
def test_namespaces_are_joined_as_launch_joins_them(given, pushed, full):
    assert full_namespace(given, pushed) == full


@pytest.mark.parametrize("given", ["3left", "le ft", "left//right", "left-1", "/links/über", "left:=x", "~"])
def test_what_is_no_namespace_is_refused(given):
    with pytest.raises(ConfigError, match="is no namespace"):
        full_namespace(given)


def test_files_stay_as_they_are_where_there_is_no_namespace(tmp_path):
    path = tmp_path / "place.yaml"
    path.write_text("controller: {ros__parameters: {a: 1}}\n")
    assert files_in_namespace([str(path)], "/") == [str(path)]
    first, second = files_in_namespace([str(path), str(path)], "/left")
    assert first != second and "/left/controller" in Path(first).read_text() == Path(second).read_text()
