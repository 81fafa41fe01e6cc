"""What a policy is known by: its content. Names are labels.

The identity covers everything that decides what a policy does with an image: the weights, configuration and tokenizer,
of every robot the action specification, statistics and camera, and how the model was loaded (number format,
quantisation). Two checkpoints in folders of one name differ in it; a copy elsewhere does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from magma_contracts.files.outputs import explained
from magma_policy.errors import CheckpointError
from magma_policy_client.content import digest_of, file_digests


class IdentityUnderWay:
    """Hashes a checkpoint's files beside its loading, which reads the same pages."""

    def __init__(self, directory: Path, parts: Mapping[str, Path], settings: Mapping[str, str]) -> None:
        """
        Args:
            directory: the checkpoint.
            parts: its files and those used beside them, by what each is; those that do not exist are passed over.
            settings: how the model is loaded.
        """
        self._directory = directory
        self._parts = {name: path for name, path in parts.items() if path.is_file()}
        self._settings = dict(settings)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="identity")
        self._digests: Future[dict[Path, str]] = self._pool.submit(file_digests, set(self._parts.values()))
        self._pool.shutdown(wait=False)

    def result(self) -> str:
        """32 hexadecimal digits. CheckpointError when a file cannot be read."""
        try:
            digests = self._digests.result()
        except OSError as error:
            raise CheckpointError(f"{self._directory}: cannot be read ({explained(error)})") from error
        found = {name: digests[path] for name, path in self._parts.items()}
        return digest_of(found | {f"setting {name}": value for name, value in self._settings.items()})


def numbered(weights: Sequence[Path]) -> dict[str, Path]:
    """Weight files as parts: by place, for how a repository calls its shards is no content."""
    return {f"weights {number}": path for number, path in enumerate(weights)}
