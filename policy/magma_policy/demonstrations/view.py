"""A page that shows episodes: pictures with their marks, actions over time. One file of HTML, with nothing from
elsewhere."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from magma_contracts.actions import DELTA_FIELDS
from magma_contracts.demonstrations import MARKS
from magma_contracts.text import escaped
from magma_policy.demonstrations.sources import DemonstrationSet, Source
from magma_policy.files.whole_files import whole_file

PAGE = "index.html"
PICTURES = 8
"""Of an episode, evenly spaced."""
SIDE = 192
"""px of a picture on the page, the longer side."""
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#808000")
_STYLE = """body{font:15px sans-serif;margin:2em;max-width:1700px}figure{display:inline-block;margin:4px}
figcaption{font-size:12px;color:#555}svg{background:#fafafa;border:1px solid
#ddd}.key{margin-right:1em;font-size:13px}"""


def write_page(opened: DemonstrationSet, out: Path, episodes: int) -> Path:
    """Writes OUT/index.html of so many episodes, evenly spaced; returns its path. Raises DemonstrationError and
    OSError."""
    places = np.unique(np.linspace(0, len(opened.episodes) - 1, episodes).round().astype(int))
    chosen = [opened.episodes[place] for place in places] if opened.episodes else []
    page = out / PAGE
    with whole_file(page) as partial, partial.open("w", encoding="utf-8") as file:
        title = _text(opened.directory.name)
        file.write(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>\n'
        )
        card = opened.card
        file.write(
            f"<h1>{title}</h1><p>robot {_text(card.robot or 'not told')}, {len(opened.episodes)} episodes, a step "
            "every "
            f"{card.step_period_s:g} s, pictures {card.image_width} x {card.image_height} px; shown are "
            f"{len(chosen)}</p>\n"
        )
        for source in chosen:
            file.writelines(_episode(source, card.step_period_s))
        file.write("</html>\n")
    return page


def _text(value: object) -> str:
    return html.escape(escaped(str(value), kept=""))


def _episode(source: Source, period_s: float) -> Iterator[str]:
    data = source.read()
    actions = data["actions"].astype(np.float64)
    length = f"{len(actions)} steps, {len(actions) * period_s:.1f} s"
    yield f"<h2>{_text(source.name)}</h2><p>{_text(data['instruction'])}; {length}</p>\n"
    if "frames" in data:
        for row in np.unique(np.linspace(0, len(actions) - 1, PICTURES).astype(int)):
            picture = _picture(data["frames"][row], data["marks"][row])
            shown = f'<img alt="step {row}" src="data:image/png;base64,{picture}">'
            yield f"<figure>{shown}<figcaption>step {row}, {row * period_s:.1f} s</figcaption></figure>"
        colours = zip(MARKS, COLOURS, strict=False)
        yield "<p>" + "".join(_key(name, colour) for name, colour in colours) + "</p>\n"
    for title, columns in (
        ("translation, m", range(3)),
        ("rotation, rad", range(3, 6)),
        ("gripper, 0 closed, 1 open", [6]),
    ):
        yield _chart(title, actions[:, columns], [DELTA_FIELDS[column] for column in columns], period_s)
    if "weights" in data and np.ptp(data["weights"]) > 0:
        yield _chart("weight", data["weights"][:, None].astype(np.float64), ["weight"], period_s)


def _key(name: str, colour: str) -> str:
    return f'<span class="key" style="color:{colour}">● {_text(name)}</span>'


def _picture(frame: np.ndarray, marks: np.ndarray) -> str:
    scale = SIDE / max(frame.shape[:2])
    size = max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale))
    shown = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    for mark, colour in zip(marks, COLOURS, strict=False):
        if np.isfinite(mark).all() and np.abs(mark).max() < 1e4:
            rgb = tuple(int(colour[place : place + 2], 16) for place in (1, 3, 5))
            cv2.circle(shown, (round(float(mark[0]) * scale), round(float(mark[1]) * scale)), 4, rgb, -1, cv2.LINE_AA)
    return base64.b64encode(cv2.imencode(".png", np.ascontiguousarray(shown[..., ::-1]))[1].tobytes()).decode()


def _chart(title: str, values: np.ndarray, names: list[str], period_s: float) -> str:
    """Lines over time as a picture of lines."""
    width, height = 460, 120
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    span = high - low if high > low else 1.0
    across = np.linspace(4, width - 4, len(values)) if len(values) > 1 else np.array([width / 2])
    lines = []
    for column, colour in zip(range(values.shape[1]), COLOURS, strict=False):
        up = height - 4 - (values[:, column] - low) / span * (height - 8)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, up, strict=True) if np.isfinite(y))
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>')
    keys = "".join(_key(name, colour) for name, colour in zip(names, COLOURS, strict=False))
    drawn = f'<svg width="{width}" height="{height}" role="img" aria-label="{_text(title)}">{"".join(lines)}</svg>'
    caption = f"{_text(title)}: {low:.4g} to {high:.4g} over {len(values) * period_s:.1f} s. {keys}"
    return f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>\n"
