"""Checkpoints by their Hugging Face name. Only data files are fetched, never code or pickled weights."""

from __future__ import annotations

from pathlib import Path

from magma_policy_client.checkpoint_paths import HUB_ID

FILES = ("*.json", "*.safetensors")


class HubError(RuntimeError):
    """The repository cannot be had."""


def resolve(path_or_hub_id: str | Path) -> Path:
    """The directory itself, or the local snapshot of `owner/name` or `owner/name@revision` from the Hub.

    A directory of that name wins. Raises HubError when there is neither: no such repository, no access or no network.
    """
    path = Path(path_or_hub_id).expanduser()
    if path.is_dir() or isinstance(path_or_hub_id, Path):
        return path
    match = HUB_ID.fullmatch(path_or_hub_id)
    if match is None:
        return path
    # Imported here because nothing else needs it, and a robot computer need not have it.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(match["repository"], revision=match["revision"], allow_patterns=list(FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise HubError(
            f"{path_or_hub_id!r} is no directory here, and could not be fetched from the Hub: "
            f"{type(error).__name__}: {reason}. Fetch it where there is a network (hf download {match['repository']} "
            "--local-dir DIR) and give that directory"
        ) from error
    return Path(found)
