"""What a configuration's values are checked with at construction."""

from __future__ import annotations

from collections.abc import Iterable

from magma_contracts.errors import ConfigError
from magma_policy.errors import shown


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def require_size(value: int, largest: int, what: str) -> None:
    """Sizes beyond any model would fill the memory before a weight is looked at."""
    require(1 <= value <= largest, f"{what} must be positive and at most {largest}, got {shown(value)}")


def require_word(value: str, what: str) -> None:
    """Names are printed, sent to other programs and used in file names."""
    plain = value.isprintable() and value.strip() == value and 0 < len(value) <= 128
    require(plain, f"{what} must be 1 to 128 printable characters without spaces around them, got {shown(value)}")


def require_ranges(
    config: object, positive: Iterable[str] = (), not_negative: Iterable[str] = (), fractions: Iterable[str] = ()
) -> None:
    """ConfigError for the first of the named fields that does not lie where it must; fractions lie in [0, 1). What is
    not a number lies nowhere."""
    for name in positive:
        require(getattr(config, name) > 0, f"{name} must be positive, got {getattr(config, name)}")
    for name in not_negative:
        require(getattr(config, name) >= 0, f"{name} must not be negative, got {getattr(config, name)}")
    for name in fractions:
        require(0.0 <= getattr(config, name) < 1.0, f"{name} must lie in [0, 1), got {getattr(config, name)}")
