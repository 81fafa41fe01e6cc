"""METEOR and CIDEr of pycocoevalcap, which published figures are made with: its tokenizer, its scorers, its Java.

Only what is round them is done here: pycocoevalcap writes files into its own folder, and waits for a Java that died.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from magma_eval.results.episode_result import ResultsError

JAVA_S = 900.0
"""Within this time all texts of a set are tokenized, or scored: some ten times what 5,000 pictures take."""
_TOKENIZER = (
    "-cp",
    "stanford-corenlp-3.4.1.jar",
    "edu.stanford.nlp.process.PTBTokenizer",
    "-preserveLines",
    "-lowerCase",
)
_METEOR = ("-Xmx2G", "-jar", "meteor-1.5.jar", "-", "-", "-stdio", "-l", "en", "-norm")


class CaptionMetricsError(ResultsError):
    """What the metrics need is not installed, or failed."""


@dataclass(frozen=True)
class Scored:
    """A metric: of the whole set, and of each text by itself. METEOR's of a set is not the mean of those."""

    whole: float
    single: tuple[float, ...]


def check_installed(*, java: bool = True) -> None:
    """Raises CaptionMetricsError that says how to install what is missing."""
    if importlib.util.find_spec("pycocoevalcap") is None:
        raise CaptionMetricsError("texts are judged by pycocoevalcap, which is not here: ./run setup captions")
    if java and shutil.which("java") is None:
        raise CaptionMetricsError("pycocoevalcap runs Java programs: sudo apt-get install default-jre-headless")


def tokenized(texts: Sequence[str]) -> list[str]:
    """Texts in the Penn Treebank's tokens, lower case, without punctuation; one line each. Raises
    CaptionMetricsError."""
    if not texts:
        return []
    check_installed()
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

    # Whatever else ends a line for Java would shift all texts behind it.
    lines = "\n".join(" ".join(text.split()) for text in texts) + "\n"
    said = _java("tokenizer", _TOKENIZER, lines).split("\n")
    if len(said) < len(texts):
        raise CaptionMetricsError(f"the tokenizer gave {len(said)} lines for {len(texts)} texts")
    told = said[: len(texts)]
    return [" ".join(word for word in line.rstrip().split(" ") if word not in PUNCTUATIONS) for line in told]


def cider(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Scored:
    """CIDEr-D of tokenized texts against tokenized references; rare words count more, and how rare they are is
    learned from all references that are given: figures of a part of a set are not those of the whole."""
    check_installed(java=False)
    from pycocoevalcap.cider.cider_scorer import CiderScorer

    scorer = CiderScorer(n=4, sigma=6.0)
    for text, right in zip(texts, references, strict=True):
        scorer += (text, list(right))
    whole, single = scorer.compute_score()
    return Scored(float(whole), tuple(np.asarray(single, dtype=float).tolist()))


def meteor(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Scored:
    """METEOR 1.5 of tokenized texts against tokenized references. Raises CaptionMetricsError."""
    check_installed()
    if not texts:
        raise CaptionMetricsError("METEOR needs at least one text")
    asked = [
        f"SCORE ||| {' ||| '.join(map(_field, right))} ||| {_field(text)}"
        for text, right in zip(texts, references, strict=True)
    ]
    command = ["java", *_METEOR]
    # Its tables take it ten seconds to read: one process does both, the texts and then the whole.
    with subprocess.Popen(
        command, cwd=_folder("meteor"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as program:
        assert program.stdin is not None and program.stdout is not None
        timer = threading.Timer(JAVA_S, program.kill)
        timer.start()
        try:
            statistics = [_answered(program.stdin, program.stdout, line) for line in asked]
            first = _answered(program.stdin, program.stdout, "EVAL" + "".join(f" ||| {one}" for one in statistics))
            scores = [float(first), *(float(program.stdout.readline()) for _ in texts)]
        except (ValueError, OSError) as error:
            raise CaptionMetricsError(f"pycocoevalcap's METEOR failed, or took longer than {JAVA_S:g} s") from error
        finally:
            timer.cancel()
            program.kill()
            # What was not read of it any more has no one to be written to.
            with suppress(OSError):
                program.stdin.close()
    return Scored(scores[-1], tuple(scores[:-1]))


def _answered(asked: IO[bytes], answers: IO[bytes], line: str) -> str:
    """The line that a program answers a line with. Raises ValueError when it has ended."""
    asked.write(f"{line}\n".encode())
    asked.flush()
    answer = answers.readline().decode("utf-8", "replace").strip()
    if not answer:
        raise ValueError("no answer")
    return answer


def _field(text: str) -> str:
    """A text that cannot be taken for several of them."""
    return " ".join(text.replace("|||", "").split())


def _java(folder: str, command: Sequence[str], given: str) -> str:
    """What a program in a folder of pycocoevalcap says to a text. Raises CaptionMetricsError."""
    try:
        done = subprocess.run(
            ["java", *command],
            cwd=_folder(folder),
            input=given.encode(),
            capture_output=True,
            timeout=JAVA_S,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise CaptionMetricsError(f"pycocoevalcap's {folder} did not end within {JAVA_S:g} s") from error
    except subprocess.CalledProcessError as error:
        told = error.stderr.decode("utf-8", "replace").strip().splitlines()
        raise CaptionMetricsError(f"pycocoevalcap's {folder} failed: {told[-1] if told else error}") from error
    return done.stdout.decode("utf-8", "replace")


def _folder(name: str) -> Path:
    """A folder of the installed pycocoevalcap, where its programs look for their tables."""
    found = importlib.util.find_spec("pycocoevalcap")
    assert found is not None and found.submodule_search_locations is not None  # check_installed
    return Path(next(iter(found.submodule_search_locations)), name)
