"""What a policy is known by: its content. Names are labels.

The identity covers everything that decides what a policy does with an image: the weights, configuration and tokenizer,
of every robot the action specification, statistics and camera, and how the model was loaded (number format,
quantisation). Two checkpoints in folders of one name differ in it; a copy elsewhere does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from magma_policy.embodiments import robots
from magma_policy.families.magma import published_files
from magma_policy_client.content import digest_of, file_digests

_MODEL_FILES = (
    published_files.CONFIG,
    published_files.PREPROCESSOR,
    published_files.TOKENIZER,
    published_files.TOKENIZER_CONFIG,
    published_files.GENERATION_CONFIG,
)


class IdentityUnderWay:
    """Hashes a checkpoint's files beside its loading, which reads the same pages."""

    def __init__(
        self,
        directory: Path,
        weights: Sequence[Path],
        homes: Mapping[str, Path],
        statistics: Path | None,
        settings: Mapping[str, str],
    ) -> None:
        """
        Args:
            directory: the checkpoint.
            weights: its weight files.
            homes: folder of each robot by name, the default one under "".
            statistics: the file in place of the default robot's statistics.json.
            settings: how the model is loaded.
        """
        parts = {name: directory / name for name in _MODEL_FILES}
        # By place: how a repository calls its shards is no content.
        parts |= {f"weights {number}": path for number, path in enumerate(weights)}
        for robot, home in homes.items():
            own = {name: home / name for name in (robots.ACTION_SPEC, robots.STATISTICS, robots.CAMERA)}
            if statistics is not None and not robot:
                own[robots.STATISTICS] = statistics
            parts |= {f"robot {robot}: {name}": path for name, path in own.items()}
        self._parts = {name: path for name, path in parts.items() if path.is_file()}
        self._settings = dict(settings)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="identity")
        self._digests: Future[dict[Path, str]] = self._pool.submit(file_digests, set(self._parts.values()))
        self._pool.shutdown(wait=False)

    def result(self) -> str:
        """32 hexadecimal digits. OSError when a file cannot be read."""
        digests = self._digests.result()
        found = {name: digests[path] for name, path in self._parts.items()}
        return digest_of(found | {f"setting {name}": value for name, value in self._settings.items()})
