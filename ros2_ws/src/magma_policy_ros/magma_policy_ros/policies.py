"""Where actions come from: a checkpoint loaded in this process, or a policy server in another room. Without ROS."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from magma_contracts.action_spec import ActionSpec
from magma_contracts.arm_state import ArmState
from magma_contracts.imports import import_problem
from magma_contracts.policies import Policy, PolicyResult

if TYPE_CHECKING:
    from magma_policy_client import PolicyClient
    from magma_policy_client.foreign.foreign_client import ForeignClient

WARM_UP_CALLS = 3
"""The first calls of a model allocate and tune; they are made before the policy announces itself."""
RECONNECT_S = 1.0

REST = ArmState(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), 1.0, 1.0)


class ActingPolicy(Policy, Protocol):
    """What the node needs of a policy beyond what every policy offers."""

    @property
    def where(self) -> str: ...
    def use(self, robot: str) -> None: ...
    def was_away(self, error: Exception) -> bool: ...
    def trouble(self) -> str | None: ...
    def close(self) -> None: ...


class PolicyGoneError(RuntimeError):
    """The policy cannot come back as it was; the node must be started again."""


class LocalPolicy:
    """A checkpoint in this process."""

    def __init__(self, checkpoint: str, device: str, threads: int, robot: str, stopping: Callable[[], bool]) -> None:
        """Loads and warms up, which takes seconds. Raises what loading raises."""
        # Imported here because torch takes seconds, and the node answers meanwhile.
        import torch

        import magma_policy
        from magma_policy_client.checkpoint_paths import locate

        if threads:
            torch.set_num_threads(threads)
        self.path = locate(checkpoint)
        self._policy = magma_policy.load(self.path, device=device, robot=robot or None)
        self._session = self._policy.new_session()
        grey = np.full((self.spec.image_height, self.spec.image_width, 3), 128, dtype=np.uint8)
        for _ in range(WARM_UP_CALLS):
            if stopping():
                break
            self.act(grey, "do the task", REST if self.spec.proprioception else None)
        self.reset()

    @property
    def spec(self) -> ActionSpec:
        return self._session.robot.spec

    @property
    def identity(self) -> str:
        """The policy's content (a hash)."""
        return str(self._policy.identity)

    @property
    def where(self) -> str:
        """The checkpoint's folder, or its name on the Hugging Face Hub."""
        return str(self.path.resolve()) if isinstance(self.path, Path) else str(self.path)

    def use(self, robot: str) -> None:
        """Acts for another of the checkpoint's robots from now on; for its default one if it does not know the name."""
        self._session = self._policy.new_session(robot if robot in self._policy.robots else "")

    def reset(self) -> None:
        """A new episode begins."""
        self._session.reset()

    def act(self, pixels: np.ndarray, instruction: str, state: ArmState | None) -> PolicyResult:
        """One action chunk. Raises what the policy raises."""
        from magma_policy.families.interface import ActRequest, Proprioception

        proprioception = None if state is None else Proprioception.of(state)
        return self._policy.act_batch([ActRequest(pixels, instruction, proprioception, self._session)])[0]

    def was_away(self, error: Exception) -> bool:
        return False

    def trouble(self) -> str | None:
        return None

    def close(self) -> None:
        pass


class RemotePolicy:
    """A policy server. A lost server costs actions, never the node: each call looks for it again."""

    def __init__(self, connect: Callable[[str], PolicyClient | ForeignClient], deadline_s: float) -> None:
        """`connect` makes a client for a robot by name, "" for the server's default one; raises what that raises."""
        self._connect = connect
        self._client = connect("")
        self._deadline_s = deadline_s
        self._new_episode = False

    @property
    def spec(self) -> ActionSpec:
        return self._client.spec

    @property
    def identity(self) -> str:
        """The policy's content, as its server says; "" from one that does not know."""
        return self._client.identity

    @property
    def where(self) -> str:
        """The server's address."""
        return self._client.url

    def use(self, robot: str) -> None:
        """Acts for another of the server's robots from now on; for its default one if it does not know the name.

        Raises:
            PolicyClientError: the server cannot be reached.
            PolicyGoneError: the server has another policy now.
        """
        before, after = self._client, self._connect(robot if robot in self._client.robots else "")
        if after.identity != before.identity:
            after.close()
            raise PolicyGoneError(
                f"{before.url} served content {before.identity[:12] or 'unknown'} before and serves "
                f"{after.identity[:12] or 'unknown'} now, another policy"
            )
        self._client = after
        before.close()

    def reset(self) -> None:
        """A new episode begins. The server is told with the next action, as often as it takes until it knows."""
        self._new_episode = True

    def act(self, pixels: np.ndarray, instruction: str, state: ArmState | None) -> PolicyResult:
        """One action chunk within the deadline.

        Raises:
            PolicyClientError: none, and why.
            PolicyGoneError: the server has another policy now.
        """
        from magma_policy_client import SpecChangedError

        until_s = time.monotonic() + self._deadline_s
        try:
            if self._new_episode:
                self._client.reset(timeout_s=self._deadline_s)
                self._new_episode = False
            return self._client.act(pixels, instruction, state, max(1e-3, until_s - time.monotonic()))
        except SpecChangedError as error:
            raise PolicyGoneError(str(error)) from error

    def was_away(self, error: Exception) -> bool:
        """Whether `act` failed because nobody answered, which says nothing about what was answered before."""
        from magma_policy_client import ConnectionLostError, PolicyTimeoutError, RefusedError

        busy = isinstance(error, RefusedError) and error.code in ("overloaded", "stopping")
        return busy or isinstance(error, (ConnectionLostError, PolicyTimeoutError))

    def trouble(self) -> str | None:
        """What is wrong with the connection, for a person to read."""
        return None if self._client.connected else f"policy server {self._client.url} is gone; looking for it"

    def close(self) -> None:
        self._client.close()


def connect(
    url: str,
    token: str | None,
    deadline_s: float,
    waiting: Callable[[str], None],
    stop: Callable[[float], bool],
) -> RemotePolicy | None:
    """Connects to a server, waiting for one that is not there yet.

    Args:
        url: an address as `magma_policy_client.addresses` has them.
        token: what the server asks for, if anything.
        deadline_s: for connecting once, and for each action later.
        waiting: told why there is no connection yet, before each further try.
        stop: sleeps for so many seconds and returns whether to give up.

    Returns:
        The policy; None when `stop` said so.

    Raises:
        ValueError, RefusedError, VersionMismatchError: trying again would not help.
    """
    try:
        from magma_policy_client import PolicyClientError, RefusedError, VersionMismatchError
        from magma_policy_client.addresses import open_policy
    except ImportError as error:
        said = import_problem(error, "pip install ./ros2_ws/src/magma_contracts ./policy/client", "magma_policy_client")
        raise ValueError(f"policies on a server need magma-policy-client, and {said}") from error

    while True:
        try:
            return RemotePolicy(lambda robot: open_policy(url, token, deadline_s, robot), deadline_s)
        except VersionMismatchError:
            raise
        except RefusedError as error:
            if error.code == "token":
                raise
            waiting(str(error))
        except PolicyClientError as error:
            waiting(str(error))
        if stop(RECONNECT_S):
            return None
