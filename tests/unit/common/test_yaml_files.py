"""YAML that people pass on."""

from __future__ import annotations

import pytest

from magma_common.settings.yaml_files import LARGEST_BYTES, parse_yaml, read_yaml
from magma_contracts.errors import ConfigError
from magma_contracts.text import LONGEST


def test_what_yaml_says_is_read_anchors_and_merges_included() -> None:
    text = "base: &base {a: 1, b: [x, z]}\nmine: {<<: *base, b: []}\nempty:\n"
    assert parse_yaml(text) == {"base": {"a": 1, "b": ["x", "z"]}, "mine": {"a": 1, "b": []}, "empty": None}
    assert parse_yaml("") is None


@pytest.mark.parametrize(
    "text, said",
    [
        ("a: 1\nb: 2\na: 3\n", "'a' twice, in lines 1 and 3"),
        ("x: {limit: 1, limit: 2}", "'limit' twice"),
        ("x: [", "line"),
        ("a: 1\n--- 1\n", "single document"),
        ("[a, b]: 1", "no name|unhashable"),
        ("x: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("x: *nothing", "undefined alias"),
        ("x: &x [*x]", "too many"),
        ("[" * 5000, "nested too deeply|valid YAML"),
        ("x: " + "9" * 5000, "valid YAML"),
        ("x: \x1b[2J", "valid YAML"),
        ("x: \ud83d", "valid YAML"),
    ],
)
def test_what_is_lost_blown_up_or_no_yaml_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        parse_yaml(text)
    assert str(refused.value).isprintable() and len(str(refused.value)) <= LONGEST


def test_aliases_that_multiply_are_refused_before_anything_is_made_of_them() -> None:
    levels = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(ConfigError, match="too many"):
        parse_yaml(levels)


def test_files_that_are_no_text_or_too_large(tmp_path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("é: 1".encode("latin1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        read_yaml(path)
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(path) == {"a": 1}
    path.write_bytes(b"#" * (LARGEST_BYTES + 1))
    with pytest.raises(ConfigError, match="MiB"):
        read_yaml(path)
    for missing in (tmp_path, tmp_path / "nothing.yaml"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_yaml(missing)
