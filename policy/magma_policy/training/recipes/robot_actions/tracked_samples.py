"""Marks and traces of tracked video as text samples, in the words of the published data.

These marks have no fixed meaning, unlike those of demonstration sets (`text_samples.py`): their numbers are shuffled
and must be drawn on the image that goes with the sample (`marked_picture`).
"""

from __future__ import annotations

import numpy as np

from magma_policy.marks.clip_marks import ClipMarks
from magma_policy.marks.set_of_mark import GRID, format_mark_positions, locate_marks_question
from magma_policy.marks.trace_of_mark import DEFAULT_STEPS, format_traces, trace_question
from magma_policy.training.recipes.robot_actions.text_samples import TextSample


def marks_sample(clip: ClipMarks) -> TextSample | None:
    """Where all the marks are; None without marks."""
    if not len(clip.ids):
        return None
    return TextSample(locate_marks_question(), format_mark_positions(clip.starts()) + ".")


def traces_sample(
    clip: ClipMarks, instruction: str, steps: int = DEFAULT_STEPS, actor: str = "robot"
) -> TextSample | None:
    """Where the marks that move go in the next steps; None when none moves and is seen so long, or nobody said what is
    being done."""
    traces = clip.traces(steps)
    if not traces.futures or not instruction.strip():
        return None
    paths = traces.paths(GRID, GRID)
    speed = np.mean([np.linalg.norm(np.diff(path, axis=0), axis=1).mean() for path in paths.values()])
    question = trace_question(instruction, list(clip.starts()), round(float(speed)), steps, actor)
    return TextSample(question, format_traces(traces).strip())
