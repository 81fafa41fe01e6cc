"""Precision and recall of GRIT's pipeline against what stands in rendered scenes, by step, with each step left out, and
its throughput.

    .venv/bin/python tests/benchmarks/grit.py SCENES [SCENES …] [--pictures 1000] [--other-captions]

The captions are made from the scenes' truth (`magma_policy.grit.rendered`), so which words mean what is known. The
detector is the simulator's own truth, asked by chunks alone: what is measured is everything around it. With
`--detector kosmos2:kosmos-tiny` a model is asked instead. `--other-captions` says the same things in sentences of other
forms, which no rule of the pipeline was written for.

Counted over all meant things: a chunk is right when it is that of a meant thing; an expression when start, end and box
(intersection over union of 0.5) are.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from magma_contracts.geometry.boxes import overlap
from magma_policy.grit.detectors import Detector
from magma_policy.grit.pairs import Pair, pairs_of, scene_key, shards_of
from magma_policy.grit.phrases import Chunk, Parser, PhraseSettings
from magma_policy.grit.pipeline import Pipeline, SelectionSettings
from magma_policy.grit.records import PhraseBox, outermost
from magma_policy.grit.rendered import Description, Meant, describe, name_thing
from magma_policy.grit.run import GritRun, detector_of
from magma_policy.grounding.expressions import Thing, expressions
from magma_policy.grounding.scenes import read_scene_file

SAME = 0.5
OTHER_CAPTIONS = (
    "On the table there are {0}, {1} and {2}.",
    "We see {0}; beside it lies {1}.",
    "A picture of {0}, {1}, and {2}, taken from above",
    "Someone could put {0} on {1}",
    "{0}, {1}",
    "Neither {0} nor {1} has been moved yet",
    "{0} and {1} stand in a kitchen",
    "There is {0} near {1}, and nobody has touched {2}",
    "Here you can see {0} as well as {1}",
    "{0} - nobody knows why - has been left beside {1}",
)
"""Forms of sentences with places for things."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """A pair, what stands there and which words mean what."""

    pair: Pair
    things: tuple[Thing, ...]
    meant: list[Meant]


def scenes(folder: Path, limit: int, other: bool) -> Iterator[Scene]:
    """The first scenes of a set that can be described; in `other` words."""
    left = limit
    for shard in shards_of((folder,)):
        truth = {scene_key(shard.path, row): one.things for row, one in enumerate(read_scene_file(shard.path)[1])}
        for pair in islice(pairs_of(shard, Counter()), left):
            left -= 1
            told = describe(truth[pair.key], pair.key)
            assert told is not None and told.text == pair.caption
            if other:
                told = otherwise(truth[pair.key], pair.key)
            yield Scene(dataclasses.replace(pair, caption=told.text), truth[pair.key], told.meant)


def otherwise(things: Sequence[Thing], key: str) -> Description:
    """The caption of a scene in one of the other forms, always the same for a key."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    told = [index for index in rng.permutation(len(things)).tolist() if expressions(things, index)]
    fitting = [form for form in OTHER_CAPTIONS if form.count("{") <= len(told)] or ["Look at {0}"]
    made = Description()
    for part in re.split(r"(\{\d\})", str(rng.choice(fitting))):
        if part.startswith("{"):
            name_thing(made, things, told[int(part[1])])
        else:
            made.say(part)
    return made


def tally(found: list[tuple[int, int]], right: list[tuple[int, int]], count: Counter[str], name: str) -> None:
    """Spans against those that are meant."""
    count[f"{name} found"] += len(set(found))
    count[f"{name} meant"] += len(set(right))
    count[f"{name} right"] += len(set(found) & set(right))


def boxes(rows: tuple[PhraseBox, ...] | list[PhraseBox], scene: Scene, count: Counter[str], name: str) -> None:
    """Spans with boxes against meant things."""
    meant = {(one.start, one.end): scene.things[one.thing].box for one in scene.meant}
    chunks = {(one.start, one.chunk_end): scene.things[one.thing].box for one in scene.meant}
    wanted = meant if name.startswith("expression") else chunks
    hit = set()
    for row in rows:
        box = wanted.get((row.start, row.end))
        good = box is not None and float(overlap(row.box, [box])[0]) >= SAME
        count[f"{name} right"] += good
        if good:
            hit.add((row.start, row.end))
    count[f"{name} found"] += len(rows)
    count[f"{name} meant"] += len(wanted)
    count[f"{name} hit"] += len(hit)


