"""What `./run` leaves to look at: one page with films, verdicts and times."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from magma_bringup.episodes.results import succeeded
from magma_bringup.episodes.step_times import TOTAL
from magma_bringup.episodes.suite_run import film_name
from magma_eval.results.episode_result import EpisodeResult
from magma_eval.results.run_folder import is_run, load

PAGE = "index.html"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2330; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
pre { background: #f4f5f7; padding: 1rem; overflow-x: auto; }
.films { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; } video { width: 100%; border-radius: 4px; background: #18181c; }
figcaption { color: #5b6472; font-size: 13px; } .ok { color: #2ea043; } .no { color: #c8322f; }
"""


def read_results(folder: Path) -> list[EpisodeResult]:
    """The results of a demo; none when no episode was completed."""
    return load(folder).results if is_run(folder) else []


def write_page(folder: Path, results: Sequence[EpisodeResult], summary: str) -> Path:
    """Writes the page beside the films; its path."""
    title = html.escape(f"{results[0].key.policy}: {results[0].instruction}" if results else "no episode")
    page = folder / PAGE
    page.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f"<h1>{title}</h1><pre>{html.escape(summary.strip())}</pre>"
        f'<div class="films">{"".join(_figure(folder, result) for result in results)}</div></html>\n',
        encoding="utf-8",
    )
    return page


def _figure(folder: Path, result: EpisodeResult) -> str:
    episode, success = result.episode, succeeded(result)
    name = film_name(episode, success=success)
    film = "<p>no film</p>"
    if (folder / name).exists():
        film = f'<video src="{html.escape(name, quote=True)}" controls muted loop preload="metadata"></video>'
    total = result.stages.get(TOTAL)
    times = f", {TOTAL} {total.median:.0f} ms (p95 {total.p95:.0f})" if total is not None else ""
    return (
        f"<figure>{film}<figcaption>{html.escape(episode.make)} {html.escape(episode.reset_variant)} "
        f'{episode.layout}: <b class="{"ok" if success else "no"}">{"success" if success else "failure"}</b>, '
        f"{result.steps} steps, {result.seconds:.1f} s{html.escape(times)}</figcaption></figure>"
    )
