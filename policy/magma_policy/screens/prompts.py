"""What Magma is asked about a screen, in the published words, and what was done before in the published vocabulary.

Web: the released rows of Magma-Mind2Web-SoM, spelling included, for the model was trained on it. Phone: Yang et al.
2025, arXiv 2502.13130, figure 15. One click: `magma_policy.marks.set_of_mark.ui_question`.
"""

from __future__ import annotations

from collections.abc import Sequence

from magma_policy.screens.actions import Kind, ScreenAction
from magma_policy.screens.candidates import Candidate

MOST_WORDS = 1000
"""Characters of a task or of a text that was typed; more is refused or cut before it comes here."""

MOST_OF_NAME = 60
"""Characters of an element's text that a model is told of each mark."""

_WEB = (
    "Imagine that you are imitating humans doing web navigation for a task step by step. At each stage, you can "
    "see the webpage like humans by a screenshot and know the previous actions before the current step decided by "
    "yourself through recorded history. You need to decide on the following action to take. You can click an "
    "element with the mouse, select an option, or type text with the keyboard. The output format should be a "
    "dictionary like: \n"
    '"{{"ACTION": "CLICK" or "TYPE" or "SELECT", "MARK": a numeric id, e.g., 5, "VALUE": a string value for the '
    'action if applicable, otherwise None}}".\n'
    "You are asked to complete the following task: {task}. The previous actions you have taken: \n"
    "\n"
    "{history}\n"
    "For your convinience, I have labeled the candidates with numeric marks and bounding boxes on the screenshot. "
    "What is the next action you would take?"
)
_PHONE = (
    "Imagine you are interacting with an Android device step by step. You can see the screen and know the previous "
    "actions through recorded history. The screenshots are labeled with bounding boxes and numeric marks to guide "
    "your interactions. Your task is to determine the next action to perform. The possible actions include "
    "tapping, swiping, navigating, typing, or setting the task status.\n"
    "\n"
    "Use the following format for your output, selecting the appropriate key-value pair: ```json {{\n"
    '"TAP": dict, // Use {{"MARK": mark_index}} where `mark_index` is an integer corresponding to the bounding box '
    'on the screen, or {{"NORMALIZED_COORDINATE": [y, x]}} where `y` and `x` are float numbers between 0 and 1 '
    "representing the normalized coordinates on the screen.\n"
    '"SWIPE": str, // Choose "UP", "DOWN", "LEFT", or "RIGHT" "NAVIGATE": str, // Choose "BACK", "HOME", or '
    '"ENTER" "TYPE": str, // The text to be typed "SET_TASK_STATUS": str, // Choose "COMPLETE" or "IMPOSSIBLE"\n'
    "}} ```\n"
    "Current task: {task}\n"
    "Previous actions:\n"
    "{history}\n"
    "Determine your next action (Step {step}) and provide the output in the specified dictionary format."
)


def marks_told(candidates: Sequence[Candidate]) -> str:
    """What the page itself says of each mark, in one line: `Marks: 0 button "Save"; 1 textbox "Name".`"""
    told = []
    for mark, candidate in enumerate(candidates):
        name = " ".join(candidate.name.split())[:MOST_OF_NAME]
        told.append(" ".join([str(mark), candidate.role or "element", *([f'"{name}"'] if name else [])]))
    return f"Marks: {'; '.join(told)}." if told else "Marks: none."


def web_question(task: str, history: Sequence[str]) -> str:
    """The next step on a web page; `history` as `web_history` writes it, the oldest first."""
    return _WEB.format(task=task.strip(), history="\n".join(history))


def phone_question(task: str, history: Sequence[str]) -> str:
    """The next step on a phone; `history` as `phone_history` writes it, the oldest first."""
    return _PHONE.format(task=task.strip(), history="\n".join(history), step=len(history))


def web_history(action: ScreenAction, candidate: Candidate | None) -> str:
    """A step that was taken, as Mind2Web describes it: `[textbox]  Zip code -> TYPE: 10203`.

    Other words make the published model answer with one fixed mark, as its users have found.
    """
    role = (candidate.role if candidate else "") or "element"
    name = " ".join((candidate.name if candidate else "").split())[:MOST_WORDS]
    value = f": {action.text}" if action.kind in (Kind.TYPE, Kind.SELECT) else ""
    return f"[{role}]  {name} -> {action.kind.value}{value}"


def phone_history(action: ScreenAction) -> str:
    """A step that was taken, in the format of the answers."""
    return action.as_answer()
