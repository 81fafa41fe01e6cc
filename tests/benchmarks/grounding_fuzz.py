"""Feeds strings of ids to the parser of KOSMOS-2's answers.

    python tests/benchmarks/grounding_fuzz.py --cases 1000000

Whatever the ids are, nothing may be raised, no box may be turned round or lie outside of the picture, every phrase must
stand where its span says, and every corner must be a location token; anything else ends the run with the ids that did
it. Half of the strings are ids by chance, half are answers as a model may give them with a few ids changed, left out or
cut off.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from tqdm import tqdm

from magma_policy.families.kosmos2.parser import parse_corners
from magma_policy.families.kosmos2.vocabulary import Vocabulary, build_small_tokenizer

LATENTS = 9
LONGEST = 40
WORDS = ("the", "a", "carrot", "plate", "block", "on", "left", "of")


def tags(vocabulary: Vocabulary) -> list[int]:
    """The ids that hold an answer together."""
    return [
        vocabulary.phrase_open, vocabulary.phrase_close, vocabulary.object_open, vocabulary.object_close,
        vocabulary.delimiter, vocabulary.eos, vocabulary.image_open, vocabulary.image_close, vocabulary.grounding,
    ]  # fmt: skip


def by_chance(vocabulary: Vocabulary, rng: np.random.Generator) -> list[int]:
    """Ids of every kind, some that no vocabulary has."""
    length = int(rng.integers(LONGEST))
    kinds = rng.integers(4, size=length)
    held = tags(vocabulary)
    places = rng.integers(vocabulary.first_place, vocabulary.size, size=length)
    anything = rng.integers(-3, vocabulary.size + 3, size=length)
    chosen = rng.integers(len(held), size=length)
    return [
        held[chosen[i]] if kind < 2 else int(places[i]) if kind == 2 else int(anything[i])
        for i, kind in enumerate(kinds)
    ]


def answer(vocabulary: Vocabulary, rng: np.random.Generator) -> list[int]:
    """An answer with phrases and boxes."""
    ids: list[int] = []
    for _ in range(int(rng.integers(1, 4))):
        words = " ".join(WORDS[i] for i in rng.integers(len(WORDS), size=int(rng.integers(1, 4))))
        ids += [vocabulary.phrase_open, *vocabulary.encode(words), vocabulary.phrase_close, vocabulary.object_open]
        for number in range(int(rng.integers(1, 3))):
            ids += [vocabulary.delimiter] if number else []
            ids += [int(v) for v in np.sort(rng.integers(vocabulary.first_place, vocabulary.size, size=2))]
        ids.append(vocabulary.object_close)
    return [*ids, vocabulary.eos]


def damaged(vocabulary: Vocabulary, rng: np.random.Generator) -> list[int]:
    """An answer with a few changes."""
    ids = answer(vocabulary, rng)
    for _ in range(int(rng.integers(4))):
        place = int(rng.integers(len(ids)))
        change = int(rng.integers(4))
        if change == 0:
            ids[place] = int(rng.integers(vocabulary.size))
        elif change == 1 and len(ids) > 1:
            del ids[place]
        elif change == 2:
            ids.insert(place, ids[int(rng.integers(len(ids)))])
        else:
            ids = ids[: place + 1]
    return ids


def problem(vocabulary: Vocabulary, ids: list[int]) -> str | None:
    """What is wrong with the reading of ids; None when nothing is."""
    found, corners = parse_corners(vocabulary, ids)
    if len(corners) != len(found.entities) or found.malformed < 0:
        return "entities and corners do not match"
    for entity, at in zip(found.entities, corners, strict=True):
        if found.text[slice(*entity.span)] != entity.phrase:
            return f"span {entity.span} is not {entity.phrase!r}"
        boxes = entity.boxes
        if not len(boxes) or at.shape != (len(boxes), 2):
            return "an entity without boxes, or boxes without corners"
        if not (boxes[:, :2] < boxes[:, 2:]).all() or boxes.min() < 0 or boxes.max() > 1:
            return f"boxes {boxes.tolist()}"
        if not all(vocabulary.is_place(ids[place]) for place in at.ravel()):
            return "a corner that is no location token"
    return None


def run(cases: int, seed: int) -> tuple[int, int]:
    """How many entities and malformed groups were read. Raises AssertionError with the ids of a case that fails."""
    vocabulary = Vocabulary(build_small_tokenizer(WORDS, LATENTS), LATENTS)
    rng = np.random.default_rng(seed)
    entities = malformed = 0
    for case in tqdm(range(cases), mininterval=2.0):
        ids = (by_chance if case % 2 else damaged)(vocabulary, rng)
        try:
            wrong = problem(vocabulary, ids)
        except Exception as error:
            raise AssertionError(f"case {case}: {ids} raised {error!r}") from error
        assert wrong is None, f"case {case}: {ids}: {wrong}"
        found = parse_corners(vocabulary, ids)[0]
        entities += len(found.entities)
        malformed += found.malformed
    return entities, malformed


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begin = time.monotonic()
    try:
        entities, malformed = run(options.cases, options.seed)
    except AssertionError as error:
        sys.exit(str(error))
    print(
        f"{options.cases:,} strings of ids read in {time.monotonic() - begin:.0f} s: {entities:,} phrases with boxes, "
        f"{malformed:,} groups that are no boxes, nothing raised"
    )


if __name__ == "__main__":
    main()
