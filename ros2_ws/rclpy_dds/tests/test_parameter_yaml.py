"""Values as rcl_yaml_param_parser reads them (``get_value`` in its parse.c), and back."""

import math

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from rclpy_dds import parameter_yaml

# Text and what rcl makes of it, by the rules of C's strtoll (base 0) and strtod.
READ = [
    ("1e-6", 1e-6), ("2E6", 2e6), ("5.", 5.0), (".5", 0.5), ("-1.5e+3", -1500.0), ("123E5", 12300000.0),
    ("010", 8), ("08", 8.0), ("0x1F", 31), ("-0x10", -16), ("+7", 7), ("9223372036854775808", 9223372036854775808.0),
    (".inf", math.inf), ("-.INF", -math.inf), ("inf", math.inf), ("1e999", "1e999"),
    ("1_000", "1_000"), ("12:30:45", "12:30:45"), ("2020-01-01", "2020-01-01"), ("0b11", "0b11"), ("0o17", "0o17"),
    ("y", True), ("N", False), ("on", True), ("off", False), ("yES", "yES"), ("null", "null"), ("~", "~"), ("=", "="),
    ("'123E5'", "123E5"), ('"y"', "y"), ("'1'", "1"), ("!!str 5", "5"),
    ("!!bool y", True), ("!!bool foo", "foo"), ("!!bool 'y'", "y"), ("!!int 0x10", 16), ("!!float 1", 1),
    ("!!null x", "x"), ("!!binary YQ==", "YQ=="), ("!!timestamp 2020-01-01", "2020-01-01"), ("!own bar", "bar"),
    ("[!!bool y, no]", [True, False]),
    ("[1e-3, 2e3]", [1e-3, 2e3]), ("{y: 1, 1e3: 2, null: 3}", {"y": 1, "1e3": 2, "null": 3}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), READ)
def test_texts_are_read_as_rcl_reads_them(text, value):
    read = parameter_yaml.load(text)
    assert read == value and type(read) is type(value)


def test_nan_is_a_number():
    assert math.isnan(parameter_yaml.load(".nan")) and math.isnan(parameter_yaml.load("nan"))


scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["C"]), max_size=12),
    st.sampled_from([text for text, _ in READ if text[0] not in "'\"[{!"] + [str(text) for _, text in READ]),
)
parameters = st.one_of(scalars, st.lists(scalars, max_size=4), st.dictionaries(st.text("ayn1e", min_size=1), scalars))


@given(parameters)
@example("123E5")
@example("\xa0")
@example({"serial": "123E5", "tol": 1e-06, "y": "off"})
def test_what_is_written_means_the_same_to_ros_and_to_pyyaml(value):
    for text in (parameter_yaml.dump(value), parameter_yaml.one_line(value)):
        assert parameter_yaml.load(text) == value
        assert yaml.safe_load(text) == value


@pytest.mark.parametrize("text", ["a: [", "[" * 10_000, "!!python/object:os.system {}", "*nothing", "a: b: c"])
def test_what_is_no_yaml_is_a_value_error(text):
    with pytest.raises(ValueError, match="not valid YAML"):
        parameter_yaml.load(text)
