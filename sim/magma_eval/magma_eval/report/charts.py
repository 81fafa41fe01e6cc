"""Charts as inline SVG, without any library: rates with intervals, and success against latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from magma_eval.confidence_intervals import Rate

COLOURS = ("#2563a8", "#c2571a", "#2f7d4f", "#8a3ea0", "#a08217", "#b03052", "#3a8a8a", "#6b6b6b")
_LABEL_WIDTH, _PLOT_WIDTH, _VALUE_WIDTH = 330, 520, 150
_ROW_HEIGHT = 20


@dataclass(frozen=True)
class Bar:
    """One line of an interval plot."""

    label: str
    value: float
    low: float | None
    high: float | None
    """None: the source does not say how many episodes"""
    text: str
    own: bool
    """measured here, not taken from a publication"""
    colour: int = 0

    @classmethod
    def of(cls, label: str, rate: Rate, colour: int) -> Bar:
        """A rate of one's own."""
        low, high = rate.interval
        return cls(label, rate.value, low, high, f"{rate.successes}/{rate.count}", own=True, colour=colour)


def interval_plot(groups: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """Rates (0 … 100 %) with their intervals, one group under each title. Own results are filled, others hollow."""
    height = 34 + sum(26 + _ROW_HEIGHT * len(bars) for _, bars in groups)
    width = _LABEL_WIDTH + _PLOT_WIDTH + _VALUE_WIDTH
    parts = [_open(width, height, "success rates with 95 % intervals")]
    for percent in range(0, 101, 20):
        x = _x(percent / 100)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="20" y2="{height - 6}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="12" text-anchor="middle">{percent} %</text>')
    y = 24
    for title, bars in groups:
        y += 20
        parts.append(f'<text class="group" x="0" y="{y}">{escape(title)}</text>')
        y += 6
        for bar in bars:
            y += _ROW_HEIGHT
            parts += _bar(bar, y - 6)
    return "".join((*parts, "</svg>"))


@dataclass(frozen=True)
class Curve:
    """Success against latency of one policy: (latency in ms, rate), sorted."""

    label: str
    points: Sequence[tuple[float, Rate]]
    colour: int


def latency_plot(curves: Sequence[Curve]) -> str:
    """Success (0 … 100 %) against latency, with 95 % intervals, each latency at equal distance from the next."""
    latencies = sorted({latency for curve in curves for latency, _ in curve.points})
    left, top, wide, tall = 60, 16, 560, 260
    place = {latency: left + (wide * (number + 0.5) / len(latencies)) for number, latency in enumerate(latencies)}
    parts = [_open(left + wide + 260, top + tall + 50, "success against latency")]
    for percent in range(0, 101, 20):
        y = top + tall * (1 - percent / 100)
        parts.append(f'<line class="grid" x1="{left}" x2="{left + wide}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>')
    for latency, x in place.items():
        parts.append(f'<text class="tick" x="{x:.1f}" y="{top + tall + 18}" text-anchor="middle">{latency:g}</text>')
    middle = left + wide / 2
    parts.append(
        f'<text class="tick" x="{middle}" y="{top + tall + 38}" text-anchor="middle">latency of every answer, ms</text>'
    )
    for number, curve in enumerate(curves):
        colour = COLOURS[curve.colour % len(COLOURS)]
        shift = 7 * (number - (len(curves) - 1) / 2)
        points = [(place[latency] + shift, rate) for latency, rate in curve.points]
        line = " ".join(f"{x:.1f},{top + tall * (1 - rate.value):.1f}" for x, rate in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, rate in points:
            low, high = (top + tall * (1 - bound) for bound in rate.interval)
            y = top + tall * (1 - rate.value)
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{colour}"/>')
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{rate}</title></circle>')
        y = top + 16 + 20 * number
        parts.append(f'<circle cx="{left + wide + 20}" cy="{y - 4}" r="4" fill="{colour}"/>')
        parts.append(f'<text class="label" x="{left + wide + 32}" y="{y}">{escape(curve.label)}</text>')
    return "".join((*parts, "</svg>"))


def _open(width: float, height: float, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'role="img" aria-label="{escape(title)}">'
    )


def _x(value: float) -> float:
    return _LABEL_WIDTH + _PLOT_WIDTH * value


def _bar(bar: Bar, y: float) -> list[str]:
    colour = COLOURS[bar.colour % len(COLOURS)] if bar.own else "var(--muted)"
    label = bar.label if len(bar.label) <= 48 else bar.label[:47] + "…"
    title = f"<title>{escape(bar.label)}: {escape(bar.text)}</title>"
    parts = [
        f'<text class="{"label" if bar.own else "other"}" x="{_LABEL_WIDTH - 12}" y="{y + 4:.1f}" text-anchor="end">'
        f"{escape(label)}{title}</text>"
    ]
    if bar.low is not None and bar.high is not None:
        low, high = _x(bar.low), _x(bar.high)
        parts.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>')
        for x in (low, high):
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 4}" y2="{y + 4}" stroke="{colour}"/>')
    fill = colour if bar.own else "var(--paper)"
    parts.append(
        f'<circle cx="{_x(bar.value):.1f}" cy="{y}" r="4.5" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'
    )
    parts.append(
        f'<text class="tick" x="{_x(1) + 14}" y="{y + 4:.1f}">{100 * bar.value:.1f} %  {escape(bar.text)}</text>'
    )
    return parts