class Parsed:
    """A parser's chunks, kept: variants that differ behind it need not parse again."""

    def __init__(self, phrases: PhraseSettings, given: list[Scene]) -> None:
        captions = [one.pair.caption for one in given]
        begin = time.process_time()
        self._chunks = dict(zip(captions, Parser(settings=phrases).chunks(captions), strict=True))
        self.rate = len(captions) / (time.process_time() - begin)

    def chunks(self, captions: list[str]) -> Iterator[list[Chunk]]:
        """As `Parser.chunks`."""
        return (self._chunks[caption] for caption in captions)


def measure(given: list[Scene], detector: Detector, parser: Parsed, selection: SelectionSettings) -> Counter[str]:
    """All counts of one variant."""
    count: Counter[str] = Counter()
    for scene in given:
        (chunks,) = parser.chunks([scene.pair.caption])
        right = [(one.start, one.chunk_end) for one in scene.meant]
        tally([(one.start, one.end) for one in chunks], right, count, "1 chunks")
        left = [one for one in chunks if one.dropped is None]
        tally([(one.start, one.end) for one in left], right, count, "2 filtered")
        tally([one.expression for one in left], [(one.start, one.end) for one in scene.meant], count, "3 expanded")
    pipeline = Pipeline(parser, detector, selection)  # type: ignore[arg-type]
    by_key = {scene.pair.key: scene for scene in given}
    done = set()
    for pair, record in pipeline.records([scene.pair for scene in given], count):
        done.add(pair.key)
        scene = by_key[pair.key]
        boxes(record.chunks, scene, count, "chunk boxes")
        boxes(record.expressions, scene, count, "expression boxes")
        boxes(outermost(record.expressions), _outermost_of(scene), count, "expression boxes, outermost")
    for key in by_key.keys() - done:
        for name in ("chunk boxes", "expression boxes"):
            count[f"{name} meant"] += len(by_key[key].meant)
        count["expression boxes, outermost meant"] += len(_outermost_of(by_key[key]).meant)
    return count


def _outermost_of(scene: Scene) -> Scene:
    spans = {(one.start, one.end) for one in scene.meant}
    left = [
        one
        for one in scene.meant
        if not any(s <= one.start and one.end <= e and (s, e) != (one.start, one.end) for s, e in spans)
    ]
    return dataclasses.replace(scene, meant=left)


def line(count: Counter[str], name: str) -> str:
    """Precision and recall in percent."""
    right, found, meant = (count[f"{name} {what}"] for what in ("right", "found", "meant"))
    hit = count.get(f"{name} hit", right)
    precision = 100 * right / found if found else float("nan")
    recall = 100 * hit / meant if meant else float("nan")
    return f"precision {precision:5.1f} ({right}/{found}), recall {recall:5.1f} ({hit}/{meant})"


def main() -> None:
    """Prints a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("scenes", type=Path, nargs="+")
    arguments.add_argument("--pictures", type=int, default=1_000, help="of each set")
    arguments.add_argument("--detector", default="oracle")
    arguments.add_argument("--other-captions", action="store_true")
    asked = arguments.parse_args()
    given = [scene for folder in asked.scenes for scene in scenes(folder, asked.pictures, asked.other_captions)]
    print(f"{len(given)} rendered pictures, {sum(len(one.meant) for one in given)} meant things")
    every = shards_of(tuple(asked.scenes))
    run = GritRun(tuple(asked.scenes), Path("unused"), detector=asked.detector)
    variants = {
        "all steps": (PhraseSettings(), SelectionSettings()),
        "without the filter of nouns": (PhraseSettings(filter=False), SelectionSettings()),
        "without expansion": (PhraseSettings(expand=False), SelectionSettings()),
        "expansion into conjuncts": (PhraseSettings(conjuncts=True), SelectionSettings()),
        "expansion of nouns with conjuncts": (PhraseSettings(expand_conjoined=True), SelectionSettings()),
        "without agreement": (PhraseSettings(), SelectionSettings(agreement=False)),
        "without suppression of overlaps": (PhraseSettings(), SelectionSettings(overlap=1.0)),
        "without a threshold": (PhraseSettings(), SelectionSettings(threshold=0.0)),
    }
    parsed = {phrases: Parsed(phrases, given) for phrases in {phrases for phrases, _ in variants.values()}}
    for name, (phrases, selection) in variants.items():
        detector = detector_of(run, every)
        begin = time.process_time()
        count = measure(given, detector, parsed[phrases], selection)
        rate = len(given) / (time.process_time() - begin)
        print(f"\n{name}: parsing {parsed[phrases].rate:.0f}, all else {rate:.0f} pictures a second of one core")
        for step in (
            "1 chunks",
            "2 filtered",
            "3 expanded",
            "chunk boxes",
            "expression boxes",
            "expression boxes, outermost",
        ):
            print(f"  {step:28} {line(count, step)}")
        for reason in sorted(key for key in count if key.startswith("dropped")):
            print(f"  {reason}: {count[reason]}")


if __name__ == "__main__":
    main()
