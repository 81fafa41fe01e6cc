"""Whether records of the pipeline teach as well as the truth: the same training on both, and what each model finds.

    magma-grit SCENES … --detector oracle --tars --out records
    python tests/benchmarks/grit_training.py truth records --scenes SCENES … --out truth
    magma-train --recipe grit --records records … --output a;  magma-train --recipe grit --records truth … --output b
    python tests/benchmarks/grit_training.py compare a/checkpoint b/checkpoint --scenes scenes/tabletop-test …

`truth` makes records of the same pictures and captions, in which expressions and boxes are those that the captions were
made of (`magma_policy.grit.rendered`); all else of the two trainings is the same, so what differs is what the pipeline
gets wrong. `compare` asks for every thing that words can tell from the others by its shortest expression (REC:
intersection over union of 0.5). Intervals of 95 %: Wilson's of each model, and of the difference by a bootstrap of
pictures, for the models were asked the same.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from magma_contracts.geometry.boxes import overlap
from magma_eval.confidence_intervals import Rate
from magma_policy.families import registry
from magma_policy.grit.pairs import Pair, pairs_of, scene_key, shards_of
from magma_policy.grit.records import PhraseBox, Record
from magma_policy.grit.rendered import describe
from magma_policy.grit.run import RecordTar
from magma_policy.grounding.expressions import Thing, expressions
from magma_policy.grounding.scenes import read_scene_file, read_scenes
from magma_policy.training.recipes.grit.material import record_shards
from magma_policy_client.checkpoint_paths import find_checkpoint

SAME = 0.5
DRAWS = 10_000


def write_truth(source: Path, folders: list[Path], out: Path) -> None:
    """Writes tar shards of the truth for the pictures that an output of `magma-grit` has records of; those that are
    there already stay."""
    files = {scene_key(shard.path, 0).rpartition("-")[0]: shard.path for shard in shards_of(tuple(folders))}
    things: dict[str, Sequence[Thing]] = {}
    out.mkdir(parents=True, exist_ok=True)
    for shard in record_shards([source]):
        if (out / shard.path.name).is_file():
            continue
        with RecordTar(out / shard.path.name) as written:
            for pair in pairs_of(shard, Counter()):
                if pair.key not in things:
                    path = files[pair.key.rpartition("-")[0]]
                    things = {scene_key(path, row): one.things for row, one in enumerate(read_scene_file(path)[1])}
                written.add(pair, true_record(pair, things[pair.key]))


def true_record(pair: Pair, things: Sequence[Thing]) -> Record:
    """What the caption of a scene was made of."""
    told = describe(things, pair.key)
    assert told is not None and told.text == pair.caption
    chunks = tuple(PhraseBox(one.start, one.chunk_end, things[one.thing].box, 1.0) for one in told.meant)
    grown = tuple(PhraseBox(one.start, one.end, things[one.thing].box, 1.0) for one in told.meant)
    height, width = pair.image().shape[:2]
    return Record(pair.key, pair.caption, (width, height), chunks, grown)


def found_by(checkpoint: str, folders: list[Path], split: str, limit: int) -> list[np.ndarray]:
    """Whether each thing was found, by set and picture."""
    model = registry.load_grounder(find_checkpoint(checkpoint), "cpu", None)
    every = []
    for folder in folders:
        scenes = read_scenes([folder], split)
        for row in range(min(len(scenes), limit)):
            things = scenes.scenes[row].things
            asked = [(told[0], thing) for i, thing in enumerate(things) if (told := expressions(things, i))]
            if not asked:
                continue
            answers = model.ground(scenes.images[row], [expression for expression, _ in asked])
            every.append(
                np.array(
                    [
                        len(answer.boxes) > 0 and float(overlap(np.array(thing.box), answer.boxes[:1])[0]) >= SAME
                        for answer, (_, thing) in zip(answers, asked, strict=True)
                    ]
                )
            )
    return every


def compare(checkpoints: list[str], folders: list[Path], split: str, limit: int) -> None:
    """Prints what each checkpoint finds, and the difference of each to the last one."""
    found = {name: found_by(name, folders, split, limit) for name in checkpoints}
    for name, every in found.items():
        rate = Rate(int(sum(one.sum() for one in every)), sum(map(len, every)))
        low, high = rate.interval
        share = 100 * rate.successes / rate.count
        told = f"[{100 * low:.1f}, {100 * high:.1f}] ({rate.successes} of {rate.count}, {len(every)} pictures)"
        print(f"{name}: found {share:.1f} % {told}")
    *others, last = checkpoints
    counts = np.array([len(one) for one in found[last]])
    for name in others:
        gained = np.array([int(one.sum()) - int(two.sum()) for one, two in zip(found[name], found[last], strict=True)])
        rows = np.random.default_rng(0).integers(len(counts), size=(DRAWS, len(counts)))
        drawn = 100 * gained[rows].sum(axis=1) / counts[rows].sum(axis=1)
        low, high = np.percentile(drawn, [2.5, 97.5])
        print(f"{name} less {last}: {100 * gained.sum() / counts.sum():+.1f} points [{low:+.1f}, {high:+.1f}]")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    truth = verbs.add_parser("truth")
    truth.add_argument("records", type=Path)
    truth.add_argument("--scenes", type=Path, nargs="+", required=True)
    truth.add_argument("--out", type=Path, required=True)
    against = verbs.add_parser("compare")
    against.add_argument("checkpoints", nargs="+", help="the last one is what the others are compared with")
    against.add_argument("--scenes", type=Path, nargs="+", required=True)
    against.add_argument("--split", choices=("validation", "test"), default="test")
    against.add_argument("--limit", type=int, default=1_000_000, help="pictures of each set")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.verb == "truth":
        write_truth(asked.records, asked.scenes, asked.out)
    else:
        compare(asked.checkpoints, asked.scenes, asked.split, asked.limit)


if __name__ == "__main__":
    main()
