"""YAML from people: nothing in it is lost without a word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_contracts.errors import ConfigError
from magma_policy.files.yaml_files import read_yaml

LARGEST = 4096
BOMB = "a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "'c' twice, in lines 3 and 4"),
        (BOMB, "refers back in line 2"),
        ("a: [", "not valid YAML"),
        ("? [1, 2]\n: 3\n", "not valid YAML"),
        ("a: !!python/object/apply:os.system [x]\n", "not valid YAML"),
        ("[" * 3000, "not valid YAML"),
        ("a: 2026-13-99\n", "not valid YAML"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("a: " + "x" * LARGEST, "larger than"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_the_file(tmp_path, text, told):
    path = tmp_path / "mapping.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told) as caught:
        read_yaml(path, LARGEST)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "none.yaml", LARGEST)
    (tmp_path / "wide.yaml").write_bytes("a: 1\n".encode("utf-16"))
    with pytest.raises(ConfigError, match="UTF-16, not UTF-8"):
        read_yaml(tmp_path / "wide.yaml", LARGEST)


@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_value_or_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("yaml") / "any.yaml"
    path.write_bytes(data)
    try:
        read_yaml(path, LARGEST)
    except ConfigError as error:
        assert "\n" not in str(error)
