"""`magma-eval-screens SET DATA --policy CHECKPOINT`: answers about recorded screens of a published set, scored by its
own rule, beside what others report.

magma-eval-screens screenspot ScreenSpot/data --policy microsoft/Magma-8B --out answers.jsonl
magma-eval-screens aitw android-in-the-wild/general --answers answers.jsonl
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from magma_contracts.errors import ConfigError
from magma_contracts.files.outputs import check_file
from magma_contracts.files.small_files import read_text
from magma_contracts.text import escaped
from magma_policy.commands.options import LoadOptions, run_command
from magma_policy.errors import (
    CommandError,
    GenerationError,
    InstructionError,
    ObservationError,
    ScreenError,
    shown,
)
from magma_policy.screens.agent import Question
from magma_policy.screens.candidates import Candidate

LARGEST_ANSWERS = 1 << 30
"""Bytes of a file of answers; those of the largest set, 1.8 million steps of phones, have about 200 MB."""


@dataclass(frozen=True)
class EvalScreensConfig(LoadOptions):
    """Score answers about recorded screens. Give the same command again to go on after an interruption."""

    benchmark: Annotated[
        Literal["screenspot", "visualwebbench", "mind2web", "aitw"], tyro.conf.Positional, tyro.conf.arg(metavar="SET")
    ]
    """screenspot, visualwebbench, mind2web or aitw."""
    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """Its file or folder: Parquet (needs pyarrow), JSON or JSON Lines; of aitw the TFRecord files."""
    policy: str = ""
    """Folder of a checkpoint, or owner/name on the Hugging Face Hub, that is asked."""
    answers: Path | None = None
    """Answers that there are already instead: lines of {"id": …, "answer": …}."""
    out: Path | None = None
    """File that each answer of the policy is added to, in that form; what stands there is not asked again."""
    limit: int | None = None
    """Only the first so many rows."""
    pictures: Path | None = None
    """Folder of the pictures that records name; by default that of the data."""
    boxes: Literal["by_field_names", "xyxy_fractions", "xywh_pixels", "xyxy_pixels"] = "by_field_names"
    """Of screenspot: how records write boxes. By default file_name means the copy on Hugging Face (fractions x1, y1,
    x2, y2) and img_filename the original files (pixels x, y, width, height)."""
    detector: Path | None = None
    """Of screenspot: a TorchScript file, such as OmniParser's icon_detect_v3/model.pt, that finds the candidates
    instead of outlines. It is a program and runs with your rights: name only one that you trust."""
    read: bool = False
    """Of screenspot: candidates are also what Tesseract reads on the picture (needs the program: apt-get install
    tesseract-ocr)."""
    marks: Literal["letters", "numbers"] = "letters"
    """Of visualwebbench: the published picture with letters, or the same boxes drawn anew with numbers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.policy) == (self.answers is not None):
            raise ConfigError("give either --policy or --answers")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit is at least 1, got {self.limit}")


def main() -> None:
    """Entry point."""
    sys.exit(run_command("magma-eval-screens", lambda: evaluate(tyro.cli(EvalScreensConfig))))


def evaluate(config: EvalScreensConfig) -> int:
    """Scores; 0. Raises CommandError."""
    if config.out is not None:
        check_file(config.out, "--out")
    try:
        return _evaluate(config)
    except (ScreenError, GenerationError, ObservationError, InstructionError) as error:
        raise CommandError(str(error)) from error


def _evaluate(config: EvalScreensConfig) -> int:
    # Pictures, OpenCV and the evaluator's intervals; the command's help needs none of them.
    from magma_policy.screens.offline import published
    from magma_policy.screens.offline.benchmarks import Set
    from magma_policy.screens.pixels import pixel_candidates

    source: Callable[[NDArray[np.uint8]], list[Candidate]] = pixel_candidates
    if config.detector is not None:
        from magma_policy.screens.detector import Detector

        source = Detector(config.detector).candidates
    if config.read:
        from magma_policy.screens.reading import Reader

        source = Reader().after(source)
    chosen = Set(config.benchmark, config.data, config.pictures, config.boxes, config.marks, source)
    there = read_answers(config.answers) if config.answers is not None else {}
    if config.out is not None and config.out.is_file():
        there = read_answers(config.out)
    ask: Callable[[Question], str] | None = None
    if config.policy:
        policy = config.load_text_model(config.policy)
        ask = lambda question: policy.chat(question.words, [question.image]).text  # noqa: E731
    scores, missing = [], 0
    for number, item in enumerate(chosen.items()):
        if number == config.limit:
            break
        answer = there.get(item.id)
        if answer is None and ask is not None:
            answer = ask(item.question)
            if config.out is not None:
                _keep(config.out, item.id, answer)
        missing += answer is None
        scores.append(item.score(answer or ""))
    for figure in chosen.summary(scores):
        print(escaped(str(figure)))
    if missing:
        print(f"{missing} rows have no answer, which counts as a wrong one", file=sys.stderr)
    print("reported by others (their protocols differ):")
    for line in published.lines(config.benchmark):
        print(f"  {line}")
    return 0


def read_answers(path: Path) -> dict[str, str]:
    """Answers by the row's id; the last counts. Raises CommandError."""
    found: dict[str, str] = {}
    try:
        # splitlines would also part lines at U+2028 and its like, which JSON holds as they are.
        lines = read_text(path, LARGEST_ANSWERS).split("\n")
    except ConfigError as error:
        raise CommandError(f"{path} {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            row, answer = value["id"], value["answer"]
            if not isinstance(row, (str, int)) or isinstance(row, bool) or not isinstance(answer, str):
                raise ValueError("id or answer is no text")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CommandError(f'{path}, line {number} is no {{"id": …, "answer": …}}: {shown(line[:60])}') from error
        found[str(row)] = answer
    return found


def _keep(out: Path, row: str, answer: str) -> None:
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"id": row, "answer": answer}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
