"""A model's answers as lines of JSON: written one by one as they come, read again to go on or to be judged.

The first line tells whose answers to what they are; the others are {"id": …, "boxes": [[x1, y1, x2, y2], …]} with
fractions of the picture, or {"id": …, "text": …}, with "undecodable": true for what could not be read.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from magma_contracts.text import encodes
from magma_eval.grounding.items import Answer
from magma_eval.results.episode_result import ResultsError
from magma_eval.typed import parse_json, shown

HEAD = "answers_of"
"""The one key of the first line."""
MOST_BOXES = 1_000
NO_BOXES = np.empty((0, 4))


def read_answers(path: Path) -> tuple[dict[str, Answer], dict[str, Any]]:
    """The answers by id, and what the first line tells ({} in files of others).

    A box whose corners are turned round makes an answer undecodable, as the published protocol has it. A last line
    that was cut off is no answer; one that only lacks its end of line is.

    Raises:
        ResultsError: names the file and the line.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {error.strerror}") from error
    found: dict[str, Answer] = {}
    head: dict[str, Any] = {}
    for number, line in enumerate(lines if _is_whole(lines[-1]) else lines[:-1], 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            data = parse_json(line)
            if not isinstance(data, dict):
                raise ValueError(f"expected an object, got {shown(data)}")
            if number == 1 and set(data) == {HEAD}:
                head = data[HEAD] if isinstance(data[HEAD], dict) else {}
                continue
            name, answer = _answer(data)
            if name in found:
                raise ValueError(f"a second answer to {shown(name)}")
        except ValueError as error:
            raise ResultsError(f"{where}: {error}") from error
        found[name] = answer
    return found, head


def _is_whole(line: bytes) -> bool:
    """Whether a last line was not cut off while it was written: an object ends with its last letter."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _answer(data: dict[str, Any]) -> tuple[str, Answer]:
    name = data.get("id")
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise ValueError(f"id must be a text or a number, got {shown(name)}")
    unknown = sorted(set(data) - {"id", "boxes", "text", "undecodable"})
    if unknown:
        raise ValueError(f"{shown(unknown[0])} is no part of an answer; there are id, boxes, text and undecodable")
    text, undecodable = data.get("text", ""), data.get("undecodable", False)
    if not isinstance(text, str) or not isinstance(undecodable, bool):
        raise ValueError("text must be a text, and undecodable true or false")
    if not encodes(text) or not encodes(str(name)):
        raise ValueError(f"half a character is in {shown(text if encodes(str(name)) else name)}")
    if not {"boxes", "text", "undecodable"} & set(data):
        raise ValueError("it has neither boxes nor a text")
    boxes = _boxes(data.get("boxes", []))
    turned = bool((boxes[:, 2:] < boxes[:, :2]).any())
    return str(name), Answer(boxes, text, undecodable or turned)


def _boxes(value: Any) -> np.ndarray:
    if not isinstance(value, list) or len(value) > MOST_BOXES:
        raise ValueError(f"boxes must be a list of at most {MOST_BOXES}, got {shown(value)}")
    for box in value:
        if not isinstance(box, list) or len(box) != 4 or not all(_is_fraction(part) for part in box):
            raise ValueError(
                f"a box must be x1, y1, x2, y2 as fractions of the picture, from -1 to 2, got {str(box)[:80]}"
            )
    return np.array(value, dtype=np.float64).reshape(-1, 4)


def _is_fraction(value: Any) -> bool:
    """A little outside of the picture is a box of a bad model; far outside are pixels."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -1.0 <= value <= 2.0


class AnswerFile:
    """Answers on their way to a file, each on the disk before the next is asked. A context manager.

    Args:
        path: one that is there is gone on with.
        head: whose answers to what; the file's must be the same.

    Raises:
        ResultsError: it holds other answers, or something else; it stays as it is.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self.answers: dict[str, Answer] = {}
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._begin(path, head)
        except BaseException:
            os.close(self._file)
            raise

    def _begin(self, path: Path, head: Mapping[str, Any]) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ResultsError(f"another evaluation is writing {path}; wait for it or stop it") from error
        content, first = path.read_bytes(), _line({HEAD: dict(head)})
        # Nothing is there yet, or a kill has cut off the first line.
        if first.startswith(content):
            self._write(first[len(content) :], at=len(content))
            return
        if not content.startswith(b'{"' + HEAD.encode() + b'": {'):
            raise ResultsError(f"{path} holds no answers of this command; it stays as it is, give another --out")
        self.answers, there = read_answers(path)
        other = sorted(name for name in {*there, *head} if there.get(name) != head.get(name))
        if other:
            raise ResultsError(
                f"{path} holds answers of another run: {other[0]} is {shown(there.get(other[0]))}, not "
                f"{shown(head.get(other[0]))}; give another --out"
            )
        whole = content.rfind(b"\n") + 1
        if _is_whole(content[whole:]):
            self._write(b"\n", at=len(content))
            return
        # A line that a kill has cut off is asked again.
        os.ftruncate(self._file, whole)
        os.lseek(self._file, 0, os.SEEK_END)

    def add(self, name: str, answer: Answer) -> None:
        """Keeps an answer."""
        data: dict[str, Any] = {"id": name}
        if answer.text:
            data["text"] = answer.text
        if len(answer.boxes) or not answer.text:
            data["boxes"] = np.round(answer.boxes, 9).tolist()
        if answer.undecodable:
            data["undecodable"] = True
        self._write(_line(data))
        self.answers[name] = answer

    def _write(self, line: bytes, at: int | None = None) -> None:
        if at is not None:
            os.lseek(self._file, at, os.SEEK_SET)
        written = os.write(self._file, line)
        if written != len(line):
            raise ResultsError(f"could write only {written} of {len(line)} bytes of an answer: is the disk full?")

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(self, *reason: object) -> None:
        os.fsync(self._file)
        os.close(self._file)


def _line(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "replace")
