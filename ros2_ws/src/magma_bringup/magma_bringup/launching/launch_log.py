"""What a launch has written, read for the one sentence that says why it ended."""

from __future__ import annotations

import re
from collections.abc import Sequence

DIED = re.compile(r"\[ERROR\] \[([^\]]+)\]: process has died(?: \[pid \d+, exit code (-?\d+))?")
FINISHED = re.compile(r"\[INFO\] \[([^\]]+)\]: process has finished cleanly")
"""As `ros2 launch` says it."""
FAILED = re.compile(r"\[ERROR\] \[launch\]: (?:Caught (?:multiple )?exceptions? in launch \([^)]*\): )?(.*)")
FROM_NODE = re.compile(r"\[[^\]]+\] (?:\[(?P<level>[A-Z]+)\] \[[\d.]+\] \[[^\]]*\]: )?(?P<text>.*)")
CHATTER = ("DEBUG", "INFO", "WARN")


def said_by_the_first_dead(lines: Sequence[str]) -> list[str]:
    """What the first node that died wrote, and the line of the launch that says so; empty when none died."""
    for number, line in enumerate(lines):
        found = DIED.match(line)
        if found:
            mark = f"[{found.group(1)}] "
            return [*(earlier for earlier in lines[:number] if earlier.startswith(mark)), line]
    return []


def why_it_ended(lines: Sequence[str]) -> str:
    """The sentence of the first node that died or of the launch itself, whichever was first; else which node ended."""
    for line in lines:
        if refused := FAILED.match(line):
            return refused.group(1)
        if DIED.match(line):
            return _why_a_node_died(said_by_the_first_dead(lines))
    for line in lines:
        if finished := FINISHED.match(line):
            return f"{_program(finished.group(1))} has ended"
    return lines[-1] if lines else "it wrote nothing"


def _why_a_node_died(said: Sequence[str]) -> str:
    *its, death = said
    found = DIED.match(death)
    process, status = (found.group(1), int(found.group(2) or 1)) if found else ("a node", 1)
    if status < 0:
        return f"{_program(process)} was ended by signal {-status}"
    for line in reversed(its):
        written = FROM_NODE.match(line)
        if written and written["text"].strip() and written["level"] not in CHATTER:
            text = written["text"].strip()
            return text if text.startswith(f"node {_program(process)}: ") else f"{_program(process)}: {text}"
    return f"{_program(process)} ended with status {status}"


def _program(process: str) -> str:
    """`policy` of `policy-5`."""
    return process.rpartition("-")[0] or process
