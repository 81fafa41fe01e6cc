"""Which model points: a checkpoint that is loaded in this process, or a server in another room. Without ROS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from magma_contracts.errors import ConfigError
from magma_contracts.files.server_tokens import read_token
from magma_contracts.grounding import Pointer
from magma_contracts.imports import import_problem

LOCAL = "kosmos2:"


def loader(model: str, device: str, threads: int, token_file: str, deadline_s: float) -> Callable[[], Pointer]:
    """What loads or connects when it is called; for a checkpoint it can be called again, for a server too.

    Args:
        model: kosmos2:FOLDER, or the address of a server (ws://host:port).
        device: where a checkpoint runs; auto, cuda or cpu.
        threads: CPU threads of a checkpoint, 0 = torch's own choice.
        token_file: of a server; "" takes the environment's.
        deadline_s: for connecting to a server, and for its answers.

    Raises:
        ConfigError: no such model, before anything is loaded.
    """
    if is_server(model):
        return _remote(model.strip(), token_file, deadline_s)
    if not model.startswith(LOCAL) or not model.removeprefix(LOCAL).strip():
        raise ConfigError(
            f"{model!r} names no model that points; give kosmos2:FOLDER of a checkpoint of KOSMOS-2, or ws://host:port "
            "of a magma-serve that serves one"
        )
    return _local(model.removeprefix(LOCAL).strip(), device, threads)


def is_gone(error: Exception) -> bool:
    """Whether a server has another model now: the next question makes a connection of its own."""
    try:
        from magma_policy_client import PolicyChangedError
    except ImportError:
        return False
    return isinstance(error, PolicyChangedError)


def is_server(model: str) -> bool:
    """Whether a model's name is the address of a server."""
    return model.strip().lower().startswith(("ws://", "wss://"))


def _remote(url: str, token_file: str, deadline_s: float) -> Callable[[], Pointer]:
    try:
        from magma_policy_client import GroundingClient
        from magma_policy_client.connected_client import check_url
    except ImportError as error:
        said = import_problem(error, "pip install ./ros2_ws/src/magma_contracts ./policy/client", "magma_policy_client")
        raise ConfigError(f"a model on a server needs magma-policy-client, and {said}") from error
    try:
        check_url(url)
        token = read_token(token_file)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return lambda: GroundingClient(url, token, deadline_s)


def _local(name: str, device: str, threads: int) -> Callable[[], Pointer]:
    try:
        from magma_policy_client.checkpoint_paths import CheckpointNotFoundError, locate
    except ImportError as error:
        said = import_problem(error, "pip install ./policy", "magma_policy_client")
        raise ConfigError(f"a checkpoint in this process needs magma-policy, and {said}") from error
    try:
        place = locate(name)
    except CheckpointNotFoundError as error:
        raise ConfigError(str(error)) from error
    if isinstance(place, Path) and not (place / "config.json").is_file():
        raise ConfigError(f"{place}: no checkpoint is here, for there is no config.json")

    def load() -> Pointer:
        # torch takes seconds to import, and the node answers meanwhile.
        import torch

        from magma_policy.families import registry

        if threads:
            torch.set_num_threads(threads)
        return registry.load_pointer(place, device, None)

    return load
