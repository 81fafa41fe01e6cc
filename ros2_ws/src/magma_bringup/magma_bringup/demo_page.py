"""What `./run` leaves to look at: sharp films of the episodes, and one page with films, verdicts and times."""

from __future__ import annotations

import html
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = "index.html"
RECORDS = "episodes"
"""Folder of what was executed, as the simulator node records it."""
AFTER_SUCCESS_STEPS = 3
"""A film ends so many steps after the goal holds for good: what follows stands still."""
TOTAL = "capture → command"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2330; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
pre { background: #f4f5f7; padding: 1rem; overflow-x: auto; }
.films { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; } video { width: 100%; border-radius: 4px; background: #18181c; }
figcaption { color: #5b6472; font-size: 13px; } .ok { color: #2ea043; } .no { color: #c8322f; }
"""


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The lines of results.jsonl; none when no episode was completed."""
    path = folder / "results.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def steps_worth_seeing(success: Sequence[bool]) -> int:
    """How many steps a film shows: all, or up to shortly after the goal began to hold for good."""
    steps = len(success)
    while steps and success[steps - 1]:
        steps -= 1
    return len(success) if steps == len(success) else min(len(success), steps + 1 + AFTER_SUCCESS_STEPS)


def film_episodes(folder: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Executes what was recorded once more and films it larger than the policy's own picture.

    A film replaces the one from the graph's camera, unless the replay went another way or cannot be made; that is told.
    """
    from tqdm import tqdm

    from magma_sim import make_task
    from magma_sim.evaluation.clips import film
    from magma_sim.evaluation.results import EpisodeRecord
    from magma_sim_ros.episode import record_name

    task = None
    try:
        for result in tqdm([r for r in results if r["video"]], desc="films", unit="film", file=sys.stderr):
            record_path = folder / RECORDS / record_name(result["task"], result["variant"], result["layout"])
            if not record_path.exists():
                continue
            record = EpisodeRecord.read(record_path)
            if task is None:
                task = make_task(result["task"])
            path = folder / f".{result['video']}"
            clip = film(task, _as_evaluated(result), record, path, "last", steps_worth_seeing(record.success.tolist()))
            if clip.faithful:
                path.replace(folder / result["video"])
            else:
                path.unlink()
    except Exception as error:  # whatever the simulator raises: the films from the camera stay
        print(f"no larger films: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        if task is not None:
            task.close()


def _as_evaluated(result: Mapping[str, Any]) -> Any:
    """The demo's result as the evaluator has it, as far as a film needs it."""
    from magma_sim.evaluation.episodes import Episode
    from magma_sim.evaluation.results import EpisodeResult, Key, Success

    task, variant, layout = result["task"], result["variant"], result["layout"]
    success = bool(result["success"])
    first = result["first_success_step"]
    return EpisodeResult(
        key=Key("demo", task, variant, layout, 0, result["policy"] or "unknown", "demo", "demo"),
        episode=Episode("demo", task, variant, layout, make=task, layout=layout, reset_variant=variant),
        status="ok",
        rule="last",
        clock=result["clock"],
        latency_ms=None,
        training="",
        success=Success(last=success, first=None, ever=success or first is not None),
        first_success_step=first,
        max_steps=result["max_steps"],
    )


def write_page(folder: Path, results: Sequence[Mapping[str, Any]], summary: str) -> Path:
    """Writes the page beside the films; its path."""
    figures = []
    for result in results:
        verdict = "success" if result["success"] else "failure"
        times = result["times_ms"].get(TOTAL, {})
        total = f", {TOTAL} {times['p50']:.0f} ms (p95 {times['p95']:.0f})" if times else ""
        name = html.escape(str(result["video"]), quote=True)
        film = f'<video src="{name}" controls muted loop preload="metadata"></video>' if name else "<p>no film</p>"
        figures.append(
            f"<figure>{film}<figcaption>{html.escape(result['task'])} {html.escape(result['variant'])} "
            f'{result["layout"]}: <b class="{"ok" if result["success"] else "no"}">{verdict}</b>, {result["steps"]} '
            f"steps, {result['duration_s']:.1f} s{html.escape(total)}</figcaption></figure>"
        )
    title = html.escape(f"{results[0]['policy']}: {results[0]['instruction']}" if results else "no episode")
    page = folder / PAGE
    page.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f"<h1>{title}</h1><pre>{html.escape(summary.strip())}</pre>"
        f'<div class="films">{"".join(figures)}</div></html>\n',
        encoding="utf-8",
    )
    return page
