"""The robots that are known by name."""

from __future__ import annotations

from magma_contracts.errors import ConfigError
from magma_policy.embodiments.adapter import Adapter
from magma_policy.embodiments.deltas import DeltaAdapter
from magma_policy.embodiments.google_robot.adapter import GoogleRobotAdapter
from magma_policy.embodiments.widowx.adapter import WidowXAdapter

ADAPTER_CLASSES: dict[str, type[Adapter]] = {
    "deltas": DeltaAdapter,
    "widowx": WidowXAdapter,
    "google_robot": GoogleRobotAdapter,
}


def make_adapter(name: str) -> Adapter:
    """A fresh adapter; raises ConfigError for an unknown name."""
    if name not in ADAPTER_CLASSES:
        raise ConfigError(f"no adapter {name!r}; there are {sorted(ADAPTER_CLASSES)}")
    return ADAPTER_CLASSES[name]()
