"""The one file that imports Ray: a cluster is started, joined and left; actors are placed on its machines, asked, heard
and ended. What they do, and what becomes of it, is decided elsewhere (`ray_pool`, `ray_policies`, `ray_jobs`).

Importing this file needs Ray, an extra that one machine does without: whoever can work without it imports it late.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import ray
from ray._raylet import AuthenticationTokenLoader, Config, GcsClient
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from magma_eval.pools.nodes import Node

Asked = Any
"""What an actor was asked, until it is answered."""

_QUIET = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False, "namespace": "magma"}
_BESIDE = "beside"


class ActorError(Exception):
    """There is no answer; the message is a line for people."""


class ActorLostError(ActorError):
    """The actor is gone, with its machine or alone."""


class ActorUnreachableError(ActorError):
    """The actor cannot be reached now; it may be later, and what it was asked may be asked again."""


class ActorRaisedError(ActorError):
    """What was asked has raised.

    Args:
        text: a line for people.
        cause: what was raised.
    """

    def __init__(self, text: str, cause: BaseException | None) -> None:
        super().__init__(text)
        self.cause = cause


def start(folder: Path, cores: int, object_store_bytes: int) -> None:
    """Starts a cluster of this machine, whose driver this process is. Raises whatever Ray raises."""
    own = {"num_cpus": cores, "object_store_memory": object_store_bytes, "include_dashboard": False}
    ray.init(address="local", _temp_dir=str(folder), **own, **_QUIET)


def join(address: str) -> None:
    """Makes this process a driver of a cluster. Raises whatever Ray raises."""
    ray.init(address=address, **_QUIET)


def leave() -> None:
    """Ends this process' part in a cluster; one that it has started ends. No effect without one."""
    ray.shutdown()


def read_settings_again() -> None:
    """Ray reads its variables when it is imported, and keeps the first token that it sees for as long as it lives."""
    # In this order, as Ray's own tests do it: whoever asks for a token in between finds the new mode.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def ask_cluster(address: str) -> None:
    """Asks a cluster for its machines without joining it. Raises whatever Ray raises where it does not answer."""
    GcsClient(address=address).get_all_node_info(timeout=10)


def head_address() -> str:
    """HOST:PORT of the cluster that this process has joined."""
    return str(ray.get_runtime_context().gcs_address)


def session_folder() -> Path:
    """Of the node that this process, a driver or a worker, belongs to."""
    return Path(ray._private.worker._global_node.get_session_dir_path())


def own_node() -> tuple[str, str]:
    """Name and address of the node that this process belongs to."""
    return str(ray.get_runtime_context().get_node_id()), str(ray.util.get_node_ip_address())


def nodes() -> dict[str, Node]:
    """The machines that are there, by name."""
    draining = ray._private.state.state.get_draining_nodes()
    return {
        node["NodeID"]: Node(
            node["NodeID"], node["NodeManagerAddress"], node["Resources"].get("CPU", 0.0), node["NodeID"] in draining
        )
        for node in ray.nodes()
        if node["Alive"]
    }


class Actor:
    """An object on a machine of the cluster, which is asked one thing after another. It ends with this process.

    Args:
        kind: its class, which the machine imports by name.
        arguments: of it.
        cores, gpus: what it takes, as Ray counts.
        node: where it must be; "": where there is room, as evenly as possible.
        beside: methods that are answered while another is at work.
    """

    def __init__(
        self,
        kind: type[Any],
        *arguments: Any,
        cores: float = 1.0,
        gpus: float = 0.0,
        node: str = "",
        beside: Collection[str] = (),
    ) -> None:
        where: Any = NodeAffinitySchedulingStrategy(node, soft=False) if node else "SPREAD"
        # A lost actor is not restarted by Ray: its place may be gone, and its machine is to be looked at again.
        made = ray.remote(
            num_cpus=cores,
            num_gpus=gpus,
            max_restarts=0,
            scheduling_strategy=where,
            concurrency_groups={_BESIDE: 1},
        )(kind)
        self._handle = made.remote(*arguments)
        self._beside = frozenset(beside)

    def ask(self, method: str, *arguments: Any) -> Asked:
        """Asks for something; `answer` has what comes of it."""
        asked = getattr(self._handle, method)
        if method in self._beside:
            asked = asked.options(concurrency_group=_BESIDE)
        return asked.remote(*arguments)

    def kill(self) -> None:
        """Ends it at once."""
        ray.kill(self._handle)


def answered(asked: Sequence[Asked], timeout_s: float) -> list[Asked]:
    """Those that have an answer; waits until there is one, but no longer than this."""
    if not asked:
        return []
    ready, _ = ray.wait(list(asked), timeout=timeout_s)
    if ready and len(asked) > 1:
        ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=0.0)
    return list(ready)


def wait_for_all(asked: Sequence[Asked], timeout_s: float) -> None:
    """Waits until all have an answer, but no longer than this."""
    if asked:
        ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s)


def answer(asked: Asked) -> Any:
    """What an actor has answered; waits for it.

    Raises:
        ActorError: there is none, and why.
    """
    try:
        return ray.get(asked)
    except ray.exceptions.ActorUnavailableError as error:
        raise ActorUnreachableError(_line(error, 0)) from error
    except ray.exceptions.RayTaskError as error:
        # The lines before are Ray's own calls.
        raise ActorRaisedError(_line(error, -1), error.cause) from error
    except ray.exceptions.RayError as error:
        raise ActorLostError(_line(error, 0)) from error


def _line(error: BaseException, which: int) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[which] if lines else type(error).__name__)[:400]
