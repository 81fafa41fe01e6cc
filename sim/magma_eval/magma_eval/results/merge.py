"""Joins the folders of shards, or of runs that were split over machines, into one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from magma_eval.results.episode_result import EpisodeResult, ResultsError
from magma_eval.results.run_folder import RUN_FILE, collect, is_run, read_lines, read_run, results_files, write_json
from magma_eval.results.store import ResultStore


def merge(out: Path, folders: Sequence[Path]) -> tuple[int, int]:
    """Writes all results of `folders` to `out`/results.jsonl, with their records. May be repeated.

    Returns:
        number of episodes in `out`, and number of lines left out because they repeat another.

    Raises:
        ResultsError: the folders are of different runs, or two say different things of one episode.
    """
    if not folders:
        raise ResultsError("merge needs at least one folder")
    runs = [read_run(folder) for folder in folders]
    results: list[EpisodeResult] = []
    sources: dict[str, Path] = {}
    present = [out] if is_run(out) else []
    for folder, run in zip([*present, *folders], [*(read_run(p) for p in present), *runs], strict=True):
        if run["identity"] != runs[0]["identity"]:
            raise ResultsError(
                f"{folder} and {folders[0]} are different runs: {run['identity']}, {runs[0]['identity']}"
            )
        for path in results_files(folder):
            for result in read_lines(path):
                results.append(result)
                if result.record:
                    sources.setdefault(result.record, folder / result.record)
    collected = collect(results)
    (out / "episodes").mkdir(parents=True, exist_ok=True)
    for record, source in sources.items():
        target = out / record
        if source.is_symlink():
            raise ResultsError(f"{source} is a link; a record is a file of the run's own")
        if not target.exists() and source.exists():
            partial = target.with_name(f".{target.name}.partial")
            shutil.copyfile(source, partial)
            partial.replace(target)
    commands = list(dict.fromkeys(command for run in runs for command in run["commands"]))
    if not present:
        write_json(out / RUN_FILE, {**runs[0], "commands": commands})
    with ResultStore(out / "results.jsonl") as store:
        there = {(result.key, result.status) for result in store.results}
        for result in collected.results:
            if (result.key, result.status) not in there:
                store.append(result)
    return len(collected.results), collected.duplicates - (len(there) if present else 0)
