"""Arguments of `ros2 launch` that the launch file does not know: ROS 2 itself drops them without a word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import PurePath


def check_words(words: Sequence[str], file: str, known: Iterable[str]) -> None:
    """Refuses what a person has typed after the name of a launch file and that it does not declare.

    Only words of a process that was started with this file are looked at: one that includes it has its own arguments.

    Args:
        words: the command line.
        file: path of the launch file.
        known: names of its arguments.

    Raises:
        RuntimeError: an argument that it does not know.
    """
    named = [number for number, word in enumerate(words) if PurePath(word).name == PurePath(file).name]
    if not named:
        return
    names = list(known)
    for word in words[named[0] + 1 :]:
        name, given, _ = word.partition(":=")
        if given and name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            advice = f"did you mean {near[0]}:=?" if near else f"it knows {', '.join(sorted(names))}"
            raise RuntimeError(f"{PurePath(file).name} has no argument {name}; {advice}")
