"""Checkpoints by their Hugging Face name. Only data files are fetched, never code or pickled weights."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from magma_policy_client.checkpoint_paths import HUB_ID

FILES = ("*.json", "*.safetensors")
PARTS_NOT_FETCHED = ("action_head--*", "proprio_projector--*")
"""Pickled parts of a model (OpenVLA-OFT's): what lies beside them is half of one, and looks whole without them."""
LISTING_TIMEOUT_S = 10.0


class HubError(RuntimeError):
    """The repository cannot be had."""


def resolve(path_or_hub_id: str | Path, files: Sequence[str] = FILES) -> Path:
    """The directory itself, or the local snapshot of `owner/name` or `owner/name@revision` from the Hub; of that no
    more than `files` need be there, patterns as for `FILES`.

    A directory of that name wins. Raises HubError when there is neither: no such repository, no access or no network;
    and before any weight is fetched of a repository whose model has parts that are not (`PARTS_NOT_FETCHED`).
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

    if tuple(files) == FILES:
        _require_all_parts(match["repository"], match["revision"])
    try:
        found = snapshot_download(match["repository"], revision=match["revision"], allow_patterns=list(files))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise HubError(
            f"{path_or_hub_id!r} is no directory here, and could not be fetched from the Hub: "
            f"{type(error).__name__}: {reason}. Fetch it where there is a network (hf download {match['repository']} "
            "--local-dir DIR) and give that directory"
        ) from error
    return Path(found)


def _require_all_parts(repository: str, revision: str | None) -> None:
    """Looks at the names of a repository's files, where the Hub can be asked. Raises HubError."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    try:
        listed = HfApi().model_info(repository, revision=revision, timeout=LISTING_TIMEOUT_S).siblings or []
    except (HfHubHTTPError, HFValidationError, HTTPError, OSError):
        return  # without a network there may be a snapshot, and fetching one says best what is wrong
    for name in sorted(file.rfilename for file in listed):
        if any(fnmatch(name, pattern) for pattern in PARTS_NOT_FETCHED):
            raise HubError(
                f"{repository!r} holds {name}, as OpenVLA-OFT does, whose actions are not read from ids; it is a "
                "pickle and is not fetched: serve that model with its own code"
            )
