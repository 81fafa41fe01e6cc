"""What one answer is worth, as the published tools count it.

Boxes: MDETR's evaluator of Flickr30k Entities and KOSMOS-2's own (unilm), intersection over union in pixels, at least
0.5. VQAv2: the authors' vqaEval.py of 2018, with all of its habits, since figures are only comparable with them.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from magma_contracts.geometry.boxes import in_pixels, overlap
from magma_eval.grounding.items import Answer, PlaceItem

SAME = 0.5
"""Intersection over union from which a box is the one that is meant."""
PEOPLE = 3
"""So many of the other people must have said it for a full score."""


def merged(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The box (1, 4) round boxes (N, 4): what the MERGED protocol takes for the truth."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])[None]


def found(item: PlaceItem, answer: Answer, first: int, *, merge: bool = False) -> bool:
    """Whether any of the first boxes of an answer is any of the item's (ANY-BOX), or the one round them (MERGED).

    An answer of fewer boxes is judged by those; one without a box, or that cannot be read, is wrong.
    """
    if answer.undecodable:
        return False
    truth = merged(item.boxes) if merge else item.boxes
    said = in_pixels(answer.boxes[:first], *item.size)
    return any(bool((overlap(box, truth) >= SAME).any()) for box in said)


def vqa_accuracy(said: str, answers: tuple[str, ...]) -> float:
    """The mean, over people, of min(1, how many *other* people said it / 3).

    Args:
        said: the model's answer.
        answers: people's, ten of them in the published files.
    """
    given = vqa_normalised(said.replace("\n", " ").replace("\t", " ").strip())
    # Where all people agree, their answer stays as it is written.
    told = [without_punctuation(one) for one in answers] if len(set(answers)) > 1 else list(answers)
    same = [one == given for one in told]
    return float(np.mean([min(1.0, (sum(same) - own) / PEOPLE) for own in same]))


_PUNCTUATION = (*';/[]"{}()=+\\_->', *"<@`,?!")
_PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")
_COMMA = re.compile(r"\d,\d")
_PERIODS = 32
"""The tool means a flag of regular expressions, and gives it as the number of replacements."""
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0", **{word: str(digit) for digit, word in enumerate(_NUMBERS)}}
_ARTICLES = ("a", "an", "the")


def vqa_normalised(text: str) -> str:
    """An answer as VQAv2's tool compares it: without punctuation and articles, with digits and apostrophes."""
    words = (_DIGITS.get(word, word) for word in without_punctuation(text).lower().split())
    return " ".join(_APOSTROPHES.get(word, word) for word in words if word not in _ARTICLES)


def without_punctuation(text: str) -> str:
    """Marks that touch a space go, others become one; all go from a text with a comma between digits."""
    bare = text
    for mark in _PUNCTUATION:
        alone = f"{mark} " in text or f" {mark}" in text or _COMMA.search(text) is not None
        bare = bare.replace(mark, "" if alone else " ")
    return _PERIOD.sub("", bare, count=_PERIODS)


def _without_one_apostrophe(right: str) -> list[str]:
    places = [place for place, letter in enumerate(right) if letter == "'"]
    return [right[:place] + right[place + 1 :] for place in places]


_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd've he's
how'd how'll how's I'd've I'm I've isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've
needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll
somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd
there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll
what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't
would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've he'd
"""
"""Words that the tool writes with an apostrophe where just one is missing; those of she's and let's it leaves alone."""
_APOSTROPHES = {wrong: right for right in _CONTRACTIONS.split() for wrong in _without_one_apostrophe(right)}
_APOSTROPHES["somebody'd"] = "somebodyd"
"""The tool has this one the wrong way round."""
