"""The evaluations in a folder: how far each is, how often it succeeded, its report and films."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from magma_eval.confidence_intervals import Rate
from magma_eval.results.episode_result import ResultsError
from magma_eval.results.run_folder import RunFolder, is_run

DEEPEST = 3
MOST = 40
REPORTS = ("report/index.html", "index.html", "report.html")
FILMS = (".mp4", ".webm")


@dataclass(frozen=True)
class Run:
    """One evaluation."""

    name: str
    """its folder, below the folder of all runs"""
    policy: str
    done: int
    rate: str
    """successes with their interval, in words"""
    report: str
    """a page in its folder; empty = none"""
    films: tuple[str, ...]
    trouble: str = ""


def find(folder: Path) -> list[Run]:
    """The newest evaluations in a folder and those below it."""
    found: list[Path] = []
    level = [folder] if folder.is_dir() else []
    for _ in range(DEEPEST + 1):
        found += [path for path in level if is_run(path)]
        level = [below for path in level if not is_run(path) for below in _folders(path)]
    newest = sorted(found, key=lambda path: -path.stat().st_mtime)[:MOST]
    return [_read(path, str(path.relative_to(folder))) for path in newest]


def _folders(path: Path) -> list[Path]:
    try:
        return [below for below in path.iterdir() if below.is_dir() and not below.name.startswith(".")]
    except OSError:
        return []


def _read(path: Path, name: str) -> Run:
    report = next((page for page in REPORTS if (path / page).is_file()), "")
    films = tuple(sorted(str(film.relative_to(path)) for film in path.rglob("*") if film.suffix in FILMS)[:24])
    try:
        run = RunFolder.read(path)
    except (ResultsError, OSError, ValueError) as error:
        return Run(name, "", 0, "", report, films, str(error)[:300])
    judged = [bool(result.success.last) for result in run.results if result.success is not None]
    policy = run.results[0].key.policy if run.results else str(run.run.get("identity", {}).get("policy", ""))
    rate = "no episode yet"
    if judged:
        whole = Rate(sum(judged), len(judged))
        low, high = whole.interval
        share = whole.successes / whole.count
        rate = f"{whole.successes}/{whole.count} = {share:.0%}, Wilson 95 % interval {low:.0%} to {high:.0%}"
    return Run(name, policy, len(run.results), rate, report, films)
