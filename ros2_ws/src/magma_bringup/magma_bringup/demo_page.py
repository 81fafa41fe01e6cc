"""What `./run` leaves to look at: one page with films, verdicts and times."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = "index.html"
RECORDS = "episodes"
"""Folder of what was executed, as the simulator node records it."""
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
