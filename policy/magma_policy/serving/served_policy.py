"""A policy as the server uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magma_contracts.arm_state import STATE_SIZE, ArmState
from magma_policy.families.interface import ActionPolicy, ActionResult, ActRequest, Proprioception

WARM_UP_CALLS = 3
"""The first calls of a model allocate and tune; they are made before the server says it is ready."""


class Served:
    """A loaded policy as the server uses it."""

    def __init__(self, policy: ActionPolicy) -> None:
        self.policy = policy

    @property
    def name(self) -> str:
        """What the policy is called."""
        return self.policy.spec.policy

    @property
    def identity(self) -> str:
        """The policy's content (a hash)."""
        return str(self.policy.identity)

    def new_session(self, robot: str) -> Any:
        """State of one robot's episode; "" is the policy's default robot."""
        return self.policy.new_session(robot)

    def request(self, image: Any, instruction: str, proprioception: ArmState | None, session: Any) -> ActRequest:
        """A checked observation. Raises ObservationError or InstructionError."""
        state = Proprioception.of(proprioception) if proprioception is not None else None
        request = ActRequest(image, instruction, state, session)
        self.policy.check(request)
        return request

    def act_batch(self, requests: Sequence[ActRequest]) -> list[ActionResult]:
        """One call of the model."""
        return list(self.policy.act_batch(requests))

    def warm_up(self) -> None:
        """Makes the first, slow calls."""
        spec = self.policy.spec
        grey = np.full((spec.image_height, spec.image_width, 3), 128, dtype=np.uint8)
        rest = np.zeros(STATE_SIZE)
        rest[[6, 13]] = 1.0  # the identity rotation, twice
        state = ArmState.from_vector(rest) if spec.proprioception else None
        for _ in range(WARM_UP_CALLS):
            self.act_batch([self.request(grey, "do the task", state, self.new_session(""))])
