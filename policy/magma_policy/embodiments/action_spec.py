"""What the actions of a checkpoint's robot mean: the contract, and how the model's own seven values become them."""

from __future__ import annotations

from dataclasses import dataclass

from magma_contracts import action_spec as contract
from magma_contracts.action_spec import LARGEST_SIDE, LONGEST_HORIZON, LONGEST_STEP_S
from magma_policy.checks import require, require_size, require_word

ADAPTERS = ("deltas", "widowx", "google_robot")
"""Names that `ActionSpec.adapter` may have; the classes are in `magma_policy.embodiments.adapter`."""


@dataclass(frozen=True)
class ActionSpec(contract.ActionSpec):
    """The contract's fields, judged at construction, and `adapter`, which names what turns the model's own seven values
    into such deltas (`magma_policy.embodiments.adapter`): "deltas" when they are it already.
    """

    adapter: str = "deltas"

    def __post_init__(self) -> None:
        require(self.adapter in ADAPTERS, f"action_spec adapter must be one of {ADAPTERS}, got {self.adapter!r}")
        for name in ("policy", "statistics_key", "camera"):
            require_word(getattr(self, name), f"action_spec {name}")
        require_size(self.horizon, LONGEST_HORIZON, "action_spec horizon")
        require(self.step_period_s > 0, f"action_spec step_period_s must be positive, got {self.step_period_s}")
        require(
            self.step_period_s <= LONGEST_STEP_S, f"action_spec step_period_s is in seconds, got {self.step_period_s}"
        )
        require(self.frame == "base", f"action_spec frame {self.frame!r} is not supported, only 'base'")
        require(
            self.rotation == "axis_angle", f"action_spec rotation {self.rotation!r} is not supported, only 'axis_angle'"
        )
        require(
            self.gripper == "absolute_open_1",
            f"action_spec gripper {self.gripper!r} is not supported, only 'absolute_open_1'",
        )
        for side in (self.image_height, self.image_width):
            require_size(side, LARGEST_SIDE, "action_spec image size")
