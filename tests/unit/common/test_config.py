from dataclasses import dataclass

import pytest

from magma_common.settings.config import HIGHER, LOWER, NodeConfig, ParameterInfo, loosens, parameter
from magma_contracts.errors import ConfigError


@dataclass(frozen=True)
class Example(NodeConfig):
    rate_hz: float = parameter(10.0, "Rate.", minimum=1.0, maximum=100.0)
    count: int = parameter(3, "Count.", minimum=0)
    name: str = parameter("a", "Name.", choices=("a", "b"))
    enabled: bool = parameter(True, "Enabled.")
    corner_m: tuple[float, float, float] = parameter((0.0, 0.0, 0.0), "Corner.", minimum=-1.0, maximum=1.0)
    names: tuple[str, ...] = parameter((), "Names.")

    def check(self) -> None:
        if self.count > self.rate_hz:
            raise ConfigError("count exceeds rate_hz")


def test_whole_numbers_and_lists_from_yaml_become_the_declared_types():
    config = Example.from_mapping({"rate_hz": 20, "corner_m": [0, 1, -1], "names": ["x"]})
    assert config.rate_hz == 20.0 and isinstance(config.rate_hz, float)
    assert config.corner_m == (0.0, 1.0, -1.0)
    assert config.names == ("x",)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"rate": 1.0}, "unknown parameter rate; Example knows .*rate_hz"),
        ({"rate_hz": 0.5}, "rate_hz must be at least 1.0, got 0.5"),
        ({"rate_hz": 101.0}, "rate_hz must be at most 100.0"),
        ({"rate_hz": float("nan")}, "rate_hz must be finite"),
        ({"rate_hz": "fast"}, "rate_hz takes a float, got 'fast'"),
        ({"rate_hz": True}, "rate_hz takes a float, got True"),
        ({"count": 1.5}, "count takes a int, got 1.5"),
        ({"count": True}, "count takes a int, got True"),
        ({"enabled": 1}, "enabled takes a bool, got 1"),
        ({"name": "c"}, "name must be one of a, b, got 'c'"),
        ({"corner_m": [0.0, 0.0]}, "corner_m takes 3 values, got 2"),
        ({"corner_m": [0.0, 0.0, 2.0]}, r"corner_m\[2\] must be at most 1.0"),
        ({"corner_m": 1.0}, "corner_m takes a list of float"),
        ({"names": "ab"}, "names takes a list of str"),
        ({"count": 50}, "count exceeds rate_hz"),
    ],
)
def test_what_is_not_allowed_is_named(values, text):
    with pytest.raises(ConfigError, match=text):
        Example.from_mapping(values)


def test_replace_checks_the_whole():
    config = Example().replace({"count": 9})
    assert config.count == 9
    with pytest.raises(ConfigError, match="count exceeds"):
        config.replace({"rate_hz": 5.0})


def test_a_field_without_description_is_refused():
    @dataclass(frozen=True)
    class Bare(NodeConfig):
        rate_hz: float = 1.0

    with pytest.raises(ConfigError, match=r"parameter\(default, description\)"):
        Bare()


@pytest.mark.parametrize(
    ("tighter", "off", "before", "after", "loose"),
    [
        (LOWER, None, 1.0, 1.5, True),
        (LOWER, None, 1.0, 0.5, False),
        (LOWER, None, 1.0, 1.0, False),
        (HIGHER, None, 1.0, 0.5, True),
        (HIGHER, None, False, True, False),
        (HIGHER, None, True, False, True),
        ("", None, "a", "b", True),
        ("", None, "a", "a", False),
        (LOWER, None, (1.0, 2.0), (0.5, 2.1), True),
        (LOWER, None, (1.0, 2.0), (0.5, 2.0), False),
        (HIGHER, None, (1.0, 2.0), (1.5, 1.9), True),
        (LOWER, 0.0, 1.0, 0.0, True),
        (LOWER, 0.0, 0.0, 60.0, False),
        (LOWER, 0.0, 0.0, 0.0, False),
        (LOWER, 0.0, 1.0, 0.5, False),
    ],
)
def test_which_way_a_limit_becomes_looser(tighter, off, before, after, loose):
    assert loosens(ParameterInfo("a limit", tighter=tighter, off=off), before, after) is loose
