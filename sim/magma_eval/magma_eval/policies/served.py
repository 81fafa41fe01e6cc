"""Policies behind a policy server, asked over a connection; see `magma_policy_client`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from magma_eval.actions import Deltas
from magma_eval.policies.choice import PolicyChoice
from magma_eval.policies.interface import PolicyFailedError, PolicyMismatchError, PolicySpec
from magma_policy_client import LocalServer, PolicyClient, PolicyClientError, SpecChangedError
from magma_policy_client.addresses import open_policy
from magma_policy_client.foreign.foreign_client import ForeignClient


class RemotePolicy:
    """A policy server, asked over the network; see `magma_policy_client`."""

    def __init__(self, client: PolicyClient | ForeignClient, session: str, deadline_s: float) -> None:
        spec = client.spec
        self.spec = PolicySpec(
            name=spec.policy,
            needs_image=True,
            reads_state=spec.proprioception,
            horizon=spec.horizon,
            step_period_s=spec.step_period_s,
            frame=spec.frame,
            rotation=spec.rotation,
            gripper=spec.gripper,
            camera=spec.camera,
            image_height=spec.image_height,
            image_width=spec.image_width,
        )
        self.stage_ms: Mapping[str, float] = {}
        self._client, self._session, self._deadline_s = client, session, deadline_s

    def reset(self, instruction: str) -> None:
        del instruction
        try:
            self._client.reset(self._session)
        except SpecChangedError as error:
            raise PolicyMismatchError(str(error)) from error
        except PolicyClientError as error:
            raise PolicyFailedError(f"{type(error).__name__}: {error}") from error

    def act(self, observation: Any) -> Deltas:
        if observation.image is None:
            raise PolicyFailedError("the task gave no picture to a policy that needs one")
        image = fitted(observation.image, self.spec)
        state = observation.end_effector if self.spec.reads_state else None
        try:
            result = self._client.act(image, observation.instruction, state, self._deadline_s)
        except SpecChangedError as error:
            raise PolicyMismatchError(str(error)) from error
        except PolicyClientError as error:
            raise PolicyFailedError(f"{type(error).__name__}: {error}") from error
        self.stage_ms = result.stage_ms
        return result.deltas

    def close(self) -> None:
        pass


def fitted(image: NDArray[np.uint8], spec: PolicySpec) -> NDArray[np.uint8]:
    """The image in the policy's size, scaled as the camera node of the robot does it (area averaging)."""
    if spec.image_height is None or spec.image_width is None:
        return image
    if image.shape[:2] == (spec.image_height, spec.image_width):
        return image
    size = (spec.image_width, spec.image_height)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def served_identity(choice: PolicyChoice, url: str, token: str, deadline_s: float) -> str:
    """The content of the policy on a server, as it says itself. Raises PolicyFailedError when it cannot be asked."""
    try:
        with open_policy(url, token or None, deadline_s) as client:
            return client.identity
    except (PolicyClientError, ValueError) as error:
        raise PolicyFailedError(f"the policy server {choice.text} cannot be used: {error}") from error


def start_server(choice: PolicyChoice, log: Path, timeout_s: float) -> LocalServer:
    """A policy server of this run for a `magma:` policy. Raises PolicyFailedError when it does not start in time."""
    try:
        return LocalServer(choice.argument, device=choice.device, threads=choice.threads, timeout_s=timeout_s, log=log)
    except PolicyClientError as error:
        raise PolicyFailedError(str(error)) from error
