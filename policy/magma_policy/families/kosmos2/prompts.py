"""KOSMOS-2's prompts as ids: what the model is asked, one function a task.

Spellings are those of the published model card and evaluation scripts; the text of people goes in between as text only
(`vocabulary.Vocabulary.encode`). A prompt starts with `<s>` and its pictures; whoever runs it brings the features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from magma_contracts.grounding import text_problem
from magma_policy.families.kosmos2.locations import encode_boxes
from magma_policy.families.kosmos2.vocabulary import Vocabulary


class PromptError(ValueError):
    """A text or a combination of boxes and texts that cannot be asked about."""


@dataclass(frozen=True)
class Mention:
    """A phrase within a text together with where it is.

    Attributes:
        text: the phrase, such as "the fire".
        boxes: (N, 4) fractions of the picture, at least one.
    """

    text: str
    boxes: np.ndarray


@dataclass(frozen=True)
class Example:
    """A demonstration for referring with a picture of its own: this place of it is called so."""

    box: np.ndarray
    expression: str


@dataclass(frozen=True)
class Prompt:
    """Ids with `<s>` in front, and of how many pictures they hold the places."""

    ids: tuple[int, ...]
    pictures: int = 1


def _checked(text: str, what: str) -> str:
    problem = text_problem(text, what)
    if problem is not None:
        raise PromptError(problem)
    return text


def _boxes(vocabulary: Vocabulary, boxes: np.ndarray) -> list[int]:
    cells = encode_boxes(np.atleast_2d(np.asarray(boxes, dtype=np.float64)), vocabulary.bins)
    if not len(cells):
        raise PromptError("a mention needs at least one box")
    ids = [vocabulary.object_open]
    for number, (first, last) in enumerate(cells):
        ids += [vocabulary.delimiter] if number else []
        ids += [vocabulary.place(first), vocabulary.place(last)]
    return [*ids, vocabulary.object_close]


def _phrase(vocabulary: Vocabulary, text: str) -> list[int]:
    return [vocabulary.phrase_open, *vocabulary.encode(text), vocabulary.phrase_close]


def mentioned(vocabulary: Vocabulary, parts: Iterable[str | Mention]) -> list[int]:
    """Ids of a text in which some phrases are tied to boxes."""
    ids: list[int] = []
    for part in parts:
        if isinstance(part, Mention):
            ids += [*_phrase(vocabulary, part.text), *_boxes(vocabulary, part.boxes)]
        else:
            ids += vocabulary.encode(part)
    return ids


def _ask(vocabulary: Vocabulary, ids: Sequence[int], *, grounded: bool = True) -> Prompt:
    tag = [vocabulary.grounding] if grounded else []
    return Prompt((vocabulary.bos, *vocabulary.image_ids, *tag, *ids))


def locate(vocabulary: Vocabulary, phrase: str, before: str = "") -> Prompt:
    """Where is this? `<grounding><phrase> a snowman</phrase>`, answered by boxes: grounding and comprehension. `before`
    is a caption up to the phrase, which tells more of what is meant."""
    lead = vocabulary.encode(before) if before.strip() else []
    return _ask(vocabulary, [*lead, *_phrase(vocabulary, _checked(phrase, "phrase"))])


def refer(vocabulary: Vocabulary, box: np.ndarray, examples: Sequence[Example] = (), word: str = "It") -> Prompt:
    """What is this called? `<grounding><phrase> It</phrase><object>…</object> is`, answered by words.

    Each example stands in front with a picture of its own: `<image>…</image> … is {expression}.`
    """
    ids = [vocabulary.bos]
    for example in examples:
        told = _checked(example.expression, "expression of an example").strip().rstrip(".")
        ids += [*vocabulary.image_ids, vocabulary.grounding, *mentioned(vocabulary, [Mention(word, example.box)])]
        ids += vocabulary.encode(f"is {told}.")
    ids += [*vocabulary.image_ids, vocabulary.grounding]
    ids += [*mentioned(vocabulary, [Mention(word, box)]), *vocabulary.encode("is")]
    return Prompt(tuple(ids), len(examples) + 1)


def describe(vocabulary: Vocabulary, *, detailed: bool = False, grounded: bool = True) -> Prompt:
    """A caption, brief or detailed, with boxes when `grounded`."""
    text = "Describe this image in detail:" if detailed else "An image of"
    return _ask(vocabulary, vocabulary.encode(text), grounded=grounded)


def answer(vocabulary: Vocabulary, question: str | Sequence[str | Mention], *, grounded: bool = True) -> Prompt:
    """`Question: … Answer:`; parts of the question may be tied to boxes."""
    parts: list[str | Mention] = [question] if isinstance(question, str) else list(question)
    _checked("".join(part.text if isinstance(part, Mention) else part for part in parts), "question")
    ids = [*vocabulary.encode("Question:"), *mentioned(vocabulary, parts), *vocabulary.encode("Answer:")]
    return _ask(vocabulary, ids, grounded=grounded)


def presence(vocabulary: Vocabulary, phrase: str) -> Prompt:
    """Whether this is in the picture, answered by yes or no; asking where it is would always get a place."""
    said = _checked(phrase, "phrase").strip().rstrip("?. ")
    return answer(vocabulary, f"Is there {said} in the image?", grounded=False)
