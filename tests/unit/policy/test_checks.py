"""Ranges of settings, told by the setting's name."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from magma_contracts.errors import ConfigError
from magma_policy.checks import require_ranges
from magma_policy.training.config import TrainConfig

NAN = float("nan")


@dataclass(frozen=True)
class Settings:
    rate: float = 1.0
    decay: float = 0.0
    share: float = 0.5

    def __post_init__(self) -> None:
        require_ranges(self, positive=("rate",), not_negative=("decay",), fractions=("share",))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"rate": 0.0}, "rate must be positive, got 0.0"),
        ({"rate": NAN}, "rate must be positive, got nan"),
        ({"decay": -1e-9}, "decay must not be negative, got -1e-09"),
        ({"decay": NAN}, "decay must not be negative, got nan"),
        ({"share": 1.0}, r"share must lie in \[0, 1\), got 1.0"),
        ({"share": NAN}, r"share must lie in \[0, 1\), got nan"),
    ],
)
def test_what_lies_outside_is_told(wrong, told):
    Settings()
    with pytest.raises(ConfigError, match=told):
        Settings(**wrong)


def test_a_training_has_no_rate_that_is_no_number(tmp_path):
    with pytest.raises(ConfigError, match="learning_rate must be positive"):
        TrainConfig(demonstrations=(tmp_path,), output=tmp_path / "run", learning_rate=NAN)
