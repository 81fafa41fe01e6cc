"""Draws what was asked for, what was sent after every limit, and what the arm did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_control.commands import Command, Source
from magma_control.phases import Phase
from magma_recorder.replay import Replay

PHASE_COLOURS = {
    Phase.HOLD: "#d9d9d9",
    Phase.AUTONOMOUS: "#c6dbef",
    Phase.TELEOP: "#fdd0a2",
    Phase.ESTOP: "#fc9272",
    Phase.FAULT: "#bcbddc",
}
ASKED, SENT, MEASURED = "#d62728", "#1f77b4", "#2ca02c"
NANOSECONDS = 1e-9
LEAD_NS = 1_000_000_000
"""Shown of the time before anything happens."""


def draw(result: Replay, out: Path, title: str = "") -> None:
    """Writes a PNG: the position per axis, the size of each step, the gripper, over the controller's phases."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    start_ns = shown_from(result)
    idle_s = (start_ns - result.phases[0][0]) * NANOSECONDS
    figure, panels = plt.subplots(6, 1, figsize=(12, 13), sharex=True, constrained_layout=True)
    for panel in panels:
        shade(panel, result.phases, result.end_ns, start_ns)
        panel.grid(alpha=0.3)
    _positions(panels[:3], result, start_ns)
    _steps(panels[3], result, start_ns, slice(0, 3), "step, mm", 1e3)
    _steps(panels[4], result, start_ns, slice(3, 6), "turn, mrad", 1e3)
    _gripper(panels[5], result, start_ns)
    panels[0].legend(loc="upper right", ncols=4, fontsize=8)
    panels[3].legend(loc="upper right", ncols=4, fontsize=8)
    panels[-1].set_xlabel("s")
    if idle_s > 0:
        panels[0].set_xlim(left=0.0)
    without = f" (without the first {idle_s:.0f} s, before anything moved)" if idle_s >= 1 else ""
    panels[0].set_title(title or f"{result.path.name}: asked, sent and executed{without}", fontsize=10)
    handles = [plt.Rectangle((0, 0), 1, 1, color=PHASE_COLOURS[phase]) for phase in PHASE_COLOURS]
    figure.legend(handles, [phase.name for phase in PHASE_COLOURS], loc="outside lower center", ncols=5, fontsize=8)
    figure.savefig(out, dpi=80)
    plt.close(figure)


def shown_from(result: Replay) -> int:
    """Where the picture begins, ROS time: shortly before the first command or change of phase.

    A graph that loads a model and builds a world stands still for a minute.
    """
    begin_ns = result.phases[0][0]
    moments = [item.ros_ns for item in result.commands[:1]] + [moment for moment, _ in result.phases[1:2]]
    return max(begin_ns, min(moments) - LEAD_NS) if moments else begin_ns


def shade(panel: Any, phases: Sequence[tuple[int, Phase]], end_ns: int, start_ns: int) -> None:
    """Colours a panel by the controller's phase."""
    ends = [moment for moment, _ in phases[1:]] + [end_ns]
    for (begin, phase), end in zip(phases, ends, strict=True):
        panel.axvspan(
            (begin - start_ns) * NANOSECONDS, (end - start_ns) * NANOSECONDS, color=PHASE_COLOURS[phase], lw=0
        )


def _positions(panels: Sequence[Any], result: Replay, start_ns: int) -> None:
    times = _times([state.ros_ns for state in result.states], start_ns)
    measured = np.array([state.position for state in result.states]).reshape(-1, 3)
    target = np.array([state.target_position for state in result.states]).reshape(-1, 3)
    sent_times = _times([item.ros_ns for item in result.commands], start_ns)
    before = _targets_before(result)
    sent = before + np.array([item.command.delta[:3] for item in result.commands]).reshape(-1, 3)
    asked = before + np.array([_asked(item.command)[:3] for item in result.commands]).reshape(-1, 3)
    clipped = _clipped(result)
    for axis, panel in enumerate(panels):
        panel.plot(times, 1e3 * measured[:, axis], color=MEASURED, lw=1.6, label="executed (measured)")
        panel.plot(times, 1e3 * target[:, axis], color=SENT, lw=1.0, drawstyle="steps-post", label="target of the arm")
        panel.plot(sent_times, 1e3 * sent[:, axis], ".", color=SENT, ms=4, label="sent")
        panel.plot(
            sent_times[clipped], 1e3 * asked[clipped, axis], "x", color=ASKED, ms=5, label="asked for, where shortened"
        )
        panel.set_ylabel(f"{'xyz'[axis]}, mm")


def _steps(panel: Any, result: Replay, start_ns: int, part: slice, label: str, scale: float) -> None:
    for source, marker in ((Source.POLICY, "o"), (Source.OPERATOR, "s")):
        items = [item for item in result.commands if item.command.source is source]
        if not items:
            continue
        times = _times([item.ros_ns for item in items], start_ns)
        asked = np.linalg.norm([_asked(item.command)[part] for item in items], axis=1)
        sent = np.linalg.norm([item.command.delta[part] for item in items], axis=1)
        panel.plot(times, scale * asked, marker, mfc="none", color=ASKED, ms=5, label=f"asked by the {source.value}")
        panel.plot(times, scale * sent, marker, color=SENT, ms=3, label=f"sent for the {source.value}")
    panel.set_ylabel(label)


def _gripper(panel: Any, result: Replay, start_ns: int) -> None:
    times = _times([state.ros_ns for state in result.states], start_ns)
    panel.plot(times, [state.gripper for state in result.states], color=MEASURED, lw=1.6)
    panel.plot(times, [state.gripper_target for state in result.states], color=SENT, lw=1.0, drawstyle="steps-post")
    panel.plot(
        _times([item.ros_ns for item in result.commands], start_ns),
        [item.command.delta[6] for item in result.commands],
        ".",
        color=SENT,
        ms=4,
    )
    panel.set_ylim(-0.1, 1.1)
    panel.set_ylabel("gripper opening")


def _targets_before(result: Replay) -> NDArray[np.float64]:
    """(n, 3): the arm's target as the controller knew it when it sent each command."""
    state_ns = np.array([state.ros_ns for state in result.states], dtype=np.int64)
    rows = [
        result.states[max(0, int(np.searchsorted(state_ns, item.ros_ns, side="right")) - 1)].target_position
        for item in result.commands
    ]
    return np.array(rows).reshape(-1, 3)


def _clipped(result: Replay) -> NDArray[np.bool_]:
    return np.array(
        [not np.array_equal(_asked(item.command), item.command.delta) for item in result.commands], dtype=bool
    )


def _asked(command: Command) -> NDArray[np.float64]:
    return command.delta if command.asked is None else command.asked


def _times(moments_ns: Sequence[int], start_ns: int) -> NDArray[np.float64]:
    """Seconds since the start."""
    return np.array([(moment - start_ns) * NANOSECONDS for moment in moments_ns], dtype=np.float64)
