"""The files of lmms-eval's `--log_samples`: one line of JSON for each question, read one by one.

Lines that are none are counted and named; a file that was cut off by a crash has at most its last one damaged.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magma_contracts.text import printable
from magma_eval.results.episode_result import ResultsError

MAX_LINE = 16 * 2**20
"""Bytes of one line; questions and answers have some thousands."""
_NAME = re.compile(r"(?:(?P<date>[0-9T_.\-]+)_)?samples_(?P<task>.+)\.jsonl")
_KNOWN = frozenset(
    {"doc_id", "doc", "target", "arguments", "input", "resps", "filtered_resps", "doc_hash", "token_counts"}
)


@dataclass(frozen=True)
class Sample:
    """One question: its words, what is right, what was answered, and what the harness made of it, by metric."""

    number: int
    """of the question in its task"""
    question: str
    target: str
    answer: str
    metrics: dict[str, Any]
    identity: str
    """the question's content (a hash), "" where the file has none"""


@dataclass(frozen=True)
class SampleFile:
    """All questions of one task that one model was asked, and what was wrong with other lines."""

    path: Path
    model: str
    task: str
    samples: list[Sample]
    problems: list[str] = field(default_factory=list)


def find_samples(folder: Path) -> list[Path]:
    """The newest file of each task and model below a folder, or the file itself."""
    if folder.is_file():
        return [folder] if _NAME.fullmatch(folder.name) else []
    newest: dict[tuple[Path, str], Path] = {}
    for path in sorted(folder.rglob("*samples_*.jsonl")):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            newest[path.parent, match["task"]] = path  # names begin with the date
    return list(newest.values())


def read_samples(path: Path) -> SampleFile:
    """Raises ResultsError for a file with no line that can be read."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ResultsError(f"{path}: not named as lmms-eval names its samples (…_samples_TASK.jsonl)")
    found = SampleFile(path, path.parent.name, match["task"], [])
    seen: set[int] = set()
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), 1):
            if not line.strip():
                continue
            try:
                sample = _sample(line)
                if sample.number in seen:
                    raise ValueError(f"question {sample.number} came before")
            except (ValueError, RecursionError) as error:
                found.problems.append(f"{path}, line {number}: {printable(error, 200)}")
                continue
            seen.add(sample.number)
            found.samples.append(sample)
    if not found.samples:
        why = found.problems[0] if found.problems else "it is empty"
        raise ResultsError(f"{path}: no line of it can be read as a sample of lmms-eval ({why})")
    return found


def _sample(line: bytes) -> Sample:
    data = json.loads(line.decode("utf-8"))
    if not isinstance(data, dict):
        raise ValueError(f"expected an object, got {type(data).__name__}")
    missing = sorted({"doc_id", "target"} - set(data))
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    number = data["doc_id"]
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"doc_id must be a number of at least 0, got {printable(number, 40)}")
    asked = data.get("input", data.get("arguments", ""))
    metrics = {name: value for name, value in data.items() if name not in _KNOWN}
    identity = data.get("doc_hash")
    return Sample(
        number, _text(asked), str(data["target"]), _answer(data), metrics, identity if isinstance(identity, str) else ""
    )


def _text(value: Any) -> str:
    """The words among what a request was made of: the first text in it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return next((text for item in value if (text := _text(item))), "")
    return ""


def _answer(data: dict[str, Any]) -> str:
    said = data.get("filtered_resps", data.get("resps"))
    while isinstance(said, list) and said:
        said = said[0]
    if not isinstance(said, str):
        raise ValueError("has no answer: neither filtered_resps nor resps holds a text")
    return said
